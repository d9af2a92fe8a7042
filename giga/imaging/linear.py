"""Linear amplitudes, solved from the data by weighted least squares."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from giga.imaging.observation import Data
from giga.imaging.render import basis_images, render
from giga.lensing.scene import Scene
from giga.runtime.products import matmul

RIDGE = {"float32": 3e-7, "float64": 1e-13}
"""Addition to the diagonal of the scaled normal matrix for each of its columns: a few rounding errors of its entries,
so that it can be factored whatever the columns. Columns that agree to this are told apart by it alone, as by a Gaussian
prior: of all amplitudes with the same image it takes the smallest."""

REFINEMENTS = 1  # steps after the first solution, from the residual of the image
PIVOTS = 100  # most changes of the set of free amplitudes
PATIENCE = 3  # changes of many at once that need not bring progress


class Amplitudes(NamedTuple):
    """Solved amplitudes of one observation.

    Attributes:
        values: One entry for each linear profile: shape () or (n_amp,) [the data's unit / arcsec^2].
        penalty: The Gaussian prior's share of chi2, sum (amp / sd)^2, or zero.
        log_det: Log-determinant of the normal matrix (prior included, relative to the prior's own).
    """

    values: list[Array]
    penalty: Array
    log_det: Array


def solve(scene: Scene, data: Data, amplitude_sd: Array | float | None = None, nonnegative: bool = False,
          key: Array | None = None) -> Amplitudes:
    """Solve the linear amplitudes that minimise chi2 (plus the prior's penalty).

    The basis carries the pixel area, so a solved amplitude means what a sampled one means. The normal matrix is
    scaled to a unit diagonal and given a ridge (`RIDGE`) before it is factored, so it can be, whatever the columns.
    What ridge and rounding cost is taken back by a step from the residual of the image itself, whose rounding is
    that of the image and not that of its square: iterated Tikhonov regularisation, and a proximal-point step where
    amplitudes are bounded.

    Args:
        scene: Scene with at least one linear profile, as `Data.seen` gives it.
        data: The observation; its variance must not depend on the model.
        amplitude_sd: Standard deviation of a zero-mean Gaussian amplitude prior, in the data's unit; None is flat.
        nonnegative: Keep the amplitudes of `positive` profiles at or above zero.
        key: Where given, the amplitudes are a draw about the best ones: the best ones of data with noise added once
            more. Unbounded, that is a draw from their Gaussian given the scene.

    References:
        King & Chillingworth (1979), Numer. Funct. Anal. Optim. 1, 499, for the iteration; Bardsley et al. (2014),
        SIAM J. Sci. Comput. 36, A1895, for draws by solving for perturbed data.
    """
    fixed = render(_without_linear(scene), data.grid, data.convolution)
    basis = basis_images(scene, data.grid, data.convolution)
    weighted, basis, target = _weighed(basis, data.image - fixed, data)
    precision = 0.0 if amplitude_sd is None else 1.0 / jnp.square(amplitude_sd)
    scale, scaled = unit_diagonal(matmul(weighted, basis.T), precision)
    factor = jnp.linalg.cholesky(scaled)
    noise = 0.0 if key is None else matmul(factor, jax.random.normal(key, scale.shape, scale.dtype))
    signs = jnp.array(_signs(scene))

    def slope(values: Array) -> Array:
        """Minus half the gradient of chi2 and penalty by the scaled amplitudes."""
        residual = target - matmul(values * scale, basis)
        return scale * (matmul(weighted, residual) - precision * scale * values)

    def step(uphill: Array, values: Array, free: Array) -> tuple[Array, Array]:
        if nonnegative:
            return _nonnegative_step(*jax.lax.stop_gradient((scaled, uphill + noise, values, tolerance)), signs, free)
        return values + jax.scipy.linalg.cho_solve((factor, True), uphill + noise), free

    first = scale * matmul(weighted, target)
    tolerance = 16.0 * jnp.finfo(first.dtype).eps * jnp.max(jnp.abs(first))  # what is no slope but rounding
    values, free = step(first, jnp.zeros_like(scale), jnp.ones(len(scale), bool))
    for _ in range(REFINEMENTS):
        values, free = step(slope(values), values, free)
    values = values * scale
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(factor))) - 2.0 * jnp.sum(jnp.log(scale))
    if amplitude_sd is not None:
        log_det = log_det - len(basis) * jnp.log(precision)
    return Amplitudes(_split(scene, values), precision * jnp.sum(values**2), log_det)


def _weighed(basis: Array, residual: Array, data: Data) -> tuple[Array, Array, Array]:
    """The two factors of the normal matrix, shape (n, pixels), and what the amplitudes are to give, shape (pixels,).

    Of correlated noise both are the basis made independent, as is the residual.
    """
    if data.whitening is not None:
        white = data.independent(basis, data.variance).reshape(len(basis), -1)
        return white, white, data.independent(residual, data.variance).reshape(-1)
    weight = data.mask / data.variance
    basis = basis.reshape(len(basis), -1)
    return basis * weight.reshape(-1), basis, residual.reshape(-1)


def unit_diagonal(normal: Array, precision: Array | float) -> tuple[Array, Array]:
    """Add the prior's precision to a normal matrix and scale it to a unit diagonal, with the ridge.

    Returns:
        The scale s, shape (n,), and the matrix s (N + precision) s + ridge, shape (n, n).
    """
    scale = jax.lax.rsqrt(jnp.diag(normal) + precision + jnp.finfo(normal.dtype).tiny)
    ridge = RIDGE[str(normal.dtype)] * len(normal)
    return scale, normal * jnp.outer(scale, scale) + jnp.diag(precision * scale**2 + ridge)


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


def _nonnegative_step(normal: Array, uphill: Array, values: Array, tolerance: Array, signed: Array,
                      free: Array) -> tuple[Array, Array]:
    """Take the step d that minimises d^T N d / 2 - u^T d with some a + d >= 0, by block principal pivoting.

    All amplitudes that are wrong (negative while free, or held at zero where they would gain by growing) change sides
    at once, until none is; where that brings no progress for a while, the last of them alone does, which ends for any
    positive-definite matrix.

    Args:
        normal, uphill: N, positive definite with a unit diagonal, and u.
        values: The amplitudes a.
        tolerance: Slope that is none.
        signed: Which amplitudes must not be negative.
        free: Which are not held at zero at first.

    Returns:
        The amplitudes after the step, and which are free.

    References:
        Kim & Park (2011), SIAM J. Sci. Comput. 33, 3261, sec. 3; Murty (1974), Math. Programming 7, 100.
    """
    count, eye = len(uphill), jnp.eye(len(uphill), dtype=uphill.dtype)

    def of(free: Array) -> Array:
        matrix, held = jnp.where(free[:, None] & free, normal, eye), jnp.where(free, 0.0, -values)
        right = jnp.where(free, uphill - matmul(normal, held), held)
        return jax.scipy.linalg.solve(matrix, right, assume_a="pos")

    def wrong(free: Array, d: Array) -> Array:
        return signed & jnp.where(free, values + d < 0.0, uphill - matmul(normal, d) > tolerance)

    def turn(carry):
        free, d, fewest, patience, k = carry
        those = wrong(free, d)
        better = jnp.sum(those) < fewest
        last = jnp.arange(count) == count - 1 - jnp.argmax(those[::-1])
        free = free ^ jnp.where(better | (patience > 0), those, last)
        return free, of(free), jnp.minimum(fewest, jnp.sum(those)), jnp.where(better, PATIENCE, patience - 1), k + 1

    start = free, of(free), jnp.asarray(count + 1), jnp.asarray(PATIENCE), 0
    free, d, *_ = jax.lax.while_loop(lambda carry: wrong(*carry[:2]).any() & (carry[4] < PIVOTS), turn, start)
    a = jnp.where(free, values + d, 0.0)
    return jnp.where(signed, jnp.maximum(a, 0.0), a), free
