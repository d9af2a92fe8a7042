"""How a population is taken apart: the objects that its leaves lead to, and the steps that make their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.core import Tracer

from giga.bayes.family import Family
from giga.bayes.trial import TRIED, described, unfit
from giga.bayes.truncated import exact
from giga.component import AnyArray, is_distribution, path_name
from giga.light.base import LightProfile
from giga.runtime.parallel import ON_VECTORS
from giga.simulate.populations.catalogue import Catalogue, Column
from giga.simulate.populations.derived import Derived

EXPECTED = "a number, a distribution, a Derived or a Column"


@dataclass(frozen=True)
class Drawn:
    """What the steps take their values from."""

    constants: tuple[AnyArray, ...]
    draws: Mapping[int, Any]
    tables: tuple[dict[str, AnyArray], ...]
    rows: list[Array]


@dataclass(frozen=True)
class _Constant:
    index: int

    def __call__(self, drawn: Drawn, values: list[Any]) -> Any:
        return drawn.constants[self.index]


@dataclass(frozen=True)
class _Draw:
    index: int

    def __call__(self, drawn: Drawn, values: list[Any]) -> Any:
        return drawn.draws[self.index]


@dataclass(frozen=True)
class _Pick:
    table: int
    column: str

    def __call__(self, drawn: Drawn, values: list[Any]) -> Any:
        return jnp.asarray(drawn.tables[self.table][self.column])[drawn.rows[self.table]]


@dataclass(frozen=True)
class _Apply:
    function: Callable[..., Any]
    inputs: tuple[int, ...]

    def __call__(self, drawn: Drawn, values: list[Any]) -> Any:
        return self.function(*(values[k] for k in self.inputs))


class Walk:
    """Numbers every distinct object that leaves lead to, inputs before what is derived from them."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.places: list[str] = []
        self.varies: list[bool] = []
        self.constants: list[Any] = []
        self.distributions: list[dist.Distribution] = []
        self.catalogues: list[tuple[Catalogue, set[str]]] = []
        self.draw_keys: list[int] = []
        self.row_keys: list[int] = []
        self._found: dict[Any, int] = {}

    def visit(self, name: str, leaf: Any) -> int:
        """Number of the step that makes a leaf."""
        known = (id(leaf.catalogue), leaf.name) if isinstance(leaf, Column) else id(leaf)
        if known in self._found:
            return self._found[known]
        if isinstance(leaf, dist.Distribution):
            _check_distribution(name, leaf)
            step, varies = _Draw(len(self.distributions)), True
            self.distributions.append(leaf)
            self.draw_keys.append(self._next_key())
        elif isinstance(leaf, Column):
            step, varies = _Pick(self._table(leaf), leaf.name), True
        elif isinstance(leaf, Derived):
            inputs = tuple(self.visit(f"{name}, input {k} of {_label(leaf)}", part)
                           for k, part in enumerate(leaf.inputs))
            step, varies = _Apply(leaf.function, inputs), any(self.varies[k] for k in inputs)
        else:
            step, varies = _Constant(len(self.constants)), False
            self.constants.append(_number(name, leaf))
            known = object()  # numbers are not tied
        self.steps.append(step)
        self.places.append(f"{name}: {_label(leaf)}" if isinstance(leaf, Derived) else name)
        self.varies.append(varies)
        self._found[known] = len(self.steps) - 1
        return self._found[known]

    def _next_key(self) -> int:
        return len(self.draw_keys) + len(self.row_keys)

    def _table(self, column: Column) -> int:
        for k, (catalogue, used) in enumerate(self.catalogues):
            if catalogue is column.catalogue:
                used.add(column.name)
                return k
        self.row_keys.append(self._next_key())
        self.catalogues.append((column.catalogue, {column.name}))
        return len(self.catalogues) - 1


def check_draws(families: tuple[Family, ...], members: tuple[tuple[int, ...], ...], walk: Walk) -> None:
    """Refuse distributions whose draws are not finite, or all but one number. Raises ValueError."""
    if any(map(is_traced, jax.tree.leaves(families))):
        return
    named = {step.index: place for step, place in zip(walk.steps, walk.places, strict=True) if isinstance(step, _Draw)}
    for index, drawn in zip(members, _draw(families), strict=True):
        for k, draws in zip(index, np.asarray(drawn, float), strict=True):
            distribution = walk.distributions[k]
            low, high = (getattr(distribution, end, None) for end in ("low", "high"))
            if low is not None and high is not None and np.array_equal(low, high):
                continue  # one number, as it says
            for band in draws.reshape(TRIED, -1).T:
                fault = "" if distribution.is_discrete and np.isfinite(band).all() else unfit(band)
                if fault:
                    raise ValueError(f"{named[k]}: {described(distribution)}: {fault}; expected a distribution that "
                                     "is wide against the rounding of its values")


@partial(jax.jit, compiler_options=ON_VECTORS)
def _draw(families: tuple[Family, ...]) -> list[Array]:
    """Draws of each member of each family, shape (members, TRIED, ...)."""
    return [jax.vmap(lambda family: family.distribution.sample(jax.random.key(0), (TRIED,)))(family)
            for family in families]


def is_leaf(node: Any) -> bool:
    return node is None or is_distribution(node)


def _label(leaf: Derived) -> str:
    return f"Derived {getattr(leaf.function, '__name__', type(leaf.function).__name__)}"


def is_traced(value: Any) -> bool:
    return isinstance(value, Tracer)


def check_profiles(scene: Any) -> None:
    """Refuse profiles of several amplitudes, as the axis of a leaf is that of the bands, points, and a sky."""
    nodes, _ = jax.tree_util.tree_flatten_with_path(scene, is_leaf=lambda n: isinstance(n, LightProfile) or is_leaf(n))
    for path, node in nodes:
        if isinstance(node, LightProfile) and node.is_point:
            raise ValueError(f"{path_name(path)}: got {type(node).__name__}, a point of light; expected the light of "
                             "galaxies")
        if isinstance(node, LightProfile) and not node.scalar_amp:
            raise ValueError(f"{path_name(path)}: got {type(node).__name__}, which has {node.n_amp} amplitudes; "
                             "expected profiles of one amplitude")
        if isinstance(node, LightProfile) and not node.convolved:
            raise ValueError(f"{path_name(path)}: got {type(node).__name__}, which no PSF touches; expected the "
                             "light of galaxies: a survey has a sky of its own")


def _number(name: str, leaf: Any) -> Any:
    if leaf is None:
        raise ValueError(f"{name}: got None, a fixed leaf is missing; expected {EXPECTED}")
    if is_traced(leaf):
        return leaf
    if not isinstance(leaf, (int, float, np.ndarray, np.generic, jax.Array)) or isinstance(leaf, bool):
        raise ValueError(f"{name}: got {leaf!r}; expected {EXPECTED}")
    array = np.asarray(leaf)
    if array.dtype.kind not in "fiu" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name}: got an array of type {array.dtype}; expected {EXPECTED}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name}: got {leaf}; expected finite numbers")
    return array


def _check_distribution(name: str, leaf: dist.Distribution) -> None:
    """Refuse arguments outside their range; NumPyro's own check can be off, and lets NaN and infinity pass."""
    kind = type(leaf).__name__
    for argument, value in leaf.get_args().items():
        if is_traced(value):
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{name}: {kind} with {argument} = {value!r}; expected a number")
        unbounded = argument in ("low", "high")
        if np.any(np.isnan(array)) or not unbounded and not np.all(np.isfinite(array)):
            raise ValueError(f"{name}: {kind} with {argument} = {value}; expected finite numbers")
        constraint = leaf.arg_constraints[argument]
        if not dist.constraints.is_dependent(constraint) and not np.all(constraint(array)):
            words = type(constraint).__name__.strip("_").lower()
            raise ValueError(f"{name}: {kind} with {argument} = {value}; expected {words}")
    low, high = getattr(leaf, "low", None), getattr(leaf, "high", None)
    if low is not None and high is not None and not is_traced(low) and not is_traced(high):
        if not np.all(np.asarray(low) <= np.asarray(high)):
            raise ValueError(f"{name}: {kind} with low = {low}, high = {high}; expected low below high")
    for part in jax.tree.leaves(leaf.tree_flatten()[0], is_leaf=is_distribution):
        if is_distribution(part):
            _check_distribution(name, part)


def group(distributions: list[dist.Distribution]) -> tuple[tuple[Family, ...], tuple[tuple[int, ...], ...]]:
    """Stack the numbers of distributions of equal structure and shape."""
    single = [Family.of(exact(distribution)) for distribution in distributions]
    groups: dict[Any, list[int]] = {}
    for k, family in enumerate(single):
        numbers, treedef = jax.tree.flatten(family)
        groups.setdefault((treedef, *((np.shape(n), jnp.result_type(n)) for n in numbers)), []).append(k)

    def stack(*numbers: Any) -> Any:
        return (jnp if any(map(is_traced, numbers)) else np).stack(numbers)

    return (tuple(jax.tree.map(stack, *(single[k] for k in index)) for index in groups.values()),
            tuple(tuple(index) for index in groups.values()))
