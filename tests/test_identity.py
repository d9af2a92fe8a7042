"""A result belongs to all that made it, whether arrays show it or not, and a refusal says what has changed."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
import pytest
from _factory import FIT, make_observation, make_result, make_scene, make_wcs, write_image
from astropy.io import fits
from rich.console import Console

from giga.imaging.psf import PSF
from giga.inference.checks.comparison import data_hash
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config
from giga.io.errors import InputError
from giga.io.results.calibration import Study
from giga.jobs.calibrate import Calibration
from giga.jobs.fleet import plan_fleet, run_fleet
from giga.jobs.job import check_same, prepare
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.models.networks.chain import ModularConfig
from giga.models.networks.separator import GGSLConfig
from giga.models.systems.ggsl import GGSLTask
from giga.models.systems.modular import ModularTask
from giga.runtime import identity
from giga.runtime.checkpoint import CheckpointError
from giga.runtime.identity import changed, hash_of, identity_of, told
from giga.runtime.nodes import NodeError
from giga.simulate.surveys.noise import CameraNoise, CutoutNoise
from giga.simulate.surveys.presets import SURVEYS

PLAIN = make_observation(make_scene(), 24, 0.15, seed=0)
GRID = PLAIN.grid
FAKE = make_result(truth=False)
OTHERS = {
    "image": {"image": PLAIN.image + 1e-6}, "mask": {"mask": np.ones((24, 24), bool), "image": np.zeros((24, 24))},
    "noise map": {"noise_map": np.ones((24, 24))}, "background_rms": {"background_rms": 0.011},
    "exposure_time": {"exposure_time": 501.0}, "pixel_scale": {"grid": GRID.replace(pixel_scale=0.1)},
    "center_x": {"grid": GRID.replace(center_x=0.01)}, "center_y": {"grid": GRID.replace(center_y=0.01)},
    "rotation": {"grid": GRID.replace(rotation=0.1)}, "psf": {"psf": PSF.gaussian(0.13, 0.15, 5, 2)},
    "psf supersampling": {"psf": PSF(kernel=PLAIN.psf.kernel, supersampling=1)}, "supersampling": {"supersampling": 3},
    "band": {"band": "r"}, "WCS": {"header": ""}, "correlation": {"correlation": np.ones((1, 1))}}


@pytest.mark.parametrize("name", OTHERS)
def test_every_fact_of_an_observation_counts(name):
    facts, other = PLAIN.facts(), PLAIN.replace(**OTHERS[name]).facts()
    assert set(OTHERS) == set(PLAIN.replace(**OTHERS["correlation"]).facts())  # a new field is tried here
    assert identity_of(facts) == identity_of(PLAIN.replace().facts()) != identity_of(other)
    assert name in {text.partition(":")[0] for text in changed(told(facts), told(other))}


@pytest.mark.parametrize(("changes", "same"), [
    ({"grid": GRID.replace(rotation=0.1)}, False), ({"grid": GRID.replace(center_x=0.1)}, False),
    ({"header": ""}, True), ({"psf": None}, True)])
def test_data_that_may_be_compared(changes, same):
    assert (data_hash([PLAIN]) == data_hash([PLAIN.replace(**changes)])) == same


def test_values_count_and_not_where_they_lie():
    survey = SURVEYS["lsst"]
    assert identity_of(survey) == identity_of(survey.replace())
    bands = (survey.bands[0].replace(zero_point=survey.bands[0].zero_point + 0.1), *survey.bands[1:])
    values = [survey, survey.replace(bands=bands), PSF(kernel=np.eye(3)), PSF(kernel=np.eye(3), supersampling=2), None,
              (), 1, 1.0, True, "1", b"1", np.float32(1), {"a": 1}, {"a": None}, {"b": 1}, dist.Normal(0.0, 1.0),
              dist.Normal(0.0, 1.1), dist.Cauchy(0.0, 1.0), GRID, np.zeros(2), np.zeros((2, 1)), {1, 2}, np.sin, np.cos,
              lambda x: x + 1, lambda x: x + 2, PSF]
    assert len({identity_of(value) for value in values}) == len(values)
    assert identity_of([1, 2]) == identity_of((1, 2))
    assert identity_of({"a": 1, "b": 2}) == identity_of({"b": 2, "a": 1})
    assert identity_of("a", "b") != identity_of("ab") and hash_of([np.zeros(2)]) != hash_of([np.zeros(3)])
    with pytest.raises(TypeError, match="identity: got an array of objects"):
        identity_of(np.array([object()]))


def test_a_change_of_the_numbers_is_another_identity(monkeypatch):
    before, facts = identity_of("x"), told({})
    monkeypatch.setattr(identity, "NUMBERS", identity.NUMBERS + 1)
    assert identity_of("x") != before
    assert changed(facts, told({})) == [f"version of giga's numbers: {identity.NUMBERS - 1} -> {identity.NUMBERS}"]


BY_WCS = FIT.replace("pixel_scale = 0.12\n", "")


def write(path, seed: int) -> None:
    """An image whose header tells its pixels."""
    write_image(path, seed)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.update(make_wcs(24, 0.12).to_header())


@pytest.fixture
def config(tmp_path):
    (tmp_path / "fit.toml").write_text(BY_WCS.replace("[[observation]]", '[[observation]]\nimage = "image.fits"'))
    write(tmp_path / "image.fits", 0)
    return load_config(tmp_path / "fit.toml", fit_config_type=FitConfig)


def corrected(path, factor: float = 2.0) -> None:
    """Correct the side of a pixel in a header, and keep the file's dates, as `cp -p` does."""
    dates = path.stat()
    with fits.open(path, mode="update") as hdus:
        for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2", "CDELT1", "CDELT2"):
            if name in hdus[0].header:
                hdus[0].header[name] *= factor
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def test_a_corrected_header_is_seen_and_named(config, tmp_path, monkeypatch):
    job = prepare(config)
    job.store(tmp_path)
    corrected(tmp_path / "image.fits")
    other, scale = prepare(config), float(job.observations[0].grid.pixel_scale)
    found = float(other.observations[0].grid.pixel_scale)
    words = rf"observation\.0\.pixel_scale: {scale!r} -> {found!r}"
    assert found == pytest.approx(2.0 * scale)
    with pytest.raises(CheckpointError, match=words):
        other.store(tmp_path)
    texts = iter([[job.identity, other.identity], [json.dumps(told(one.facts)) for one in (job, other)]])
    monkeypatch.setattr("giga.jobs.job.parallel.everywhere", lambda text: next(texts))
    with pytest.raises(NodeError, match=words):
        check_same(job)
    truth = replace(job, truth={"mass.0.theta_E": 1.0})
    with pytest.raises(CheckpointError, match=r"truth\.mass\.0\.theta_E: none -> 1\.0"):
        truth.store(tmp_path)


def test_a_fleet_sees_a_corrected_header_that_keeps_its_date(config, tmp_path):
    """With a checkpoint beside the results and without; what is only touched is still the same."""
    names = ("same", "other", "bare", "kept")
    for k, name in enumerate(names):
        write(tmp_path / f"{name}.fits", k)
    (tmp_path / "fleet.toml").write_text(BY_WCS)
    (tmp_path / "fleet.csv").write_text("name,image\n" + "".join(f"{name},{name}.fits\n" for name in names))

    def go():
        def fit(lenses, *, done, **settings):
            for lens in lenses:
                done(lens, FAKE)

        fleet = plan_fleet(tmp_path / "fleet.csv", tmp_path / "fleet.toml")
        return run_fleet(fleet, tmp_path / "out", draw=False, fit=fit, console=Console(quiet=True))

    assert {said for said, _ in go().values()} == {"done"}
    for name in ("bare", "kept"):
        shutil.rmtree(tmp_path / "out/lenses" / name / "checkpoint")
    os.utime(tmp_path / "same.fits")
    corrected(tmp_path / "other.fits")
    corrected(tmp_path / "bare.fits")
    status = go()
    assert status["same"] == status["kept"] == ("done", "")
    assert status["other"][0] == "refused" and "observation.0.pixel_scale: " in status["other"][1]
    assert status["bare"][0] == "refused" and "a fit of other data" in status["bare"][1]


def test_a_study_names_what_has_changed(tmp_path):
    scene = Scene(lens_light=[Sersic(amp=dist.Normal(5.0, 2.0), R_sersic=0.5, n_sersic=1.0)])
    one = Calibration(prior=scene, observations=[PLAIN])
    two = Calibration(prior=scene, observations=[PLAIN.replace(grid=GRID.replace(pixel_scale=0.2))])
    Study(tmp_path, one.identity(), one.facts)
    with pytest.raises(InputError, match=r"observation\.0\.pixel_scale: 0\.15 -> 0\.2"):
        Study(tmp_path, two.identity(), two.facts)


def test_trainings_belong_to_their_survey_and_noise(monkeypatch):
    config = GGSLConfig(survey="kids-ggsl-unet")
    survey = config.observed
    before = GGSLTask(config).identity, ModularTask(ModularConfig(stage="find")).identity
    assert GGSLTask(config).identity == before[0]
    louder = CameraNoise.of(survey.replace(bands=tuple(band.replace(read_noise=99.0) for band in survey.bands)))
    assert GGSLTask(config, louder).identity != before[0]
    sky = np.random.default_rng(3).normal(size=(2, 64, 64, 4))
    cutouts = [GGSLTask(config, CutoutNoise.of(bank, survey.shape)).identity for bank in (sky, sky, sky[::-1])]
    assert cutouts[0] == cutouts[1] and len({*cutouts, before[0]}) == 3
    modular = ModularConfig(stage="find")
    assert ModularTask(modular, noise=CameraNoise.of(modular.observed)).identity != before[1]
    for name in ("kids-ggsl-unet", "lsst"):
        bands = tuple(band.replace(zero_point=band.zero_point + 0.1) for band in SURVEYS[name].bands)
        monkeypatch.setitem(SURVEYS, name, SURVEYS[name].replace(bands=bands))
    assert GGSLTask(config).identity != before[0]
    assert ModularTask(ModularConfig(stage="find")).identity != before[1]
