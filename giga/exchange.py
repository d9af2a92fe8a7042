"""Profiles that may change places: reorderings of a prior's parameters that leave the posterior as it is."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from giga.prior import FIXED, Prior


class Exchanges(NamedTuple):
    """Reorderings of the parameters under which likelihood and prior do not change.

    Attributes:
        swaps: Those that exchange two profiles, index arrays p of shape (n,): `z[p]` has the density of z.
            All others are made of these.
        orders: Number of all of them, the identity included.
    """

    swaps: list[np.ndarray]
    orders: int


def exchanges(prior: Prior) -> Exchanges:
    """Find profiles with equal priors.

    Two Sersics with the same prior in one list of a scene may be exchanged: the image is the same. A
    posterior of such a scene has each of its modes as many times as there are orders.

    Args:
        prior: Prior of a scene.
    """
    fixed = iter(prior.fixed)
    marks = jax.tree.unflatten(prior.treedef, [(slot, next(fixed) if slot == FIXED else None) for slot in prior.slots])
    groups: list[list[list[int]]] = []  # the parameter numbers of each profile of a group of like ones
    for profiles in (marks.mass, marks.lens_light, marks.source_light):
        kinds: dict[Any, list[list[int]]] = {}
        for profile in profiles:
            leaves, structure = jax.tree.flatten(profile, is_leaf=lambda leaf: isinstance(leaf, tuple))
            slots = [slot for slot, _ in leaves if slot != FIXED]
            if slots and all(prior.slots.count(slot) == slots.count(slot) for slot in slots):  # none is shared
                first = {slot: k for k, slot in reversed(list(enumerate(slots)))}
                likeness = tuple(_fixed(value) if slot == FIXED else (first[slot], *_marginal(prior, slot))
                                 for slot, value in leaves)
                kinds.setdefault((structure, likeness), []).append(slots)
        groups += [members for members in kinds.values() if len(members) > 1]
    swaps = []
    for here, there in itertools.chain.from_iterable(itertools.combinations(group, 2) for group in groups):
        place = np.arange(prior.size)
        place[here], place[there] = there, here
        swaps.append(place)
    return Exchanges(swaps, math.prod(math.factorial(len(group)) for group in groups))


def _fixed(value: Any) -> tuple[Any, ...]:
    return ("fixed", np.shape(value), np.asarray(value).tobytes())


def _marginal(prior: Prior, slot: int) -> tuple[Any, ...]:
    """What tells the distribution of a parameter from that of another."""
    for k, (family, members) in enumerate(zip(prior.families, prior.members, strict=True)):
        if slot in members:
            place = members.index(slot)
            return (k, *(float(np.asarray(leaf)[place]) for leaf in jax.tree.leaves(family)))
    raise AssertionError(f"parameter {slot} is in no family")
