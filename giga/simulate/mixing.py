"""The GGSL-UNet recipe of mixing: one geometry, random strengths in every band."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from giga.component import Component, Param, static

MEDIAN = 0.6745  # median absolute value of a Gaussian of unit standard deviation


class Mixing(Component):
    """Strengths of foreground, background and noise, drawn anew for every image and band.

    F_f = alpha I_f^gamma, F_b = alpha beta I_b, F_n = alpha beta epsilon I_n, where I_f and I_b are divided by
    their maxima and I_n by its median absolute value, taken as 0.6745 times the mean of its standard deviation: what
    it is for Gaussian noise, without the sorting. A power of a Sersic profile is a Sersic of the same index
    and another radius: exp(-b (R/R_s)^(1/n))^gamma has the radius R_s gamma^-n. For slopes that differ between bands
    give `n_sersic` one value a band, and do not mix.

    Attributes:
        alpha, beta, gamma, epsilon: Lowest and highest of their uniform distributions.
        bands: Number of bands.
        missing: Probability that a band alone shows no source (0.1 in the authors' code, none in the paper).

    References:
        Zhong et al., "GGSL-UNet I", eqs 1-4 and Table 2.
    """

    alpha: Param = (0.0, 1.0)
    beta: Param = (0.0, 1.0)
    gamma: Param = (0.5, 1.5)
    epsilon: Param = (0.0, 1.0)
    bands: int = static(default=4)
    missing: float = static(default=0.0)

    def __call__(self, key: Array, lens: Array, source: Array, noise: Array,
                 sigma: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:
        """Mix one image.

        Args:
            key: Random key.
            lens, source: I_f and I_b, shape (ny, nx, 1 or bands).
            noise, sigma: I_n and its standard deviation, shape (ny, nx, bands).

        Returns:
            F_f, F_b, F_n, the standard deviation of F_n, and the strengths by name, shape (bands,) each; "noise" is
            what I_n was multiplied by.
        """
        keys = jax.random.split(key, 5)
        alpha, beta, gamma, epsilon = (
            jax.random.uniform(k, (self.bands,), lens.dtype, low, high)
            for k, (low, high) in zip(keys[:4], (self.alpha, self.beta, self.gamma, self.epsilon), strict=True))
        seen = jax.random.uniform(keys[4], (self.bands,), lens.dtype) >= self.missing
        # An image without a source has no maximum to divide by, and stays zero.
        foreground = _power(lens / _peak(lens), gamma)
        background = source / _peak(source)
        level = MEDIAN * jnp.mean(sigma, axis=(0, 1))
        weak = alpha * beta * epsilon / level
        strengths = dict(alpha=alpha, beta=beta * seen, gamma=gamma, epsilon=epsilon, noise=weak)
        return alpha * foreground, alpha * beta * seen * background, weak * noise, weak * sigma, strengths


def _peak(image: Array) -> Array:
    peak = jnp.max(image, axis=(0, 1))
    return jnp.where(peak > 0.0, peak, 1.0)


def _power(base: Array, exponent: Array) -> Array:
    """A positive power of numbers from 0 on; the logarithm is taken once for all bands, and `**` costs three times."""
    positive = base > 0.0
    return jnp.where(positive, jnp.exp(exponent * jnp.log(jnp.where(positive, base, 1.0))), 0.0)
