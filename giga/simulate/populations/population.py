"""Populations: scenes whose leaves are distributions, functions of other leaves, or columns of a catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.family import Family
from giga.component import AnyArray, Component, path_name, static
from giga.simulate.populations._walk import Drawn, Walk, check_draws, check_profiles, group, is_leaf
from giga.simulate.populations.catalogue import draw_row, upper_edges
from giga.simulate.populations.derived import Derived as Derived


class Population(Component):
    """A scene of distributions, from which scenes of numbers are drawn.

    Each distinct object among the leaves is drawn once a scene, whatever number of leaves and Deriveds it is in:
    equal objects are ties. The random key of an object is the scene's key folded with its number in the order of first
    appearance, extras last; so one key gives one scene everywhere, and more extras change no draw.

    Build with `Population.of`. Numbers of distributions, fixed values and columns are leaves, so one compiled program
    serves every population of the same structure.

    Attributes:
        families: Distributions of one kind, their numbers stacked.
        tables: For each catalogue the columns that are used, shape (n,) or (n, bands).
        edges: For each catalogue its `upper_edges`, or None.
        constants: Fixed values.
        members: For each family the numbers of its draws.
        keys: For each draw, and then for each catalogue, its number in the order of first appearance.
        steps: How each value is made; a step uses earlier ones only.
        slots: For each leaf of the scene, and then for each extra, its step.
        treedef: Structure of the scene.
        names: Path name of each leaf of the scene, and then the names of the extras.
        free: Names of what varies from scene to scene, ties under the name of the first.
        n_bands: Values of leaves that have one a band; None where no leaf has.
    """

    families: tuple[Family, ...]
    tables: tuple[dict[str, AnyArray], ...]
    edges: tuple[AnyArray | None, ...]
    constants: tuple[AnyArray, ...]
    members: tuple[tuple[int, ...], ...] = static()
    keys: tuple[int, ...] = static()
    steps: tuple[Any, ...] = static()
    slots: tuple[int, ...] = static()
    treedef: Any = static()
    names: tuple[str, ...] = static()
    free: tuple[str, ...] = static()
    n_bands: int | None = static(default=None)

    @staticmethod
    def of(scene: Any, extras: Mapping[str, Any] | None = None) -> Population:
        """Collect what a scene is drawn from.

        Args:
            scene: A scene (or any pytree) with numbers, distributions, Deriveds and Columns on its leaves, each of
                shape () or (bands,).
            extras: More values that are drawn with each scene, and are part of its truth, by name: a redshift, a label.

        Raises:
            ValueError: A leaf that cannot be drawn, named by its path: left out (None), no number, NaN; a distribution
                of invalid arguments, or whose draws are not finite or all one number; a Derived that fails or returns
                no array; a leaf of another shape, or two numbers of bands.
        """
        check_profiles(scene)
        # A None is kept as a leaf here, so that it is seen and refused.
        leaves, treedef = jax.tree_util.tree_flatten_with_path(scene, is_leaf=is_leaf)
        named = [(path_name(path), leaf) for path, leaf in leaves]
        taken = {name for name, _ in named}
        for name, leaf in (extras or {}).items():
            if name in taken:
                raise ValueError(f"{name}: an extra of this name; expected a name that no leaf of the scene has")
            named.append((name, leaf))
        walk = Walk()
        slots = tuple(walk.visit(name, leaf) for name, leaf in named)
        families, members = group(walk.distributions)
        check_draws(families, members, walk)
        seen: set[int] = set()
        free = [name for slot, (name, _) in zip(slots, named, strict=True)
                if slot not in seen and not seen.add(slot) and walk.varies[slot]]
        population = Population(
            families=families, members=members,
            tables=tuple({name: table.columns[name] for name in sorted(used)} for table, used in walk.catalogues),
            edges=tuple(None if table.weights is None else upper_edges(table.weights) for table, _ in walk.catalogues),
            constants=tuple(walk.constants), keys=(*walk.draw_keys, *walk.row_keys), steps=tuple(walk.steps),
            slots=slots, treedef=treedef, names=tuple(name for name, _ in named), free=tuple(free))
        return population.replace(n_bands=_count_bands(population, walk.places))

    def sample(self, key: Array) -> Any:
        """Draw a scene with numbers on its leaves, of shape () or (bands,)."""
        return self.draw(key)[0]

    def draw(self, key: Array, row: Array | None = None) -> tuple[Any, dict[str, Array]]:
        """Draw a scene and its truth.

        Args:
            key: Random key.
            row: Of the catalogues, in the place of one that is drawn: where a scene is of a galaxy that is there.

        Returns:
            The scene, and the values of its leaves and of the extras by name. Leaves of the scene are of the default
            float type, extras as they were drawn.
        """
        values = self.values(key, row)
        leaves, extras = self.slots[:self.treedef.num_leaves], self.slots[self.treedef.num_leaves:]
        numbers = [*(jnp.asarray(values[slot], float) for slot in leaves), *(jnp.asarray(values[s]) for s in extras)]
        scene = jax.tree_util.tree_unflatten(self.treedef, numbers[:len(leaves)])
        return scene, dict(zip(self.names, numbers, strict=True))

    def values(self, key: Array, row: Array | None = None) -> list[Any]:
        """Value of each step, in order; see `draw`."""
        drawn, values = self._drawn(key, row), []
        for step in self.steps:
            values.append(step(drawn, values))
        return values

    def _drawn(self, key: Array, row: Array | None = None) -> Drawn:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.asarray(self.keys, np.uint32)) if self.keys else key
        draws: dict[int, Any] = {}
        for family, index in zip(self.families, self.members, strict=True):
            values = jax.vmap(lambda family, key: family.distribution.sample(key))(family, keys[np.asarray(index)])
            draws.update(zip(index, values, strict=True))
        rows = [draw_row(keys[len(draws) + k], len(next(iter(table.values()))), edges) if row is None else row
                for k, (table, edges) in enumerate(zip(self.tables, self.edges, strict=True))]
        return Drawn(self.constants, draws, self.tables, rows)


def _count_bands(population: Population, places: list[str]) -> int | None:
    """Trace a draw, without computing it, to check the type and shape of every value; returns the number of bands."""
    found: list[tuple[str, int]] = []

    def trace() -> None:
        drawn, values = population._drawn(jax.random.key(0)), []
        for step, place in zip(population.steps, places, strict=True):
            try:
                value = step(drawn, values)
            except Exception as error:
                raise ValueError(f"{place} raised {type(error).__name__}: {error}") from error
            if not isinstance(value, (int, float, np.ndarray, np.generic, jax.Array)):
                raise ValueError(f"{place} returned {type(value).__name__}; expected one array")
            if not jnp.issubdtype(jnp.result_type(value), jnp.number) and jnp.result_type(value) != np.bool_:
                raise ValueError(f"{place} returned type {jnp.result_type(value)}; expected numbers")
            values.append(value)
        for name, slot in zip(population.names, population.slots, strict=True):
            shape = np.shape(values[slot])
            if len(shape) > 1 or shape == (0,):
                raise ValueError(f"{name}: got shape {shape}; expected () or (bands,)")
            if shape and found and shape[0] != found[0][1]:
                raise ValueError(f"{name}: got {shape[0]} bands; expected {found[0][1]}, as {found[0][0]} has")
            if shape and not found:
                found.append((name, shape[0]))

    jax.eval_shape(trace)
    return found[0][1] if found else None
