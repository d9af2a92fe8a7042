"""Profiles that may change places: reorderings of a prior's parameters that leave the posterior as it is."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np

from giga.prior import FIXED, Prior

MOST = 5040  # reorderings that are listed


def exchanges(prior: Prior) -> list[np.ndarray]:
    """Reorderings of the parameters under which likelihood and prior do not change, the identity left out.

    Two Sersics with the same prior in one list of a scene may be exchanged: the image is the same. A
    posterior of such a scene has each of its modes as many times as there are orders.

    Args:
        prior: Prior of a scene.

    Returns:
        Index arrays p of shape (n,): `z[p]` has the density of z.

    Raises:
        ValueError: More than `MOST` orders.
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
    orders = [list(itertools.permutations(group)) for group in groups]
    if (count := int(np.prod([len(order) for order in orders]))) > MOST:
        raise ValueError(f"prior: {count} orders of profiles with equal priors are equivalent; give them different "
                         f"priors (at most {MOST} are handled)")
    out = []
    for chosen in itertools.product(*orders):
        place = np.arange(prior.size)
        for group, order in zip(groups, chosen, strict=True):
            for here, there in zip(group, order, strict=True):
                place[here] = there
        if (place != np.arange(prior.size)).any():
            out.append(place)
    return out


def _fixed(value: Any) -> tuple[Any, ...]:
    return ("fixed", np.shape(value), np.asarray(value).tobytes())


def _marginal(prior: Prior, slot: int) -> tuple[Any, ...]:
    """What tells the distribution of a parameter from that of another."""
    for k, (family, members) in enumerate(zip(prior.families, prior.members, strict=True)):
        if slot in members:
            place = members.index(slot)
            return (k, *(float(np.asarray(leaf)[place]) for leaf in jax.tree.leaves(family)))
    raise AssertionError(f"parameter {slot} is in no family")
