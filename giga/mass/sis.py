"""Singular isothermal sphere."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile
from giga.mass.forms.functions import softening


class SIS(MassProfile):
    """Singular isothermal sphere, psi = theta_E r, kappa = theta_E / (2 r).

    Attributes:
        theta_E: Einstein radius [arcsec].
        center_x, center_y: Centre [arcsec].

    References:
        Schneider, Ehlers & Falco (1992), Gravitational Lenses, sect. 8.1.4.
    """

    theta_E: Param
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"theta_E": (0.0, math.inf)}

    def potential(self, x: Array, y: Array) -> Array:
        x, y = x - self.center_x, y - self.center_y
        return self.theta_E * jnp.sqrt(x**2 + y**2 + softening(x))

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        scale = self.theta_E / jnp.sqrt(x**2 + y**2 + softening(x))
        return scale * x, scale * y
