"""The base of everything that is a pytree: frozen dataclass, static fields, named paths."""

import dataclasses
import importlib
import math
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar, dataclass_transform

import jax
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.core import Tracer

Param: TypeAlias = Any
"""A leaf of a component: a number or an array (a lens), or a distribution (a prior)."""

AnyArray: TypeAlias = Any
"""An array that is NumPy's on the host and JAX's in a compiled program, as in the state of a stage."""

T = TypeVar("T")


def static(inner: bool = False, **kwargs: Any) -> Any:
    """Mark a field as static: a hashable Python setting that is not a leaf of the pytree.

    Args:
        inner: Whether giga alone sets it, so that a configuration has no such field.
        kwargs: Those of `dataclasses.field`.
    """
    return dataclasses.field(metadata={"static": True, "inner": inner}, **kwargs)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(static,))
class Component:
    """A frozen keyword-only dataclass that is also a pytree.

    Subclassing is all it takes. Fields are leaves (or subtrees), except those made with
    `static()`. Batching is `jax.vmap` over the leaves, never an axis inside.

    >>> class Point(Component):
    ...     x: Param
    ...     y: Param = 0.0
    >>> names(Point(x=1.0))
    ('x', 'y')

    Attributes:
        ranges: Open range of each physical parameter, what a configuration is checked against and a prior is kept
            within; those that are not named may be any number.
        from_numbers: Whether numbers alone make one, so that a configuration can.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    from_numbers: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        meta = tuple(f.name for f in fields if f.metadata.get("static"))
        data = tuple(f.name for f in fields if not f.metadata.get("static"))
        keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

        def flatten(tree: Any) -> tuple[list[Any], tuple[Any, ...]]:
            return [getattr(tree, name) for name in data], tuple(getattr(tree, name) for name in meta)

        def flatten_with_keys(tree: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
            leaves, settings = flatten(tree)
            return list(zip(keys, leaves, strict=True)), settings

        def unflatten(settings: tuple[Any, ...], leaves: Iterable[Any]) -> Any:
            return cls(**dict(zip(data, leaves, strict=True)), **dict(zip(meta, settings, strict=True)))

        # Not `register_dataclass`: it calls the structures of two classes equal that have equally many leaves and the
        # same settings, so that a jitted function, whose programs are found by hash and then by equality, now and then
        # took the program of another class (JAX 0.10.2 to 0.12.0).
        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

    def replace(self, **changes: Any) -> Any:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # pyright: ignore[reportArgumentType]


def is_distribution(leaf: Any) -> bool:
    """Tell whether a leaf is a probability distribution (itself a pytree in NumPyro)."""
    return isinstance(leaf, dist.Distribution)


def in_float64(tree: Any) -> Any:
    """A tree of numbers on the host, those that are not integers in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) if np.issubdtype(np.asarray(leaf).dtype, np.floating)
                        else leaf, tree)


def path_name(path: tuple[Any, ...]) -> str:
    """Spell a pytree path as users write it: `mass.0.theta_E`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def leaves_with_names(tree: Any) -> list[tuple[str, Any]]:
    """List the leaves of a tree with their path names; a distribution is one leaf."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_distribution)
    return [(path_name(path), leaf) for path, leaf in leaves]


def names(tree: Any) -> tuple[str, ...]:
    """Path names of all leaves of a tree, in order."""
    return tuple(name for name, _ in leaves_with_names(tree))


def check_numbers(tree: Any, path: str = "") -> None:
    """Refuse numbers outside the open `ranges` of the components of a tree, and ellipticities of modulus one or more.

    Numbers and arrays alone are looked at: distributions have their own check, and what a compiled program traces
    costs nothing.

    Args:
        tree: A scene, or any pytree.
        path: Of the tree, for messages.

    Raises:
        ValueError: Such a number, with its path, its profile and its range.
    """
    parts, _ = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda part: part is not tree and isinstance(part, Component) or is_distribution(part))
    for place, part in parts:
        if isinstance(part, Component) and part is not tree:
            check_numbers(part, ".".join(filter(None, (path, path_name(place)))))
    if not isinstance(tree, Component):
        return
    before, kind = f"{path}." if path else "", type(tree).__name__
    for name, (low, high) in tree.ranges.items():
        values = _numbers(getattr(tree, name))
        if values is not None and not (inside := (low < values) & (values < high)).all():
            words = f"above {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
            raise ValueError(f"{before}{name}: got {values[~inside].flat[0]:g} of {kind}; expected a number {words}")
    if {"e1", "e2"} <= tree.ranges.keys():
        pair = [_numbers(getattr(tree, name)) for name in ("e1", "e2")]
        if pair[0] is not None and pair[1] is not None:
            e1, e2 = np.broadcast_arrays(pair[0], pair[1])
            if (over := ~(np.hypot(e1, e2) < 1.0)).any():
                raise ValueError(f"{before}e2: got {e2[over].flat[0]:g} beside e1 = {e1[over].flat[0]:g} of {kind}; "
                                 "expected e1^2 + e2^2 below 1")


def _numbers(leaf: Any) -> np.ndarray | None:
    """A leaf as an array of at least one axis; None where it is no number, or traced."""
    if leaf is None or is_distribution(leaf) or isinstance(leaf, Tracer):
        return None
    values = np.asarray(leaf)
    return np.atleast_1d(values) if values.dtype.kind in "fiu" else None


def found_in(package: str, base: type[T]) -> dict[str, type[T]]:
    """Import every module of a package and collect the subclasses of a base that they define.

    Args:
        package: Name of the package, already being imported: `giga.mass`.
        base: The base class, itself left out.

    Returns:
        Public classes by name, in the order of the modules.

    Raises:
        ImportError: Two modules define a class of one name.
    """
    found: dict[str, type[T]] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for name, value in vars(module).items():
            if not isinstance(value, type) or not issubclass(value, base) or value is base or name.startswith("_"):
                continue
            if value.__module__ != module.__name__:  # imported there, defined elsewhere
                continue
            if name in found:
                raise ImportError(f"{package}: both {found[name].__module__} and {module.__name__} define {name}")
            found[name] = value
    return found


__all__ = ["AnyArray", "Array", "Component", "Param", "check_numbers", "found_in", "in_float64", "is_distribution",
           "leaves_with_names", "names", "path_name", "static"]
