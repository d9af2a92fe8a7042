"""Problems of the GIGA-Lens paper (Gu et al. 2022, ApJ 935, 49) and of its code."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from giga.bayes.prior import Prior
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF
from giga.jobs.problems.base import Problem, cells, log_normal, normal, simulate, truncated
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL, Shear

GIGALENS_PIXEL_SCALE, GIGALENS_RMS, GIGALENS_EXPOSURE = 0.065, 0.2, 100.0  # arcsec, counts / s, s


def gigalens_prior() -> Scene:
    """The prior of GIGA-Lens's simulated systems: 22 parameters, amplitudes among them."""
    return _epl_and_two_sersics(
        center=0.03, light=dict(
            amp=log_normal(300.0, 0.3), R_sersic=log_normal(1.6, 0.15), n_sersic=dist.Uniform(2.0, 6.0),
            e1=truncated(0.0, 0.05, -0.15, 0.15), e2=truncated(0.0, 0.05, -0.15, 0.15), center_x=normal(0.01),
            center_y=normal(0.01)))


def demo_prior() -> Scene:
    """The prior of GIGA-Lens's demonstration and of its published benchmark: the same 22 parameters."""
    return _epl_and_two_sersics(
        center=0.05, light=dict(
            amp=log_normal(500.0, 0.3), R_sersic=log_normal(1.0, 0.15), n_sersic=dist.Uniform(2.0, 6.0),
            e1=truncated(0.0, 0.1, -0.3, 0.3), e2=truncated(0.0, 0.1, -0.3, 0.3), center_x=normal(0.05),
            center_y=normal(0.05)))


def _epl_and_two_sersics(center: float, light: dict) -> Scene:
    return Scene(
        mass=[EPL(theta_E=log_normal(1.25, 0.25), gamma=truncated(2.0, 0.25, 1.0, 3.0), e1=normal(0.1),
                  e2=normal(0.1), center_x=normal(center), center_y=normal(center)),
              Shear(gamma1=normal(0.05), gamma2=normal(0.05))],
        lens_light=[Sersic(**light, b_n="linear")],
        source_light=[Sersic(amp=log_normal(150.0, 0.5), R_sersic=log_normal(0.25, 0.15),
                             n_sersic=dist.Uniform(0.5, 4.0), e1=truncated(0.0, 0.15, -0.5, 0.5),
                             e2=truncated(0.0, 0.15, -0.5, 0.5), center_x=normal(0.25), center_y=normal(0.25),
                             b_n="linear")])


DEMO60_TRUTH = Scene(
    mass=[EPL(theta_E=1.1, gamma=2.0, e1=0.1, e2=0.1, center_x=0.1, center_y=0.0), Shear(gamma1=-0.01, gamma2=0.03)],
    lens_light=[Sersic(amp=499.37, R_sersic=0.8, n_sersic=2.5, e1=0.09535, e2=0.14849, center_x=0.1, center_y=0.0,
                       b_n="linear")],
    source_light=[Sersic(amp=149.59, R_sersic=0.25, n_sersic=1.5, e1=0.0, e2=0.0, center_x=0.09567,
                         center_y=-0.06396, b_n="linear")])
"""The truth of GIGA-Lens's demonstration."""


@cache
def demo60() -> Problem:
    """GIGA-Lens's benchmark: 60 x 60 pixels, supersampling 1, EPL and shear, a Sersic lens and a Sersic source.

    Truth, prior and noise are those of its demonstration; the image is simulated here, with a Moffat PSF of
    the core and the wings of the one that comes with it.
    """
    template = _gigalens_template(60, 1)
    return Problem("demo60", demo_prior(), simulate([DEMO60_TRUTH], template, seed=60), DEMO60_TRUTH)


def gigalens80(n: int, seed: int = 0) -> Problem:
    """Systems drawn from `gigalens_prior`: 80 x 80 pixels, supersampling 2.

    Args:
        n: Number of systems.
        seed: Seed of truths and noise. The first systems of a larger `n` are the same.
    """
    scene = gigalens_prior()
    prior = Prior.of(scene)
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(seed), k))(jnp.arange(n))
    draws = jax.jit(lambda p, k: jax.vmap(lambda one: p.scene(p.sample(one)))(k))(prior, keys)
    truth = jax.tree.map(lambda leaf: np.asarray(leaf, float), draws)
    each = [jax.tree.map(lambda leaf, k=k: leaf[k].item(), truth) for k in range(n)]
    template = _gigalens_template(80, 2)
    observations = tuple(simulate([one], template, seed=[seed, k])[0] for k, one in enumerate(each))
    return Problem("gigalens80", scene, observations, truth)


@cache
def _gigalens_template(pixels: int, supersampling: int) -> Observation:
    kernel = moffat_psf(fwhm=0.04, beta=1.39, pixel_scale=GIGALENS_PIXEL_SCALE, size=13)
    return Observation(image=np.zeros((pixels, pixels)),
                       grid=Grid(shape=(pixels, pixels), pixel_scale=GIGALENS_PIXEL_SCALE),
                       psf=PSF.from_native(kernel, supersampling, "lenstronomy"), background_rms=GIGALENS_RMS,
                       exposure_time=GIGALENS_EXPOSURE)


def moffat_psf(fwhm: float, beta: float, pixel_scale: float, size: int, parts: int = 9) -> np.ndarray:
    """A Moffat profile integrated over pixels, shape (size, size), sum one; fwhm and pixel_scale in arcsec."""
    axis = cells(size, parts) * pixel_scale
    alpha = 0.5 * fwhm / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    fine = (1.0 + np.add.outer(axis**2, axis**2) / alpha**2) ** -beta
    kernel = fine.reshape(size, parts, size, parts).sum((1, 3))
    return kernel / kernel.sum()
