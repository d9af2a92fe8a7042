"""From modes to one set of draws: a mode that breaks down is told, and the others go on."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pytest
from _problems import Mixture

from giga.bayes.exchange import Exchanges
from giga.inference.modes.modes import Mode
from giga.inference.sampling import sample_particles
from giga.inference.search.map import MapState
from giga.inference.settings import FitConfig
from giga.inference.smc.smc import SMCConfig, smc_programs
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import VIState, ascender
from giga.runtime.journal import Journal
from giga.runtime.parallel import mesh

MEANS, COVARIANCES = [[-2.0, 0.0, 0.0], [2.0, 1.0, 0.0]], [np.diag([0.09, 0.25, 1.0]), np.diag([0.25, 0.25, 0.5])]
CONFIG = SMCConfig(n_groups=4, n_particles=32, n_moves=3, n_keep=2, ess=1e9, max_steps=8)


@pytest.fixture(scope="module")
def programs():
    over = mesh()
    return smc_programs(over, CONFIG, ascender(over, 64, 1))


@dataclass
class Run:
    """Stages of a fit whose maps are known, but for those of some modes, which are not numbers."""

    programs: Any
    broken: tuple[int, ...] = ()
    config: FitConfig = field(default_factory=lambda: FitConfig(sampler="smc", smc_start="map"))
    posterior: Any = field(default_factory=lambda: Mixture.of(MEANS, COVARIANCES, [2.4, 0.6]))
    exchanges: Exchanges = Exchanges([], 1)
    info: dict = field(default_factory=lambda: {"map": {}})
    timings: dict = field(default_factory=dict)
    evaluations: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    journal: Journal = field(default_factory=lambda: Journal(None))
    ascent: Any = None

    def report(self, stage, numbers):
        if "note" in numbers:
            self.notes.append(numbers["note"])

    def vi(self, found, k=0):
        def work():
            if k in self.broken:
                raise FloatingPointError(f"map {k} is not a number")
            return VIState(gaussian(np.array(MEANS[k]), COVARIANCES[k], 0, np.float64)), {"evaluations": 7}

        return self.stage(f"svi-{k + 1}" if k else "svi", work)

    def hmc(self, fitted, share=1.0, k=0):
        raise AssertionError("no chains are wanted")

    def stage(self, name, work):
        state, info = work()
        self.timings[name], self.evaluations[name], self.info[name] = 1.0, info["evaluations"], info
        return state

    def smc(self):
        return self.programs

    def key(self, stage, k):
        return jax.random.fold_in(jax.random.key(stage), k)


def modes():
    return [Mode(np.array(mean), log_prob, np.linalg.inv(covariance), 4, weight, 0.0, np.nan)
            for mean, covariance, log_prob, weight in zip(MEANS, COVARIANCES, (-1.0, -2.0), (0.8, 0.2), strict=True)]


def sampled(run):
    found = MapState(np.array(MEANS), np.array([-1.0, -2.0]), np.stack([mode.precision for mode in modes()]))
    return sample_particles(run, found, modes())


@pytest.mark.parametrize("broken", [(), (0,), (1,)])
def test_a_mode_without_a_map_is_told_and_the_others_go_on(x64, programs, broken):
    run = Run(programs, broken)
    fitted, draws = sampled(run)
    rows = run.info["map"]["modes"]
    assert np.isfinite(draws.z).all() and len(rows) == 2
    assert run.timings["svi"] == 2.0 - len(broken) and run.evaluations["svi"] == 7 * (2 - len(broken))
    assert set(run.timings) == {"svi", "hmc"} and run.info["svi"]["evaluations"] == 7
    first = 1 if broken == (0,) else 0
    np.testing.assert_allclose(fitted.transport(np.zeros(3))[0], MEANS[first])
    if not broken:
        assert not run.notes and [row["sampled"] for row in rows] == [True, True]
        return
    (k,) = broken
    (note,) = run.notes
    assert f"no particles start from mode {k + 1}" in note and f"map {k} is not a number" in note
    said = rows[k].get("failed", rows[k].get("not_a_start"))
    assert said == f"map {k} is not a number"
    assert rows[k]["sampled"] == (np.abs(draws.z[..., 0] - MEANS[k][0]).min() < 1.0) == ("not_a_start" in rows[k])
    assert ("could not be sampled" in run.info["map"]["modes_sentence"]) == ("failed" in rows[k])


def test_no_map_at_all_is_an_error(x64, programs):
    with pytest.raises(FloatingPointError, match="map 0 is not a number"):
        sampled(Run(programs, (0, 1)))
