"""Many lenses together: each as alone, whatever runs beside it, and one that fails hurts no other."""

import dataclasses
import threading
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, observe
from _processes import devices, python

from giga.inference.fleet import Fleet, Lens, Request, fit_many, most_together
from giga.inference.pipeline import fit
from giga.inference.result import Result
from giga.inference.routine import Routine
from giga.inference.settings import FitConfig
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.runtime import parallel
from giga.runtime.calls import Program
from giga.runtime.parallel import mesh

OPTIMISED = True

CONFIG = FitConfig(derived=False, n_predictive=0,
                   n_screen=12, n_starts=6, n_finalists=6, map_rounds=2, vi_steps=4, vi_samples=12, n_chains=6,
                   n_block=20, n_pilot=1, min_iterations=20, max_iterations=60, target_ess=60.0, target_tail_ess=20.0,
                   target_rhat=1.2)
TRACES = []


class Counted(Sersic):
    """A light that counts how often it is traced, and is NaN on the far right."""

    def basis(self, x, y):
        TRACES.append(1)
        return jnp.where(self.center_x > 0.5, jnp.nan, super().basis(x, y))


def prior(low: float = -0.5) -> Scene:
    return Scene(lens_light=[Counted(amp=dist.LogNormal(1.0, 0.5), R_sersic=dist.LogNormal(-0.7, 0.3), n_sersic=1.0,
                                     center_x=dist.Uniform(low, low + 1.0))])


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


def test_more_lenses_are_traced_no_more(fleet, x64):
    lenses = [lens(k) for k in range(7)]
    before = len(TRACES)
    outcomes = run(lenses, together=3)
    assert len(TRACES) == before > 0
    assert [type(outcome) for outcome in outcomes.values()] == [Result] * 7
    for k in range(5):
        check_same(outcomes[f"lens{k}"], fleet[1][f"lens{k}"])


def test_one_that_fails_is_told_and_the_rest_end(fleet, x64):
    """NaN in the search, a start that misses a parameter, and no observation; beside two good ones."""
    lenses, outcomes = fleet
    bad = {"nan": lens(9, prior=prior(0.6)), "start": lens(8, start={"lens_light.0.amp": 1.0}),
           "none": lens(7, observations=[])}
    bad = {name: dataclasses.replace(lens, name=name) for name, lens in bad.items()}
    found = run([lenses[0], *bad.values(), lenses[1]], together=3)
    for name, kind, text in (("nan", FloatingPointError, "all 12 starts"), ("start", KeyError, "no value for"),
                             ("none", ValueError, "at least one Observation")):
        assert isinstance(found[name], kind) and text in str(found[name])
    for k in range(2):
        check_same(found[f"lens{k}"], outcomes[f"lens{k}"])


def test_times_of_all_add_up_to_the_wall(x64):
    begun = time.perf_counter()
    outcomes = run([lens(k) for k in range(3)], together=3)
    wall = time.perf_counter() - begun
    assert 0.3 * wall < sum(sum(outcome.timings_s.values()) for outcome in outcomes.values()) < 1.01 * wall
    assert min(min(outcome.timings_s.values()) for outcome in outcomes.values()) >= 0.0


# Toys: routines that ask for the product of their own number with what they hold.

PRODUCT, SUM = (Program(name, jax.jit(lambda held, slots, active, x, f=f: jax.vmap(f)(held[slots], x)), lambda x: 0)
                for name, f in (("product", jnp.multiply), ("sum", jnp.add)))


def asking(steps, ask):
    """Body of a routine: asks as many times as it is told, and returns the answers."""
    number, programs = steps
    held = np.float32(number) if number < 100 else np.full(2, number, np.float32)
    return [ask(Request(program, held, (np.float32(k),)))[0] for k, program in enumerate(programs)]


def toys(fleet, steps):
    return {k: out for k, out in fleet.run(range(len(steps)), lambda k: Routine(partial(asking, steps[k])))}


@pytest.fixture(params=["cpu", "accelerator"])
def together(request, monkeypatch):
    """On an accelerator calls go two at a time, and of several widths."""
    if request.param == "accelerator":
        monkeypatch.setattr(parallel, "one_by_one", lambda over: False)
    return request.param


@pytest.mark.parametrize("seats", [1, 3, 8])
def test_answers_reach_those_who_asked(together, seats):
    """Of any length, order, program and shape, in any number of seats."""
    rng = np.random.default_rng(seats)
    steps = [(int(rng.integers(200)), [PRODUCT, SUM][k % 2:] * int(rng.integers(4))) for k in range(12)]
    found = toys(Fleet(seats, mesh()), steps)
    assert set(found) == set(range(12))
    for k, (number, programs) in enumerate(steps):
        expected = [number * j if program is PRODUCT else number + j for j, program in enumerate(programs)]
        assert [np.unique(answer).item() for answer in found[k]] == expected


def test_calls_are_shared(together):
    """Six that ask alike: on a CPU one call a step for all; on an accelerator two halves, one of them under way."""
    widths = []

    def run(held, slots, active, x):
        widths.append((len(active), int(active.sum())))
        return PRODUCT.run(held, slots, active, x)

    counted = Program("product", run, lambda x: 0)
    toys(Fleet(6, mesh()), [(k, [counted] * 2) for k in range(6)])
    assert widths == ([(6, 6)] * 2 if together == "cpu" else [(3, 3)] * 4)
    widths.clear()
    toys(Fleet(40, mesh()), [(0, [counted])])
    assert widths == ([(40, 1)] if together == "cpu" else [(1, 1)])


def test_out_of_memory_halves_the_call():
    widths = []

    def run(held, slots, active, x):
        widths.append(len(active))
        if len(active) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes.")
        return PRODUCT.run(held, slots, active, x)

    greedy = Program("product", run, lambda x: 0)
    with pytest.warns(RuntimeWarning, match="out of memory with 5 lenses in a call; going on with 2"):
        found = toys(Fleet(5, mesh()), [(k, [greedy] * 2) for k in range(5)])
    assert {k: [float(x) for x in out] for k, out in found.items()} == {k: [0.0, k] for k in range(5)}
    assert widths == [5, 2, 2, 2, 2, 2]


def test_a_fault_of_the_program_ends_all():
    """What is no failure of a lens is raised, and no thread is left waiting."""
    before = threading.active_count()

    def body(k, ask):
        ask(Request(PRODUCT, np.float32(1.0), (np.float32(1.0),)))
        if k == 1:
            raise TypeError("a fault")

    fleet = Fleet(3, mesh())
    with pytest.raises(TypeError, match="a fault"):
        list(fleet.run(range(3), lambda k: Routine(partial(body, k), (ValueError,))))
    fleet.stop()
    assert threading.active_count() == before


def interrupt(*_):
    raise KeyboardInterrupt


def interrupted(program, closed, fails=None):
    """A fleet of three that is interrupted while they wait; each notes when it is closed, and one may fail at that."""

    def body(k, ask):
        try:
            ask(Request(program, np.float32(1.0), (np.float32(1.0),)))
        finally:
            closed.append(k)
            if k == fails:
                raise OSError("no room for the journal")

    fleet = Fleet(3, mesh())
    with pytest.raises(KeyboardInterrupt):
        list(fleet.run(range(3), lambda k: Routine(partial(body, k))))
    return fleet


@pytest.mark.parametrize("where", ["call", "answer"])
def test_an_interrupted_call_leaves_nobody_behind(together, monkeypatch, where):
    """Those whom the call was for are stopped too, so that they may close what they hold."""
    before, closed = threading.active_count(), []
    if where == "answer":
        monkeypatch.setattr(parallel, "on_host", interrupt)
    fleet = interrupted(Program("product", interrupt, lambda x: 0) if where == "call" else PRODUCT, closed)
    assert not closed
    fleet.stop()
    assert sorted(closed) == [0, 1, 2]
    assert threading.active_count() == before


def test_one_that_fails_to_stop_is_told_when_all_have_stopped():
    before, closed = threading.active_count(), []
    fleet = interrupted(Program("product", interrupt, lambda x: 0), closed, fails=1)
    with pytest.raises(OSError, match="no room for the journal"):
        fleet.stop()
    assert sorted(closed) == [0, 1, 2]
    assert threading.active_count() == before


def test_a_routine_takes_turns():
    log = []

    def body(ask):
        log.append("begins")
        log.append(ask("first"))
        log.append(ask("second"))
        return "ends"

    routine = Routine(body)
    assert not log and routine.request is None
    routine.resume()
    assert log == ["begins"] and routine.request == "first"
    routine.resume(1)
    assert log == ["begins", 1] and routine.request == "second"
    routine.resume(2)
    assert log == ["begins", 1, 2] and routine.request is None and routine.outcome == "ends"


def test_bad_number_of_lenses():
    with pytest.raises(ValueError, match="together: expected a positive number of lenses, got 0"):
        fit_many([], together=0, done=lambda lens, outcome: None)


def test_lenses_at_a_time(monkeypatch):
    """On a CPU two chains a device; on an accelerator many lenses."""
    devices = mesh().devices.size
    assert most_together(mesh(), FitConfig(n_chains=max(4, 2 * devices))) == 1
    assert most_together(mesh(jax.devices()[:1] * 16), FitConfig(n_chains=4)) == 8
    monkeypatch.setattr(parallel, "one_by_one", lambda over: False)
    assert most_together(mesh(), FitConfig()) == 64 * devices


EIGHT = """
    import sys
    import jax, numpy as np
    jax.config.update("jax_enable_x64", True)
    from test_fleet import check_same, lens, run
    from giga.runtime.parallel import mesh
    lenses = [lens(k) for k in range(3)]
    one, eight = (run(lenses, together=2, over=mesh(devices)) for devices in (jax.devices()[:1], jax.devices()))
    assert len(eight["lens0"].devices) == 8
    for name in one:
        check_same(eight[name], one[name])
    """


@pytest.mark.slow
def test_a_fleet_does_not_depend_on_the_number_of_devices():
    python(EIGHT, **devices(8))
