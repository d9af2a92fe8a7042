"""Components as pytrees: no two classes share a structure, and a jitted function keeps them apart."""

import dataclasses
import importlib
import itertools
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import giga
from giga.bayes.prior import Prior
from giga.component import Component, Param, check_numbers, names, static
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL, NFW, SIE
from giga.mass.members import DPIE, Halos

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


@pytest.mark.parametrize(("scene", "said"), [
    (Scene(mass=[SIE(theta_E=1.0, e1=0.0, e2=0.0), EPL(theta_E=1.0, gamma=3.5, e1=0.0, e2=0.0)]),
     "mass.1.gamma: got 3.5 of EPL; expected a number between 1 and 3"),
    (Scene(mass=[NFW(Rs=-1.0, alpha_Rs=1.0)]), "mass.0.Rs: got -1 of NFW; expected a number above 0"),
    (Scene(mass=[SIE(theta_E=np.nan, e1=0.0, e2=0.0)]), "mass.0.theta_E: got nan of SIE; expected a number above 0"),
    (Scene(mass=[SIE(theta_E=1.0, e1=0.9, e2=0.9)]), "mass.0.e2: got 0.9 beside e1 = 0.9 of SIE; expected"),
    (Scene(mass=[SIE(theta_E=jnp.asarray([1.0, -2.0]), e1=0.0, e2=0.0)]), "mass.0.theta_E: got -2 of SIE"),
    (Scene(mass=[Halos(each=DPIE(sigma=np.array([1.0, 2.0]), core=np.array([0.1, -0.1]), cut=2.0))]),
     "mass.0.each.core: got -0.1 of DPIE; expected a number above 0"),
    (Scene(lens_light=[Sersic(R_sersic=0.0, n_sersic=1.0)]), "lens_light.0.R_sersic: got 0 of Sersic; expected"),
])
def test_impossible_numbers_are_refused_where_a_prior_is_made(scene, said):
    free = scene.replace(noise_scale=[dist.LogNormal(0.0, 0.1)])
    for refuse in (scene.check, lambda: check_numbers(scene), lambda: Prior.of(free)):
        with pytest.raises(ValueError) as caught:
            refuse()
        assert str(caught.value).startswith(said)


def test_what_is_traced_or_free_is_not_looked_at():
    """A program is the same with the check, and takes what the check would refuse; priors have their own."""
    bad = Scene(mass=[EPL(theta_E=1.0, gamma=3.5, e1=0.0, e2=0.0)])

    def with_check(scene):
        check_numbers(scene)
        return scene.mass[0].gamma * 2.0

    assert str(jax.make_jaxpr(with_check)(bad)) == str(jax.make_jaxpr(lambda scene: scene.mass[0].gamma * 2.0)(bad))
    np.testing.assert_allclose(jax.vmap(with_check)(jax.tree.map(lambda leaf: jnp.ones(3) * leaf, bad)), 7.0)
    check_numbers(bad.replace(mass=[bad.mass[0].replace(gamma=dist.Normal(2.0, 0.1))]))
