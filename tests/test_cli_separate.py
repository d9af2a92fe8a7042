"""`giga evaluate` and `giga separate`: from weights to numbers, and from an image to its parts."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from _toy import Toy, ToyConfig, ToyTask, toy_evaluate
from astropy.io import fits
from astropy.table import Table
from flax import nnx
from typer.testing import CliRunner

from giga.cli import app
from giga.io.images.cube import background_rms, read_cube
from giga.io.tables import to_table
from giga.jobs.systems import SYSTEMS, System
from giga.models import zoo
from giga.models.networks.separator import GGSLConfig, Separator
from giga.models.systems import ggsl
from giga.models.systems.measured import flattened
from giga.models.zoo import Card, save_weights
from giga.simulate.surveys.noise import CameraNoise

CONFIG = GGSLConfig(channels=(4, 8))
SHAPE = (64, 64)


def run(*words: object):
    return CliRunner().invoke(app, list(map(str, words)))


def said(result) -> str:
    return " ".join(result.stderr.split())


def card(network: str, config, system: str) -> Card:
    return Card(network=network, config=to_table(config), recipe={"system": {"name": system, **to_table(config)}},
                seed=0, git_hash="0" * 7, command="giga train config.toml --out RUN", metrics={}, limits=("a test",),
                flops=1.0, images_per_s={})


@pytest.fixture(scope="module")
def separator(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model"
    save_weights(Separator(CONFIG, rngs=nnx.Rngs(0)), path, card("Separator", CONFIG, "ggsl-unet"))
    return path


@pytest.fixture
def image(tmp_path, rng) -> Path:
    y, x = np.mgrid[:64, :64] - 31.5
    cube = 100.0 * np.exp(-(x**2 + y**2) / 50.0) + rng.normal(size=(4, *SHAPE))
    header = fits.Header(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=10.0, CRVAL2=-30.0, CRPIX1=32.5, CRPIX2=32.5,
                              CDELT1=-0.2 / 3600, CDELT2=0.2 / 3600, BUNIT="ct/s"))
    fits.PrimaryHDU(cube.astype(np.float32), header).writeto(tmp_path / "image.fits")
    return tmp_path / "image.fits"


def test_an_image_is_separated(separator, image, tmp_path):
    out = tmp_path / "parts.fits"
    result = run("separate", image, "--model", separator, "--out", out)
    assert result.exit_code == 0, result.output
    with fits.open(out) as hdus:
        np.testing.assert_allclose(sum(hdus[name].data for name in ("LENS", "SOURCE", "NOISE")), hdus["IMAGE"].data,
                                   rtol=1e-5, atol=1e-5)
        assert hdus["LENS"].header["CRVAL1"] == 10.0 and hdus["SOURCE"].header["BUNIT"] == "ct / s" or \
            hdus["SOURCE"].header["BUNIT"] == "ct/s"
        assert [hdus[0].header[f"BAND{k}"] for k in range(1, 5)] == list("ugri")
    table = Table.read(out.with_suffix(".ecsv"))
    assert list(table["component"]) == ["lens", "source"] and table.meta["zero_points"]["r"] == 30.0


def test_several_images_go_to_a_folder(separator, image, tmp_path):
    """What each gives is what it gives alone, and one table has the magnitudes of all."""
    with fits.open(image) as hdus:
        fits.PrimaryHDU(2.0 * hdus[0].data, hdus[0].header).writeto(tmp_path / "other.fits")
        fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(layer, hdus[0].header) for layer in hdus[0].data)]).writeto(
            tmp_path / "same.fits")
    words = ("separate", image, tmp_path / "other.fits", tmp_path / "same.fits", "--model", separator, "--out")
    assert "one file for 3 images; expected a folder" in said(run(*words, tmp_path / "all.fits"))
    result = run(*words, tmp_path / "all")
    assert result.exit_code == 0, result.output
    table = Table.read(tmp_path / "all" / "magnitudes.ecsv")
    assert list(table["image"][::2]) == [str(path) for path in words[1:4]]
    assert list(table["component"]) == ["lens", "source"] * 3 and table.meta["zero_points"]["r"] == 30.0
    assert run("separate", image, "--model", separator, "--out", tmp_path / "alone.fits").exit_code == 0
    alone = Table.read(tmp_path / "alone.ecsv")
    for k in (0, 4):
        np.testing.assert_allclose(table["flux_r"][k:k + 2], alone["flux_r"], rtol=1e-5)
    with fits.open(tmp_path / "alone.fits") as one, fits.open(tmp_path / "all" / "image.fits") as many:
        np.testing.assert_array_equal(one["LENS"].data, many["LENS"].data)
    assert "magnitudes.ecsv: --out: is there already" in said(run(*words, tmp_path / "all"))
    twice = run("separate", image, image, "--model", separator, "--out", tmp_path / "twice")
    assert "image.fits: --out: written for two images" in said(twice) and not (tmp_path / "twice").exists()
    fits.PrimaryHDU(np.ones((4, 64, 60), np.float32)).writeto(tmp_path / "wrong.fits")
    wrong = run("separate", image, tmp_path / "wrong.fits", "--model", separator, "--out", tmp_path / "no")
    assert "wrong.fits: image: 64 x 60 pixels" in said(wrong) and not (tmp_path / "no").exists()


def test_the_unit_of_an_image_does_not_matter(separator, image, tmp_path):
    """The network sees an image over its noise: a thousand times the counts are a thousand times the parts."""
    with fits.open(image) as hdus:
        fits.PrimaryHDU(1000.0 * hdus[0].data, hdus[0].header).writeto(tmp_path / "milli.fits")
    found = []
    for name in ("image", "milli"):
        assert run("separate", tmp_path / f"{name}.fits", "--model", separator, "--out",
                   tmp_path / f"{name}-parts.fits").exit_code == 0
        with fits.open(tmp_path / f"{name}-parts.fits") as hdus:
            found.append(np.array(hdus["LENS"].data))
    np.testing.assert_allclose(found[1], 1000.0 * found[0], rtol=1e-3, atol=1e-2)


def test_an_image_of_another_size(separator, image, tmp_path):
    with fits.open(image) as hdus:
        fits.PrimaryHDU(np.pad(hdus[0].data, [(0, 0), (8, 8), (4, 4)], mode="reflect"), hdus[0].header).writeto(
            tmp_path / "large.fits")
        fits.PrimaryHDU(hdus[0].data[:, 10:-10, 10:-10], hdus[0].header).writeto(tmp_path / "small.fits")
    out = tmp_path / "parts.fits"
    refused = run("separate", tmp_path / "large.fits", "--model", separator, "--out", out)
    assert refused.exit_code == 2 and not out.exists()
    assert "large.fits: image: 80 x 72 pixels; expected 64 x 64, or --size crop" in said(refused)
    assert "or --size pad" in said(run("separate", tmp_path / "small.fits", "--model", separator, "--out", out))
    for name, size, shape in (("large", "crop", SHAPE), ("small", "pad", SHAPE), ("large", "keep", (80, 72))):
        assert run("separate", tmp_path / f"{name}.fits", "--model", separator, "--out", out, "--size", size,
                   "--overwrite").exit_code == 0
        with fits.open(out) as hdus:
            assert hdus["LENS"].data.shape == (4, *shape)


def test_a_border_of_zeros_is_no_sky(separator, image, tmp_path):
    """The noise, and with it what the network sees, is that of the image before it is padded."""
    with fits.open(image) as hdus:
        small = hdus[0].data[:, 11:-12, 11:-12]
        fits.PrimaryHDU(small, hdus[0].header).writeto(tmp_path / "small.fits")
    cube = read_cube([tmp_path / "small.fits"], "ugri")
    rms = [word for value in background_rms(cube, "ugri") for word in ("--background-rms", f"{value:.9g}")]
    said = [run("separate", tmp_path / "small.fits", "--model", separator, "--size", "pad", "--out",
                tmp_path / f"{k}.fits", *words).stdout.split(str(tmp_path))[0] for k, words in enumerate(([], rms))]
    assert said[0] == said[1] and "chi2" in said[0]
    with fits.open(tmp_path / "0.fits") as hdus:
        parts = {name: np.moveaxis(hdus[name].data, 0, -1) for name in ("IMAGE", "LENS", "SOURCE")}
    rows, columns = cube.window(SHAPE).inner(cube)
    np.testing.assert_array_equal(parts["IMAGE"][rows, columns], cube.image.astype(np.float32))
    within = [np.mean((parts["IMAGE"][rows, columns] - lens[rows, columns]) ** 2 / background_rms(cube, "ugri") ** 2)
              for lens in (parts["LENS"], parts["LENS"] + parts["SOURCE"])]
    assert f"chi2 without the source {within[0]:.2f}, with it {within[1]:.2f}" in said[0]


def test_nothing_is_lost_by_writing(separator, image, tmp_path):
    out, before = tmp_path / "parts.fits", image.read_bytes()
    assert run("separate", image, "--model", separator, "--out", out).exit_code == 0
    (tmp_path / "half.ecsv").mkdir()
    for place, message in ((out, "parts.fits: --out: is there already; expected another name, or --overwrite"),
                           (image, "image.fits: --out: an input would be overwritten"),
                           (tmp_path / "half.fits", "half.ecsv: --out: is a folder; expected a file"),
                           (tmp_path / "parts.ecsv", "suffix '.ecsv'; expected .fits"),
                           (tmp_path / "no" / "parts.fits", f"--out: no folder {tmp_path / 'no'}")):
        result = run("separate", image, "--model", separator, "--out", place)
        assert result.exit_code == 2, place
        assert message.replace(" ", "") in said(result).replace(" ", "")
    assert image.read_bytes() == before and not (tmp_path / "half.fits").exists()


def test_what_is_wrong_is_named(separator, image, tmp_path):
    out = tmp_path / "parts.fits"
    blank = tmp_path / "blank.fits"
    fits.PrimaryHDU(np.zeros((4, *SHAPE), np.float32)).writeto(blank)
    three = tmp_path / "three.fits"
    fits.PrimaryHDU(np.ones((3, *SHAPE), np.float32)).writeto(three)
    tiny, coarse = tmp_path / "tiny.fits", tmp_path / "coarse.fits"
    with fits.open(image) as hdus:
        fits.PrimaryHDU(hdus[0].data[:, :2, :2]).writeto(tiny)
        hdus[0].header["CDELT1"], hdus[0].header["CDELT2"] = -1e-4, 1e-4
        fits.PrimaryHDU(hdus[0].data, hdus[0].header).writeto(coarse)
    four = [word for _ in range(4) for word in ("--zero-point", 25.0)]
    toy = tmp_path / "toy"
    save_weights(Toy(ToyConfig(), rngs=nnx.Rngs(0)), toy, card("Toy", ToyConfig(), "toy"))
    for words, message in [
        ([image, "--model", "nobody"], "unknown model 'nobody'; the zoo has"),
        ([three, "--model", separator], "three.fits: image: 3 bands; expected 4"),
        ([blank, "--model", separator], "blank.fits: image: band u is constant; expected an image with noise"),
        ([image, "--model", separator, "--background-rms", 1.0], "--background-rms: 1 values; expected one a band"),
        ([image, "--model", separator, "--size", "stretch"], "--size: got 'stretch'; expected refuse, crop, pad"),
        ([image, "--model", toy], "network: got 'Toy', expected one of"),
        ([image, "--model", separator, *four[:-1], "nan"], "--zero-point: band i: nan; expected a finite number"),
        ([image, "--model", separator, *["--background-rms", 0.0] * 4],
         "--background-rms: band u: 0; expected a finite number above 0"),
        ([tiny, "--model", separator, "--size", "keep"], "tiny.fits: image: 2 x 2 pixels; expected at least"),
        ([coarse, "--model", separator], "coarse.fits: image: pixels of 0.36 arcsec; expected 0.2 within 10%, which"),
        ([tmp_path, "--model", separator], "image: is a folder; expected a FITS file"),
    ]:
        result = run("separate", *words, "--out", out)
        assert result.exit_code == 2 and not out.exists(), words
        assert message in said(result)


def test_numbers_go_to_a_file_and_to_the_card(tmp_path, monkeypatch):
    monkeypatch.setitem(SYSTEMS, "toy", System(ToyConfig, ToyTask, lambda config: {}, toy_evaluate,
                                                shape=lambda config: (8, 8, 1)))
    monkeypatch.setattr(zoo, "NETWORKS", {"Toy": zoo.from_config(Toy, ToyConfig)})
    monkeypatch.setattr("giga.cli.evaluate.load", lambda name: zoo.load(name, zoo.NETWORKS))
    path = tmp_path / "toy"
    saved = save_weights(Toy(ToyConfig(), rngs=nnx.Rngs(0)), path, card("Toy", ToyConfig(), "toy"))
    result = run("evaluate", path, "--images", 16, "--out", tmp_path / "numbers.json", "--card")
    assert result.exit_code == 0, result.output
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    model, after = zoo.load(path, zoo.NETWORKS)
    assert after.metrics == numbers["metrics"] == flattened(toy_evaluate(ToyConfig(), model, 16, 2))
    assert after.command.endswith(f"giga evaluate {path} --images 16 --seed 2 --card")
    assert after.measured_by and min(after.images_per_s.values()) > 0.0
    assert dataclasses.replace(after, metrics={}, images_per_s={}, command=saved.command, measured_by="") == saved


def test_a_separators_magnitudes_are_corrected(separator, image, tmp_path, monkeypatch):
    """`giga evaluate --card` measures what they are off by, and `giga separate` takes that from the card."""
    path = tmp_path / "model"
    save_weights(Separator(CONFIG, rngs=nnx.Rngs(0)), path, card("Separator", CONFIG, "ggsl-unet"))
    few = dataclasses.replace(SYSTEMS["ggsl-unet"], calibrate=partial(ggsl.calibrate, images=160, together=4))
    monkeypatch.setitem(SYSTEMS, "ggsl-unet", few)
    result = run("evaluate", path, "--images", 4, "--out", tmp_path / "numbers.json", "--card")
    assert result.exit_code == 0, result.output
    known = zoo.load(path)[1]
    assert set(known.magnitudes) == {"lens", "source"} and known.magnitudes["lens"]
    assert "corrected_magnitude_lens_all_median" in known.metrics["mock"]
    before, after = ((run("separate", image, "--model", model, "--out", tmp_path / f"{k}.fits"),
                      Table.read(tmp_path / f"{k}.ecsv"))[1] for k, model in enumerate((separator, path)))
    band = after.meta["corrected"]["lens"][0]
    numbers = known.magnitudes["lens"][band]
    shift = before[f"mag_{band}"][0] - after[f"mag_{band}"][0]
    assert min(numbers["offset"]) - 1e-6 <= shift <= max(numbers["offset"]) + 1e-6
    assert before.meta["corrected"] == {} and before[f"flux_{band}"][0] == after[f"flux_{band}"][0]


def test_corrections_are_measured_on_images_of_no_test_set():
    model = Separator(CONFIG, rngs=nnx.Rngs(0))
    seen = []
    rows = ggsl._measured(CONFIG, model, 4)
    for stream in (0, 1, 2, ggsl.CALIBRATION_STREAM):
        key = jax.random.fold_in(jax.random.key(2), stream)
        seen.append(rows(ggsl.make_simulator(CONFIG), 4, key)[""]["magnitude_lens"])
    assert len({one.tobytes() for one in seen}) == len(seen)


def test_test_sets_of_a_separator_are_measured():
    model = Separator(CONFIG, rngs=nnx.Rngs(0))
    def numbers(**options):
        return {name: one.numbers for name, one in ggsl.evaluate(CONFIG, model, 6, together=4, **options).items()}

    found = numbers()
    assert set(found) == {"mock", "shifted", "half empty", "paper's recipe"}
    assert all(one["images"] == 6 for one in found.values())
    assert found == numbers()
    # The noise that a network was trained with is that of the sets which are as in training.
    survey = CONFIG.observed
    louder = CameraNoise.of(survey.replace(bands=tuple(band.replace(read_noise=900.0) for band in survey.bands)))
    other = numbers(noise=louder)
    assert other["shifted"] == found["shifted"]
    for name in ("mock", "half empty"):
        assert other[name]["psnr_lens"] != found[name]["psnr_lens"]


@pytest.mark.parametrize("recipe", ["paper", "code", "physical"])
def test_examples_sum_to_their_image(recipe):
    task = ggsl.GGSLTask(GGSLConfig(recipe=recipe, channels=(4, 8)))
    example = jax.jit(task.example)(jax.random.key(0))
    total = example["lens"] + example["source"] + example["noise"]
    np.testing.assert_allclose(total, example["image"], rtol=1e-4, atol=1e-4)
    assert example["image"].shape == (*SHAPE, 4) and np.isfinite(np.asarray(example["sigma"])).all()
    if recipe != "physical":
        middle = np.asarray(example["image"])[27:37, 27:37] if recipe == "code" else np.asarray(
            example["image"])[30:34, 30:34]
        assert np.max(middle) == pytest.approx(1.0, rel=1e-5)


def test_a_sky_that_the_network_has_not_seen_is_said(separator, image, tmp_path):
    """Noise of 1, where the survey has 5.3 in its first band; 25 times as much of it, and a width that is told."""
    survey = CONFIG.observed
    with fits.open(image, mode="update") as hdus:
        hdus[0].data *= np.asarray(survey.background_rms, np.float32)[:, None, None]
    words = ("separate", image, "--model", separator, "--out", tmp_path / "parts.fits", "--overwrite")
    plain = run(*words)
    assert plain.exit_code == 0 and "note:" not in plain.output
    with fits.open(image, mode="update") as hdus:
        hdus[0].data *= 25.0
    widths = [word for _ in survey.bands for word in ("--psf-fwhm", "3.0")]
    said = " ".join(run(*words, *widths).output.split())
    for band in survey.bands:
        assert f"band {band.name}: noise of the sky" in said and f"band {band.name}: PSF: a width of 3 arcsec" in said
    assert run(*words, "--psf-fwhm", "1.0").exit_code == 2
    # One and the same image in units of another zero point.
    zero = [word for point in survey.zero_points + 2.5 * np.log10(25.0) for word in ("--zero-point", str(point))]
    assert "note:" not in run(*words, *zero).output
