"""Linear amplitudes, solved from the data by weighted least squares."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.imaging.observation import Data
from giga.imaging.render import basis_images, render
from giga.lensing.scene import Scene
from giga.runtime.products import matmul

RIDGE = {"float32": 3e-7, "float64": 1e-13}
"""Addition to the diagonal of the scaled normal matrix for each of its columns: a few rounding errors of its entries,
so that it can be factored whatever the columns. Columns that agree to this are told apart by it alone, as by a Gaussian
prior: of all amplitudes with the same image it takes the smallest."""
FAINTEST = {"float32": 1e-30, "float64": 1e-200}
"""Information about an amplitude below which a profile has no light in the field: squares have room on either side."""

REFINEMENTS = 1  # steps after the first solution, from the residual of the image
PIVOTS = 100  # most changes of the set of free amplitudes
PATIENCE = 3  # changes of many at once that need not bring progress
SWEEPS = 200  # of all amplitudes one after the other, where those do not settle


class Amplitudes(NamedTuple):
    """Solved amplitudes of one observation.

    Attributes:
        values: One entry for each linear profile: shape () or (n_amp,) [the data's unit / arcsec^2].
        penalty: The Gaussian priors' share of chi2, sum (amp / sd)^2, or zero.
        log_det: Log-determinant of the normal matrix (priors included, relative to the priors' own).
        log_det_own: The same of the amplitudes that have a prior of their profile's own, alone; zero without such.
        root: Of these, in units of their prior's standard deviations, a root of the covariance given all others, shape
            (n, n); None without such.
        image: The scene with these amplitudes, shape (ny, nx), in the data's unit.
    """

    values: list[Array]
    penalty: Array
    log_det: Array
    log_det_own: Array
    image: Array
    root: Array | None = None


def solve(scene: Scene, data: Data, amplitude_sd: Array | float | None = None, nonnegative: bool = False,
          key: Array | None = None) -> Amplitudes:
    """Solve the linear amplitudes that minimise chi2 (plus the prior's penalty).

    The basis carries the pixel area, so a solved amplitude means what a sampled one means. The normal matrix is
    scaled to a unit diagonal and given a ridge (`RIDGE`) before it is factored, so it can be, whatever the columns.
    What ridge and rounding cost is taken back by a step from the residual of the image itself, whose rounding is
    that of the image and not that of its square: iterated Tikhonov regularisation, and a proximal-point step where
    amplitudes are bounded. Amplitudes with a Gaussian prior of their profile's own are eliminated first, see
    `Gaussians`.

    Args:
        scene: Scene with at least one linear profile, as `Data.seen` gives it.
        data: The observation; its variance must not depend on the model.
        amplitude_sd: Standard deviation of the zero-mean Gaussian prior of the other amplitudes, in the data's unit;
            None is flat.
        nonnegative: Keep the amplitudes of `positive` profiles at or above zero.
        key: Where given, the amplitudes are a draw about the best ones: the best ones of data with noise added once
            more. Unbounded, that is a draw from their Gaussian given the scene.

    References:
        King & Chillingworth (1979), Numer. Funct. Anal. Optim. 1, 499, for the iteration; Bardsley et al. (2014),
        SIAM J. Sci. Comput. 36, A1895, for draws by solving for perturbed data.
    """
    fixed = render(_without_linear(scene), data.grid, data.convolution)
    images = basis_images(scene, data.grid, data.convolution)
    own, others, sd = gaussian_columns(scene, amplitude_sd, nonnegative)
    weighted, basis, target = _weighed(images, data.image - fixed, data, alike=scene.has_own_priors)
    first = Gaussians.of(basis[own] * sd[:, None]) if scene.has_own_priors else None
    if first is not None:
        weighted, basis = weighted[others], basis[others]
    precision = 0.0 if amplitude_sd is None else 1.0 / jnp.square(amplitude_sd)
    if first is None:
        normal = matmul(weighted, basis.T)
    else:  # Schur's complement as a sum of squares: a difference, in float32, is not positive where columns are alike
        left, taken = first.explained(basis)
        normal = matmul(left, left.T) + matmul(taken.T, taken)
        cross = first.forward(matmul(first.columns, basis.T))
    scale, scaled = unit_diagonal(normal, precision)
    factor = jnp.linalg.cholesky(scaled) if len(scale) else scaled
    normals = jnp.zeros(len(own) + len(others), scale.dtype) if key is None else \
        jax.random.normal(key, (len(own) + len(others),), scale.dtype)
    noise, own_noise = matmul(factor, normals[others]), normals[own]
    signs = jnp.array(_signs(scene))[others]

    def slopes(values: Array, gaussian: Array) -> tuple[Array, Array]:
        """Minus half the gradient of chi2 and penalty by the scaled amplitudes, and by those of `first`."""
        residual = target - matmul(values * scale, basis)
        if first is None:
            return scale * (matmul(weighted, residual) - precision * scale * values), gaussian
        residual = residual - matmul(gaussian, first.columns)
        return (scale * (matmul(weighted, residual) - precision * scale * values),
                matmul(first.columns, residual) - gaussian)

    def rest(uphill: Array, values: Array, free: Array) -> tuple[Array, Array]:
        if not len(scale):
            return values, free
        if nonnegative:
            tolerance = 16.0 * jnp.finfo(steepest.dtype).eps * jnp.max(jnp.abs(steepest))  # no slope but rounding
            return _nonnegative_step(*jax.lax.stop_gradient((scaled, uphill + noise, values, tolerance)), signs, free)
        return values + jax.scipy.linalg.cho_solve((factor, True), uphill + noise), free

    def step(uphill: Array, own_uphill: Array, values: Array, gaussian: Array,
             free: Array) -> tuple[Array, Array, Array]:
        if first is None:
            return *rest(uphill, values, free), gaussian
        half = first.forward(own_uphill)
        moved, free = rest(uphill - scale * matmul(cross.T, half), values, free)
        return moved, free, gaussian + first.backward(half + own_noise - matmul(cross, (moved - values) * scale))

    values, gaussian = jnp.zeros_like(scale), jnp.zeros_like(sd)
    steepest = scale * matmul(weighted, target)
    free = jnp.ones(len(scale), bool)
    for _ in range(1 + REFINEMENTS):
        values, free, gaussian = step(*slopes(values, gaussian), values, gaussian, free)
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(factor))) - 2.0 * jnp.sum(jnp.log(scale))
    if amplitude_sd is not None:
        log_det = log_det - len(scale) * jnp.log(precision)
    log_det_own, root = jnp.zeros_like(log_det), None
    if first is not None:
        alone = first.part(sum(p.n_amp for p in scene.light if p.is_linear and p.has_own_prior))
        log_det, log_det_own = log_det + first.log_det(), alone.log_det()
        root = alone.backward(jnp.eye(len(alone.scale), dtype=scale.dtype))
    flat = values * scale
    if first is not None:
        flat = jnp.zeros_like(normals).at[others].set(flat).at[own].set(gaussian * sd)
    found = _split(scene, flat)
    image = fixed + matmul(flat, images.reshape(len(flat), -1)).reshape(fixed.shape)
    return Amplitudes(found, penalty(scene, found, amplitude_sd), log_det, log_det_own, image, root)


def penalty(scene: Scene, values: Sequence[Array], amplitude_sd: Array | float | None) -> Array:
    """Share of the Gaussian priors in chi2, sum (amp / sd)^2, of a scene's solved amplitudes."""
    total = jnp.zeros((), jnp.result_type(*values))
    for profile, value in zip((p for p in scene.light if p.is_linear), values, strict=True):
        if profile.has_own_prior:
            total = total + jnp.sum((value / profile.prior_sd()) ** 2)
        elif amplitude_sd is not None:
            total = total + jnp.sum((value / amplitude_sd) ** 2)
    return total


def _weighed(basis: Array, residual: Array, data: Data, alike: bool = False) -> tuple[Array, Array, Array]:
    """The two factors of the normal matrix, shape (n, pixels), and what the amplitudes are to give, shape (pixels,).

    Of correlated noise, and where they are to be alike, both are the basis made independent, as is the residual.
    """
    if alike or data.whitening is not None:
        white = data.independent(basis, data.variance).reshape(len(basis), -1)
        return white, white, data.independent(residual, data.variance).reshape(-1)
    weight = data.mask / data.variance
    basis = basis.reshape(len(basis), -1)
    return basis * weight.reshape(-1), basis, residual.reshape(-1)


def unit_diagonal(normal: Array, precision: Array | float) -> tuple[Array, Array]:
    """Add the prior's precision to a normal matrix and scale it to a unit diagonal, with the ridge.

    The precision is at least `FAINTEST`, so that the amplitude of a profile outside of the field, whose column is zero
    to rounding, is one that its image and products of it can be computed with. Others are the same to the last bit.

    Returns:
        The scale s, shape (n,), and the matrix s (N + precision) s + ridge, shape (n, n).
    """
    precision = precision + FAINTEST[str(normal.dtype)]
    scale = jax.lax.rsqrt(jnp.diag(normal) + precision)
    ridge = RIDGE[str(normal.dtype)] * len(normal)
    return scale, normal * jnp.outer(scale, scale) + jnp.diag(precision * scale**2 + ridge)


class Gaussians(NamedTuple):
    """Amplitudes with Gaussian priors, in units of their standard deviations: the factor of M = I + G G^T.

    No eigenvalue of M is below one, but in float32 the largest may drown the smallest. So M is factored twice: with the
    ridge first, and then what its columns, made nearly orthogonal by that, still have of a product. Errors of the
    logarithm of the determinant are then those of the condition of G, not of its square.

    Attributes:
        columns: G, the columns of independent pixels times the standard deviations, shape (n, pixels).
        scale, lower, again: M = F F^T with F = diag(1 / scale) lower again.

    References:
        Fukaya et al. (2020), SIAM J. Sci. Comput. 42, A477, for the shifted Cholesky QR.
    """

    columns: Array
    scale: Array
    lower: Array
    again: Array

    @staticmethod
    def of(columns: Array) -> "Gaussians":
        """Factor their matrix; derivatives are those of `log_det` alone."""
        held = jax.lax.stop_gradient(columns)
        scale, scaled = unit_diagonal(matmul(held, held.T), 1.0)
        lower = jnp.linalg.cholesky(scaled)
        pixels, priors = (jax.scipy.linalg.solve_triangular(lower, part, lower=True)
                          for part in (scale[:, None] * held, jnp.diag(scale)))
        again = jnp.linalg.cholesky(matmul(pixels, pixels.T) + matmul(priors, priors.T))
        return Gaussians(columns, scale, lower, again)

    def forward(self, right: Array) -> Array:
        """F^-1 times a vector or the columns of a matrix."""
        scaled = self.scale.reshape(-1, *[1] * (right.ndim - 1)) * right
        for factor in (self.lower, self.again):
            scaled = jax.scipy.linalg.solve_triangular(factor, scaled, lower=True)
        return scaled

    def backward(self, right: Array) -> Array:
        """F^-T times a vector or the columns of a matrix."""
        for factor in (self.again, self.lower):
            right = jax.scipy.linalg.solve_triangular(factor, right, lower=True, trans=1)
        return self.scale.reshape(-1, *[1] * (right.ndim - 1)) * right

    def explained(self, pixels: Array) -> tuple[Array, Array]:
        """What is left of rows of pixels, shape (k, pixels), and the amplitudes that take the rest, shape (n, k)."""
        taken = self.backward(self.forward(matmul(self.columns, pixels.T)))
        return pixels - matmul(taken.T, self.columns), taken

    def part(self, count: int) -> "Gaussians":
        """The first so many alone."""
        return Gaussians(self.columns[:count], self.scale[:count], self.lower[:count, :count],
                         self.again[:count, :count])

    def log_det(self) -> Array:
        """Logarithm of the determinant of M; it has a first derivative by the columns."""
        return _log_det(*self)


@jax.custom_jvp
def _log_det(columns: Array, scale: Array, lower: Array, again: Array) -> Array:
    return 2.0 * jnp.sum(jnp.log(jnp.diag(lower)) + jnp.log(jnp.diag(again)) - jnp.log(scale))


@_log_det.defjvp
def _log_det_jvp(primals, tangents):
    # d log det (I + G G^T) = 2 tr(M^-1 G dG^T)
    held = Gaussians(*primals)
    explained = held.backward(held.forward(held.columns))
    return _log_det(*primals), 2.0 * jnp.sum(explained * tangents[0])


def gaussian_columns(scene: Scene, amplitude_sd: Array | float | None,
                      nonnegative: bool) -> tuple[np.ndarray, np.ndarray, Array]:
    """Numbers of the amplitudes that are eliminated first, of the others, and the standard deviations of the first.

    None are where no profile has a prior of its own; else those of such profiles, and after them all others that have
    a prior and no bound.
    """
    linear = [profile for profile in scene.light if profile.is_linear]
    counts = [profile.n_amp for profile in linear]
    own = np.repeat([profile.has_own_prior for profile in linear], counts).astype(bool)
    first, rest, sds = np.flatnonzero(own), np.flatnonzero(~own), [p.prior_sd() for p in linear if p.has_own_prior]
    if sds and amplitude_sd is not None and not nonnegative:
        first, rest, sds = np.concatenate([first, rest]), rest[:0], [*sds, jnp.full(len(rest), amplitude_sd)]
    return first, rest, jnp.concatenate(sds) if sds else jnp.zeros(0)


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
    positive-definite matrix. Of columns that are alike to rounding signs cannot be told, and it does not end: then the
    best of all that was tried is improved one amplitude after the other, which goes downhill always.

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

    def feasible(free: Array, d: Array) -> Array:
        a = jnp.where(free, values + d, 0.0)
        return jnp.where(signed, jnp.maximum(a, 0.0), a)

    def cost(a: Array) -> Array:
        return 0.5 * matmul(a - values, matmul(normal, a - values)) - matmul(uphill, a - values)

    def turn(carry):
        free, d, fewest, patience, k, best = carry
        those = wrong(free, d)
        better = jnp.sum(those) < fewest
        last = jnp.arange(count) == count - 1 - jnp.argmax(those[::-1])
        free = free ^ jnp.where(better | (patience > 0), those, last)
        d = of(free)
        a = feasible(free, d)
        return (free, d, jnp.minimum(fewest, jnp.sum(those)), jnp.where(better, PATIENCE, patience - 1), k + 1,
                jnp.where(cost(a) < cost(best), a, best))

    def one(i: Array, a: Array) -> Array:
        moved = a[i] + (uphill[i] - matmul(normal[i], a - values)) / normal[i, i]
        return a.at[i].set(jnp.where(signed[i], jnp.maximum(moved, 0.0), moved))

    d = of(free)
    start = free, d, jnp.asarray(count + 1), jnp.asarray(PATIENCE), 0, feasible(free, d)
    free, d, *_, best = jax.lax.while_loop(lambda carry: wrong(*carry[:2]).any() & (carry[4] < PIVOTS), turn, start)
    settled = ~wrong(free, d).any()
    _, best = jax.lax.while_loop(lambda carry: carry[0] < SWEEPS, lambda carry: (
        carry[0] + 1, jax.lax.fori_loop(0, count, one, carry[1])), (jnp.where(settled, SWEEPS, 0), best))
    return jnp.where(settled, feasible(free, d), best), jnp.where(settled | ~signed, free, best > 0.0)
