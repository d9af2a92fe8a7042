"""Profiles that may change places: reorderings of a prior's parameters that leave the image as it is.

Where the priors of the profiles are equal too, the posterior has equal copies, of which one is enough. Where they are
not, as when only the widths of their centres differ, it has modes that the likelihood does not tell apart.
`Orders` folds these into one: the chains see the sum over all orders, and each draw is then put in an order of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from giga.bayes.prior import FIXED, Prior, constrained
from giga.component import AnyArray, Component

MOST_ORDERS = 24  # that are folded; each costs an evaluation of the prior


class Exchanges(NamedTuple):
    """Reorderings of the parameters under which likelihood and prior do not change.

    Attributes:
        swaps: Those that exchange two profiles, index arrays p of shape (n,): `z[p]` has the density of z.
            All others are made of these.
        orders: Number of all of them, the identity included.
        unlike: The orders of profiles that differ in their priors alone, one for each way in which the
            priors can be dealt out; None if there is but one, or more than `MOST_ORDERS`.
    """

    swaps: list[np.ndarray]
    orders: int
    unlike: Orders | None = None


NONE = Exchanges([], 1)


class Orders(Component):
    """Reorderings of z under which the likelihood does not change, but the prior may; the first is the identity.

    The profiles' parameters have the same supports, so a reordering is affine: order k of z is
    `stretch[k] * z[place[k]] + shift[k]`, with unit Jacobian.

    Attributes:
        place: Shape (orders, n), integers.
        stretch, shift: Shape (orders, n).
    """

    place: AnyArray
    stretch: AnyArray
    shift: AnyArray

    def __call__(self, z: AnyArray) -> AnyArray:
        """All orders of a vector, shape (orders, n)."""
        return self.stretch * z[self.place] + self.shift

    def log_prior(self, prior: Prior, z: Array) -> Array:
        """Log-prior of each order of a vector, shape (orders,)."""
        return jax.vmap(prior.log_prob)(self(z))

    def deal(self, key: Array, prior: Prior, z: Array) -> tuple[Array, Array]:
        """Put a draw of the folded posterior in an order, drawn by the prior's odds: a draw of the posterior.

        Returns:
            The vector, and its log-prior less that of all orders together.
        """
        log_prior = self.log_prior(prior, z)
        k = jax.random.categorical(key, log_prior)
        return self(z)[k], log_prior[k] - jax.nn.logsumexp(log_prior)


def exchanges(prior: Prior, named: Collection[tuple[str, int]] = ()) -> Exchanges:
    """Find profiles that may change places.

    Two Sersics with the same prior in one list of a scene may be exchanged: the image is the same. A
    posterior of such a scene has each of its modes as many times as there are orders.

    Args:
        prior: Prior of a scene.
        named: Profiles that a likelihood knows by their number, such as ("lens_light", 2): they stay where they are.
    """
    fixed = iter(prior.fixed)
    marks = jax.tree.unflatten(prior.treedef, [_Mark(slot, next(fixed) if slot == FIXED else None)
                                              for slot in prior.slots])
    supports = _supports(prior)
    groups: list[list[_Member]] = []
    for part in ("mass", "lens_light", "source_light"):
        kinds: dict[Any, list[_Member]] = {}
        for number, profile in enumerate(getattr(marks, part)):
            if (part, number) in named:
                continue
            leaves, structure = jax.tree.flatten(profile, is_leaf=lambda leaf: isinstance(leaf, _Mark))
            slots = [slot for slot, _ in leaves if slot != FIXED]
            if slots and all(prior.slots.count(slot) == slots.count(slot) for slot in slots):  # none is shared
                first = {slot: k for k, slot in reversed(list(enumerate(slots)))}
                kind = tuple(_fixed(value) if slot == FIXED else (first[slot], *supports[slot])
                             for slot, value in leaves)
                label = tuple(_marginal(prior, slot) for slot in slots)
                kinds.setdefault((structure, kind), []).append(_Member(slots, label))
        groups += [members for members in kinds.values() if len(members) > 1]
    equal = [[m.slots for m in group if m.label == label] for group in groups for label in {m.label for m in group}]
    swaps = []
    for here, there in itertools.chain.from_iterable(itertools.combinations(slots, 2) for slots in equal):
        place = np.arange(prior.size)
        place[here], place[there] = there, here
        swaps.append(place)
    return Exchanges(swaps, math.prod(math.factorial(len(slots)) for slots in equal), _unlike(prior, groups))


class _Mark(NamedTuple):
    """What stands on a leaf: the number of its parameter, or FIXED and the value."""

    slot: int
    value: Any


class _Member(NamedTuple):
    """A profile that others are like: the numbers of its parameters, and what tells its prior from theirs."""

    slots: list[int]
    label: tuple[Any, ...]


def _unlike(prior: Prior, groups: list[list[_Member]]) -> Orders | None:
    """The ways to deal out the priors of each group to its profiles."""
    ways = [_deals(group) for group in groups]
    count = math.prod(len(each) for each in ways)
    if not 1 < count <= MOST_ORDERS:
        return None
    place = np.tile(np.arange(prior.size), (count, 1))
    for row, deals in zip(place, itertools.product(*ways), strict=True):
        for group, deal in zip(groups, deals, strict=True):
            for member, k in zip(group, deal, strict=True):
                row[member.slots] = group[k].slots
    shift, scale = np.asarray(prior.shift, float), np.asarray(prior.scale, float)
    dtype = prior.shift.dtype
    return Orders(place=place, stretch=(scale[place] / scale).astype(dtype),
                  shift=((shift[place] - shift) / scale).astype(dtype))


def _deals(group: list[_Member]) -> list[tuple[int, ...]]:
    """Orders of a group that differ in who has which prior, the identity first; too many are not listed."""
    if len({m.label for m in group}) == 1 or math.factorial(len(group)) > MOST_ORDERS:
        return [tuple(range(len(group)))]
    found: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for order in itertools.permutations(range(len(group))):
        found.setdefault(tuple(group[k].label for k in order), order)
    return list(found.values())


def _supports(prior: Prior) -> list[tuple[float, ...]]:
    """What tells the support of a parameter from that of another: where the map from the real line takes three points.

    Rounded, since the sums that lead there may end differently for two members of one batch.
    """
    places = np.stack([(u - np.asarray(prior.shift)) / np.asarray(prior.scale) for u in (-1.0, 0.5, 2.0)])
    values = np.asarray(constrained(prior, places.astype(prior.shift.dtype)), float)
    return [tuple(float(f"{v:.4g}") for v in row) for row in values.T]


def _fixed(value: Any) -> tuple[Any, ...]:
    return ("fixed", np.shape(value), np.asarray(value).tobytes())


def _marginal(prior: Prior, slot: int) -> tuple[Any, ...]:
    """What tells the distribution of a parameter from that of another."""
    for k, (family, members) in enumerate(zip(prior.families, prior.members, strict=True)):
        if slot in members:
            place = members.index(slot)
            return (k, *(float(np.asarray(leaf)[place]) for leaf in jax.tree.leaves(family)))
    raise AssertionError(f"parameter {slot} is in no family")
