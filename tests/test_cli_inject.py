"""`giga inject`: arcs in the cutouts of a user; what is wrong is named, and nothing is written."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from giga.cli import app
from giga.io.images.sky import celestial_wcs

CONFIG = """
[survey]
name = "kids"
bands = ["g", "r"]
supersampling = 1
psf = {fwhm = 0.6}

[run]
n_devices = 1

[[mass]]
profile = "SIE"
theta_E = {dist = "Uniform", low = 0.8, high = 1.2}

[[lens_light]]
profile = "Sersic"
amp = 4000.0
R_sersic = 0.5
n_sersic = 1.0

[[source_light]]
profile = "Sersic"
amp = {dist = "Uniform", low = 500.0, high = 800.0, each_band = true}
R_sersic = 0.2
n_sersic = 1.0
"""
SHAPE = (20, 22)


def run(*words: object):
    return CliRunner().invoke(app, ["inject", *map(str, words)])


def cutout(path: Path, bands: int = 2, unit: str = "ct/s", scale: float = 0.2, seed: int = 0,
           shape: tuple[int, int] = SHAPE) -> Path:
    image = np.random.default_rng(seed).normal(size=(bands, *shape)).astype(np.float32)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 9.0, "CRPIX2": 8.0, "CRVAL1": 30.0,
                          "CRVAL2": -5.0, "CDELT1": -scale / 3600, "CDELT2": scale / 3600, "BUNIT": unit})
    fits.writeto(path, image if bands > 1 else image[0], header, overwrite=True)
    return path


@pytest.fixture
def config(tmp_path) -> Path:
    (tmp_path / "arcs.toml").write_text(CONFIG)
    return tmp_path / "arcs.toml"


def test_cutouts_get_arcs(config, tmp_path):
    files, out = [cutout(tmp_path / "a.fits"), cutout(tmp_path / "b.fits", seed=1)], tmp_path / "out"
    result = run(config, *files, "--out", out, "-n", 2, "--seed", 5)
    assert result.exit_code == 0, result.output
    table = Table.read(out / "truth.ecsv")
    assert list(table["file"]) == ["a-000.fits", "a-001.fits", "b-000.fits", "b-001.fits"]
    assert len(set(table["mass.0.theta_E"])) == 4 and table["mass.0.theta_E"].unit == "arcsec"
    assert table["source_light.0.amp"].shape == (4, 2) and table.meta["seed"] == 5
    for row in table:
        with fits.open(row["cutout"]) as old, fits.open(out / row["file"]) as new:
            assert [new[0].header[f"BAND{k}"] for k in (1, 2)] == ["g", "r"]
            light, noise = np.array(new["LIGHT"].data, float), np.array(new["NOISE"].data, float)
            np.testing.assert_allclose(new["IMAGE"].data, old[0].data + light + noise, atol=1e-4)
            assert np.std(noise) > 0.0 and new["IMAGE"].header["BUNIT"] == "ct/s"
            for name in ("IMAGE", "LIGHT", "NOISE"):
                ours, theirs = (celestial_wcs(hdu.header).wcs_pix2world([[3, 12]], 0) for hdu in (new[name], old[0]))
                np.testing.assert_allclose(ours, theirs, rtol=1e-9)
            for k, band in enumerate("gr"):  # KiDS has a zero point of 30
                assert row[f"mag_{band}"] == pytest.approx(30.0 - 2.5 * np.log10(light[k].sum()), abs=1e-4)
            # A source in the middle of an isothermal lens is a ring of the Einstein radius, but for its ends.
            y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
            r = 0.2 * np.hypot(x - 10.5, y - 9.5)
            assert np.sum(light * r) / np.sum(light) == pytest.approx(row["mass.0.theta_E"], rel=0.2)
    again = tmp_path / "again"
    assert run(config, *files, "--out", again, "-n", 2, "--seed", 5).exit_code == 0
    assert (again / "b-001.fits").read_bytes() == (out / "b-001.fits").read_bytes()
    refused = run(config, *files, "--out", out)
    assert refused.exit_code == 2 and "is there already; expected another name" in " ".join(refused.stderr.split())
    truth = (out / "truth.ecsv").read_bytes()
    fewer = run(config, files[0], "--out", out, "-n", 2, "--seed", 6, "--overwrite")
    assert fewer.exit_code == 2 and (out / "truth.ecsv").read_bytes() == truth
    assert "lists b-000.fits and 1 more, which would stay there without a truth" in " ".join(fewer.stderr.split())
    assert run(config, *files, "--out", out, "-n", 2, "--seed", 6, "--overwrite").exit_code == 0
    assert (again / "a-000.fits").read_bytes() != (out / "a-000.fits").read_bytes()


def test_bands_in_files_of_their_own_and_counts(config, tmp_path):
    """Of an image in counts the light is counts too; the deflector's light comes on request alone."""
    files = [cutout(tmp_path / f"{name}.fits", bands=1, unit="counts", seed=k) for k, name in enumerate("gr")]
    lights = {}
    for name, options in (("arcs", ()), ("all", ("--lens-light",)), ("rate", ("--units", "counts/s"))):
        options = options if name == "rate" else (*options, "--units", "counts", "--exposure-time", 100)
        result = run(config, *files, "--out", tmp_path / name, *options)
        assert result.exit_code == 0, result.output
        lights[name] = fits.getdata(tmp_path / name / "g-000.fits", "LIGHT").astype(float)
    np.testing.assert_allclose(lights["arcs"], 100.0 * lights["rate"], rtol=1e-5, atol=1e-6)
    middle = np.s_[:, 9:11, 10:12]
    assert lights["all"][middle].sum() > 3.0 * lights["arcs"][middle].sum()


@pytest.mark.parametrize(("change", "options", "message"), [
    ({"bands": 3}, (), "image: not all of 2 bands, among 1 files; expected one file with all bands"),
    ({"scale": 0.26}, (), "image: pixels of 0.26 arcsec; expected 0.2 within 2%, those of the survey 'kids'"),
    ({"unit": "counts"}, (), "--units: BUNIT 'counts' is not a rate per pixel"),
    ({}, ("--units", "magnitudes"), "--units: got 'magnitudes'; expected one of counts/s"),
    ({}, ("--units", "counts", "--exposure-time", "-5"), "--exposure-time: got -5; expected seconds above 0"),
    ({}, ("--units", "counts", "--exposure-time", "nan"), "--exposure-time: got nan; expected seconds above 0"),
    ({}, ("--set", "noise.kind=camera"), "noise: given for an injection; expected no such section"),
    ({}, ("--set", "survey.bands=g"), "survey.bands: got 'g'; expected"),
    ({}, ("--set", "survey.psf.fwhm=6.0"), "kernel of"),
])
def test_what_is_wrong_is_named(config, tmp_path, change, options, message):
    result = run(config, cutout(tmp_path / "a.fits", **change), "--out", tmp_path / "out", *options)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert not list(tmp_path.glob("out/*"))


def test_what_is_made_before_an_error_has_its_truth(config, tmp_path):
    small = cutout(tmp_path / "b.fits", shape=(4, 4))
    result = run(config, cutout(tmp_path / "a.fits"), small, "--out", tmp_path / "out")
    assert result.exit_code == 2 and "b.fits: inject: " in " ".join(result.stderr.split())
    assert list(Table.read(tmp_path / "out" / "truth.ecsv")["file"]) == ["a-000.fits"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-000.fits", "truth.ecsv"]


def test_files_that_would_be_lost(config, tmp_path):
    first = cutout(tmp_path / "a-000.fits")
    (tmp_path / "other").mkdir()
    twice = run(config, first, cutout(tmp_path / "other" / "a-000.fits"), "--out", tmp_path / "out")
    assert twice.exit_code == 2 and "written for two cutouts" in " ".join(twice.stderr.split())
    lost = run(config, first, cutout(tmp_path / "a.fits"), "--out", tmp_path, "--overwrite")
    assert lost.exit_code == 2 and "an input would be overwritten" in " ".join(lost.stderr.split())


def test_a_population_without_a_source(config, tmp_path):
    config.write_text(CONFIG.partition("[[source_light]]")[0])
    result = run(config, cutout(tmp_path / "a.fits"), "--out", tmp_path / "out")
    assert result.exit_code == 2 and "source_light: no source; expected" in " ".join(result.stderr.split())
