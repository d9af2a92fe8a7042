"""A truncated normal whose tails are computed as tails.

NumPyro's own takes the mass between the bounds as a difference of distribution functions, which is zero in float32
from some ten standard deviations on: its draws are then one number, and its density has no norm.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.special
from jax import Array
from jax.core import Tracer
from numpyro.distributions import constraints, truncated

FAR = 8.0
"""Standard deviations beyond which a draw comes from the expansion of the tail; ndtri has its digits up to there."""


class TruncatedNormal(dist.Distribution):
    """The normal distribution between bounds, on either side of its centre and however far from it.

    With the peak p, the place between the bounds that is nearest to loc, the density is
    exp(-(x - p) (x + p - 2 loc) / (2 scale^2)) over its integral: no term of it is large where the density is not
    small. The integral's logarithm is a number that is made once, in float64.

    Attributes:
        loc, scale: Of the normal distribution.
        low, high: Bounds; -inf and inf are none.
        peak: Where the density is greatest.
        log_mass: Logarithm of the integral.
        bounded: Whether there is a lower, and an upper bound.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "low": constraints.dependent,
                       "high": constraints.dependent}
    pytree_data_fields = ("loc", "scale", "low", "high", "peak", "log_mass")
    pytree_aux_fields = ("bounded",)

    def __init__(self, loc: Any, scale: Any, low: Any = -np.inf, high: Any = np.inf) -> None:
        self.loc, self.scale, self.low, self.high = np.broadcast_arrays(*(np.asarray(v, float)
                                                                           for v in (loc, scale, low, high)))
        self.bounded = bool(np.isfinite(self.low).any()), bool(np.isfinite(self.high).any())
        self.peak = np.clip(self.loc, self.low, self.high)
        sides = (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale
        self.log_mass = np.log(self.scale) + log_mass(*sides)
        super().__init__(batch_shape=np.shape(self.loc), validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # pyright: ignore[reportArgumentType]
    def support(self) -> Any:
        if self.bounded == (True, True):
            return constraints.interval(self.low, self.high)
        if self.bounded == (False, False):
            return constraints.real
        return constraints.greater_than_eq(self.low) if self.bounded[0] else constraints.less_than_eq(self.high)

    def log_prob(self, value: Array) -> Array:
        """Logarithm of the density; it is not looked whether the value is between the bounds."""
        away = (value - self.peak) / self.scale
        return -0.5 * away * ((value - self.loc) + (self.peak - self.loc)) / self.scale - self.log_mass

    def sample(self, key: Array | None = None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw by the inverse of the distribution function."""
        assert key is not None, "a key is needed"
        dtype = jnp.result_type(float)
        return self.icdf(jax.random.uniform(key, sample_shape + self.batch_shape, dtype, jnp.finfo(dtype).tiny))

    def icdf(self, q: Array) -> Array:
        """Place below which there is a share q of the mass."""
        a, b = (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale
        above = a > 0.0  # then all is mirrored, so that ndtr is that of a tail
        a, b, q = jnp.where(above, -b, a), jnp.where(above, -a, b), jnp.where(above, 1.0 - q, q)
        inner = jax.scipy.special.ndtri(_open((1.0 - q) * jax.scipy.special.ndtr(a) + q * jax.scipy.special.ndtr(b)))
        t = jnp.where(b < -FAR, -_tail(-b, -a, 1.0 - q), inner)
        return jnp.clip(self.loc + self.scale * jnp.where(above, -t, t), self.low, self.high)


def log_mass(a: Any, b: Any) -> np.ndarray:
    """Logarithm of the integral of exp((p^2 - t^2) / 2) from a to b, p of them between being nearest zero; float64.

    With p = 0 that is the mass of the normal distribution times sqrt(2 pi).
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    near, far = np.where(a > 0.0, a, -b), np.where(a > 0.0, b, -a)
    tail = near > 0.0
    near, far = np.where(tail, near, 0.0), np.where(tail, far, 1.0)
    # erfcx is the tail over its own exponential.
    falls = np.exp(0.5 * (near - far) * (near + far))
    beyond = scipy.special.erfcx(near / np.sqrt(2.0)) - falls * scipy.special.erfcx(far / np.sqrt(2.0))
    within = np.where(tail, 2.0, scipy.special.erf(b / np.sqrt(2.0)) - scipy.special.erf(a / np.sqrt(2.0)))
    with np.errstate(divide="ignore"):
        return 0.5 * np.log(0.5 * np.pi) + np.log(np.where(tail, beyond, within))


def exact(distribution: dist.Distribution) -> dist.Distribution:
    """A distribution with truncated normals of NumPyro replaced by those of this module."""
    if isinstance(distribution, dist.ExpandedDistribution):
        return exact(distribution.base_dist).expand(distribution.batch_shape)
    kinds = (truncated.LeftTruncatedDistribution, truncated.RightTruncatedDistribution,
             truncated.TwoSidedTruncatedDistribution)
    if not isinstance(distribution, kinds) or not isinstance(distribution.base_dist, dist.Normal):
        return distribution
    base = distribution.base_dist
    numbers = (base.loc, base.scale, getattr(distribution, "low", -np.inf), getattr(distribution, "high", np.inf))
    return distribution if any(isinstance(number, Tracer) for number in numbers) else TruncatedNormal(*numbers)


def _open(p: Array) -> Array:
    """Probabilities kept off zero and one."""
    info = jnp.finfo(p.dtype)
    return jnp.clip(p, info.tiny, 1.0 - info.epsneg)


def _tail(a: Array, b: Array, q: Array) -> Array:
    """Normal quantile between a, far above zero, and b.

    The mass above t is exp(-t^2 / 2) / (t sqrt(2 pi)) times 1 - 1/t^2 + 3/t^4 - ..., to be solved for t by iteration,
    which gains a factor t^2 of digits each time.

    References:
        Abramowitz & Stegun (1972), eq. 26.2.12.
    """
    a, b = jnp.maximum(a, FAR), jnp.maximum(b, FAR)

    def slow(t: Array) -> Array:
        """What of -log of the mass is beside t^2 / 2."""
        w = 1.0 / (t * t)
        return -jnp.log(w) / 2.0 - jnp.log1p(-w * (1.0 - w * (3.0 - 15.0 * w)))

    held = jnp.where(jnp.isinf(b), 0.0, jnp.exp(-0.5 * (b - a) * (b + a) + slow(a) - slow(jnp.minimum(b, 1e15))))
    fallen = -jnp.log1p(-q * (1.0 - held))
    t = jnp.sqrt(a * a + 2.0 * fallen)
    for _ in range(3):
        t = jnp.sqrt(jnp.maximum(a * a + 2.0 * (fallen + slow(a) - slow(t)), a * a))
    return t
