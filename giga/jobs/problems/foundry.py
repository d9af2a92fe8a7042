"""The problem of the DESI Strong Lens Foundry paper: Huang et al. (2025), arXiv:2502.03455, section 4."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpyro.distributions as dist
from scipy.ndimage import uniform_filter
from scipy.special import gamma, j1

from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF
from giga.jobs.problems.base import Problem, cells, log_normal, normal, simulate, truncated
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.light.sersic import shape_constant
from giga.mass import EPL, Shear

ARCSEC = np.pi / (180.0 * 3600.0)  # rad
FOUNDRY_PIXELS, FOUNDRY_PIXEL_SCALE = 128, 0.065  # drizzled
FOUNDRY_EXPOSURE = 3 * 399.23  # s, section 2.2
F140W_ZERO_POINT = 26.450  # AB magnitude of 1 electron / s in an infinite aperture, WFC3 ISR 2020-10
# WFC3 Instrument Handbook, electrons / s and native pixel: zodiacal light (0.3 to 1.0 in broad filters, and 0.9 is
# common in F140W; secs. 5.7 and 9.7), thermal background in F140W (sec. 7.9), dark current (sec. 5.7); read noise of a
# fitted ramp of one exposure, electrons (sec. 9.6).
SKY, THERMAL, DARK, READ_NOISE, EXPOSURES = 0.9, 0.070, 0.048, 12.0, 3
NATIVE_PIXEL = 0.1283  # arcsec, handbook sec. 7.2


def foundry_rms() -> float:
    """Noise of the empty sky in a drizzled pixel [electrons / s].

    Sky, dark current and read noise of a native pixel, shared out by area as if drizzled pixels were
    independent, which is what a likelihood of independent pixels needs to be told.
    """
    per_native = (SKY + THERMAL + DARK) * FOUNDRY_EXPOSURE + EXPOSURES * READ_NOISE**2
    return float(np.sqrt(per_native) * (FOUNDRY_PIXEL_SCALE / NATIVE_PIXEL) / FOUNDRY_EXPOSURE)


def foundry_prior() -> Scene:
    """Table 2 of the Foundry paper: 41 parameters, and 33 amplitudes that are left to be solved."""

    def light(radius, n, ellipticity, x, y) -> Sersic:
        return Sersic(R_sersic=log_normal(*radius), n_sersic=dist.Uniform(*n), e1=ellipticity(), e2=ellipticity(),
                      center_x=x(), center_y=y(), b_n="linear")

    def normals(scale):
        return lambda: normal(scale)

    def neighbour() -> Sersic:
        return light((0.4, 0.2), (0.5, 5.0), lambda: truncated(0.0, 0.15, -0.3, 0.3),
                     lambda: truncated(3.7, 0.05, 3.55, 3.85), lambda: truncated(0.25, 0.05, 0.1, 0.4))

    return Scene(
        mass=[EPL(theta_E=log_normal(2.5, 0.25), gamma=truncated(2.0, 0.25, 1.0, 2.7), e1=normal(0.1),
                  e2=normal(0.1), center_x=normal(0.05), center_y=normal(0.05)),
              Shear(gamma1=normal(0.05), gamma2=normal(0.05))],
        lens_light=[light((1.0, 0.15), (0.5, 10.0), normals(0.15), normals(0.05), normals(0.05)),
                    light((1.0, 0.15), (0.5, 10.0), normals(0.15), normals(0.1), normals(0.1)),
                    neighbour(), neighbour()],
        source_light=[light((0.25, 0.15), (0.5, 6.0), normals(0.15), normals(0.1), normals(0.1)),
                      Shapelets(n_max=6, beta=log_normal(0.1, 0.1), center_x=normal(0.05), center_y=normal(0.05))])


def foundry_truth() -> Scene:
    """The best fit of Tables 3 and 4, with amplitudes, which the paper does not give.

    Magnitudes are chosen: the lens from its r = 18.8 and the colour of an old galaxy at z = 0.48, the
    neighbour from its r = 23.2 likewise. The source's host and its shapelets are bright enough that the
    brightest of the four images has the isophotal magnitude and area of the paper's Table 1 (23.87 in 0.139
    arcsec^2 above 75% of the peak). The shapelets are one draw of a normal distribution whose width falls with
    the order.
    """
    return Scene(
        mass=[EPL(theta_E=2.6463, gamma=1.372, e1=0.1091, e2=-0.1320, center_x=0.0272, center_y=-0.0018),
              Shear(gamma1=0.0657, gamma2=-0.0939)],
        lens_light=[_sersic(18.4, 0.4327, 0.925, 0.1350, -0.0577, 0.0042, 0.0448),
                    _sersic(17.3, 1.888, 1.262, 0.1452, -0.1832, 0.0437, -0.0053),
                    _sersic(22.6, 0.1353, 0.523, 0.0118, -0.1124, 3.6100, 0.3704),
                    _sersic(22.2, 0.227, 3.86, 0.144, 0.264, 3.7347, 0.3580)],
        source_light=[_sersic(22.9, 0.614, 0.505, -0.058, 0.192, 0.137, 0.044),
                      Shapelets(n_max=6, amp=_shapelet_draw(), beta=0.0505, center_x=-0.0249, center_y=0.0354)])


def _shapelet_draw(seed: int = 165, brightness: float = 152.0) -> np.ndarray:
    """Amplitudes of the source's shapelets, shape (28,) [electrons / s / arcsec^2]."""
    order = np.repeat(np.arange(7), np.arange(1, 8))
    draw = 0.5 ** order * np.random.default_rng(seed).normal(size=order.size)
    return brightness * np.where(order == 0, 1.0, 0.5 * draw)


CONTAMINANTS = (  # magnitude, radius, x, y [arcsec]: three faint galaxies, and a small object in arc A
    (25.2, 0.12, -2.6, -3.25), (25.5, 0.10, 3.2, -2.9), (25.3, 0.11, -3.4, 2.9), (25.0, 0.03, 1.95, -1.4))
MASKS = (  # x, y, radius [arcsec]: those, and the core of the neighbour, 2.5 pixels
    (-2.6, -3.25, 0.5), (3.2, -2.9, 0.5), (-3.4, 2.9, 0.5), (1.95, -1.4, 0.3), (3.61, 0.37, 0.1625))


@cache
def foundry128() -> Problem:
    """The Foundry problem: 128 x 128 pixels of 0.065 arcsec, F140W, 27 x 27 PSF, 41 parameters and 33 amplitudes.

    The image is simulated at the best fit, with four faint objects that are masked, as in the paper's Figure 7;
    their places, which the figure alone gives, are chosen here.
    """
    shape = (FOUNDRY_PIXELS, FOUNDRY_PIXELS)
    grid = Grid(shape=shape, pixel_scale=FOUNDRY_PIXEL_SCALE)
    x, y = (np.asarray(axis, float) for axis in grid.coordinates())
    masked = np.any([np.hypot(x - x0, y - y0) < radius for x0, y0, radius in MASKS], axis=0)
    template = Observation(image=np.zeros(shape), grid=grid, psf=PSF.from_native(foundry_kernel(), 2),
                           background_rms=foundry_rms(), exposure_time=FOUNDRY_EXPOSURE, mask=~masked)
    truth = foundry_truth()
    seen = truth.replace(lens_light=[*truth.lens_light, *foundry_contaminants()])
    return Problem("foundry128", foundry_prior(), simulate([seen], template, seed=128), truth)


def foundry_contaminants() -> list[Sersic]:
    """The faint objects that the model leaves out and the mask covers."""
    return [_sersic(magnitude, radius, 1.0, 0.0, 0.0, x, y) for magnitude, radius, x, y in CONTAMINANTS]


@cache
def foundry_kernel(size: int = 27, parts: int = 8) -> np.ndarray:
    """PSF of WFC3/IR in F140W on the drizzled pixels, shape (size, size), sum one.

    Diffraction by the annular aperture, averaged over the band, integrated over native and drizzled pixels.
    """
    diameter, obscuration = 2.4, 0.33  # m; HST's secondary mirror
    edge = 4  # pixels around, for the integration over native pixels
    axis = cells(size + 2 * edge, parts) * FOUNDRY_PIXEL_SCALE * ARCSEC
    radius = np.hypot(axis[:, None], axis[None, :])
    intensity = np.zeros_like(radius)
    for wavelength in np.linspace(1.20e-6, 1.59e-6, 9):  # m
        v = np.pi * diameter / wavelength * radius
        amplitude = j1(v) / v - obscuration * j1(obscuration * v) / v
        intensity += (amplitude / wavelength) ** 2
    native = round(NATIVE_PIXEL / FOUNDRY_PIXEL_SCALE * parts)
    kernel = uniform_filter(intensity, native)[edge * parts:-edge * parts, edge * parts:-edge * parts]
    kernel = kernel.reshape(size, parts, size, parts).sum((1, 3))
    return kernel / kernel.sum()


def _sersic(magnitude: float, radius: float, n: float, e1: float, e2: float, x: float, y: float) -> Sersic:
    """A Sersic profile of a total F140W magnitude (Graham & Driver 2005, PASA 22, 118, eq. 4)."""
    b = float(shape_constant(n, "linear"))
    flux = 10.0 ** (0.4 * (F140W_ZERO_POINT - magnitude))
    amp = flux / (2.0 * np.pi * n * radius**2 * np.exp(b) * b ** (-2.0 * n) * gamma(2.0 * n))
    return Sersic(amp=float(amp), R_sersic=radius, n_sersic=n, e1=e1, e2=e2, center_x=x, center_y=y, b_n="linear")
