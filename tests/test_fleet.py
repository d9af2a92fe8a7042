"""Many lenses together: each as alone, whatever runs beside it, and one that fails hurts no other."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, observe

from giga.inference.fleet import Lens, fit_many
from giga.inference.pipeline import FitConfig, fit
from giga.light import Sersic
from giga.scene import Scene

CONFIG = FitConfig(n_screen=12, n_starts=6, n_finalists=6, map_rounds=2, vi_steps=4, vi_samples=12, n_chains=6,
                   n_block=20, n_pilot=1, min_iterations=20, max_iterations=60, target_ess=60.0, target_rhat=1.2)
TRACES = []


class Counted(Sersic):
    """A light that counts how often it is traced."""

    def basis(self, x, y):
        TRACES.append(1)
        return super().basis(x, y)


def prior(low: float = -1.0) -> Scene:
    return Scene(lens_light=[Counted(amp=dist.LogNormal(1.0, 0.5), R_sersic=dist.LogNormal(-0.7, 0.3), n_sersic=1.0,
                                     center_x=dist.Uniform(low, 1.0))])


def lens(k: int, **changes) -> Lens:
    """Lens k: its own light, noise and seed."""
    truth = Scene(lens_light=[Counted(amp=3.0 + 0.5 * k, R_sersic=0.4 + 0.05 * k, n_sersic=1.0, center_x=0.02 * k)])
    observation = observe(truth, blank(size=14, pixel_scale=0.2, rms=0.05), seed=k)
    return Lens(**{**dict(name=f"lens{k}", prior=prior(), observations=[observation], seed=k), **changes})


def run(lenses, **options):
    """Outcomes by name, in the order in which they came."""
    outcomes = {}

    def done(lens, outcome):
        assert lens.name not in outcomes
        outcomes[lens.name] = outcome

    fit_many(lenses, config=CONFIG, precision="float64", done=done, **options)
    return outcomes


@pytest.fixture(scope="module")
def fleet():
    """Five lenses, three at a time."""
    with jax.enable_x64(True):
        lenses = [lens(k) for k in range(5)]
        return lenses, run(lenses, together=3)


def check_same(found, expected):
    assert set(found.samples) == set(expected.samples)
    for name, values in expected.samples.items():
        np.testing.assert_allclose(found.samples[name], values, rtol=1e-6, atol=1e-8)
        assert found.best[name] == pytest.approx(expected.best[name], rel=1e-6)
    assert found.evaluations == expected.evaluations
    assert found.chi2 == pytest.approx(expected.chi2, rel=1e-6)


def test_each_as_alone(fleet, x64):
    lenses, outcomes = fleet
    assert set(outcomes) == {lens.name for lens in lenses}
    for lens in lenses:
        alone = fit(lens.prior, lens.observations, config=CONFIG, seed=lens.seed, precision="float64")
        check_same(outcomes[lens.name], alone)
