"""Cartesian shapelets."""

import math
import operator
from functools import partial, reduce
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

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

    ranges: ClassVar = {"beta": (0.0, math.inf)}
    scalar_amp: ClassVar[bool] = False
    positive: ClassVar[bool] = False

    @property
    def n_amp(self) -> int:
        return (self.n_max + 1) * (self.n_max + 2) // 2

    def basis(self, x: Array, y: Array) -> Array:
        phi_x = hermite_functions((x - self.center_x) / self.beta, self.n_max)
        phi_y = hermite_functions((y - self.center_y) / self.beta, self.n_max)
        return jnp.stack([phi_x[n - j] * phi_y[j] for n in range(self.n_max + 1) for j in range(n + 1)])

    def brightness(self, x: Array, y: Array) -> Array:
        return _total(self.n_max, self.amp, (x - self.center_x) / self.beta, (y - self.center_y) / self.beta)

    def flux(self) -> Array:
        # The integral of phi_n is zero for odd n, and 2^(1/2) pi^(1/4) (n! / 2^n)^(1/2) / (n / 2)! for even n.
        one = [0.0 if n % 2 else math.sqrt(2.0 * math.sqrt(math.pi) * math.comb(n, n // 2) / 2.0**n)
               for n in range(self.n_max + 1)]
        weights = [one[n - j] * one[j] for n in range(self.n_max + 1) for j in range(n + 1)]
        return self.beta**2 * jnp.sum(jnp.asarray(weights) * jnp.asarray(self.amp))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _total(n_max: int, amp: Array, t: Array, s: Array) -> Array:
    """Sum of amp_k phi_i(t) phi_j(s), shape of t.

    Its slopes are sums of the same form, which spares reverse mode every term of the recurrences.
    """
    phi_t, phi_s = hermite_functions(t, n_max), hermite_functions(s, n_max)
    return _product(_rows(n_max, amp, phi_t), phi_s)


@partial(_total.defjvp, symbolic_zeros=True)
def _total_jvp(n_max, primals, tangents):
    amp, t, s = primals
    amp_dot, t_dot, s_dot = tangents
    phi_t, phi_s = hermite_functions(t, n_max + 1), hermite_functions(s, n_max + 1)
    rows = _rows(n_max, amp, phi_t)
    out = _product(rows, phi_s)
    tangent = jnp.zeros_like(out)
    if not isinstance(t_dot, SymbolicZero):
        tangent = tangent + _product(_rows(n_max, amp, _slopes(phi_t)), phi_s) * t_dot
    if not isinstance(s_dot, SymbolicZero):
        tangent = tangent + _product(rows, _slopes(phi_s)) * s_dot
    if not isinstance(amp_dot, SymbolicZero):
        tangent = tangent + _product(_rows(n_max, amp_dot, phi_t), phi_s)
    return out, tangent


def _rows(n_max: int, amp: Array, phi: list[Array]) -> list[Array]:
    """For each j the sum over i of amp_ij phi_i: n_max + 1 products with phi_j are left, instead of one a term."""
    return [reduce(operator.add, (amp[_index(i, j)] * phi[i] for i in range(n_max + 1 - j))) for j in range(n_max + 1)]


def _product(rows: list[Array], phi: list[Array]) -> Array:
    return reduce(operator.add, (row * phi[j] for j, row in enumerate(rows)))


def _slopes(phi: list[Array]) -> list[Array]:
    """Derivatives of all but the last of the functions phi_0 .. phi_n."""
    return [(math.sqrt(0.5 * n) * phi[n - 1] if n else 0.0) - math.sqrt(0.5 * (n + 1)) * phi[n + 1]
            for n in range(len(phi) - 1)]


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
