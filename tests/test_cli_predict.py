"""`giga predict` and the networks that help a fit: from training to files, and what is wrong is named."""

import io
import re

import jax.numpy as jnp
import numpy as np
import pytest
from _amortised import SIZE, read, write_fit
from _networks import make
from _problems import blank
from astropy.io import fits
from astropy.table import Table
from rich.console import Console
from typer.testing import CliRunner

from giga.cli import app, predict
from giga.cli.predict import NUMBERS
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config
from giga.io.errors import InputError
from giga.io.tables import to_table
from giga.jobs.amortised import Predictor
from giga.jobs.job import helped, prepare
from giga.jobs.separated_mask import MaskConfig, mask_of, masked
from giga.models.networks.chain import Chain, ModularConfig
from giga.models.networks.posterior import PosteriorNet
from giga.models.networks.separator import GGSLConfig, Separator, separate
from giga.models.zoo import Card, load, save_weights

NAMES = ("source_light.0.amp", "source_light.0.R_sersic", "source_light.0.center_x")


def run(*words: object):
    return CliRunner().invoke(app, [*map(str, words)])


def said(result) -> str:
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small fit, and a network that was trained for it in a few steps."""
    folder = tmp_path_factory.mktemp("fit")
    result = run("train", write_fit(folder), "--out", folder / "run")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return folder / "run" / "model"


def test_weights_travel_with_their_prior(folder, model, tmp_path):
    network, card = load(model)
    assert network.config.parameters == NAMES and network.config.shape == (SIZE, SIZE)
    assert str(folder) not in network.config.fit and 'image = "image.fits"' in network.config.fit
    assert card.recipe["system"]["name"] == "posterior" and card.flops > 0
    known = Predictor.of(str(model)).prior
    own = prepare(load_config(folder / "fit.toml", fit_config_type=FitConfig))
    assert known.names == NAMES == tuple(Predictor.of(str(model)).starts(own.observations, 10, 0).values)
    np.testing.assert_array_equal(network.mask[...], np.ones((SIZE, SIZE, 1)))


def test_a_card_says_how_fast_a_network_is_and_which_code_measured_it(model, tmp_path):
    for suffix in (".json", ".safetensors"):
        (tmp_path / f"model{suffix}").write_bytes(model.with_suffix(suffix).read_bytes())
    result = run("evaluate", tmp_path / "model", "--images", 32, "--card")
    assert result.exit_code == 0, result.output
    _, before = load(model)
    _, after = load(tmp_path / "model")
    assert not before.images_per_s and min(after.images_per_s.values()) > 0.0 and after.measured_by
    assert after.metrics["simulated"]["coverage_68"] > 0.0


def test_numbers_in_physical_units(folder, model, tmp_path):
    result = run("predict", folder / "image.fits", "--model", model, "--out", tmp_path / "p.json", "--out",
                 tmp_path / "p.ecsv", "--draws", 500)
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in NAMES)
    found = read(tmp_path / "p.json")
    assert found["draws"] == 500 and found["sha256"] == Predictor.of(str(model)).sha256
    rows = found["parameters"]
    assert tuple(rows) == NAMES and set(rows[NAMES[0]]) == {"mean", "sd", "q16", "q50", "q84"}
    for row in rows.values():
        assert row["q16"] < row["q50"] < row["q84"] and row["sd"] > 0.0
    assert -0.5 < rows[NAMES[2]]["q16"] and rows[NAMES[2]]["q84"] < 0.5  # the support of its prior
    assert rows[NAMES[1]]["q16"] > 0.0
    # Hardly trained, the posterior is about the prior: LogNormal(-0.9, 0.2).
    assert rows[NAMES[1]]["q50"] == pytest.approx(np.exp(-0.9), rel=0.3)
    table = Table.read(tmp_path / "p.ecsv")
    assert list(table["parameter"]) == list(NAMES) and table.meta["draws"] == 500
    np.testing.assert_allclose(table["mean"], [row["mean"] for row in rows.values()])


def test_a_second_image_is_not_compiled_for(model, rng, monkeypatch):
    predictor, traces, sample = Predictor.of(str(model)), [], PosteriorNet.sample
    monkeypatch.setattr(PosteriorNet, "sample", lambda *arguments: (traces.append(0), sample(*arguments))[1])
    first, second = (predictor.draws(rng.normal(size=(SIZE, SIZE, 1)), 123) for _ in range(2))
    assert len(traces) == 1 and not np.array_equal(first[NAMES[0]], second[NAMES[0]])


def image(folder, values, name="other.fits", **cards):
    hdu = fits.PrimaryHDU(np.asarray(values, float))
    hdu.header["BUNIT"] = "electron / s"
    hdu.header.update({key.replace("_", "-"): value for key, value in cards.items()})
    path = folder / name
    hdu.writeto(path, overwrite=True)
    return path


def test_names_of_parameters_are_never_cut():
    """Of the 22 of the zoo seven began alike; where a terminal is narrow, a name goes on in the next line."""
    _, card = load("posterior-gigalens80")
    names = card.config["parameters"]
    rows = {name: {key: -0.123456 for key in NUMBERS} | {"sd": 0.01} for name in names}
    for width in (80, 60):
        out = io.StringIO()
        Console(file=out, width=width).print(predict._table(rows))
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        first = "".join(line.split()[0] for line in lines if line.strip())
        assert all(name in first for name in names) and "\u2026" not in out.getvalue()


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A chain that is not trained."""
    path = tmp_path_factory.mktemp("chain") / "model"
    config = ModularConfig(stage="joint", pixels=16, bands=("g", "r"), features=4, blocks=1, width=4)
    network = make(Chain, config)
    save_weights(network, path, Card(network="Chain", config=to_table(config), recipe={}, seed=0, git_hash="0" * 7,
                                     command="", metrics={}, limits=(), flops=1.0, images_per_s={}))
    return path, network


def test_a_chain_on_images_of_ones_own(chain, tmp_path, rng):
    path, network = chain
    survey = network.config.observed
    cubes = rng.normal(size=(2, 2, 16, 16)) * np.asarray(survey.background_rms)[:, None, None]
    files = [image(tmp_path, cube, name=f"{name}.fits") for name, cube in zip("ab", cubes, strict=True)]
    words = ("predict", *files, "--model", path)
    result = run(*words, "--out", tmp_path / "p.json", "--out", tmp_path / "p.ecsv", "--parts", tmp_path / "parts")
    assert result.exit_code == 0, result.output
    denoised, source, logit, expected = network(jnp.asarray(np.moveaxis(cubes, 1, -1), jnp.float32))
    rows = read(tmp_path / "p.json")["images"]
    assert [row["image"] for row in rows] == [str(file) for file in files]
    np.testing.assert_allclose([row["lens"] for row in rows], 1 / (1 + np.exp(-np.asarray(logit, float))), rtol=1e-3)
    table = Table.read(tmp_path / "p.ecsv")
    for name in ("theta_E", "q", "phi"):
        np.testing.assert_allclose([row[name] for row in rows], expected[name], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(table[name], [row[name] for row in rows])
    with fits.open(tmp_path / "parts" / "b.fits") as hdus:
        np.testing.assert_allclose(np.moveaxis(hdus["DENOISED"].data, 0, -1), denoised[1], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(np.moveaxis(hdus["SOURCE"].data, 0, -1), source[1], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(hdus["IMAGE"].data, cubes[1], rtol=1e-5)
    # One and the same image in units of another zero point.
    image(tmp_path, 10.0 * cubes[0], name="c.fits")
    zero = [word for point in survey.zero_points + 2.5 for word in ("--zero-point", point)]
    other = run("predict", tmp_path / "c.fits", "--model", path, *zero, "--out", tmp_path / "c.json")
    assert other.exit_code == 0, other.output
    assert read(tmp_path / "c.json")["images"][0]["theta_E"] == pytest.approx(rows[0]["theta_E"], rel=1e-4)
    for options, message in ((("--draws", 200), "--draws: given for"),
                             (("--zero-point", 1.0), "--zero-point: 1 values"),
                             (("--parts", tmp_path / "parts"), "a.fits: --parts: is there already")):
        assert message in said(run(*words, *options))


def test_several_images_and_their_posteriors(folder, model, tmp_path):
    (tmp_path / "other.fits").write_bytes((folder / "image.fits").read_bytes())
    words = ("predict", folder / "image.fits", tmp_path / "other.fits", "--model", model, "--draws", 500)
    result = run(*words, "--out", tmp_path / "p.json", "--out", tmp_path / "p.ecsv")
    assert result.exit_code == 0, result.output
    first, second = read(tmp_path / "p.json")["images"]
    assert first["parameters"] == second["parameters"] and second["image"] == str(tmp_path / "other.fits")
    assert len(Table.read(tmp_path / "p.ecsv")) == 2 * len(NAMES)
    assert "--parts: given for" in said(run(*words, "--parts", tmp_path / "parts"))


@pytest.mark.parametrize(("shape", "options", "message"), [
    ((2, SIZE, SIZE), (), "image: 2 bands; expected 1"),
    ((SIZE + 4, SIZE + 2), (), "image: 20 x 18 pixels; expected 16 x 16, or --size crop"),
    ((SIZE - 4, SIZE), (), "image: 12 x 16 pixels; expected 16 x 16, or --size pad"),
    ((SIZE - 4, SIZE + 4), ("--size", "crop"), "expected 16 x 16, or an image that is cut or padded first"),
    ((SIZE, SIZE), ("--size", "stretch"), "--size: got 'stretch'; expected one of refuse, crop, pad"),
    ((SIZE, SIZE), ("--units", "counts"), "counts need an exposure time"),
    ((SIZE, SIZE), ("--out", "p.csv"), "--out: suffix '.csv'; expected one of .json, .ecsv"),
    ((SIZE, SIZE), ("--model", "nothing-like-it"), "unknown model 'nothing-like-it'; the zoo has"),
])
def test_what_is_wrong_is_named(model, tmp_path, shape, options, message):
    path = image(tmp_path, np.ones(shape))
    words = ("predict", path, *options) if "--model" in options else ("predict", path, "--model", model, *options)
    result = run(*words)
    assert result.exit_code == 2 and message in said(result)


def test_pixels_that_are_no_numbers_and_another_scale(model, tmp_path):
    values = np.ones((SIZE, SIZE))
    values[3, 5] = np.nan
    result = run("predict", image(tmp_path, values), "--model", model)
    assert result.exit_code == 2 and "1 pixels are NaN or infinite, the first at [y=3, x=5]" in said(result)
    wcs = dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRPIX1=8.0, CRPIX2=8.0, CRVAL1=10.0, CRVAL2=2.0,
               CDELT1=-0.2 / 3600.0, CDELT2=0.2 / 3600.0)
    result = run("predict", image(tmp_path, np.ones((SIZE, SIZE)), **wcs), "--model", model)
    assert result.exit_code == 2 and "pixels of 0.2 arcsec; expected 0.13 within 1%, which" in said(result)
    assert "other.fits: image: " in said(result)


def test_a_larger_image_is_cut(folder, model, tmp_path):
    values = fits.getdata(folder / "image.fits")
    path = image(tmp_path, np.pad(values, 3))
    for name, file, options in (("a", path, ("--size", "crop")), ("b", folder / "image.fits", ())):
        assert run("predict", file, "--model", model, "--out", tmp_path / f"{name}.json", *options).exit_code == 0
    assert read(tmp_path / "a.json")["parameters"] == read(tmp_path / "b.json")["parameters"]
    again = "predict", folder / "image.fits", "--model", model, "--seed", 1, "--out", tmp_path / "b.json"
    assert "is there already" in said(run(*again)) and read(tmp_path / "b.json")["seed"] == 0
    assert run(*again, "--overwrite").exit_code == 0 and read(tmp_path / "b.json")["seed"] == 1


def test_starts_of_a_fit(folder, model):
    config = load_config(folder / "fit.toml", fit_config_type=FitConfig)
    job = prepare(config)
    with_network = helped(job, str(model), None)
    assert with_network.starts is not None and job.identity != with_network.identity
    assert {values.shape for values in with_network.starts.values.values()} == {(8,)}  # a quarter of n_screen
    assert helped(job, None, None).identity == job.identity
    for change, message in (({"inference.map_method": "adam"}, "expected 'lm', which takes the starts"),
                            ({"observation.0.cutout": {"size": 14}}, "expected that of the observations, (14, 14)"),
                            ({"observation.0.pixel_scale": 0.15}, "pixels of 0.15 arcsec; expected 0.13")):
        with pytest.raises(InputError, match=re.escape(message)):
            helped(prepare(config.with_overrides(change)), str(model), None)
    fixed = {f"{NAMES[0]}": 2.0, NAMES[1]: 0.4, NAMES[2]: 0.1, "source_light.0.e1": {"dist": "Normal", "loc": 0.0,
                                                                                     "scale": 0.1}}
    with pytest.raises(InputError, match="expected some of the free parameters, source_light.0.e1"):
        helped(prepare(config.with_overrides(fixed)), str(model), None)
    some = helped(prepare(config.with_overrides({"source_light.0.e1": fixed["source_light.0.e1"]})), str(model), None)
    assert "says nothing of source_light.0.e1" in some.notes[-1]


@pytest.mark.slow
def test_a_fit_from_a_network(folder, model, tmp_path):
    for name, options in (("plain", ()), ("helped", ("--init-from", model))):
        result = run("fit", folder / "fit.toml", "--out", tmp_path / name, "--set", "inference.target_ess=50",
                     "--set", "inference.target_tail_ess=20", "--set", "inference.n_predictive=0",
                     "--set", "inference.derived=false", "--set", "inference.n_bridge=64", *options)
        assert result.exit_code == 0, result.output
    plain, helped = (read(tmp_path / name / "summary.json") for name in ("plain", "helped"))
    for name in NAMES:
        row = plain["parameters"][name]
        assert helped["best"][name] == pytest.approx(plain["best"][name], abs=0.5 * row["sd"])
    assert helped["evaluations"]["map"] < plain["evaluations"]["map"]
    assert helped["stages"]["map"]["init"]["model"] == str(model)


def test_a_mask_of_parts():
    y, x = np.mgrid[:40, :40]
    lens = 9.0 * (np.hypot(y - 15, x - 15) < 5)
    companion = 50.0 * (np.hypot(y - 30, x - 30) < 3)
    near = 50.0 * (np.hypot(y - 22, x - 15) < 2)  # a companion within the margin
    speck = np.zeros((40, 40))
    speck[2, 35] = 9.0  # alone: noise
    parts = {"lens": lens, "source": speck, "noise": companion + near}
    mask = mask_of(parts, 1.0, MaskConfig(margin=4.0, around=1.0))
    assert mask[15, 15] and mask[15, 23] and not mask[15, 25]
    assert not mask[30, 30] and not mask[22, 15] and not mask[22, 17] and not mask[2, 35]
    assert not mask_of({name: jnp.zeros((8, 8)) for name in parts}, 1.0).any()


def test_a_separator_gives_every_band_its_mask(monkeypatch):
    """With weights that are not trained: what comes back is the mask of the parts, inside the one there was."""
    config = GGSLConfig(channels=(8, 8, 8))
    network = make(Separator, config)
    monkeypatch.setattr("giga.jobs.separated_mask.load", lambda name: (network, None))
    scale, there = config.observed.pixel_scale, np.ones((16, 16), bool)
    there[:, :3] = False
    y, x = np.mgrid[:16, :16] - 7.5
    light = np.exp(-0.1 * (x**2 + y**2))
    observations = [blank(16, scale, 0.02, psf=None, mask=there, image=(1.0 + k) * light) for k in range(4)]
    found = masked("net", observations)
    image = jnp.asarray(np.stack([np.where(there, one.image, 0.0) for one in observations], -1), jnp.float32)[None]
    parts = separate(network, image, jnp.full(4, 0.02, jnp.float32))
    for k, one in enumerate(found):
        alone = {name: np.asarray(part[0, ..., k], float) for name, part in parts.items()}
        np.testing.assert_array_equal(one.mask, there & mask_of(alone, 0.02))
        assert 0 < one.mask.sum() < there.sum()
    with pytest.raises(InputError, match="3 observations of shapes .* expected 4 of one shape, u, g, r, i"):
        masked("net", observations[:3])
    with pytest.raises(InputError, match="pixels of 0.5 arcsec; expected 0.2 within 10%"):
        masked("net", [blank(16, 0.5, 0.02, psf=None) for _ in range(4)])
    dark = [blank(16, scale, 0.02, psf=None) for _ in range(4)]
    with pytest.raises(InputError, match="net leaves 0 pixels of observation 0; expected at least 16"):
        masked("net", dark)


def test_masks_come_from_separators(folder, model):
    job = prepare(load_config(folder / "fit.toml", fit_config_type=FitConfig))
    with pytest.raises(InputError, match="is a PosteriorNet; expected a Separator"):
        helped(job, None, str(model))
