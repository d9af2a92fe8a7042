"""Gaussian mass, and a sum of Gaussians."""

import dataclasses
import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile
from giga.mass.forms.functions import ein, growth


class Gaussian(MassProfile):
    """Gaussian convergence, kappa = amp / (2 pi sigma^2) exp(-r^2 / (2 sigma^2)).

    Attributes:
        amp: Convergence integrated over the plane [arcsec^2].
        sigma: Standard deviation [arcsec].
        center_x, center_y: Centre [arcsec].

    References:
        Shajib (2019), MNRAS 488, 1387, eq. 7 (the convergence); its circular deflection is elementary.
    """

    amp: Param
    sigma: Param
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"sigma": (0.0, math.inf)}

    def potential(self, x: Array, y: Array) -> Array:
        return gaussian_potential(self.amp, self.sigma, x - self.center_x, y - self.center_y)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        scale = gaussian_slope(self.amp, self.sigma, x, y)
        return scale * x, scale * y

    def convergence(self, x: Array, y: Array) -> Array:
        x, y = x - self.center_x, y - self.center_y
        return gaussian_convergence(self.amp, self.sigma, x, y)


class MultiGaussian(MassProfile):
    """Sum of Gaussians about one centre, each as `Gaussian`.

    Attributes:
        amp: Convergence of each integrated over the plane, shape (n,) [arcsec^2].
        sigma: Standard deviation of each, shape (n,) [arcsec].
        scale_factor: Factor of all the amplitudes.
        center_x, center_y: Centre [arcsec].

    References:
        Shajib (2019), MNRAS 488, 1387.
    """

    amp: Param = dataclasses.field(metadata={"list": True})
    sigma: Param = dataclasses.field(metadata={"list": True})
    scale_factor: Param = 1.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"sigma": (0.0, math.inf)}

    def _sum(self, function, x: Array, y: Array) -> Array:
        amp = jnp.asarray(self.amp, jnp.result_type(x)) * self.scale_factor
        sigma = jnp.asarray(self.sigma, jnp.result_type(x))
        return jnp.sum(function(amp, sigma, x[..., None], y[..., None]), axis=-1)

    def potential(self, x: Array, y: Array) -> Array:
        return self._sum(gaussian_potential, x - self.center_x, y - self.center_y)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = jnp.broadcast_arrays(x - self.center_x, y - self.center_y)
        scale = self._sum(gaussian_slope, x, y)
        return scale * x, scale * y

    def convergence(self, x: Array, y: Array) -> Array:
        return self._sum(gaussian_convergence, x - self.center_x, y - self.center_y)


def gaussian_potential(amp: Array, sigma: Array, x: Array, y: Array) -> Array:
    """Potential amp / (2 pi) Ein(r^2 / (2 sigma^2)) of a Gaussian about the origin [arcsec^2]."""
    return amp / (2.0 * jnp.pi) * ein((x**2 + y**2) / (2.0 * sigma**2))


def gaussian_slope(amp: Array, sigma: Array, x: Array, y: Array) -> Array:
    """Deflection of a Gaussian about the origin over the radius, amp / (pi r^2) (1 - exp(-r^2 / (2 sigma^2)))."""
    return amp / (2.0 * jnp.pi * sigma**2) * growth((x**2 + y**2) / (2.0 * sigma**2))


def gaussian_convergence(amp: Array, sigma: Array, x: Array, y: Array) -> Array:
    """Convergence of a Gaussian about the origin, dimensionless."""
    return amp / (2.0 * jnp.pi * sigma**2) * jnp.exp(-(x**2 + y**2) / (2.0 * sigma**2))
