"""A bank of geometries on the device: traced once, used again under new noise, strengths and turns."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from giga import parallel
from giga.component import Component, static
from giga.simulate.batch import Batch
from giga.simulate.generator import Geometry, Simulator


class Bank(Component):
    """Images whose scenes repeat, as often as is declared.

    With a reuse of 1, the default, there is no bank: every image has a scene of its own. With a reuse of R an image
    takes a random geometry of the bank: the parameters of scenes repeat, noise, mixing and turns never do. Replace
    `due(images)` geometries after so many images, and each has been used R times in the mean when it goes.

    Attributes:
        simulator: Makes geometries, and images of them.
        geometries: Stacked over the bank; None with a reuse of 1.
        oldest: Number of the geometry that is replaced next.
        reuse: Images a geometry is expected to be used for.
    """

    simulator: Simulator
    geometries: Geometry | None
    oldest: Array
    reuse: int = static(default=1)

    @staticmethod
    def fill(simulator: Simulator, key: Array, size: int, reuse: int = 1, over: Mesh | None = None) -> Bank:
        """Fill a bank; geometry k depends on the key and on k alone.

        Args:
            simulator: The simulator.
            key: Random key.
            size: Number of geometries; with a reuse of 1 none is made.
            reuse: Images a geometry is expected to be used for.
            over: Mesh of devices, each of which gets the whole bank; None is all.

        Raises:
            ValueError: A size or a reuse below 1.
        """
        if size < 1 or reuse < 1:
            raise ValueError(f"bank: size {size} and reuse {reuse}; expected at least 1")
        geometries = None if reuse == 1 else _make(simulator, key, size, over)
        return Bank(simulator=simulator, geometries=geometries, oldest=jnp.zeros((), jnp.int32), reuse=reuse)

    @property
    def size(self) -> int:
        """Number of geometries."""
        return 0 if self.geometries is None else len(self.geometries.variant)

    @property
    def declared(self) -> str:
        """What the identity of a task is to say of the reuse; empty with a reuse of 1."""
        return "" if self.geometries is None else f"bank of {self.size} geometries, reuse {self.reuse}"

    def due(self, images: int) -> int:
        """Geometries to be replaced after so many images."""
        return 0 if self.geometries is None else images // self.reuse

    def example(self, key: Array) -> Batch:
        """One example, without a leading axis; pure, as `Simulator.example`."""
        if self.geometries is None:
            return self.simulator.example(key)
        pick_key, finish_key = jax.random.split(key)
        number = jax.random.randint(pick_key, (), 0, self.size)
        return self.simulator.finish(finish_key, jax.tree.map(lambda a: a[number], self.geometries))

    def refreshed(self, key: Array, count: int, over: Mesh | None = None) -> Bank:
        """The bank with its oldest geometries replaced.

        Args:
            key: Random key.
            count: Number of new geometries, at most the size of the bank; see `due`.
            over: As in `fill`.

        Raises:
            ValueError: More than the bank holds.
        """
        if self.geometries is None or count == 0:
            return self
        if not 0 < count <= self.size:
            raise ValueError(f"bank: {count} new geometries; expected 0 to {self.size}, the size of the bank")
        places = (self.oldest + jnp.arange(count)) % self.size
        geometries = jax.tree.map(lambda old, new: old.at[places].set(new), self.geometries,
                                  _make(self.simulator, key, count, over))
        return self.replace(geometries=geometries, oldest=(self.oldest + count) % self.size)


def _make(simulator: Simulator, key: Array, size: int, over: Mesh | None) -> Geometry:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(size))
    return _maker(over or parallel.mesh())(simulator, keys)


@cache
def _maker(over: Mesh):
    return parallel.compiled(parallel.sharded(parallel.batched(Simulator.geometry, over), over), over)
