"""Render a 128 x 128 lens: forward, and value and gradient of chi2, one image and a batch.

Supersampling 2, a 53 x 53 PSF on the fine grid, EPL + shear, two Sersics for the lens, a Sersic and
28 shapelets for the source; 29 free parameters. The error is against lenstronomy in float64.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import HERE, parser, write

from giga.imaging.grid import Grid
from giga.imaging.linear import solve
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF, plan
from giga.imaging.render import render, render_data
from giga.jobs.bench.measure import measure
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.mass import EPL, Shear
from giga.mass.epl import terms_for

REFERENCE = HERE.parent / "tests" / "reference" / "lenstronomy.npz"
SIGMA, BATCH = 0.5, 16


def make_scene(amp, terms: int) -> Scene:
    """The scene of tests/reference/make_lenstronomy.py."""
    return Scene(
        mass=[EPL(theta_E=2.65, gamma=1.9, e1=0.11, e2=-0.13, center_x=0.01, center_y=-0.02, terms=terms),
              Shear(gamma1=0.03, gamma2=-0.02)],
        lens_light=[Sersic(amp=20.0, R_sersic=1.0, n_sersic=3.5, e1=0.08, e2=-0.09, center_x=0.01, center_y=-0.02,
                           b_n="linear"),
                    Sersic(amp=10.0, R_sersic=2.5, n_sersic=1.2, e1=0.1, e2=-0.1, center_x=0.02, center_y=-0.01,
                           b_n="linear")],
        source_light=[Sersic(amp=30.0, R_sersic=0.25, n_sersic=1.5, e1=0.1, e2=0.05, center_x=0.1, center_y=-0.15,
                             b_n="linear"),
                      Shapelets(amp=amp, beta=0.12, center_x=0.1, center_y=-0.15, n_max=6)])


def load_reference(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return file["image/pixels"], file["image/shapelet_amp"]


def linear(scene: Scene, grid: Grid, psf: PSF, image, method: str, repeats: int, budget: float) -> dict:
    """The same lens with the amplitudes of its four lights solved: 31 columns, one image."""
    observation = Observation(image=np.asarray(image, float), grid=grid, psf=psf,
                              noise_map=np.full(image.shape, SIGMA))
    data = observation.data(method=method)
    opened = scene.replace(lens_light=[p.replace(amp=None) for p in scene.lens_light],
                           source_light=[p.replace(amp=None) for p in scene.source_light])

    def forward(scene, data):
        filled = scene.with_amplitudes(solve(scene, data).values)
        return render_data(filled, data)

    def chi2(scene, data):  # stationary in the solved amplitudes: their derivatives are not taken
        filled = scene.with_amplitudes(jax.lax.stop_gradient(solve(jax.lax.stop_gradient(scene), data).values))
        return jnp.sum((data.image - render_data(filled, data)) ** 2 / data.variance)

    functions = dict(forward=forward, value_and_gradient=jax.value_and_grad(chi2))
    return {f"linear_{name}_batch_1": measure(jax.jit(function), opened, data, repeats=repeats, budget=budget)
            for name, function in functions.items()}


def main() -> None:
    arguments = parser(__doc__, "render")
    arguments.add_argument("--terms", type=int, default=None, help="terms of the EPL series")
    arguments.add_argument("--method", default="auto", help="PSF convolution: auto, fft or lowrank")
    arguments.add_argument("--linear", action="store_true", help="with all 31 amplitudes solved, too")
    options = arguments.parse_args()
    terms = options.terms or terms_for(0.4)
    pixels, amp = load_reference(REFERENCE)
    grid = Grid(shape=pixels.shape, pixel_scale=0.065)
    psf = PSF.gaussian(fwhm=0.2, pixel_scale=0.065, size=27, supersampling=2)
    data = jnp.asarray(pixels + SIGMA * np.random.default_rng(0).normal(size=pixels.shape), jnp.float32)
    scene = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), make_scene(amp, terms))

    def chi2(scene, convolution, data):
        return jnp.sum(((render(scene, grid, convolution) - data) / SIGMA) ** 2)

    def value_and_gradient(scene, convolution, data):
        # Amplitudes of the shapelets stay fixed, as in the peers' benchmark.
        frozen = scene.source_light[1].amp

        def free(s):
            return s.replace(source_light=[s.source_light[0], s.source_light[1].replace(amp=frozen)])

        return jax.value_and_grad(lambda s: chi2(free(s), convolution, data))(scene)

    scenes = jax.vmap(lambda factor: jax.tree.map(lambda leaf: leaf * factor, scene))(
        1.0 + 0.004 * jnp.arange(BATCH, dtype=jnp.float32) / BATCH)
    functions = dict(forward=lambda s, c, d: render(s, grid, c), value_and_gradient=value_and_gradient)
    repeats, budget = (3, 1.0) if options.smoke else (30, 8.0)
    results = {}
    for method in ([options.method] if options.smoke or options.method != "auto" else ["auto", "fft"]):
        convolution = plan(psf, grid.shape, np.float32, method)
        image = np.asarray(jax.jit(functions["forward"])(scene, convolution, data), float)
        rows = dict(method=convolution.method, error=float(np.abs(image - pixels).max() / pixels.max()), terms=terms)
        for name, function in functions.items():
            rows[f"{name}_batch_1"] = measure(jax.jit(function), scene, convolution, data,
                                              repeats=repeats, budget=budget)
            loops = {
                "map": lambda s, c, d, f=function: jax.lax.map(lambda one: f(one, c, d), s),
                "vmap": lambda s, c, d, f=function: jax.vmap(lambda one: f(one, c, d))(s),
            }
            for loop, batched in loops.items():
                rows[f"{name}_batch_{BATCH}_{loop}"] = measure(jax.jit(batched), scenes, convolution, data,
                                                               repeats=repeats, budget=budget, per=BATCH)
        if options.linear:
            rows |= linear(scene, grid, psf, data, method, repeats, budget)
        results[method] = rows
    write(options.out, results)


if __name__ == "__main__":
    main()
