"""A pytree of distributions, to and from a flat unconstrained vector."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpy.typing import DTypeLike
from numpyro.distributions.transforms import biject_to
from scipy.special import ndtr

from giga.bayes.edges import Edges
from giga.bayes.family import Family
from giga.bayes.trial import check, judge, log_density, seen_of
from giga.bayes.truncated import exact
from giga.component import AnyArray, Component, check_numbers, is_distribution, leaves_with_names, path_name, static
from giga.mass.base import MassProfile
from giga.mass.epl import UNKNOWN
from giga.runtime.parallel import ON_VECTORS
from giga.runtime.random import split_data

FIXED = -1
PIECE = 512  # draws in a compiled call
AGAIN = 6  # draws more of a parameter that is outside its physical range


class Prior(Component):
    """The prior of a scene, as a density of a flat vector z that a sampler can move in freely.

    Each distribution object is one parameter, whatever number of leaves it sits on; other leaves are
    fixed. Parameter k is x = T(shift + scale z), T the exact transform from the real line to the
    support, which bends near the end of the physical range where the support goes beyond it
    (`giga.bayes.edges`); shift and scale make z of order one under the prior, so that a step of one is
    a step of one prior standard deviation. Parameters of one family are evaluated together.

    Build with `Prior.of`. The distributions' numbers are leaves, so one compiled program serves
    every prior of the same structure.

    Attributes:
        families: Distributions of one kind, their numbers stacked; to be used under `vmap`.
        fixed: Fixed leaves.
        shift, scale: Shape (n,).
        edges: Where physical ranges end.
        treedef: Structure of the scene.
        slots: For each leaf of the scene its parameter number, or FIXED.
        members: For each family the parameter numbers in its batch.
        names: Name of each parameter: the path of its first leaf.
    """

    families: tuple[Family, ...]
    fixed: tuple[Any, ...]
    shift: AnyArray
    scale: AnyArray
    edges: Edges
    treedef: Any = static()
    slots: tuple[int, ...] = static()
    members: tuple[tuple[int, ...], ...] = static()
    names: tuple[str, ...] = static()

    @staticmethod
    def of(tree: Any, dtype: DTypeLike = np.float32) -> Prior:
        """Collect the distributions of a scene.

        Args:
            tree: A scene (or any pytree) with numbers, arrays and distributions on its leaves.
            dtype: Precision of the parameters.

        Raises:
            ValueError: No distribution at all, or one that is not scalar, not continuous, or no density that a sampler
                can move in: draws, density or gradient that are not finite, or draws that are all but one number.
                A fixed number outside its physical range.
        """
        check_numbers(tree)
        tree = jax.tree.map(lambda part: _reaching(part, dtype), tree, is_leaf=_is_mass)
        leaves, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_distribution)
        found: dict[int, int] = {}
        distributions, originals, names, slots, fixed = [], [], [], [], []
        for path, leaf in leaves:
            if not is_distribution(leaf):
                slots.append(FIXED)
                fixed.append(np.asarray(leaf, dtype))
                continue
            if id(leaf) not in found:
                check(path_name(path), leaf, np.dtype(dtype))
                found[id(leaf)] = len(distributions)
                distributions.append(exact(leaf))
                originals.append(leaf)
                names.append(path_name(path))
            slots.append(found[id(leaf)])
        if not distributions:
            raise ValueError("prior: no leaf of the scene is a distribution, so there is nothing to fit")
        families, members = _group(distributions, dtype)
        order = np.argsort(np.concatenate([np.asarray(m) for m in members]))
        tried = [np.asarray(part)[order] for part in seen_of(families)]
        for k, name in enumerate(names):
            judge(name, originals[k], np.dtype(dtype), *(part[k] for part in tried))
        shift, scale = tried[:2]
        edges = Edges.of(tree, found, distributions, shift, names, dtype)
        return Prior(families=families, fixed=tuple(fixed), shift=shift.astype(dtype), scale=scale.astype(dtype),
                     edges=edges, treedef=treedef, slots=tuple(slots), members=members, names=tuple(names))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.names)

    def constrain(self, z: Array) -> Array:
        """Physical values x of an unconstrained vector, shape (n,)."""
        return self.edges.disc(self._unbent(z))[0]

    def _unbent(self, z: Array) -> Array:
        """Physical values, but for what makes ellipticities points of the unit disc."""
        line = self.edges.line(self.shift + self.scale * z)[0]
        return self._each(lambda family, u: biject_to(family.support)(u), line)

    def slopes(self, z: Array) -> tuple[Array, Array]:
        """What `constrain` makes of z before ellipticities are bent into the disc, and its derivative, shape (n,)."""
        return jax.jvp(self._unbent, (z,), (jnp.ones_like(z),))

    def unconstrain(self, x: Array) -> Array:
        """Inverse of `constrain`; finite only inside the support."""
        values = self.edges.undisc(jnp.asarray(x, self.shift.dtype))
        line = self._each(lambda family, value: biject_to(family.support).inv(value), values)
        return (self.edges.unline(line) - self.shift) / self.scale

    def log_prob(self, z: Array) -> Array:
        """Log prior density of z, the Jacobian of the transform included."""
        return jnp.sum(self.log_probs(z))

    def log_probs(self, z: Array) -> Array:
        """Log prior density of each parameter by itself, shape (n,), whose sum is `log_prob`."""
        line, log_slope = self.edges.line(self.shift + self.scale * z)
        if not self.edges.pairs:
            return self._each(log_density, line) + (log_slope - self.edges.log_inside + jnp.log(self.scale))
        bent, log_det = self.edges.disc(self._each(lambda family, u: biject_to(family.support)(u), line))
        density = self._each(lambda family, pair: log_density(family, *pair), jnp.stack([line, bent], -1))
        return density + (log_slope + log_det - self.edges.log_inside + jnp.log(self.scale))

    def curvature(self, z: Array) -> Array:
        """Second derivative -d^2 log_prob / dz_k^2, shape (n,); the prior has no cross terms."""
        return self.expansion(z)[2]

    def expansion(self, z: Array) -> tuple[Array, Array, Array]:
        """`log_prob`, its gradient and its `curvature`, in one pass."""
        (value, gradient), (_, second) = jax.jvp(jax.value_and_grad(self.log_prob), (z,), (jnp.ones_like(z),))
        return value, gradient, -second

    def scene(self, z: Array) -> Any:
        """The scene with numbers on its leaves."""
        return self.fill(self.constrain(z))

    def fill(self, x: Array) -> Any:
        """The scene whose parameters have the physical values x."""
        fixed, each = iter(self.fixed), jnp.unstack(x)
        leaves = [next(fixed) if slot == FIXED else each[slot] for slot in self.slots]
        return jax.tree_util.tree_unflatten(self.treedef, leaves)

    def sample(self, key: Array) -> Array:
        """One draw from the prior, as an unconstrained vector."""
        x = self._draw(key)
        for k in range(AGAIN if self.edges.narrow else 0):  # until it is inside
            x = jnp.where(self.edges.inside(x), x, self._draw(jax.random.fold_in(key, k)))
        return self.unconstrain(x)

    def _draw(self, key: Array) -> Array:
        """One draw from the distributions, whatever the edges."""
        return self._each(lambda family, k: family.sample(k), jax.random.split(key, self.size))

    def values(self, x: Array) -> dict[str, Any]:
        """Name the last axis of an array of physical values."""
        return {name: x[..., k] for k, name in enumerate(self.names)}

    def vector(self, values: Mapping[str, float]) -> Array:
        """Unconstrained vector of physical values given by name.

        Raises:
            KeyError: A parameter without a value, or a value without a parameter, named.
        """
        if unknown := [name for name in values if name not in self.names]:
            raise KeyError(f"no parameter {unknown[0]}; expected {', '.join(self.names)}")
        missing = [name for name in self.names if name not in values]
        if missing:
            raise KeyError(f"no value for {missing[0]}; expected {', '.join(self.names)}")
        return jax.jit(Prior.unconstrain)(self, np.asarray([values[name] for name in self.names], self.shift.dtype))

    def _each(self, function, vector: Array) -> Array:
        """Apply a function of (distribution, value) to each parameter, one `vmap` a family."""
        def one(family: Family, value: Array) -> Array:
            return function(family.distribution, value)

        # Parts of a vector are taken and put together whole: in derivatives, too, that is one operation for all.
        order = np.concatenate([np.asarray(index) for index in self.members])
        parts = jax.lax.split(vector[order], [len(index) for index in self.members])
        return jnp.concatenate([jax.vmap(one)(family, part)
                                for family, part in zip(self.families, parts, strict=True)])[np.argsort(order)]


def values_of(prior: Any, scene: Any) -> dict[str, float]:
    """Values that a scene of numbers has where the prior has its parameters, by path name."""
    seen: dict[int, str] = {}
    out: dict[str, float] = {}
    numbers = dict(leaves_with_names(scene))
    for name, leaf in leaves_with_names(prior):
        if is_distribution(leaf) and id(leaf) not in seen:
            seen[id(leaf)] = name
            out[name] = float(numbers[name])
    return out


def prior_draws(prior: Prior, key: Array, count: int) -> np.ndarray:
    """Draws from the prior as unconstrained vectors on the host, shape (count, n); draw k is that of key k of a split.

    In pieces of one size, so that they are compiled once whatever their number.
    """
    keys = split_data(key, -(-count // PIECE) * PIECE)
    return np.concatenate([_sampled(prior, keys[k:k + PIECE]) for k in range(0, len(keys), PIECE)])[:count]


@partial(jax.jit, compiler_options=ON_VECTORS)
def _sampled(prior: Prior, keys: Array) -> Array:
    return jax.vmap(prior.sample)(jax.random.wrap_key_data(keys))


constrained = jax.jit(jax.vmap(Prior.constrain, (None, 0)), compiler_options=ON_VECTORS)
"""Physical values of unconstrained vectors, `(prior, z)` with z of shape (count, n); compiled once for each count."""

OUTSIDE = 1e-4  # share of an unbounded prior whose ellipticities may lie beyond what a profile is set up for


def _is_mass(part: Any) -> bool:
    return isinstance(part, MassProfile) or is_distribution(part)


def _reaching(part: Any, dtype: DTypeLike) -> Any:
    """A mass profile set up for the ellipticities that the distributions on its leaves allow."""
    if not isinstance(part, MassProfile) or not {"e1", "e2"} <= vars(part).keys():
        return part
    return part.reaching(largest_ellipticity(part.e1, part.e2), dtype)  # pyright: ignore[reportAttributeAccessIssue]


def largest_ellipticity(e1: Any, e2: Any) -> float:
    """Largest |e| of two numbers, arrays or distributions: by their bounds, or but for OUTSIDE of what they hold."""
    bounds = [np.max(np.abs(_bounds(e))) for e in (e1, e2)]
    if np.isfinite(bounds).all():
        return float(np.hypot(*bounds))
    sigma = np.linspace(-6.0, 6.0, 401)
    weight = np.exp(-0.5 * sigma**2)
    e = np.hypot(*np.meshgrid(*[_quantiles(e, ndtr(sigma)) for e in (e1, e2)]))
    share = np.outer(weight, weight) / np.sum(weight) ** 2
    order = np.argsort(e, axis=None)
    inside = np.cumsum(share.ravel()[order])
    return float(min(e.ravel()[order][np.searchsorted(inside, 1.0 - OUTSIDE)], 1.0))


def _bounds(e: Any) -> Any:
    if not is_distribution(e):
        return np.asarray(e, float)
    support = e.support
    return np.asarray([getattr(support, "lower_bound", -np.inf), getattr(support, "upper_bound", np.inf)], float)


def _quantiles(e: Any, share: np.ndarray) -> np.ndarray:
    if not is_distribution(e):
        return np.full_like(share, np.max(np.abs(np.asarray(e, float))))
    try:
        return np.asarray(e.icdf(jnp.asarray(share, jnp.float32)), float)
    except NotImplementedError:  # a distribution that has no quantiles tells nothing of what it reaches
        return np.full_like(share, UNKNOWN)


def _group(distributions: list[dist.Distribution],
           dtype: DTypeLike) -> tuple[tuple[Family, ...], tuple[tuple[int, ...], ...]]:
    """Stack the numbers of distributions of equal structure."""
    groups: dict[Any, list[int]] = {}
    single = [Family.of(distribution) for distribution in distributions]
    for k, family in enumerate(single):
        groups.setdefault(jax.tree.structure(family), []).append(k)

    def stacked(members: list[int]) -> Family:
        return jax.tree.map(lambda *numbers: np.stack([np.asarray(number, dtype) for number in numbers]),
                            *[single[k] for k in members])

    return tuple(stacked(m) for m in groups.values()), tuple(tuple(m) for m in groups.values())
