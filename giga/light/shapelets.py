"""Cartesian shapelets."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from giga.component import Param, static
from giga.light.base import LightProfile


class Shapelets(LightProfile):
    """Cartesian shapelets up to order n_max: sum_k amp_k phi_i(x) phi_j(y), i + j <= n_max.

    phi_n(t) = (2^n sqrt(pi) n!)^(-1/2) H_n(t) exp(-t^2/2), t = (x - center_x) / beta, without a
    factor 1/beta; order (0,0), (1,0), (0,1), (2,0), (1,1), (0,2), ...

    Attributes:
        amp: Shape ((n_max+1)(n_max+2)/2,), or None when they are solved.
        beta: Scale [arcsec].
        center_x, center_y: Centre [arcsec].
        n_max: Largest order.

    References:
        Refregier (2003), MNRAS 338, 35; Birrer et al. (2015), ApJ 813, 102, sec. 3.
    """

    beta: Param
    center_x: Param = 0.0
    center_y: Param = 0.0
    n_max: int = static()

    scalar_amp: ClassVar[bool] = False

    @property
    def n_amp(self) -> int:
        return (self.n_max + 1) * (self.n_max + 2) // 2

    def basis(self, x: Array, y: Array) -> Array:
        phi_x = hermite_functions((x - self.center_x) / self.beta, self.n_max)
        phi_y = hermite_functions((y - self.center_y) / self.beta, self.n_max)
        return jnp.stack([phi_x[n - j] * phi_y[j] for n in range(self.n_max + 1) for j in range(n + 1)])

    def brightness(self, x: Array, y: Array) -> Array:
        phi_x = hermite_functions((x - self.center_x) / self.beta, self.n_max)
        phi_y = hermite_functions((y - self.center_y) / self.beta, self.n_max)
        # Sum over i for each j first: n_max + 1 products with phi_y instead of one a term.
        total = jnp.zeros_like(phi_x[0])
        for j in range(self.n_max + 1):
            row = sum(self.amp[_index(i, j)] * phi_x[i] for i in range(self.n_max + 1 - j))
            total = total + row * phi_y[j]
        return total


def _index(i: int, j: int) -> int:
    """Place of the term (i, j) in the order (0,0), (1,0), (0,1), (2,0), ..."""
    return (i + j) * (i + j + 1) // 2 + j


def hermite_functions(t: Array, n_max: int) -> list[Array]:
    """Normalised Hermite functions phi_0 .. phi_n_max at t, by their three-term recurrence."""
    phi = [math.pi**-0.25 * jnp.exp(-0.5 * t**2)]
    if n_max > 0:
        phi.append(math.sqrt(2.0) * t * phi[0])
    for n in range(2, n_max + 1):
        phi.append(math.sqrt(2.0 / n) * t * phi[n - 1] - math.sqrt((n - 1) / n) * phi[n - 2])
    return phi
