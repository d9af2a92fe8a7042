"""Linear amplitudes, solved from the data by weighted least squares."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from giga.imaging.observation import Data
from giga.imaging.render import basis_images, render
from giga.lensing.scene import Scene
from giga.runtime.products import matmul

JITTER = {"float32": 3e-7, "float64": 1e-13}
"""Relative addition to the diagonal of the scaled normal matrix, a few rounding errors of its entries:
columns that agree to this (shapelets under a Sersic) are told apart by the prior alone."""


class Amplitudes(NamedTuple):
    """Solved amplitudes of one observation.

    Attributes:
        values: One entry for each linear profile: shape () or (n_amp,) [counts / s / arcsec^2].
        penalty: The Gaussian prior's share of chi2, sum (amp / sd)^2, or zero.
        log_det: Log-determinant of the normal matrix (prior included, relative to the prior's own).
    """

    values: list[Array]
    penalty: Array
    log_det: Array


def solve(scene: Scene, data: Data, amplitude_sd: Array | float | None = None, nonnegative: bool = False) -> Amplitudes:
    """Solve the linear amplitudes that minimise chi2 (plus the prior's penalty).

    The basis carries the pixel area, so a solved amplitude means what a sampled one means. The
    normal matrix is scaled to a unit diagonal before it is factored.

    Args:
        scene: Scene with at least one linear profile, already seen in the data's band.
        data: The observation; its variance must not depend on the model.
        amplitude_sd: Standard deviation of a zero-mean Gaussian amplitude prior; None is flat.
        nonnegative: Keep the amplitudes of `positive` profiles at or above zero.
    """
    fixed = render(_without_linear(scene), data.grid, data.convolution)
    basis = basis_images(scene, data.grid, data.convolution)
    weight = data.mask / data.variance
    basis = basis.reshape(len(basis), -1)
    weighted = basis * weight.reshape(-1)
    normal = matmul(weighted, basis.T)
    right = matmul(weighted, (data.image - fixed).reshape(-1))
    precision = 0.0 if amplitude_sd is None else 1.0 / jnp.square(amplitude_sd)
    scale, scaled = unit_diagonal(normal, precision)
    factor = jnp.linalg.cholesky(scaled)
    if nonnegative:
        values = _solve_nonnegative(*jax.lax.stop_gradient((scaled, right * scale)), _signs(scene))
    else:
        values = jax.scipy.linalg.cho_solve((factor, True), right * scale)
    values = values * scale
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(factor))) - 2.0 * jnp.sum(jnp.log(scale))
    if amplitude_sd is not None:
        log_det = log_det - len(basis) * jnp.log(precision)
    return Amplitudes(_split(scene, values), precision * jnp.sum(values**2), log_det)


def unit_diagonal(normal: Array, precision: Array | float) -> tuple[Array, Array]:
    """Add the prior's precision to a normal matrix and scale it to a unit diagonal, with the jitter.

    Returns:
        The scale s, shape (n,), and the matrix s (N + precision) s + jitter, shape (n, n).
    """
    scale = jax.lax.rsqrt(jnp.diag(normal) + precision + jnp.finfo(normal.dtype).tiny)
    return scale, normal * jnp.outer(scale, scale) + jnp.diag(precision * scale**2 + JITTER[str(normal.dtype)])


def _without_linear(scene: Scene) -> Scene:
    return scene.replace(lens_light=[p for p in scene.lens_light if not p.is_linear],
                         source_light=[p for p in scene.source_light if not p.is_linear])


def _split(scene: Scene, values: Array) -> list[Array]:
    out, start = [], 0
    for profile in scene.light:
        if profile.is_linear:
            part = values[start:start + profile.n_amp]
            out.append(part[0] if profile.scalar_amp else part)
            start += profile.n_amp
    return out


def _signs(scene: Scene) -> tuple[bool, ...]:
    """Which amplitudes must not be negative."""
    return tuple(profile.positive for profile in scene.light if profile.is_linear for _ in range(profile.n_amp))


def _solve_nonnegative(normal: Array, right: Array, constrained: tuple[bool, ...], limit: int = 100) -> Array:
    """Minimise a^T N a / 2 - r^T a with some a >= 0, exactly, by least-index principal pivoting.

    The amplitude of least index that is wrong (negative while free, or held at zero where it would
    gain by growing) changes sides until none is; this ends for any positive-definite matrix.

    References:
        Murty (1974), Math. Programming 7, 100.
    """
    signed, eye = jnp.array(constrained), jnp.eye(len(right), dtype=right.dtype)
    tolerance = 16.0 * jnp.finfo(right.dtype).eps * jnp.max(jnp.abs(right))

    def of(free: Array) -> Array:
        matrix = jnp.where(free[:, None] & free, normal, eye)
        return jax.scipy.linalg.solve(matrix, jnp.where(free, right, 0.0), assume_a="pos")

    def wrong(free: Array, a: Array) -> Array:
        return signed & jnp.where(free, a < 0.0, right - matmul(normal, a) > tolerance)

    def turn(carry):
        free, a, k = carry
        first = jnp.argmax(wrong(free, a))
        free = free.at[first].set(~free[first])
        return free, of(free), k + 1

    everything = jnp.ones(len(right), bool)
    _, a, _ = jax.lax.while_loop(lambda carry: wrong(*carry[:2]).any() & (carry[2] < limit), turn,
                                 (everything, of(everything), 0))
    return jnp.where(signed, jnp.maximum(a, 0.0), a)
