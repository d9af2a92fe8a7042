"""Components as pytrees: no two classes share a structure, and a jitted function keeps them apart."""

import dataclasses
import importlib
import itertools
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np

import giga
from giga.component import Component, Param, names, static

WAYS = 200


def classes(base):
    return [kind for child in base.__subclasses__() for kind in (child, *classes(child))]


def example(kind):
    """One of a class with its required fields at one, without what its constructor checks."""
    fields = dataclasses.fields(kind)
    made = object.__new__(kind)
    for field in fields:
        default = None if field.default is dataclasses.MISSING else field.default
        object.__setattr__(made, field.name, default if field.metadata.get("static") else 1.0)
    return made


def test_no_two_classes_have_equal_structures():
    """Equal structures would let a jitted function run the program of one class on the other."""
    for module in pkgutil.walk_packages(giga.__path__, "giga."):
        if not module.name.startswith(("giga.cli", "giga.models")):
            importlib.import_module(module.name)
    found = [kind for kind in classes(Component) if kind.__module__.startswith("giga.")]
    assert len(found) > 25
    structures = [jax.tree.structure(example(kind)) for kind in found]
    for (one, first), (two, second) in itertools.combinations(zip(found, structures, strict=True), 2):
        assert first != second, (one, two)


def test_a_jitted_function_keeps_classes_apart():
    """So many classes that some of their hashes collide in the tables that programs are found in."""
    kinds = [type(f"Multiple{k}", (Component,), {"__annotations__": {"x": Param}, "factor": float(k)})
             for k in range(WAYS)]

    @jax.jit
    def value(point):
        return point.factor * point.x

    found = [float(value(kind(x=jnp.asarray(1.0)))) for kind in kinds]
    np.testing.assert_array_equal(found, np.arange(WAYS))


def test_settings_and_leaves_come_back():
    class Lens(Component):
        mass: Param
        light: Param = 2.0
        terms: int = static(default=5)

    lens = Lens(mass={"b": 1.0}, terms=7)
    leaves, structure = jax.tree.flatten(lens)
    again = jax.tree.unflatten(structure, leaves)
    assert (leaves, again.terms, again.mass, again.light) == ([1.0, 2.0], 7, {"b": 1.0}, 2.0)
    assert names(lens) == ("mass.b", "light")
    assert structure == jax.tree.structure(again) != jax.tree.structure(lens.replace(terms=8))
