"""Gradient and Gauss-Newton curvature of the log-posterior, from one Jacobian of the image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from giga.bayes.posterior import Posterior, log_density, variance
from giga.bayes.prior import FIXED, Prior
from giga.imaging.jacobian import image_jacobian
from giga.imaging.linear import unit_diagonal
from giga.imaging.observation import Data
from giga.imaging.render import basis_images, render
from giga.lensing.scene import Scene
from giga.runtime.products import einsum


class Quadratic(NamedTuple):
    """Second-order picture of the log-posterior at a point.

    Attributes:
        log_prob: Log-posterior.
        chi2: Sum over fitted pixels of ((data - model) / sigma)^2.
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
    amplitudes are projected out of it (variable projection; Kaufman 1975, BIT 15, 49).
    """
    prior = posterior.prior
    unbent, own = prior.slopes(z)
    scene, slope = prior.fill(prior.edges.disc(unbent)[0]), prior.fill(own)
    columns = parameter_numbers(prior)
    value, gradient, curvature = prior.expansion(z)
    if posterior.orders is not None:
        value, gradient = jax.value_and_grad(posterior.log_prior)(z)
    chi2 = jnp.zeros((), z.dtype)
    # A prior may bend upwards (towards a bound); the step must still go uphill.
    precision = jnp.diag(jnp.maximum(curvature, 1e-3))
    for data in posterior.data:
        linear = data.seen(scene)
        filled, amplitudes = posterior.filled(linear, data)
        numbers, slopes = columns.in_band(data.band), data.seen(slope)
        if amplitudes is not None:  # the filled amplitudes are leaves too
            numbers = numbers.with_amplitudes([FIXED] * len(amplitudes.values))
            slopes = slopes.with_amplitudes([0.0] * len(amplitudes.values))
        model = render(filled, data.grid, data.convolution)
        jacobian = prior.edges.mixed(unbent, own, image_jacobian(filled, numbers, prior.size, data, slopes))
        score = jax.grad(log_density)(model, data)
        value, gradient = value + log_density(model, data), gradient + einsum("kyx,yx->k", jacobian, score)
        chi2 = chi2 + jnp.sum(data.mask * (data.image - model) ** 2 / variance(model, data))
        root = jacobian * jnp.sqrt(fisher_weight(model, data))
        if amplitudes is not None:
            value = value - 0.5 * amplitudes.penalty
            root, held = _unexplained(posterior, linear, amplitudes.values, data, root)
            precision = precision + held
        precision = precision + einsum("kyx,lyx->kl", root, root)
    if posterior.amplitudes == "marginal" and scene.is_linear:
        value, gradient = jax.value_and_grad(posterior.log_prob)(z)
    return Quadratic(value, chi2, gradient, precision)


def parameter_numbers(prior: Prior) -> Scene:
    """The prior's scene with a parameter number on each leaf, FIXED where there is none."""
    return jax.tree.unflatten(prior.treedef, list(prior.slots))


def fisher_weight(model: Array, data: Data) -> Array:
    """Fisher information of each pixel about its model value."""
    var = variance(model, data)
    weight = 1.0 / var
    if data.poisson:
        weight = weight + 0.5 * jnp.where(model > 0.0, (data.photon / var) ** 2, 0.0)
    return data.mask * weight


def _unexplained(posterior: Posterior, linear: Scene, amplitudes: list[Array], data: Data,
                 root: Array) -> tuple[Array, Array]:
    """The weighted Jacobian less what the solved amplitudes can take over, and what their prior adds.

    Projected pixel by pixel, so that its square stays positive semidefinite when rounded.
    """
    basis = basis_images(linear, data.grid, data.convolution) * jnp.sqrt(data.mask / data.variance)
    values = jnp.concatenate([jnp.atleast_1d(a) for a in amplitudes])
    if posterior.amplitudes == "nonnegative":  # an amplitude held at zero does not move
        basis = basis * (values != 0.0)[:, None, None]
    normal = einsum("kyx,lyx->kl", basis, basis)
    sd = posterior.amplitude_sd_of(data)
    prior_precision = 0.0 if sd is None else 1.0 / sd**2
    scale, scaled = unit_diagonal(normal, prior_precision)
    cross = scale[:, None] * einsum("kyx,lyx->kl", basis, root)
    taken = scale[:, None] * jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(scaled), True), cross)
    projected = root - einsum("kl,kyx->lyx", taken, basis)
    return projected, prior_precision * einsum("kl,km->lm", taken, taken)
