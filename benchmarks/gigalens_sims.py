"""Render the truth of 60 lenses that an independent code simulated, and compare with their images.

The folder holds standard80.npz (sys_0 .. sys_59, 80 x 80 pixels of 0.065 arcsec), standard80.yaml
(the truth) and psf.npy (at the pixel scale). They were made with supersampling 2 and lenstronomy's
resampling of the PSF; a chi2 per pixel of 0.997 in the median and below 1.06 for each is a match.
The row "integrated" shows what another reading of the same PSF costs. Needs pyyaml.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from _common import parser, write

from giga.bayes.prior import values_of
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF, plan
from giga.imaging.render import render
from giga.inference.fleet import Lens
from giga.jobs.bench.measure import measure
from giga.jobs.problems import gigalens_prior
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL, Shear
from giga.mass.epl import terms_for

BACKGROUND_RMS, EXPOSURE_TIME = 0.2, 100.0


def load(folder: Path, count: int):
    """Images (count, 80, 80), the scenes as one batch, and the native PSF."""
    truth = yaml.safe_load((folder / "standard80.yaml").read_text())
    with np.load(folder / "standard80.npz", allow_pickle=False) as file:
        images = np.stack([file[f"sys_{k}"] for k in range(count)]).astype(float)

    def leaves(values):
        return {name: jnp.asarray(numbers[:count]) for name, numbers in values.items()}

    def sersic(values):
        values = leaves(values)
        return Sersic(amp=values.pop("Ie"), **values, b_n="linear")

    (epl, shear), lens_light, source = truth
    scenes = Scene(mass=[EPL(**leaves(epl), terms=terms_for(0.3, 1e-9)), Shear(**leaves(shear))],
                   lens_light=[sersic(v) for v in lens_light], source_light=[sersic(v) for v in source])
    return images, scenes, np.load(folder / "psf.npy", allow_pickle=False)


def lenses(folder: Path, systems: Sequence[int]) -> list[Lens]:
    """Some of the systems as lenses to fit, with the prior that they were drawn from; a system's number is its seed."""
    images, scenes, kernel = load(folder, max(systems) + 1)
    prior, psf = gigalens_prior(), PSF.from_native(kernel, 2, "lenstronomy")

    def lens(system: int) -> Lens:
        observation = Observation(image=images[system], grid=Grid(shape=images.shape[1:], pixel_scale=0.065), psf=psf,
                                  background_rms=BACKGROUND_RMS, exposure_time=EXPOSURE_TIME)
        truth = values_of(prior, jax.tree.map(lambda leaf: leaf[system], scenes))
        return Lens(str(system), prior, [observation], seed=system, truth=truth)

    return [lens(system) for system in systems]


def main() -> None:
    arguments = parser(__doc__, "gigalens_sims")
    arguments.add_argument("folder", type=Path, help="folder with standard80.npz, standard80.yaml and psf.npy")
    options = arguments.parse_args()
    with jax.enable_x64(True):
        images, scenes, kernel = load(options.folder, 5 if options.smoke else 60)
        grid = Grid(shape=images.shape[1:], pixel_scale=0.065)
        results = {}
        for resampling in ("lenstronomy", "integrated"):
            convolution = plan(PSF.from_native(kernel, 2, resampling), grid.shape, np.float64)
            batched = jax.jit(lambda s, c: jax.lax.map(lambda one: render(one, grid, c), s))
            models = np.asarray(batched(scenes, convolution))
            variance = BACKGROUND_RMS**2 + np.maximum(models, 0.0) / EXPOSURE_TIME
            chi2 = ((images - models) ** 2 / variance).mean((1, 2))
            times = measure(batched, scenes, convolution, repeats=3, budget=2.0, per=len(images))
            results[resampling] = dict(median=round(float(np.median(chi2)), 4), largest=round(float(chi2.max()), 4),
                                       smallest=round(float(chi2.min()), 4), worst_system=int(chi2.argmax()),
                                       chi2_per_pixel=[round(float(c), 4) for c in chi2], time=times)
        write(options.out, results)


if __name__ == "__main__":
    main()
