"""The whole road from pixels to samples, on small problems."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from _problems import blank, lens, observe

from giga.inference.pipeline import fit
from giga.inference.result import Result
from giga.inference.settings import FitConfig
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL
from giga.runtime.calls import Clock
from giga.runtime.checkpoint import Store

OPTIMISED = True

SMALL = FitConfig(derived=False, n_screen=64, n_starts=16, n_finalists=8, map_rounds=3, vi_steps=8, vi_samples=32,
                  n_chains=8, n_block=50, n_pilot=1, min_iterations=100, max_iterations=200, target_ess=200.0,
                  target_tail_ess=80.0)
TRUTH = {"mass.0.theta_E": 0.9, "mass.0.gamma": 2.05, "mass.0.e1": 0.08, "source_light.0.R_sersic": 0.2,
         "source_light.0.center_x": 0.05}


def small_prior() -> Scene:
    return Scene(
        mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.2), gamma=dist.TruncatedNormal(2.0, 0.2, low=1.2, high=2.8),
                  e1=dist.Normal(0.0, 0.1), e2=-0.05)],
        source_light=[Sersic(amp=20.0, R_sersic=dist.LogNormal(-1.6, 0.3), n_sersic=1.2, e1=0.1, e2=0.1,
                             center_x=dist.Normal(0.0, 0.1), center_y=-0.04)])


def small_observation():
    scene = lens().replace(lens_light=[], mass=[lens().mass[0]])
    return observe(scene, blank(size=24, pixel_scale=0.12, exposure=500.0), 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One fit with its store and its reports."""
    store = Store(tmp_path_factory.mktemp("fit"), "a", interval_s=0.0)
    reports = []
    result = fit(small_prior(), [small_observation()], config=SMALL, seed=5, truth=TRUTH, store=store,
                 report=lambda stage, numbers: reports.append((stage, numbers)))
    return result, store, reports


@pytest.mark.slow
def test_truth_lies_in_the_posterior(run):
    result, _, _ = run
    assert set(result.samples) == set(TRUTH)
    for name, truth in TRUTH.items():
        values = result.samples[name]
        assert abs(values.mean() - truth) < 4.0 * values.std(), name
        assert abs(result.best[name] - truth) < 4.0 * values.std(), name
        assert result.vi_samples[name].std() == pytest.approx(values.std(), rel=0.3)
    assert result.reduced_chi2 == pytest.approx(1.0, abs=0.2)


@pytest.mark.slow
def test_result_is_complete(run):
    result, _, _ = run
    # On request; the numbers of a paper, which SMALL leaves out; what there is without pixels; images of points.
    optional = {"pointwise", "derived", "field", "point_images"}
    assert all(getattr(result, f.name) is not None for f in dataclasses.fields(Result) if f.name not in optional)
    shape = result.samples["mass.0.theta_E"].shape
    assert shape[0] == 8 and 100 <= shape[1] <= 200
    assert set(result.sample_stats) == {"lp", "acceptance_rate", "diverging", "energy", "n_steps"}
    drawn = (*result.samples.values(), *result.sample_stats.values(), result.log_likelihood)
    assert {a.shape for a in drawn} == {shape}
    assert {a.shape for a in (*result.vi_samples.values(), *result.prior_samples.values())} == {(4000,)}
    assert result.n_pixels == 24 * 24 and result.n_free == 5
    stages = {"map", "svi", "hmc", "evidence"}
    assert set(result.timings_s) == {"compile", *stages} and min(result.timings_s.values()) > 0.0
    assert set(result.evaluations) == stages and min(result.evaluations.values()) > 0
    assert set(result.diagnostics["mass.0.gamma"]) == {"rhat", "rhat_gelman_rubin", "ess_bulk", "ess_tail"}
    assert result.seed == 5 and result.devices and result.versions["jax"] == jax.__version__
    assert json.loads(json.dumps([result.info, result.best, result.timings_s, result.evaluations, result.diagnostics]))
    assert all(name in result.summary() for name in TRUTH)


@pytest.mark.slow
def test_result_images_and_likelihood(run):
    result, _, _ = run
    (image, sigma), observation = (result.model_images[0], result.sigma_images[0]), result.observations[0]
    np.testing.assert_allclose(sigma, np.sqrt(0.02**2 + np.maximum(image, 0.0) / 500.0), rtol=1e-5)
    assert result.chi2 == pytest.approx(np.sum(((observation.image - image) / sigma) ** 2), rel=1e-6)
    best = scipy.stats.norm(image, sigma).logpdf(observation.image).sum()
    k = np.argmax(result.sample_stats["lp"])
    assert result.log_likelihood.flat[k] == pytest.approx(best, abs=0.5)  # best by posterior, of samples or search


@pytest.mark.slow
def test_reports(run):
    _, _, reports = run
    stages = [stage for stage, _ in reports]
    assert sorted(set(stages), key=stages.index) == ["map", "svi", "hmc", "evidence"]
    for stage in ("map", "svi", "hmc", "evidence"):
        numbers = [n for s, n in reports if s == stage]
        assert numbers[0] == {} and numbers[-1]["done"] <= 1.0


@pytest.mark.slow
def test_a_resumed_fit_is_bit_for_bit_the_same(run, tmp_path):
    """Killed within each stage, with nothing lost, and with a part that is damaged."""
    result, store, reports = run
    called = [store.meta(part)["records"][0][0] for part in store.names("part-")]
    parts, searched, fitted = len(called), called.index("ascent"), called.index("sample")
    assert called[0] == "screen" and set(called) == {"screen", "improve", "ascent", "sample"}
    for kept, damaged in ((1, None), (searched + 1, None), (fitted + 1, None), (parts, None), (parts, parts - 2)):
        folder = tmp_path / f"{kept}-{damaged}"
        shutil.copytree(store.folder, folder)
        for name in store.names("part-")[kept:]:
            (folder / f"{name}.json").unlink()
        if damaged is not None:
            shutil.rmtree(folder / f"part-{damaged:04d}")
        told = []
        again = fit(small_prior(), [small_observation()], config=SMALL, seed=5, store=Store(folder, "a", 0.0),
                    report=lambda stage, numbers, told=told: told.append(numbers))
        for name in TRUTH:
            np.testing.assert_array_equal(again.samples[name], result.samples[name])
        assert again.best == result.best
        assert again.evaluations == result.evaluations
        assert again.info == result.info
        assert sum("note" in numbers for numbers in told) == (damaged is not None)
        if (kept, damaged) == (parts, None):  # nothing is done again, and all of it was paid for
            paid = sum(row[3] for part in store.names("part-") for row in store.meta(part)["records"])
            assert sum(again.timings_s.values()) - again.timings_s["compile"] > 0.999 * paid > 0.0


@pytest.mark.slow
def test_same_seed_same_samples_and_bands_fit_together(x64):
    """Two bands, solved amplitudes, float32 while JAX is in float64 mode; a light alone, which compiles fast."""
    def scene(amp, R_sersic, x) -> Scene:
        return Scene(lens_light=[Sersic(amp=amp, R_sersic=R_sersic, n_sersic=1.2, e1=0.1, e2=0.1, center_x=x)])

    observations = [observe(scene(20.0, 0.4, 0.05), blank(size=16, pixel_scale=0.2, exposure=500.0, band=band), seed)
                    for seed, band in ((1, "red"), (2, "blue"))]
    prior = scene(None, dist.LogNormal(-0.7, 0.3), dist.Normal(0.0, 0.1))
    config = dataclasses.replace(SMALL, max_iterations=100, n_predictive=0)
    first, second, other = (fit(prior, observations, config=config, seed=seed) for seed in (1, 1, 2))
    for name, truth in {"lens_light.0.R_sersic": 0.4, "lens_light.0.center_x": 0.05}.items():
        np.testing.assert_array_equal(first.samples[name], second.samples[name])
        assert (first.samples[name] != other.samples[name]).any()
        assert abs(first.samples[name].mean() - truth) < 4.5 * first.samples[name].std()
    assert first.n_free == 2 + 2
    assert len(first.scenes) == len(first.model_images) == 2
    amplitudes = [float(scene.lens_light[0].amp) for scene in first.scenes]
    np.testing.assert_allclose(amplitudes, 20.0, rtol=0.2)
    assert amplitudes[0] != amplitudes[1]
    solved = first.amplitudes
    assert list(solved.draws) == ["lens_light.0.amp.red", "lens_light.0.amp.blue"]
    chains, draws = next(iter(first.samples.values())).shape
    assert solved.of[0] == 0 and solved.of[-1] == draws - 1
    for name, best in zip(solved.draws, amplitudes, strict=True):
        row = solved.rows()[name]
        assert row["best"] == best and abs(row["mean"] - 20.0) < 4.5 * row["sd"]
        assert 0.0 < row["sd"] < 3.0 and solved.draws[name].shape == (chains, len(solved.of))


@pytest.mark.slow
def test_simulation_based_calibration():
    """Draw truths from the prior, fit each, and the ranks of the truths are uniform (Talts et al. 2018)."""
    prior = Scene(lens_light=[Sersic(amp=dist.LogNormal(1.0, 0.3), R_sersic=dist.LogNormal(-0.7, 0.2), n_sersic=1.0,
                                     center_x=dist.Normal(0.0, 0.1))])
    names = ("lens_light.0.amp", "lens_light.0.R_sersic", "lens_light.0.center_x")
    config = FitConfig(derived=False, n_predictive=0,
                       n_screen=32, n_starts=8, n_finalists=8, map_rounds=2, vi_steps=6, vi_samples=32, n_chains=8,
                       n_block=50, n_pilot=1, min_iterations=50, max_iterations=50)
    rng, ranks = np.random.default_rng(11), []
    for seed in range(20):
        values = np.exp(1.0 + 0.3 * rng.normal()), np.exp(-0.7 + 0.2 * rng.normal()), 0.1 * rng.normal()
        truth = Scene(lens_light=[Sersic(amp=values[0], R_sersic=values[1], n_sersic=1.0, center_x=values[2])])
        observation = observe(truth, blank(size=12, pixel_scale=0.25, rms=0.3), seed)
        result = fit(prior, [observation], config=config, seed=seed)
        ranks.append([float((result.samples[name] < value).mean()) for name, value in zip(names, values, strict=True)])
    counts = np.stack([np.histogram(column, 5, (0.0, 1.0))[0] for column in np.transpose(ranks)])
    assert scipy.stats.chisquare(counts, axis=1).pvalue.min() > 0.005, counts
    assert scipy.stats.chisquare(counts.sum(0)).pvalue > 0.005, counts


@pytest.mark.parametrize("changes, message", [
    ({"map_method": "newton"}, "inference.map_method: expected lm or adam, got 'newton'"),
    ({"n_screen": 0}, "inference.n_screen: expected a positive integer, got 0"),
    ({"vi_steps": 0}, "inference.vi_steps: expected a positive integer, got 0"),
    ({"n_chains": 3}, "inference.n_chains: expected at least 4"),
    ({"vi_samples": 7}, "inference.vi_samples: expected an even number"),
    ({"n_starts": 1000}, "expected n_finalists <= n_starts <= n_screen, got 16, 1000, 512"),
    ({"target_accept": 1.0}, "inference.target_accept: expected a number between 0 and 1, got 1.0"),
    ({"target_tail_ess": -1.0}, "inference.target_tail_ess: expected a number of 0 or more, got -1.0"),
    ({"target_rhat": 1.0}, "inference.target_rhat: expected a number above 1, got 1.0"),
])
def test_config_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        FitConfig(**changes)


def test_settings_reach_their_stages():
    config = FitConfig(n_chains=6, map_steps=7, vi_axis="none", target_ess=55.0, target_tail_ess=22.0)
    assert config.map.steps == 7 and config.vi.axis == "none" and config.hmc.n_chains == 6 and config.hmc.ess == 55.0
    assert config.hmc.tail_ess == config.smc.tail_ess == 22.0


def test_precision_errors():
    with pytest.raises(ValueError, match="precision: expected float32 or float64, got 'half'"):
        fit(small_prior(), [small_observation()], precision="half")
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64 needs jax.config.update"):
        fit(small_prior(), [small_observation()], precision="float64")


def test_a_scene_without_distributions_is_an_error():
    with pytest.raises(ValueError, match="no leaf of the scene is a distribution"):
        fit(lens(), [small_observation()])


def test_the_clock_counts_and_goes_deaf():
    with Clock() as clock:
        jax.jit(lambda x: jnp.sin(x) * 3.25)(jnp.ones(7)).block_until_ready()
    counted = clock.seconds
    assert counted > 0.0
    jax.jit(lambda x: jnp.cos(x) * 4.25)(jnp.ones(7)).block_until_ready()
    assert clock.seconds == counted
