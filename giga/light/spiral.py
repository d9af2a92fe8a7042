"""Spiral galaxy: an exponential disc with logarithmic arms."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from giga.component import Param, static
from giga.ellipse import ELLIPTICITY, radius_squared
from giga.light.base import LightProfile
from giga.light.sersic import floor_squared

CORE = 0.5  # of the scale length: where the arms fade and wind no further


class Spiral(LightProfile):
    """Exponential disc with logarithmic arms, seen at an inclination.

    I = amp exp(-R / Rs) (1 + contrast f cos(arms (phi - phi0 - ln(Rc / Rs) / tan(pitch)))), with R and phi in the
    plane of the disc, Rc^2 = R^2 + (Rs / 2)^2 and f = (R / Rc)^arms. Far out Rc is R and f is 1. At the centre f
    falls as R^arms, as a smooth function of that angular order does.

    The arms brighten as much as they darken, so the flux is that of the disc, 2 pi Rs^2 amp, and R_sersic of the same
    disc is 1.678 Rs.

    Attributes:
        Rs: Scale length on the intermediate axis [arcsec].
        contrast: Amplitude of the arms over the disc, below 1.
        pitch: Angle of the arms to circles [rad]; above pi / 2 they wind the other way, as pi - pitch does.
        phi0: Angle of an arm at Rc = Rs [rad], from the x axis before the inclination.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi) of the disc; q is the cosine of the inclination.
        center_x, center_y: Centre [arcsec].
        arms: Their number.

    References:
        Binney & Tremaine (2008), Galactic Dynamics, sect. 6.1.2, for arms of one pitch angle; how they fade is chosen
        here.
    """

    Rs: Param
    contrast: Param
    pitch: Param
    phi0: Param = 0.0
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    arms: int = static(default=2)

    ranges: ClassVar = {"Rs": (0.0, math.inf), "contrast": (0.0, 1.0), "pitch": (0.0, math.pi), **ELLIPTICITY}

    def __post_init__(self) -> None:
        if self.arms < 1:
            raise ValueError(f"arms: got {self.arms}; expected one or more")

    def basis(self, x: Array, y: Array) -> Array:
        dx, dy = x - self.center_x, y - self.center_y
        r_squared = radius_squared(dx, dy, self.e1, self.e2)
        core_squared = r_squared + (CORE * self.Rs) ** 2
        disc = jnp.exp(-jnp.sqrt(r_squared + floor_squared(r_squared)) / self.Rs)
        # Z - E conj(Z), whose length is R and whose angle is phi: no arctan2, so nothing is undefined at the centre.
        scale = 1.0 / jnp.sqrt((1.0 - self.e1**2 - self.e2**2) * core_squared)
        u, v = (dx - self.e1 * dx - self.e2 * dy) * scale, (dy - self.e2 * dx + self.e1 * dy) * scale
        real, imaginary = u, v
        for _ in range(self.arms - 1):
            real, imaginary = real * u - imaginary * v, real * v + imaginary * u
        wound = self.arms * (self.phi0 + 0.5 * jnp.log(core_squared / self.Rs**2) / jnp.tan(self.pitch))
        return (disc * (1.0 + self.contrast * (real * jnp.cos(wound) + imaginary * jnp.sin(wound))))[None]

    def flux(self) -> Array:
        return 2.0 * math.pi * self.Rs**2 * self.amp
