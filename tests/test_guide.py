"""Chains led by a coarser posterior: when they are, and that what they sample is the posterior."""

import jax
import numpy as np
import pytest
from _problems import Toy

from giga.inference.chains.diagnostics import rhat_and_ess_bulk
from giga.inference.chains.hmc import HMCConfig, guided, sample_hmc, sampler, warm_up
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import ascender
from giga.runtime.parallel import mesh

CONFIG = HMCConfig(n_chains=8, n_block=100, n_min=200, n_max=3000, ess=2000.0)


class Fine(Toy):
    """A Gaussian whose coarse form is `stretch` wider in every direction, about the place that it was made for."""

    stretch: float = 1.0
    is_fine: bool = True

    def coarse_images(self, z):
        return (z,)

    def coarse(self, images):
        return self.replace(mean=images[0], precision=self.precision / self.stretch**2)


@pytest.fixture(scope="module")
def programs():
    over = mesh()
    return sampler(over, CONFIG), ascender(over, 64, 1)


def fine(stretch: float) -> Fine:
    toy = Toy.of(np.array([0.5, -1.0, 0.0]), np.diag([1.0, 2.0, 0.5]))
    return Fine(**vars(toy), stretch=np.asarray(stretch))


def test_a_guide_is_taken_when_it_is_near(x64, programs):
    exact, ascent = programs
    transport = gaussian(np.array([0.5, -1.0, 0.0]), np.diag([1.0, 2.0, 0.5]), 0, np.float64)
    errors = []
    for stretch, near in ((1.0, True), (1.02, True), (1.5, False)):
        chosen, info = guided(jax.random.key(0), fine(stretch), transport, exact, ascent)
        assert chosen.config.guided == info["guided"] == near
        errors.append(info["guide_error"])
    # half the sum of three squares of normal numbers, less those over the squared stretch
    assert errors[0] < 1e-12 < errors[1] < errors[2]
    assert errors[2] == pytest.approx(0.5 * (1.0 - 1.0 / 1.5**2) * np.sqrt(6.0), rel=0.5)
    toy = Toy.of(np.zeros(3), np.eye(3))
    assert guided(jax.random.key(0), Fine(**vars(toy), is_fine=False), transport, exact, ascent)[0] is exact


def test_what_is_sampled_is_the_posterior(x64, programs):
    """Led by a density that is wider by a twentieth, they have the posterior's variances; each end costs a value."""
    exact, ascent = programs
    led = sampler(exact.over, HMCConfig(**vars(CONFIG) | {"guided": True}))
    posterior, variances = fine(1.05), np.array([1.0, 2.0, 0.5])
    transport = gaussian(np.array([0.4, -0.8, 0.1]), np.diag(variances), 0, np.float64)
    state, _ = warm_up(jax.random.key(1), posterior, transport, led, ascent)
    _, draws, info = sample_hmc(jax.random.key(2), posterior, state, led)
    assert info["converged"] and info["divergences"] == 0
    for values, expected in ((draws.z, [0.5, -1.0, 0.0]), ((draws.z - [0.5, -1.0, 0.0]) ** 2, variances)):
        _, ess = rhat_and_ess_bulk(values)
        error = values.std((0, 1)) / np.sqrt(ess)
        assert (np.abs(values.mean((0, 1)) - expected) < 4.0 * error).all()
    assert info["evaluations"] == pytest.approx(0.55 * draws.n_steps.sum() + 0.55 * draws.n_steps.size, rel=0.01)
