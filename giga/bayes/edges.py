"""The physical range of parameters, kept by the coordinates that a sampler moves in, whatever the prior.

A prior without bounds of its own, such as a normal distribution of an ellipticity, is truncated to the range. The
coordinate is the prior's own over nearly all of it, unchanged to the last bit; within a tenth of the range of an edge
it bends, so that no step can cross it. An ellipticity is a point of the unit disc.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpy.typing import DTypeLike
from numpyro.distributions.transforms import biject_to
from scipy.special import ndtr

from giga.component import AnyArray, Component, is_distribution, static

MARGIN = 0.1  # share of a range, at each of its edges, over which the coordinate bends
SHARP = 1e-3  # share of the margin that is never entered: float32 tells the edge from what is inside
DISC = 0.8  # radius within which an ellipticity is its own coordinate
NONE = 1e30  # an edge that is not there
QUANTILES = 400  # of each component of an ellipticity, to find the share of a prior that is inside the disc


class Edges(Component):
    """Edges of parameters, made by `Edges.of`.

    With u on the prior's real line, v = u up to a margin m of an edge and b + M tanh((u - b) / M) beyond,
    b = edge - m and M a thousandth less than m; the second derivative is continuous. The radius of an ellipticity is
    bent likewise.

    Attributes:
        low, high: Edges on the real line, shape (n,); NONE is none.
        margin_low, margin_high: Their margins, shape (n,).
        least, most: The physical range, shape (n,); infinite where there is none.
        log_inside: Logarithm of the share of each prior that is inside, shape (n,); that of a pair is its first one's.
        pairs: Numbers of parameters that are e1 and e2 of one ellipse.
        narrow: Whether there is any edge.
    """

    low: AnyArray
    high: AnyArray
    margin_low: AnyArray
    margin_high: AnyArray
    least: AnyArray
    most: AnyArray
    log_inside: AnyArray
    pairs: tuple[tuple[int, int], ...] = static(default=())
    narrow: bool = static(default=False)

    @staticmethod
    def of(tree: Any, numbers: dict[int, int], distributions: Sequence[dist.Distribution], middle: np.ndarray,
           names: Sequence[str], dtype: DTypeLike) -> Edges:
        """Find the edges of the parameters of a scene.

        Args:
            tree: The scene.
            numbers: Parameter number by the identity of a distribution in the tree.
            distributions: One a parameter.
            middle: Centre of each on the real line, shape (n,).
            names: Name of each, for messages.
            dtype: Precision of the parameters.

        Raises:
            ValueError: A prior that lies outside the physical range of its parameter.
        """
        n = len(distributions)
        least, most = np.full(n, -np.inf), np.full(n, np.inf)
        pairs: list[tuple[int, int]] = []
        for part in jax.tree.leaves(tree, is_leaf=_is_end):
            if not isinstance(part, Component):
                continue
            limits = dict(part.ranges)
            if {"e1", "e2"} <= limits.keys():
                pairs += _ellipse(part, numbers, limits)
            for name, (low, high) in limits.items():
                k = numbers.get(id(getattr(part, name)))
                if k is not None:
                    least[k], most[k] = max(least[k], low), min(most[k], high)
        # An ellipticity that is shared in parts is kept in its interval, each component by itself.
        alone = [p for p in dict.fromkeys(pairs) if all(set(p).isdisjoint(q) for q in set(pairs) - {p})]
        for k in {k for pair in alone for k in pair}:
            least[k], most[k] = -np.inf, np.inf
        low, high = np.full(n, -NONE), np.full(n, NONE)
        below, above, log_inside = np.ones(n), np.ones(n), np.zeros(n)
        for k, distribution in enumerate(distributions):
            ends = _support(distribution)
            least[k] = -np.inf if ends[0] >= least[k] else least[k]
            most[k] = np.inf if ends[1] <= most[k] else most[k]
            line = biject_to(distribution.support).inv
            if np.isfinite(least[k]):
                low[k] = float(line(jnp.asarray(least[k], float)))
            if np.isfinite(most[k]):
                high[k] = float(line(jnp.asarray(most[k], float)))
            both = MARGIN * (high[k] - low[k])
            below[k] = both if high[k] < NONE else MARGIN * abs(middle[k] - low[k])
            above[k] = both if low[k] > -NONE else MARGIN * abs(high[k] - middle[k])
            if np.isfinite([least[k], most[k]]).any():
                log_inside[k] = _log_share(names[k], _share(distribution, least[k], most[k]))
        for i, j in alone:
            log_inside[i] = _log_share(names[i], _share_of_disc(distributions[i], distributions[j]))
        arrays = (low, high, below, above, least, most, log_inside)
        low, high, below, above, least, most, log_inside = (array.astype(dtype) for array in arrays)
        return Edges(low=low, high=high, margin_low=below, margin_high=above, least=least, most=most,
                     log_inside=log_inside, pairs=tuple(alone),
                     narrow=bool(alone) or bool((low > -NONE).any() or (high < NONE).any()))

    def line(self, u: Array) -> tuple[Array, Array]:
        """v and the logarithm of dv/du, shape (n,) each."""
        if not self.narrow:
            return u, jnp.zeros_like(u)
        upper, up = _bend(u, self.high - self.margin_high, self.margin_high)
        lower, down = _bend(-u, -self.low - self.margin_low, self.margin_low)
        over, under = u > self.high - self.margin_high, u < self.low + self.margin_low
        return jnp.where(over, upper, jnp.where(under, -lower, u)), jnp.where(over, up, jnp.where(under, down, 0.0))

    def unline(self, v: Array) -> Array:
        """u of v; not finite at an edge and beyond."""
        if not self.narrow:
            return v
        top, bottom = self.high - self.margin_high, self.low + self.margin_low
        upper = _unbend(v, top, self.margin_high)
        lower = -_unbend(-v, -bottom, self.margin_low)
        return jnp.where(v > top, upper, jnp.where(v < bottom, lower, v))

    def disc(self, x: Array) -> tuple[Array, Array]:
        """Pairs bent into the unit disc, and the logarithm of the determinant, that of a pair at its first number."""
        if not self.pairs:
            return x, jnp.zeros_like(x)
        first, (mine, other) = self._ellipses(x)
        factor, slope, _ = _radial(mine, other)
        return factor * x, jnp.where(first, jnp.log(factor) + slope, 0.0)

    def undisc(self, x: Array) -> Array:
        """Inverse of `disc`."""
        if not self.pairs:
            return x
        mine, other = self._ellipses(x)[1]
        r = jnp.sqrt(jnp.maximum(mine**2 + other**2, DISC**2))
        return jnp.where(r > DISC, _unbend(r, DISC, 1.0 - DISC) / r, 1.0) * x

    def mixed(self, x: Array, slopes: Array, columns: Array) -> Array:
        """Derivatives by z of something whose derivatives by z without the disc are given.

        Args:
            x: Parameters before `disc`, shape (n,).
            slopes: dx/dz, shape (n,).
            columns: Shape (n, ...): its derivative by each parameter after `disc`, times the slope.
        """
        if not self.pairs:
            return columns
        factor, slope, unit = _radial(*self._ellipses(x)[1])
        radial, partner = jnp.exp(slope) - factor, self._partners()
        # Of what is no ellipticity the slope may be zero, far out on the line.
        ratio = slopes / jnp.where(partner != np.arange(len(partner)), slopes[partner], 1.0)
        own, cross = factor + radial * unit[0] ** 2, radial * unit[0] * unit[1] * ratio
        each = (-1,) + (1,) * (columns.ndim - 1)
        return own.reshape(each) * columns + cross.reshape(each) * columns[partner]

    def _partners(self) -> np.ndarray:
        """The number of the other component of each ellipticity; of other parameters their own."""
        partner = np.arange(len(self.least))
        for i, j in self.pairs:
            partner[[i, j]] = j, i
        return partner

    def _ellipses(self, x: Array) -> tuple[np.ndarray, tuple[Array, Array]]:
        """Which parameters are first components, and of each its own and the other one; of what is no ellipticity 0."""
        partner = self._partners()
        paired, first = partner != np.arange(len(partner)), np.isin(np.arange(len(partner)), [i for i, _ in self.pairs])
        return first, (jnp.where(paired, x, 0.0), jnp.where(paired, x[partner], 0.0))

    def inside(self, x: Array) -> Array:
        """Whether each parameter is where it may be, shape (n,), pairs together."""
        kept = (x > self.least) & (x < self.most)
        if not self.pairs:
            return kept
        mine, other = self._ellipses(x)[1]
        return kept & (mine**2 + other**2 < (1.0 - SHARP * (1.0 - DISC)) ** 2)


def _bend(u: Array, start: Any, margin: Any) -> tuple[Array, Array]:
    """What is beyond the start of an upper margin, held below its edge, and the logarithm of the slope."""
    margin = (1.0 - SHARP) * margin
    t = jnp.maximum((u - start) / margin, 0.0)
    return start + margin * jnp.tanh(t), -2.0 * (t + jax.nn.softplus(-2.0 * t) - jnp.log(2.0))


def _unbend(v: Array, start: Any, margin: Any) -> Array:
    margin = (1.0 - SHARP) * margin
    return start + margin * jnp.arctanh(jnp.clip((v - start) / margin, 0.0, 1.0))


def _radial(e1: Array, e2: Array) -> tuple[Array, Array, tuple[Array, Array]]:
    """Factor of the radius, logarithm of the slope of the new radius by the old, and the direction."""
    r = jnp.sqrt(jnp.maximum(e1**2 + e2**2, DISC**2))
    bent, slope = _bend(r, DISC, 1.0 - DISC)
    return jnp.where(r > DISC, bent / r, 1.0), jnp.where(r > DISC, slope, 0.0), (e1 / r, e2 / r)


def _is_end(part: Any) -> bool:
    return is_distribution(part) or isinstance(part, Component) and bool(part.ranges)


def _ellipse(part: Any, numbers: dict[int, int], limits: dict[str, tuple[float, float]]) -> list[tuple[int, int]]:
    """The pair of a profile whose e1 and e2 can reach the circle together; else their limits are narrowed in place."""
    found = [numbers.get(id(e)) for e in (part.e1, part.e2)]
    reach = [np.max(np.abs(_support(e) if is_distribution(e) else np.asarray(e, float))) for e in (part.e1, part.e2)]
    if np.hypot(*reach) < 1.0:
        return []
    if None not in found and found[0] != found[1]:
        return [(found[0], found[1])]  # pyright: ignore[reportReturnType]
    for name, other in (("e1", reach[1]), ("e2", reach[0])):
        if other < 1.0:
            limits[name] = (-float(np.sqrt(1.0 - other**2)), float(np.sqrt(1.0 - other**2)))
    return []


def _support(distribution: dist.Distribution) -> np.ndarray:
    support = distribution.support
    return np.asarray([float(np.asarray(getattr(support, name, end)))
                       for name, end in (("lower_bound", -np.inf), ("upper_bound", np.inf))])


def _log_share(name: str, share: float) -> float:
    if not share > 0.0:
        raise ValueError(f"{name}: all of its prior is outside its physical range; expected a prior that is inside")
    return float(np.log(share))


def _share(distribution: dist.Distribution, least: float, most: float) -> float:
    """Share of a prior inside a range: exact for a normal and a log-normal, from draws for others."""
    of: Any = distribution
    if isinstance(distribution, (dist.Normal, dist.LogNormal)):
        ends = [np.log(max(end, 1e-300)) if isinstance(distribution, dist.LogNormal) else end for end in (least, most)]
        low, high = ((end - float(of.loc)) / float(of.scale) for end in ends)
        return float(ndtr(high) - ndtr(low))
    draws = np.asarray(distribution.sample(jax.random.key(0), (4096,)), float)
    return float(np.mean((draws > least) & (draws < most)))


def _share_of_disc(e1: dist.Distribution, e2: dist.Distribution) -> float:
    """Share of a prior of an ellipticity inside the unit disc."""
    q = jnp.asarray((np.arange(QUANTILES) + 0.5) / QUANTILES, float)
    places = [np.asarray(e.icdf(q), float) for e in (e1, e2)]
    return float(np.mean(np.hypot(*np.meshgrid(*places)) < 1.0))
