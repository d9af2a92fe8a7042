"""Gradient and Gauss-Newton curvature of the log-posterior, from one Jacobian of the image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from giga.bayes.posterior import Posterior, log_density, variance
from giga.bayes.prior import FIXED, Prior
from giga.imaging.jacobian import image_jacobian, moving
from giga.imaging.linear import Gaussians, gaussian_columns, unit_diagonal
from giga.imaging.observation import Data
from giga.imaging.render import basis_images, render
from giga.lensing.near import located
from giga.lensing.scene import Scene
from giga.runtime.products import einsum, matmul


class Quadratic(NamedTuple):
    """Second-order picture of the log-posterior at a point.

    Attributes:
        log_prob: Log-posterior.
        chi2: That of `Posterior.chi2`.
        gradient: Shape (n,).
        precision: Shape (n, n): Fisher information of the data plus the prior's curvature.
    """

    log_prob: Array
    chi2: Array
    gradient: Array
    precision: Array


def quadratic(posterior: Posterior, z: Array) -> Quadratic:
    """Expand the log-posterior about z.

    The gradient is exact. The precision is that of Gauss and Newton, with the Fisher information of
    a Gaussian whose variance follows the model, 1/s^2 + (d s^2/dm / s^2)^2 / 2. Solved linear
    amplitudes are projected out of it (variable projection; Kaufman 1975, BIT 15, 49). That of the logarithm of a
    noise scale is twice the number of pixels. Point images add the products of their residuals' derivatives.
    """
    prior = posterior.prior
    unbent, own = prior.slopes(z)
    scene, columns = located(prior.fill(prior.edges.disc(unbent)[0])), parameter_numbers(prior)
    slope = moving(scene, columns, prior.fill(own), prior.size)
    value, gradient, curvature = prior.expansion(z)
    if posterior.orders is not None:
        value, gradient = jax.value_and_grad(posterior.log_prior)(z)
    chi2 = jnp.zeros((), z.dtype)
    # A prior may bend upwards (towards a bound); the step must still go uphill.
    precision = jnp.diag(jnp.maximum(curvature, 1e-3))
    for k, data in enumerate(posterior.data_of(scene)):
        linear = data.seen(scene)
        filled, amplitudes = posterior.filled(linear, data)
        numbers, slopes = columns.in_band(data.band), data.seen(slope)
        if amplitudes is not None:  # the filled amplitudes are leaves too
            numbers = numbers.with_amplitudes([FIXED] * len(amplitudes.values))
            slopes = slopes.with_amplitudes([0.0] * len(amplitudes.values))
        model = render(filled, data.grid, data.convolution) if amplitudes is None else amplitudes.image
        jacobian = prior.edges.mixed(unbent, own, image_jacobian(filled, numbers, prior.size, data, slopes))
        score = jax.grad(log_density)(model, data)
        value, gradient = value + log_density(model, data), gradient + einsum("kyx,yx->k", jacobian, score)
        chi2 = chi2 + jnp.sum(data.mask * data.squares(data.image - model, variance(model, data)))
        root = fisher_root(jacobian, model, data)
        if amplitudes is not None:
            value = value - 0.5 * amplitudes.penalty
            root, held = _unexplained(posterior, linear, amplitudes.values, data, root, z)
            precision = precision + held
        precision = precision + einsum("kyx,lyx->kl", root, root)
        if data.scale is not None and (number := columns.noise_scale[k]) != FIXED:
            step = slope.noise_scale[k] / data.scale  # of the logarithm, by z
            rise = jax.grad(lambda log, model, own: log_density(model, own.scaled(jnp.exp(log))))
            gradient = gradient.at[number].add(step * rise(jnp.log(data.scale), model, posterior.data[k]))
            precision = precision.at[number, number].add(2.0 * jnp.sum(data.mask) * step**2)
        if data.whitening is not None and data.poisson:
            own = jacobian * jnp.sqrt(photon_weight(model, data))
            precision = precision + einsum("kyx,lyx->kl", own, own)
    if posterior.points:
        rows, left = jax.jacfwd(lambda z: (left := posterior.point_residuals(z), left), has_aux=True)(z)
        chi2 = chi2 + jnp.sum(left**2)
        value = value + sum(term.data.log_norm for term in posterior.points) - 0.5 * jnp.sum(left**2)
        gradient, precision = gradient - einsum("ik,i->k", rows, left), precision + einsum("ik,il->kl", rows, rows)
    if posterior.integrates(scene):
        value, gradient = jax.value_and_grad(posterior.log_prob)(z)
    return Quadratic(value, chi2, gradient, precision)


def parameter_numbers(prior: Prior) -> Scene:
    """The prior's scene with a parameter number on each leaf, FIXED where there is none."""
    return jax.tree.unflatten(prior.treedef, list(prior.slots))


def fisher_weight(model: Array, data: Data) -> Array:
    """Fisher information of each pixel about its model value, of independent pixels."""
    var = variance(model, data)
    weight = 1.0 / var
    if data.poisson:
        weight = weight + 0.5 * jnp.where(model > 0.0, (data.photon / var) ** 2, 0.0)
    return data.mask * weight


def photon_weight(model: Array, data: Data) -> Array:
    """What the variance of each pixel tells about its model value."""
    return 0.5 * data.mask * jnp.where(model > 0.0, (data.photon / variance(model, data)) ** 2, 0.0)


def fisher_root(jacobian: Array, model: Array, data: Data) -> Array:
    """The Jacobian, weighed so that the products of its rows, shape (n, ny, nx), are the Fisher information.

    Of correlated pixels it is that of their means. For variances that follow the model, with u = d ln sigma / dm, there
    is (I + C o C^-1)_ij u_i u_j besides, o the elementwise product. As C o C^-1 - I is positive semidefinite, what
    independent pixels have, 2 u^2, is no more than that.

    References:
        Horn & Johnson (1991), Topics in Matrix Analysis, theorem 5.4.3.
    """
    if data.whitening is not None:
        return data.independent(jacobian, variance(model, data))
    return jacobian * jnp.sqrt(fisher_weight(model, data))


def _unexplained(posterior: Posterior, linear: Scene, amplitudes: list[Array], data: Data, root: Array,
                 z: Array) -> tuple[Array, Array]:
    """The weighted Jacobian less what the solved amplitudes can take over, and what their prior adds.

    Projected pixel by pixel, so that its square stays positive semidefinite when rounded. Where amplitudes are
    integrated out under a prior of their own, there is also the Fisher information about the widths of that prior,
    sum_kl D_k (1 - M^-1)_kl^2 D_l / 2 with D the derivative of the logarithm of the variances.
    """
    basis = basis_images(linear, data.grid, data.convolution)
    basis = basis * jnp.sqrt(data.mask / data.variance) if data.whitening is None \
        else data.independent(basis, data.variance)
    values = jnp.concatenate([jnp.atleast_1d(a) for a in amplitudes])
    if posterior.amplitudes == "nonnegative":  # an amplitude held at zero does not move
        basis = basis * (values != 0.0)[:, None, None]
    sd = posterior.amplitude_sd_of(data)
    own, others, widths = gaussian_columns(linear, sd, posterior.amplitudes == "nonnegative")
    basis, rows = basis.reshape(len(values), -1), root.reshape(len(root), -1)
    held = normal = cross = known = jnp.zeros((), root.dtype)
    if linear.has_own_priors:
        gaussians = Gaussians.of(basis[own] * widths[:, None])
        basis, own_taken = gaussians.explained(basis[others])
        rows, taken = gaussians.explained(rows)
        held, normal, cross = (matmul(a.T, b) for a, b in ((taken, taken), (own_taken, own_taken), (own_taken, taken)))
        seen = jnp.eye(len(own), dtype=root.dtype)
        seen = seen - gaussians.backward(gaussians.forward(seen))

        def log_variances(z: Array) -> Array:
            return 2.0 * jnp.log(gaussian_columns(data.seen(posterior.prior.scene(z)), sd,
                                                  posterior.amplitudes == "nonnegative")[2])

        bend = jax.jacfwd(log_variances)(z)
        known = 0.5 * matmul(bend.T, matmul(seen**2, bend))
    if len(others):
        precision = 0.0 if sd is None else 1.0 / sd**2
        normal, cross = normal + matmul(basis, basis.T), cross + matmul(basis, rows.T)
        scale, scaled = unit_diagonal(normal, precision)
        step = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(scaled), True), scale[:, None] * cross)
        step = scale[:, None] * step
        rows = rows - matmul(step.T, basis)
        if linear.has_own_priors:
            rest = taken - matmul(own_taken, step)
            held = matmul(rest.T, rest)
        if sd is not None:  # flat amplitudes add nothing
            held = held + precision * matmul(step.T, step)
    return rows.reshape(root.shape), held + known
