"""Distributions of one kind as a pytree whose leaves always come in the same order.

NumPyro's own pytrees list their leaves in the order of a Python set, which changes from process to process. Programs
that take them as arguments would not be found again in JAX's compilation cache, several processes of one run would
not have the same program, and a hash of a prior would not be the same tomorrow.
"""

from __future__ import annotations

from typing import Any

import numpyro.distributions as dist

from giga.component import Component, static


class Family(Component):
    """A distribution taken apart, or several of one kind whose numbers are stacked.

    >>> Family.of(dist.Normal(1.0, 2.0)).distribution.scale
    2.0

    Attributes:
        numbers: Its numbers by name; a distribution among them is a family again.
        kind: Its class.
        settings: Names and values of what is not a number.
    """

    numbers: dict[str, Any]
    kind: type[dist.Distribution] = static()
    settings: tuple[tuple[str, Any], ...] = static()

    @staticmethod
    def of(distribution: dist.Distribution) -> Family:
        """Take a distribution apart."""
        kind = type(distribution)
        data, aux = distribution.tree_flatten()
        numbers = {name: Family.of(value) if isinstance(value, dist.Distribution) else value
                   for name, value in zip(kind.gather_pytree_data_fields(), data, strict=True)}
        settings = sorted(zip(kind.gather_pytree_aux_fields(), aux, strict=True), key=lambda setting: setting[0])
        return Family(numbers=numbers, kind=kind, settings=tuple(settings))

    @property
    def distribution(self) -> dist.Distribution:
        """The distribution, of whatever the numbers have become."""
        settings = dict(self.settings)
        data = [self.numbers[name] for name in self.kind.gather_pytree_data_fields()]
        return self.kind.tree_unflatten(tuple(settings[name] for name in self.kind.gather_pytree_aux_fields()),
                                        tuple(part.distribution if isinstance(part, Family) else part for part in data))
