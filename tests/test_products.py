"""No product in float32 is left to a GPU's ten bits: every program that fits or simulates asks for all digits."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import giga
from giga.bayes.posterior import Posterior
from giga.inference.search.curvature import quadratic
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import _natural_step
from giga.jobs.problems import demo60, foundry128
from giga.models.networks.separator import GGSLConfig
from giga.models.systems.ggsl import make_simulator
from giga.runtime.products import HIGHEST, einsum, matmul

PRODUCTS = ("dot_general", "conv_general_dilated")


def careless(closed) -> list[str]:
    """The products of float32 in a traced program, and in those that it calls, without the highest precision."""
    found = []
    for equation in closed.eqns:
        if equation.primitive.name in PRODUCTS and equation.outvars[0].aval.dtype == np.float32:
            precision = equation.params["precision"]
            if precision != (HIGHEST, HIGHEST):
                found.append(str(equation)[:200])
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    found += careless(inner)
    return found


def traced(function, *arguments):
    return jax.make_jaxpr(function)(*arguments).jaxpr


@pytest.mark.parametrize("amplitudes", ["profile", "marginal", "nonnegative"])
@pytest.mark.parametrize("problem", [demo60, foundry128], ids=lambda make: make.__name__)
def test_posteriors_and_their_curvature(problem, amplitudes):
    made = problem()
    posterior = Posterior.of(made.prior, made.observations, amplitudes, 10.0 if amplitudes == "marginal" else None)
    z = jnp.zeros(posterior.prior.size)
    assert not careless(traced(jax.value_and_grad(posterior.log_prob), z))
    assert not careless(traced(lambda z: quadratic(posterior, z), z))


def test_the_maps_of_vi_and_hmc():
    transport = gaussian(np.zeros(5), np.eye(5))
    u = jnp.ones((4, 5))
    assert not careless(traced(jax.jacrev(lambda u: transport(u)[0]), u[0]))
    assert not careless(traced(lambda u: _natural_step(transport, u, 0.5 * u, 0.3), u))


@pytest.mark.parametrize("recipe", ["paper", "physical"])
def test_simulators(recipe):
    simulator = make_simulator(GGSLConfig(recipe=recipe))
    assert not careless(traced(lambda key: simulator.example(key).image, jax.random.key(0)))


def test_a_careless_product_is_found():
    a = jnp.ones((2, 2))
    assert len(careless(traced(jax.jit(lambda a: a @ a), a))) == 1
    assert careless(traced(lambda a: jax.lax.scan(lambda c, _: (c @ a, None), a, None, 3)[0], a))
    assert not careless(traced(lambda a: matmul(a, a) + einsum("ij,jk->ik", a, a), a))


def test_nothing_else_multiplies_matrices_on_a_device():
    """A product that is written without `giga.runtime.products` is left to the device's default."""
    plain = re.compile(r"jnp\.(einsum|matmul|dot|vdot|inner|tensordot)\b|jax\.lax\.(dot|dot_general|batch_matmul)\(")
    files = [path for path in Path(giga.__file__).parent.rglob("*.py")
             if "models" not in path.parts and path.name != "products.py"]
    assert len(files) > 80
    assert not [f"{path.name}: {line}" for path in files for line in path.read_text().splitlines()
                if plain.search(line)]
