"""Draw docs/images/light.png: brightness of the round profiles, all of flux one and half-light radius near 1", and a
spiral of three inclinations."""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

from giga import light
from giga.light import ring
from giga.light.sersic import unit_flux

LIGHTS = {
    "Sersic, n = 4": light.Sersic(amp=1.0 / float(unit_flux(1.0, 4.0)), R_sersic=1.0, n_sersic=4.0),
    "Sersic, n = 1": light.Sersic(amp=1.0 / float(unit_flux(1.0, 1.0)), R_sersic=1.0, n_sersic=1.0),
    "CoreSersic, n = 4, Rb = 0.1, gamma = 0.1": light.CoreSersic(amp=1.0 / float(unit_flux(1.0, 4.0)), R_sersic=1.0,
                                                                 Rb=0.1, n_sersic=4.0, gamma=0.1),
    "Gaussian, sigma = 0.85": light.Gaussian(amp=1.0, sigma=0.85),
    "Moffat, alpha = 1, beta = 2": light.Moffat(amp=1.0 / np.pi, alpha=1.0, beta=2.0),
    "MultiGaussian, 5 of equal flux": light.MultiGaussian(amp=np.full(5, 0.2), sigma_min=0.05, sigma_max=3.0,
                                                          n_gaussians=5),
    "Ring, radius = 1, width = 0.25": light.Ring(amp=1.0 / float(ring.unit_flux(1.0, 0.25)), radius=1.0, width=0.25),
}
SPIRAL = light.Spiral(amp=1.0, Rs=1.0, contrast=0.8, pitch=0.35)
TILTED = (0.0, 0.25, 0.5)  # e1 of each picture


def main() -> None:
    figure = plt.figure(figsize=(8.2, 4.0), layout="constrained")
    grid = figure.add_gridspec(len(TILTED), 2, width_ratios=(4.0, 1.0))
    axes = figure.add_subplot(grid[:, 0])
    r = np.geomspace(0.02, 10.0, 200)
    with jax.enable_x64(True):
        for k, (label, profile) in enumerate(LIGHTS.items()):
            axes.loglog(r, profile.brightness(r, 0.0 * r), label=label, ls=("-", "--")[k // 4], lw=1.4)
        x, y = np.meshgrid(*2 * [np.linspace(-4.0, 4.0, 200)])
        for k, e1 in enumerate(TILTED):
            tilted = figure.add_subplot(grid[k, 1])
            tilted.imshow(np.sqrt(SPIRAL.replace(e1=e1).brightness(x, y)), origin="lower", cmap="Greys")
            tilted.set_axis_off()
    axes.set(xlabel="R [arcsec]", ylabel="brightness [1 / arcsec$^2$]", ylim=(1e-5, 60.0), xlim=(r[0], r[-1]))
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(Path(__file__).parent / "images" / "light.png", dpi=110)


if __name__ == "__main__":
    main()
