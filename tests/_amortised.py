"""A fit whose exact posterior is known, for tests of networks that predict it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from _problems import blank
from astropy.io import fits

from giga.imaging.render import render_data
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.models.networks.posterior import PosteriorNetConfig
from giga.models.systems.posterior_task import PosteriorTask, Subject

SIZE, SCALE, RMS = 16, 0.13, 0.03
CENTRES = (-0.2, 0.2)  # of two blobs that overlap: their amplitudes are correlated
MEAN, SD = 2.0, 0.5  # of the prior of an amplitude


def blobs(amps) -> Scene:
    return Scene(source_light=[Sersic(amp=amp, R_sersic=0.4, n_sersic=0.6, e1=0.0, e2=0.0, center_x=x, center_y=0.0)
                               for amp, x in zip(amps, CENTRES, strict=True)])


def toy(**changes) -> PosteriorTask:
    """Amplitudes of two blobs in Gaussian noise: a posterior that is Gaussian, of one covariance for all images."""
    scene = blobs([dist.Normal(MEAN, SD), dist.Normal(MEAN, SD)])
    subject = Subject.of(scene, [blank(SIZE, SCALE, RMS)])
    fields = dict(parameters=subject.prior.names, shape=(SIZE, SIZE), bands=("r",), rms=subject.rms, pixel_scale=SCALE,
                  width=8, blocks=(1,), head="gaussian")
    return PosteriorTask(PosteriorNetConfig(**(fields | changes)), subject)


_render = jax.jit(render_data)


def exact(task: PosteriorTask, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, shape (n, 2), and covariance, shape (2, 2), of z by the formula of a linear Gaussian model."""
    data = task.subject.data[0]

    def pixels(amps):
        image = data.physical(_render(blobs([jnp.float32(amp) for amp in amps]), data))
        return np.asarray(image, float).ravel() / RMS

    middle = pixels((MEAN, MEAN))
    columns = np.stack([pixels((MEAN + SD, MEAN)) - middle, pixels((MEAN, MEAN + SD)) - middle], -1)
    covariance = np.linalg.inv(columns.T @ columns + np.eye(2))
    rest = images.reshape(len(images), -1) / RMS - middle
    return rest @ columns @ covariance, covariance


CONFIG = f"""\
[[observation]]
image = "image.fits"
pixel_scale = {SCALE}
psf_fwhm = 0.15
psf_size = 5
background_rms = {RMS}

[[source_light]]
profile = "Sersic"
amp = {{dist = "Normal", loc = {MEAN}, scale = {SD}}}
R_sersic = {{dist = "LogNormal", loc = -0.9, scale = 0.2}}
n_sersic = 0.6
e1 = 0.0
e2 = 0.0
center_x = {{dist = "Uniform", low = -0.5, high = 0.5}}
center_y = 0.0

[inference]
n_screen = 32
n_starts = 8
n_finalists = 4
map_rounds = 4
n_chains = 4
"""

SYSTEM = """\
[system]
name = "posterior"
fit = "fit.toml"
width = 8
blocks = [1]
layers = 2
hidden = 8
{more}

[train]
steps = 4
chunk = 2
batch_size = 4
warmup = 0
validation_size = 4
validate_every = 4
checkpoint_every = 4
measure_rates = false

[run]
n_devices = 1
"""


def write_fit(folder: Path, more: str = "") -> Path:
    """Write a small fit, its image, and the configuration of a training for it; return the latter's path."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIZE, :SIZE] - 0.5 * (SIZE - 1)
    image = 0.2 * np.exp(-0.05 * (x**2 + y**2)) + RMS * rng.normal(size=(SIZE, SIZE))
    hdu = fits.PrimaryHDU(image)
    hdu.header["BUNIT"] = "electron / s"
    hdu.writeto(folder / "image.fits")
    (folder / "fit.toml").write_text(CONFIG)
    path = folder / "train.toml"
    path.write_text(SYSTEM.format(more=more))
    return path


def read(path: Path):
    return json.loads(path.read_text())
