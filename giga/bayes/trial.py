"""Every prior is tried once, before anything is compiled for a fit: its width, draws, density and gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions.transforms import biject_to

from giga.bayes.family import Family
from giga.bayes.truncated import TruncatedNormal, exact
from giga.runtime.parallel import ON_VECTORS

TRIED = 512  # draws by which a prior is tried
DISTINCT = 16  # values that they must have at least
STEPS = 4.0  # roundings of its values that a prior must be wide
ASTRAY = 0.02  # largest share of them that may have no place on the real line, rounded to a bound


def log_density(family: dist.Distribution, u: Array, bent: Array | None = None) -> Array:
    """Log-density on the real line at u, whose physical value is then bent to another, if one is given."""
    transform = biject_to(family.support)
    x = transform(u)
    # NumPyro takes some constants in the default precision.
    return (family.log_prob(x if bent is None else bent) + transform.log_abs_det_jacobian(u, x)).astype(u.dtype)


def check(name: str, leaf: dist.Distribution, dtype: np.dtype) -> None:
    if leaf.batch_shape or leaf.event_shape:
        raise ValueError(f"{name}: expected a scalar distribution, got shape {leaf.batch_shape + leaf.event_shape}")
    if leaf.support is None or leaf.is_discrete:
        raise ValueError(f"{name}: expected a continuous distribution, got {type(leaf).__name__}")
    if fault := _too_narrow(leaf, dtype):
        raise ValueError(f"{name}: {described(leaf)}: {fault}; expected a prior that is wide against the rounding of "
                         "its values")


def _too_narrow(leaf: Any, dtype: np.dtype) -> str:
    """What is wrong with a prior that is about as wide as the rounding of its values, told by its numbers alone.

    What it does not tell, by the kind of the distribution or otherwise, the draws of `seen_of` do.
    """
    leaf = exact(leaf)
    of: Any = leaf
    if isinstance(leaf, TruncatedNormal):
        away = abs(float(of.peak - of.loc))
        place, width = float(of.peak), min(float(of.scale), float(of.high - of.low))
        width = min(width, float(of.scale) ** 2 / away) if away > 0.0 else width
    elif isinstance(leaf, dist.Uniform):
        place, width = max(abs(float(of.low)), abs(float(of.high))), abs(float(of.high) - float(of.low))
    elif isinstance(leaf, dist.LogNormal):
        # Beyond the range of float64 it is beyond that of any precision.
        place = float(np.exp(np.clip(float(of.loc), -700.0, 700.0)))
        width = abs(float(of.scale)) * place
    elif isinstance(leaf, dist.Normal):
        place, width = float(of.loc), abs(float(of.scale))
    else:
        return ""
    if not abs(place) < float(np.finfo(dtype).max):
        return f"its values, about {place:.3g}, are beyond {dtype.name}"
    rounding = float(np.spacing(np.asarray(abs(place), dtype)))
    if width < STEPS * rounding:
        return f"its width, {width:.3g}, is about the rounding of {dtype.name} at {place:.6g}, {rounding:.2g}"
    return ""


@partial(jax.jit, compiler_options=ON_VECTORS)
def seen_of(families: tuple[Family, ...]) -> tuple[Array, ...]:
    """What is seen of each prior, family by family.

    Returns:
        Mean and standard deviation on the real line, shape (n,); draws, and their places on the real line, shape
        (n, TRIED); log-density and its gradient two standard deviations about the mean, shape (n, 5).
    """

    def seen(family: Family) -> tuple[Array, ...]:
        distribution: Any = family.distribution
        transform = biject_to(distribution.support)
        x = distribution.sample(jax.random.key(0), (4096,))
        u = transform.inv(x)
        if isinstance(distribution, (dist.Normal, dist.LogNormal)):
            mean, sd = jnp.asarray(distribution.loc), jnp.asarray(distribution.scale)
        else:
            kept = jnp.isfinite(u)  # a draw that rounds to its bound has no place on the line
            mean = jnp.mean(u, where=kept)
            sd = jnp.sqrt(jnp.mean((u - mean) ** 2, where=kept))
        places = mean + sd * jnp.arange(-2.0, 3.0)
        density, gradient = jax.vmap(jax.value_and_grad(lambda place: log_density(distribution, place)))(places)
        return mean, sd, x[:TRIED], jnp.asarray(u)[:TRIED], density, gradient

    parts = [jax.vmap(seen)(family) for family in families]
    return tuple(jnp.concatenate(part) for part in zip(*parts, strict=True))


def judge(name: str, distribution: dist.Distribution, dtype: np.dtype, mean: Array, sd: Array, draws: np.ndarray,
           places: np.ndarray, density: np.ndarray, gradient: np.ndarray) -> None:
    """Refuse a prior by what `seen_of` has seen of it. Raises ValueError."""
    fault = unfit(draws)
    astray = np.mean(~np.isfinite(places))
    if not fault and astray > ASTRAY:
        fault = f"{100.0 * astray:.3g}% of its draws are rounded to a bound"
    if not fault and not (np.isfinite(mean) and np.isfinite(sd) and sd > 0.0 and np.isfinite(density).all()):
        fault = "its density is not finite where its draws are"
    if not fault and not np.isfinite(gradient).all():
        fault = "the gradient of its density is not finite where its draws are"
    if fault:
        raise ValueError(f"{name}: {described(distribution)}: {fault}, in {dtype.name}; expected a prior that is wide "
                         "against the rounding of its values")


def unfit(draws: np.ndarray) -> str:
    """What is wrong with draws from a continuous distribution, shape (n,), in words; an empty text if nothing is."""
    bad = np.sum(~np.isfinite(draws))
    if bad:
        return f"{bad} of {len(draws)} draws are NaN or infinite"
    values = len(np.unique(draws))
    if values < min(DISTINCT, len(draws)):
        return f"{len(draws)} draws have {values} value{'s' if values > 1 else ''}, {draws[0]:.9g} among them"
    return ""


def described(distribution: dist.Distribution) -> str:
    """A distribution as it was written.

    >>> described(dist.TruncatedNormal(0.5, 0.02, low=0.8, high=2.0))
    'TruncatedNormal(loc = 0.5, scale = 0.02, low = 0.8, high = 2)'
    """
    base = getattr(distribution, "base_dist", None)
    kind, numbers = type(distribution).__name__, dict(distribution.get_args())
    if isinstance(base, dist.Normal) and "Truncated" in kind:
        kind, numbers = "TruncatedNormal", dict(base.get_args()) | numbers
    return f"{kind}({', '.join(f'{key} = {np.asarray(value, float):.9g}' for key, value in numbers.items())})"
