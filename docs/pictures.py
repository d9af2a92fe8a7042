"""Draw the pictures of the pages that no command of giga leaves: `python docs/pictures.py`."""

import runpy
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from astropy.io import fits
from matplotlib.figure import Figure

from giga.imaging.render import total
from giga.lensing.critical import critical_curves
from giga.lensing.scene import Scene
from giga.lensing.tracing import trace
from giga.light import Sersic
from giga.mass import EPL
from giga.show.plot import png

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"

# Lowest first, as in tests/test_floors.py, which compares the two.
WINGS = {
    "component ellipse": "pytrees; ellipses without angles",
    "runtime": "what a program runs on: devices, nodes, memory, checkpoints, whole files",
    "mass light": "one profile a file",
    "lensing": "scene, rays, critical curves, distances",
    "imaging": "what a telescope makes of a scene: pixels, PSF, noise, amplitudes",
    "bayes": "a tree as a prior, data as a posterior",
    "inference simulate": "fits by stages; training images by populations and surveys",
    "models": "networks, their training, and the zoo of trained ones",
    "search": "lenses found in large images",
    "io": "every edge: images, configurations, results",
    "show": "pictures, reports, the terminal",
    "jobs": "what a command does",
    "cli": "one command a file",
}
COLORS = ("#1f5fa8", "#e07b28")
WIDTH, NAMES, HEIGHT, GAP = 760, 250, 30, 5  # of the picture, of the names in it, of a floor, between two


def wings() -> str:
    """The wings of giga, as floors of a house, as an SVG, the highest at the top."""
    total_height = len(WINGS) * (HEIGHT + GAP) + 30
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total_height}" font-family="sans-serif" '
             'font-size="14">', f'<rect width="{WIDTH}" height="{total_height}" fill="white"/>']
    for row, (names, sentence) in enumerate(reversed(WINGS.items())):
        top, rooms = 5 + row * (HEIGHT + GAP), names.split()
        wide = (NAMES - GAP * (len(rooms) - 1)) / len(rooms)
        for k, name in enumerate(rooms):
            left = 30 + k * (wide + GAP)
            lines += [f'<rect x="{left}" y="{top}" width="{wide}" height="{HEIGHT}" rx="4" fill="{COLORS[0]}"/>',
                      f'<text x="{left + wide / 2}" y="{top + 20}" text-anchor="middle" fill="white" '
                      f'font-family="monospace">{name}</text>']
        lines.append(f'<text x="{45 + NAMES}" y="{top + 20}" fill="#333">{sentence}</text>')
    bottom = total_height - 30
    lines += [f'<path d="M12 10 V{bottom - 12} m-5 -8 l5 8 l5 -8" fill="none" stroke="{COLORS[1]}" stroke-width="2"/>',
              f'<text x="30" y="{bottom + 18}" fill="{COLORS[1]}">imports go down only; names side by side do not '
              'import each other</text>', "</svg>"]
    return "\n".join(lines) + "\n"


def fleet() -> bytes:
    """The first lenses of examples/fleet, as it simulates them."""
    figure = Figure(figsize=(12.0, 3.1), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        runpy.run_path(str(ROOT / "examples" / "fleet" / "run.py"))["simulate"](Path(folder), 16, 80)
        for axis, path in zip(figure.subplots(2, 8).flat, sorted(Path(folder).glob("lens*.fits")), strict=True):
            axis.imshow(np.arcsinh(fits.getdata(path) / 0.05), origin="lower", cmap="inferno")
            axis.set_axis_off()
    return png(figure, 75)


def conventions() -> bytes:
    """Axes, ellipse, image plane and source plane of a lens."""
    q, phi, half = 0.65, np.deg2rad(35.0), 2.0
    e1, e2 = (1.0 - q) / (1.0 + q) * np.array([np.cos(2.0 * phi), np.sin(2.0 * phi)])
    scene = Scene(mass=[EPL(theta_E=1.2, gamma=2.0, e1=e1, e2=e2)],
                  source_light=[Sersic(amp=1.0, R_sersic=0.15, n_sersic=1.0, center_x=0.12, center_y=0.05)])
    figure = Figure(figsize=(9.0, 4.3), layout="constrained")
    axes = figure.subplots(1, 2)
    curve = critical_curves(scene.mass, half)[0]  # the tangential one
    for axis, size, ray_traced in zip(axes, (half, 0.75), (True, False), strict=True):
        x, y = jnp.meshgrid(*2 * [jnp.linspace(-size, size, 400)])
        light = total(scene.source_light, *(trace(scene.mass, x, y) if ray_traced else (x, y)))
        axis.imshow(np.sqrt(light), origin="lower", extent=(-size, size, -size, size), cmap="Greys")
        axis.plot(*np.transpose(curve.critical if ray_traced else curve.caustic), color=COLORS[0],
                  label="critical curve" if ray_traced else "caustic")
        axis.set(xlim=(-size, size), ylim=(-size, size))
    turn = np.linspace(0.0, 2.0 * np.pi, 200)
    radius = 1.2  # sqrt(q x^2 + y^2 / q) of the ellipse that is drawn
    ellipse = radius * np.stack([np.cos(turn) / np.sqrt(q), np.sin(turn) * np.sqrt(q)])
    rotation = np.array([[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]])
    axes[0].plot(*(rotation @ ellipse), color=COLORS[1], linestyle="--",
                 label=r"$\sqrt{q x'^2 + y'^2 / q} = \theta_E$")
    axes[0].plot(*np.outer((np.cos(phi), np.sin(phi)), (0.0, radius / np.sqrt(q))), color=COLORS[1])
    axes[0].plot((0.0, 1.2), (0.0, 0.0), color=COLORS[1], linewidth=0.8)
    arc = np.linspace(0.0, phi, 30)
    axes[0].plot(0.6 * np.cos(arc), 0.6 * np.sin(arc), color=COLORS[1])
    axes[0].text(0.68, 0.2, r"$\phi$", color=COLORS[1])
    axes[0].set(title="image plane", xlabel=r"$x$ [arcsec]", ylabel=r"$y$ [arcsec]")
    axes[1].set(title="source plane", xlabel=r"$x_s$ [arcsec]", ylabel=r"$y_s$ [arcsec]")
    axes[1].legend(frameon=False, loc="lower left")
    axes[0].legend(frameon=False, loc="lower left")
    return png(figure, 100)


if __name__ == "__main__":
    (IMAGES / "wings.svg").write_text(wings())
    (IMAGES / "fleet.png").write_bytes(fleet())
    (IMAGES / "conventions.png").write_bytes(conventions())
