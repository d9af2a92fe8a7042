"""Joint distributions as GIGA-Lens scripts write them: TensorFlow Probability's own, and stand-ins of the same form."""

import math
import sys
from types import SimpleNamespace

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

from giga.bayes.prior import Prior
from giga.component import leaves_with_names
from giga.io.errors import InputError
from giga.io.exchange.joint import KINDS, distribution_of, scene_of_joint
from giga.jobs.problems.gigalens import demo_prior


def made(name):
    """A class that has what is asked of a distribution of that name: its name and its parameters."""
    return type(name, (), {"__init__": lambda self, *args, **named: self.__dict__.update(
        parameters=dict(zip(KINDS[name][0], args, strict=False)) | named, model=args[0] if args else None)})


def stand_ins():
    joints = {name: type(name, (), {"__init__": lambda self, model: self.__dict__.update(model=model)})
              for name in ("JointDistributionSequential", "JointDistributionNamed")}
    return SimpleNamespace(**joints, **{name: made(name) for name in KINDS}, Gamma=type("Gamma", (), {
        "__init__": lambda self, *args: self.__dict__.update(parameters={})}))


def probability():
    """TensorFlow Probability on JAX, whose 0.25 looks for a name that JAX has moved."""
    if "tensorflow_probability" not in sys.modules:
        xla = pytest.importorskip("jax.interpreters.xla")
        if not hasattr(xla, "pytype_aval_mappings"):
            xla.pytype_aval_mappings = jax._src.core.pytype_aval_mappings
    return pytest.importorskip("tensorflow_probability.substrates.jax").distributions


@pytest.fixture(params=["tensorflow_probability", "stand-ins"])
def tfd(request):
    return stand_ins() if request.param == "stand-ins" else probability()


def demo(tfd, light="Ie"):
    """The prior of GIGA-Lens's demonstration, as its notebook writes it."""
    named, row, log = tfd.JointDistributionNamed, tfd.JointDistributionSequential, math.log
    return row([
        row([named(dict(theta_E=tfd.LogNormal(log(1.25), 0.25), gamma=tfd.TruncatedNormal(2.0, 0.25, 1.0, 3.0),
                        e1=tfd.Normal(0.0, 0.1), e2=tfd.Normal(0.0, 0.1), center_x=tfd.Normal(0.0, 0.05),
                        center_y=tfd.Normal(0.0, 0.05))),
             named(dict(gamma1=tfd.Normal(0.0, 0.05), gamma2=tfd.Normal(0.0, 0.05)))]),
        row([named({light: tfd.LogNormal(log(500.0), 0.3)} | dict(
            R_sersic=tfd.LogNormal(log(1.0), 0.15), n_sersic=tfd.Uniform(2.0, 6.0),
            e1=tfd.TruncatedNormal(0.0, 0.1, -0.3, 0.3), e2=tfd.TruncatedNormal(0.0, 0.1, -0.3, 0.3),
            center_x=tfd.Normal(0.0, 0.05), center_y=tfd.Normal(0.0, 0.05)))]),
        row([named({light: tfd.LogNormal(log(150.0), 0.5)} | dict(
            R_sersic=tfd.LogNormal(log(0.25), 0.15), n_sersic=tfd.Uniform(0.5, 4.0),
            e1=tfd.TruncatedNormal(0.0, 0.15, -0.5, 0.5), e2=tfd.TruncatedNormal(0.0, 0.15, -0.5, 0.5),
            center_x=tfd.Normal(0.0, 0.25), center_y=tfd.Normal(0.0, 0.25)))])])


NAMES = dict(mass=["EPL", "Shear"], lens_light=["SersicEllipse"], source_light=["SersicEllipse"])


def classes(**more):
    """GIGA-Lens's `PhysicalModel`, of objects that are known by their classes."""
    def of(names):
        return [type(name, (), {})() for name in names]

    return SimpleNamespace(lenses=of(NAMES["mass"]), lens_light=of(NAMES["lens_light"]),
                           source_light=of(NAMES["source_light"]), **more)


@pytest.mark.parametrize("light", ["Ie", "amp"])
def test_the_demonstration_is_the_prior_that_giga_has(tfd, light):
    scene, expected = scene_of_joint(demo(tfd, light), classes()), demo_prior()
    assert jax.tree.structure(scene, is_leaf=lambda leaf: isinstance(leaf, dist.Distribution)) == \
        jax.tree.structure(expected, is_leaf=lambda leaf: isinstance(leaf, dist.Distribution))
    first, second = Prior.of(scene), Prior.of(expected)
    assert first.names == second.names and first.size == 22
    z = np.random.default_rng(3).normal(size=22).astype(np.float32)
    values = [np.asarray(jax.jit(lambda p, z: p.log_probs(z))(prior, z)) for prior in (first, second)]
    np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-5)


def test_densities_are_those_of_the_package():
    tfd = probability()
    for one, points in ((tfd.LogNormal(0.2, 0.3), [0.5, 1.5]), (tfd.TruncatedNormal(0.0, 1.0, -0.5, 2.0), [-0.4, 1.0]),
                        (tfd.Uniform(1.0, 3.0), [1.2, 2.0]), (tfd.HalfNormal(0.7), [0.2, 1.0])):
        found = distribution_of(one).log_prob(np.asarray(points, np.float32))
        np.testing.assert_allclose(found, one.log_prob(np.asarray(points, np.float32)), rtol=2e-5)


def test_lists_and_dicts_stand_for_joints(tfd):
    joint = [[{"gamma1": tfd.Normal(0.0, 0.1), "gamma2": 0.0}], [{"R_sersic": tfd.HalfNormal(1.0), "n_sersic": 1.0}]]
    scene = scene_of_joint(joint, mass=["Shear"], source_light=["SersicEllipse"])
    assert scene.mass[0].gamma2 == 0.0 and scene.source_light[0].amp is None and not scene.lens_light
    named = {"lenses": joint[0], "source_light": joint[1]}
    again = scene_of_joint(named, mass=["Shear"], source_light=["SersicEllipse"])
    assert [name for name, _ in leaves_with_names(again)] \
        == [name for name, _ in leaves_with_names(scene)]


def test_a_deterministic_value_is_fixed_and_a_round_sersic_squares_its_amplitude(tfd):
    joint = [[{"gamma1": tfd.Deterministic(0.02), "gamma2": tfd.Normal(0.0, 0.1)}],
             [{"Ie": tfd.LogNormal(1.0, 0.3), "R_sersic": 0.3, "n_sersic": 1.0, "center_x": 0.0, "center_y": 0.0}]]
    scene = scene_of_joint(joint, mass=["Shear"], source_light=["Sersic"])
    assert scene.mass[0].gamma1 == pytest.approx(0.02)
    amp = scene.source_light[0].amp
    assert (float(amp.loc), float(amp.scale)) == pytest.approx((2.0, 0.6))
    joint[1][0]["Ie"] = tfd.Normal(1.0, 0.1)
    with pytest.raises(InputError, match=r"source_light.0.Ie: Normal of the amplitude of a round Sersic"):
        scene_of_joint(joint, mass=["Shear"], source_light=["Sersic"])


def test_shapelets_take_their_order_from_the_model(tfd):
    model = classes()
    model.lenses, model.lens_light = model.lenses[1:], []
    model.source_light = [type("Shapelets", (), {"n_max": 4})()]
    joint = [[{"gamma1": 0.0, "gamma2": 0.0}], [{"beta": tfd.LogNormal(0.0, 0.1)}]]
    source = scene_of_joint(joint, model).source_light[0]
    assert source.n_max == 4 and source.amp is None
    joint[1][0]["amp00"] = tfd.Normal(0.0, 1.0)
    with pytest.raises(InputError, match="source_light.0.amp00: a prior of an amplitude; expected none"):
        scene_of_joint(joint, model)


@pytest.mark.parametrize(("change", "words"), [
    (lambda tfd: {"theta_E": tfd.Gamma(1.0, 2.0)}, "mass.0.theta_E: a distribution Gamma; expected one of"),
    (lambda tfd: {"theta_E": tfd.Normal(np.zeros(2, np.float32), 1.0)}, "theta_E.loc: got [0. 0.] of shape (2,)"),
    (lambda tfd: {"theta_E": tfd.Normal(np.nan, 1.0)}, "mass.0.theta_E.loc: got nan"),
    (lambda tfd: {"tetha_E": 1.0}, "mass.0: got an unexpected keyword argument 'tetha_E'"),
    (lambda tfd: {}, "mass.0: missing 1 required keyword-only argument: 'theta_E'"),
])
def test_what_giga_does_not_have_is_named(tfd, change, words):
    with pytest.raises(InputError) as error:
        scene_of_joint([[change(tfd)]], mass=["SIE"])
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("joint", "names", "words"), [
    ([[{}], [{}]], dict(mass=["SIE"]), "prior: 2 parts; expected 1: mass"),
    ([[{}, {}]], dict(mass=["SIE"]), "mass: 2 profiles; expected 1"),
    ([[{}]], dict(mass=["SIEE"]), "mass.0: a profile SIEE; expected one of"),
    ([[{}]], dict(lens_light=["CoreSersic"]), "computes something else than the core-Sersic profile"),
    ([[3.0]], dict(mass=["SIE"]), "mass.0: a float; expected one of JointDistributionSequential"),
    ([[{}]], dict(masses=["SIE"]), "masses: no such part of a lens; expected one of"),
    ({"lens": [{}]}, dict(mass=["SIE"]), "prior: parts lens; expected mass"),
])
def test_parts_that_do_not_fit_are_named(joint, names, words):
    with pytest.raises(InputError) as error:
        scene_of_joint(joint, **names)
    assert words in str(error.value) and "\n" not in str(error.value)
