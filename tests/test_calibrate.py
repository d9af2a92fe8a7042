"""The run of a calibration study: simulated data, ranks, going on; posteriors known in closed form."""

import dataclasses
import json

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import xarray as xr
from _problems import blank
from astropy.io import fits
from typer.testing import CliRunner

import giga.jobs.calibrate
from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.cli import app
from giga.cli.calibrate import _finish
from giga.imaging.render import render_data
from giga.inference.checks.calibration import coverage, uniformity
from giga.inference.result import Result
from giga.inference.settings import FitConfig
from giga.io.errors import InputError
from giga.io.results.calibration import Study
from giga.io.results.posterior import GROUPS
from giga.io.tables import write_toml
from giga.jobs.calibrate import Calibration, run
from giga.lensing.scene import Scene
from giga.light import Sersic

OPTIMISED = True

MEAN, SD, DRAWS = 10.0, 2.0, 990
SHORT = FitConfig(derived=False,
                  n_screen=16, n_starts=4, n_finalists=4, map_steps=3, map_rounds=2, vi_steps=2, vi_samples=8,
                  n_chains=4, n_block=50, n_pilot=1, min_iterations=50, max_iterations=50)


def one_amplitude(amp=None, **changes) -> Calibration:
    """One Sersic of which only the amplitude is free: with fixed noise its posterior is a Gaussian."""
    amp = dist.Normal(MEAN, SD) if amp is None else amp
    scene = Scene(lens_light=[Sersic(amp=amp, R_sersic=0.5, n_sersic=1.0)])
    return Calibration(**dict(prior=scene, observations=[blank(size=12, rms=0.3, ss=1)]) | changes)


def exact(lens, scale: float = 1.0) -> Result:
    """The Gaussian posterior of the amplitude, or one whose standard deviation is wrong by a factor."""
    (observation,) = lens.observations
    unit = lens.prior.replace(lens_light=[lens.prior.lens_light[0].replace(amp=1.0)])
    basis = np.asarray(RENDER(unit, observation.data(np.float32)), float)
    precision = 1.0 / SD**2 + np.sum(basis**2) / observation.background_rms**2
    mean = (MEAN / SD**2 + np.sum(basis * observation.image) / observation.background_rms**2) / precision
    draws = mean + scale * np.random.default_rng(lens.seed).normal(size=(2, DRAWS // 2)) / np.sqrt(precision)
    chi2 = np.sum(((observation.image - draws[..., None, None] * basis) / observation.background_rms) ** 2, (-1, -2))
    log_likelihood = -0.5 * chi2 - observation.image.size * np.log(observation.background_rms * np.sqrt(2.0 * np.pi))
    posterior = Posterior.of(lens.prior, lens.observations)
    z = (draws - MEAN) / SD
    lp = log_likelihood - float(posterior.log_norm) - 0.5 * z**2 - 0.5 * np.log(2.0 * np.pi)
    return Result(
        prior=lens.prior, observations=lens.observations, scenes=[], best={}, samples={"lens_light.0.amp": draws},
        vi_samples={}, prior_samples={}, sample_stats={"lp": lp}, log_likelihood=log_likelihood, model_images=[],
        sigma_images=[], chi2=144.0, n_pixels=144, n_free=1, diagnostics={"lens_light.0.amp": {
            "rhat": 1.0, "ess_bulk": float(DRAWS)}},
        timings_s={}, evaluations={"hmc": 5}, info={"hmc": {"converged": True}}, truth=lens.truth)


RENDER = jax.jit(render_data)


def many(scale: float = 1.0):
    """A `fit_many` of exact posteriors; of every lens 7 of ten the fit fails."""

    def fit_many(lenses, *, done, **_):
        for lens in lenses:
            done(lens, ArithmeticError("broke") if lens.name.endswith("7") else exact(lens, scale))

    return fit_many


def columns(rows, key: str, name: str) -> np.ndarray:
    return np.array([row[key][name] for row in rows if "failed" not in row])


def test_exact_posteriors_are_calibrated_and_wrong_ones_are_not(tmp_path, monkeypatch):
    calibration = one_amplitude(seed=3)
    for scale, folder in ((1.0, "right"), (0.5, "wrong")):
        monkeypatch.setattr(giga.jobs.calibrate, "fit_many", many(scale))
        study = Study(tmp_path / folder, calibration.identity())
        run(calibration, study, 200)
        rows = study.rows(200)
        assert sum("failed" in row for row in rows) == 20
        p = {name: uniformity(columns(rows, "ranks", name), 99).p_chi2
             for name in ("lens_light.0.amp", "log_likelihood", "log_prior")}
        found = coverage(columns(rows, "below", "lens_light.0.amp"), 0.95)
        if scale == 1.0:
            assert min(p.values()) > 0.01
            assert found.low <= found.share <= found.high
        else:
            assert p["lens_light.0.amp"] < 1e-6 > p["log_likelihood"]
            assert found.share < found.low


def test_a_study_goes_on_and_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(giga.jobs.calibrate, "fit_many", many())
    calibration, fitted = one_amplitude(), []
    study = Study(tmp_path, calibration.identity())
    run(calibration, study, 3, lambda number, row: fitted.append(number))
    first = study.rows(9)
    run(calibration, Study(tmp_path, calibration.identity()), 5, lambda number, row: fitted.append(number))
    assert fitted == [0, 1, 2, 3, 4]
    assert study.rows(3) == first[:3]
    other = one_amplitude(seed=1)
    with pytest.raises(InputError, match="study of other settings"):
        Study(tmp_path, other.identity())


def test_identity_sees_what_ranks_depend_on():
    same, others = one_amplitude().identity(), [
        one_amplitude(seed=1), one_amplitude(ranked=49), one_amplitude(amp=dist.Normal(MEAN, 2.1)),
        one_amplitude(observations=[blank(size=12, rms=0.31, ss=1)]), one_amplitude(config=FitConfig(n_chains=12))]
    assert one_amplitude().identity() == same
    assert len({same, *(other.identity() for other in others)}) == 6


def test_truths_are_draws_of_the_prior_and_noise_is_the_likelihoods():
    calibration = one_amplitude()
    lenses = [calibration.lens(k) for k in range(300)]
    truth = np.array([lens.truth["lens_light.0.amp"] for lens in lenses])
    assert abs(truth.mean() - MEAN) < 4 * SD / np.sqrt(300)
    assert truth.std() == pytest.approx(SD, rel=0.2)
    assert len({lens.seed for lens in lenses}) == 300
    unit = np.asarray(RENDER(calibration.prior.replace(lens_light=[Sersic(amp=1.0, R_sersic=0.5, n_sersic=1.0)]),
                             calibration.observations[0].data(np.float32)), float)
    residual = np.stack([lens.observations[0].image for lens in lenses]) - truth[:, None, None] * unit
    assert residual.std() == pytest.approx(0.3, rel=0.02)
    assert np.array_equal(calibration.lens(7).observations[0].image, lenses[7].observations[0].image)


def test_photon_noise_follows_the_model():
    calibration = one_amplitude(amp=dist.Normal(1e4, 1.0), observations=[blank(size=12, rms=1e-3, ss=1, exposure=4.0)])
    images = np.stack([calibration.lens(k).observations[0].image for k in range(300)])
    assert np.allclose(images.var(0) / (images.mean(0) / 4.0), 1.0, atol=0.5)


def test_linear_amplitudes_need_a_prior():
    scene = Scene(lens_light=[Sersic(R_sersic=dist.LogNormal(-0.7, 0.1), n_sersic=1.0)])
    template = blank(size=12, rms=0.3, ss=1, exposure=50.0).replace(image=np.full((12, 12), 2.0))
    with pytest.raises(ValueError, match="got 'nonnegative'; expected 'marginal'"):
        Calibration(scene, [template])
    calibration = Calibration(scene, [template], amplitudes="marginal", amplitude_sd=30.0)
    assert np.allclose(calibration.observations[0].noise_map, np.sqrt(0.3**2 + 2.0 / 50.0), rtol=1e-6)
    peaks = np.array([calibration.lens(k).observations[0].image[6, 6] for k in range(200)])
    assert (peaks > 0).mean() == pytest.approx(0.5, abs=0.15)  # amplitudes of either sign, as their prior has it


def test_fits_that_cannot_have_as_many_draws_as_are_ranked_are_refused():
    few = FitConfig(n_chains=4, n_block=10, min_iterations=10, max_iterations=24)
    with pytest.raises(ValueError, match="max_iterations: got 24 of 4 chains, 96 draws; expected at least the 99"):
        one_amplitude(config=few)
    assert one_amplitude(config=few, ranked=95).ranked == 95
    assert one_amplitude(config=dataclasses.replace(few, sampler="smc")).ranked == 99


def test_a_fit_that_ended_with_fewer_draws_than_are_ranked_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(giga.jobs.calibrate, "fit_many", many())
    calibration = one_amplitude(ranked=1999)
    study = Study(tmp_path, calibration.identity())
    run(calibration, study, 1)
    assert study.rows(1)[0]["failed"] == "990 draws, fewer than the 1999 that are ranked"


def test_failures_are_listed_by_the_number_of_the_lens(tmp_path, monkeypatch):
    """Also where a lens before it has no row."""
    monkeypatch.setattr(giga.jobs.calibrate, "fit_many", many())
    calibration = one_amplitude()
    study = Study(tmp_path, calibration.identity())
    run(calibration, study, 20)
    (tmp_path / "lenses" / "00004.json").unlink()
    _finish(study.rows(20), tmp_path, 99)
    found = json.loads((tmp_path / "calibration.json").read_text())
    assert [row["lens"] for row in found["failed"]] == [7, 17] and found["lenses"] == 17


@pytest.mark.slow
def test_a_study_of_real_fits(tmp_path):
    calibration = one_amplitude(config=SHORT)
    study = Study(tmp_path, calibration.identity())
    run(calibration, study, 2)
    for number, row in enumerate(study.rows(2)):
        assert set(row["ranks"]) == {"lens_light.0.amp", "log_likelihood", "log_prior"}
        assert row["draws"] == 200
        # What is simulated and ranked is what is fitted: the exact posterior gives nearly the same share.
        lens = calibration.lens(number)
        draws = exact(lens).samples["lens_light.0.amp"]
        share = (draws < lens.truth["lens_light.0.amp"]).mean()
        assert row["below"]["lens_light.0.amp"] == pytest.approx(share, abs=0.2)
        assert json.loads(json.dumps(row)) == row
    assert Prior.of(calibration.prior).size == 1


CONFIG = """\
[[observation]]
image = "image.fits"
pixel_scale = 0.13
background_rms = 0.3
psf_fwhm = 0.15
psf_size = 5

[[lens_light]]
profile = "Sersic"
amp = {dist = "Normal", loc = 10.0, scale = 2.0}
R_sersic = 0.5
n_sersic = 1.0

[inference]
"""


@pytest.fixture
def config(tmp_path):
    """The configuration of `one_amplitude`, with short fits."""
    fits.PrimaryHDU(np.zeros((12, 12))).writeto(tmp_path / "image.fits")
    settings = {key: value for key, value in dataclasses.asdict(SHORT).items() if not isinstance(value, str)}
    path = tmp_path / "lens.toml"
    path.write_text(CONFIG.replace("[inference]\n", write_toml({"inference": settings})))
    return path


def call(*words: object):
    return CliRunner().invoke(app, ["calibrate", *map(str, words)])


@pytest.mark.slow
def test_the_command_goes_on_and_leaves_its_files(config, tmp_path):
    out = tmp_path / "study"
    assert call(config, "--out", out, "--n", 10).exit_code == 0
    first = json.loads((out / "calibration.json").read_text())
    stamp = (out / "lenses" / "00003.json").stat().st_mtime_ns
    result = call(config, "--out", out, "--n", 12)
    assert result.exit_code == 0, result.output
    assert "lens 9" not in result.output and "lens 11" in result.output
    assert (out / "lenses" / "00003.json").stat().st_mtime_ns == stamp
    found = json.loads((out / "calibration.json").read_text())
    assert (found["lenses"], first["lenses"]) == (12, 10)
    assert found["ranks"]["lens_light.0.amp"][:10] == first["ranks"]["lens_light.0.amp"]
    assert set(found["quantities"]) == {"lens_light.0.amp", "log_likelihood", "log_prior"}
    assert (out / "calibration.png").read_bytes()[:4] == b"\x89PNG"
    (out / "lenses" / "00002.json").write_text("{")
    refused = call(config, "--out", out, "--n", 12)
    assert refused.exit_code == 2 and "00002.json" in refused.stderr.replace("\n", "")
    refused = call(config, "--out", out, "--n", 12, "--seed", 5)
    assert refused.exit_code == 2 and "study of other settings" in refused.stderr.replace("\n", " ")


def write_run(folder, seed: int, truth: bool = True) -> None:
    """As much of a finished run as a study reads: a calibrated posterior of one parameter."""
    rng, folder = np.random.default_rng(seed), folder / f"run{seed}"
    folder.mkdir()
    value = rng.normal()
    datum = value + rng.normal()
    groups = {name: xr.Dataset() for name in GROUPS}
    groups["posterior"] = xr.Dataset({"x": (("chain", "draw"), 0.5 * datum + np.sqrt(0.5) * rng.normal(size=(4, 50)))})
    tree = xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    (folder / "posterior.nc").write_bytes(bytes(tree.to_netcdf(engine="h5netcdf")))
    known = dict.fromkeys(("chi2", "n_pixels", "n_free", "best", "timings_s", "evaluations", "stages", "devices",
                           "versions", "seed"), 0) | {"parameters": {"x": {}}}
    (folder / "summary.json").write_text(json.dumps(known | ({"truth": {"x": value}} if truth else {})))


def test_finished_runs_are_ranked(tmp_path):
    for seed in range(40):
        write_run(tmp_path, seed)
    folders = sorted(tmp_path.glob("run*"))
    words = [word for folder in folders for word in ("--from", folder)]
    result = call(*words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert found["lenses"] == 40
    assert found["quantities"]["x"]["p_chi2"] > 0.01
    assert found["coverage"][0]["low"] <= found["coverage"][0]["share"] <= found["coverage"][0]["high"]


def test_what_cannot_be_ranked_is_refused(config, tmp_path):
    write_run(tmp_path, 0, truth=False)
    write_run(tmp_path, 1)
    for words, message in (([], "0 of them given"), ([config, "--from", tmp_path], "2 of them given"),
                           (["--problem", "demo61"], "nearest: 'demo60'"),
                           (["--problem", "demo60", "--set", "mass.0=1"], "got mass.0"),
                           (["--problem", "demo60", "--set", "inference.n_chans=8"], "nearest: 'n_chains'"),
                           (["--problem", "demo60", "--set", "inference.vi_axis=mass.0.gama"], "demo60: inference.vi_"),
                           (["--problem", "demo60", "--set", "inference.n_chains=2"], "n_chains: expected at least 4"),
                           ([config, "--ranked", 209], "inference.max_iterations: got 50 of 4 chains, 200 draws"),
                           ([config, "--ranked", -1], "--ranked: got -1"),
                           (["--problem", "foundry128"], "foundry128: likelihood.amplitudes: got 'nonnegative'"),
                           (["--from", tmp_path / "run0"], "kept its truth"),
                           (["--from", tmp_path / "none"], "no such file"),
                           (["--from", tmp_path / "run1"], "1 lenses with ranks"),
                           (["--from", tmp_path / "run1", "--ranked", 999], "200 draws"),
                           (["--from", tmp_path / "run1", "--ranked", 100], "--ranked: got 100")):
        result = call(*words, "--out", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
