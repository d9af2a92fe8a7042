"""What a result belongs to: a hash of all that made it, and what of that has changed, in words."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from os import PathLike, fspath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from giga.component import is_distribution

NUMBERS = 8
"""Version of giga's numbers. Raise it with every change of a formula, a default or a random stream after which the same
input gives other results: it is part of every identity, and what an older version began is not gone on with."""

SETTINGS = ("jax_default_prng_impl", "jax_threefry_partitionable")
"""Settings of JAX that all random numbers depend on."""

LATER = "later"
"""In the metadata of a field that came to a dataclass later: at its default it is no part of an identity, so that what
was made before it keeps its own."""

LONGEST = 60  # characters of a fact that are kept as they are


def identity_of(*parts: Any) -> str:
    """Hash of anything that a result depends on, by value.

    Dataclasses count with their class and every field, static ones too; mappings with their names; functions and
    classes with where they are defined, and what functions enclose; pytrees of other kinds with the paths of their
    leaves. `NUMBERS` and JAX's settings of random numbers are always part of it.

    Raises:
        TypeError: Something that has no value of its own, such as an open file.
    """
    settings = {name: jax.config.values.get(name) for name in SETTINGS}
    return _digest([NUMBERS, settings, parts]).hex()


def hash_of(tree: Any) -> str:
    """Hash of the arrays of a pytree alone, in their order: of data, whoever made it."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        data = _bytes(np.asarray(leaf))
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def told(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as they are kept beside a result, to tell later what has changed: short values as they are, else a hash."""
    return {"version of giga's numbers": str(NUMBERS)} | {name: _told(value) for name, value in facts.items()}


def changed(kept: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between facts that `told` gave, each as `name: old -> new`.

    >>> changed({"pixel_scale": "0.05", "image": "a1"}, {"pixel_scale": "0.1", "image": "a1"})
    ['pixel_scale: 0.05 -> 0.1']
    """
    names = [name for name in (*kept, *(set(now) - set(kept))) if kept.get(name) != now.get(name)]
    return [f"{name}: {kept.get(name, 'none')} -> {now.get(name, 'none')}" for name in names]


def _told(value: Any) -> str:
    text = str(value) if value is None or isinstance(value, (bool, int, float, str)) else ""
    return text if text and len(text) <= LONGEST and "\n" not in text else f"hash {_digest(value).hex()[:12]}"


def _digest(value: Any) -> bytes:
    digest = hashlib.sha256()
    for part in _parts(value):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _parts(value: Any) -> Iterator[bytes]:
    """A value as bytes: what kind it is, and its content."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, enum.Enum):
        yield f"{_place(type(value))} {value.name}".encode()
    elif isinstance(value, PathLike):
        yield b"path " + str(fspath(value)).encode()
    elif isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        yield b"key " + str(value.dtype).encode() + _bytes(np.asarray(jax.random.key_data(value)))
    elif isinstance(value, (np.ndarray, np.generic, jax.Array)):
        yield b"array " + _bytes(np.asarray(value))
    elif isinstance(value, Mapping):
        yield b"mapping"
        for name in sorted(value, key=str):
            yield _digest(str(name)) + _digest(value[name])
    elif isinstance(value, Set):
        yield b"set"
        yield from sorted(map(_digest, value))
    elif isinstance(value, Sequence):  # a list and a tuple of the same are the same
        yield b"sequence"
        yield from map(_digest, value)
    elif isinstance(value, jax.tree_util.PyTreeDef):
        yield b"structure"
        yield _digest(jax.tree.unflatten(value, range(value.num_leaves)))
    elif is_distribution(value):  # whose leaves come in the order of a set
        kind = type(value)
        yield b"distribution " + _place(kind).encode()
        yield _digest({name: vars(value).get(name) for name in (*kind.gather_pytree_data_fields(),
                                                                *kind.gather_pytree_aux_fields())})
    elif isinstance(value, type):
        yield b"class " + _place(value).encode()
    elif dataclasses.is_dataclass(value):
        yield b"fields " + _place(type(value)).encode()
        yield _digest({field.name: getattr(value, field.name) for field in dataclasses.fields(value)
                       if not (field.metadata.get(LATER) and getattr(value, field.name) == field.default)})
    elif isinstance(value, functools.partial):
        yield b"partial"
        yield _digest([value.func, value.args, value.keywords])
    elif isinstance(value, types.MethodType):
        yield b"method"
        yield _digest([value.__func__, value.__self__])
    elif callable(value) and hasattr(value, "__qualname__"):
        yield b"function " + _place(value).encode()
        yield from _enclosed(value)
    else:
        yield from _other(value)


def _enclosed(function: Any) -> Iterator[bytes]:
    """What a function carries besides its name; of one without a name also what it does."""
    inner = getattr(function, "__wrapped__", function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return
    yield _digest([[cell.cell_contents for cell in inner.__closure__ or ()], inner.__defaults__,
                   inner.__kwdefaults__])
    if code.co_name == "<lambda>":
        yield _digest([code.co_code, list(code.co_names), [one for one in code.co_consts if not callable(one)
                                                           and not isinstance(one, types.CodeType)]])


def _other(value: Any) -> Iterator[bytes]:
    """A pytree of a kind of its own, or an object that is what its attributes say."""
    found, _ = jax.tree_util.tree_flatten_with_path(value)
    yield b"object " + _place(type(value)).encode()
    if len(found) != 1 or found[0][1] is not value:
        yield from (_digest([jax.tree_util.keystr(path), leaf]) for path, leaf in found)
    elif hasattr(value, "__dict__"):
        yield _digest(vars(value))
    else:
        raise TypeError(f"identity: got {value!r:.60} of type {type(value).__name__}; expected numbers, texts, arrays, "
                        "functions, and what is made of them")


def _place(definition: Any) -> str:
    return f"{definition.__module__}.{definition.__qualname__}"


def _bytes(array: np.ndarray) -> bytes:
    if array.dtype == object:
        raise TypeError(f"identity: got an array of objects of shape {array.shape}; expected numbers")
    return f"{array.shape} {array.dtype} ".encode() + np.ascontiguousarray(array).tobytes()
