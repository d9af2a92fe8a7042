"""The files of a fit: complete, strict, atomic, and enough to draw it again."""

import errno
import json
import tomllib

import arviz
import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import xarray
from _factory import TRUTH, make_result, make_scene, make_wcs
from astropy import units
from astropy.io import fits
from astropy.wcs import WCS

from giga.bayes.posterior import Posterior
from giga.inference.checks.comparison import pointwise
from giga.io.errors import InputError
from giga.io.results import folder as module
from giga.io.results.folder import FILES, read_results, summary
from giga.io.results.posterior import GROUPS, TOTAL, read_posterior, write_posterior
from giga.jobs.results import redraw, write_results
from giga.runtime.atomic import write_atomically, write_text

ARVIZ = int(arviz.__version__.partition(".")[0])
CONFIG = '[mass]\nprofile = "EPL"  # <b>\n'


@pytest.fixture(scope="module")
def result():
    return make_result(n_observations=2)


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "deep" / "folder"
    written = write_results(result, path, CONFIG)
    assert sorted(file.name for file in written) == sorted(FILES)
    return path


def test_every_file_and_nothing_else(folder):
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    assert tomllib.loads((folder / "config.toml").read_text()) == {"mass": {"profile": "EPL"}}


def test_summary_has_the_keys_of_the_design(folder, result):
    def refuse(constant):
        raise AssertionError(f"summary.json holds {constant}")

    known = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    assert set(known) == {"parameters", "chi2", "n_pixels", "reduced_chi2", "n_free", "timings_s", "evaluations",
                          "devices", "versions", "seed", "best", "stages", "truth", "evidence", "checks",
                          "amplitudes", "curves", "cross_sections"}
    largest = known["curves"][0]
    assert (largest["kind"], largest["closed"], largest["secondary"]) == ("tangential", True, False)
    assert largest["area"] == pytest.approx(np.pi * largest["einstein_radius"] ** 2)
    assert sum(known["cross_sections"].values()) > 0.0
    for name, row in known["parameters"].items():
        assert set(row) == {"mean", "sd", "q16", "q50", "q84", "rhat", "ess_bulk", "ess_tail", "rhat_gelman_rubin"}
        assert all(isinstance(value, float) for value in row.values())
        assert row["mean"] == pytest.approx(result.samples[name].mean())
        assert row["q16"] < row["q50"] < row["q84"]
    assert set(known["timings_s"]) == {"compile", "map", "svi", "hmc"}
    assert set(known["evaluations"]) == {"map", "svi", "hmc"}
    assert known["chi2"] == pytest.approx(result.chi2) and known["truth"] == TRUTH
    assert known["stages"]["hmc"]["evidence"] is None  # NaN is written as null


def test_solved_amplitudes_have_errors_and_units(folder, result):
    rows = json.loads((folder / "summary.json").read_text())["amplitudes"]
    draws = result.amplitudes.draws["lens_light.0.amp"]
    assert rows["lens_light.0.amp"]["sd"] == pytest.approx(draws.std(ddof=1))
    assert rows["lens_light.0.amp"]["best"] == -2.0 and rows["lens_light.0.amp"]["unit"] == "ct / (s arcsec2)"
    assert np.shape(rows["lens_light.1.amp"]["mean"]) == (3,)
    assert units.Unit(rows["lens_light.0.amp"]["unit"]) == units.Unit("ct s-1 arcsec-2")
    data = arviz.from_netcdf(folder / "posterior.nc")
    kept = data.amplitudes["lens_light.0.amp"]
    assert kept.dims == ("chain", "draw") and data.amplitudes["lens_light.1.amp"].shape == (4, 10, 3)
    np.testing.assert_array_equal(kept.draw, np.arange(0, 100, 10))
    np.testing.assert_array_equal(kept, draws)


@pytest.mark.parametrize(("changes", "field"), [
    ({"chi2": float("nan")}, "chi2"), ({"best": {"mass.0.e1": float("inf")}}, r"best\.mass\.0\.e1")])
def test_summary_refuses_nan_in_results(result, changes, field):
    with pytest.raises(ValueError, match=rf"summary\.json: {field}: got (nan|inf)"):
        summary(result.replace(**changes))


def test_summary_writes_an_undefined_diagnostic_as_null(result):
    undefined = {name: {**row, "rhat": np.float32("nan")} for name, row in result.diagnostics.items()}
    text = json.dumps(summary(result.replace(diagnostics=undefined)), allow_nan=False)
    assert '"rhat": null' in text


def check_posterior(data, result):
    """The groups as either ArviZ has them: an InferenceData of data sets, or a DataTree."""
    assert list(data["posterior"].data_vars) == result.names
    np.testing.assert_array_equal(data["posterior"]["mass.0.theta_E"], result.samples["mass.0.theta_E"])
    assert data["posterior"]["mass.0.theta_E"].attrs["units"] == "arcsec"
    assert data["posterior"].attrs["seed"] == 42 and data["posterior"].attrs["version_jax"] == "0.10.2"
    assert data["vi"]["mass.0.gamma"].dims == ("chain", "draw")
    assert data["sample_stats"]["diverging"].dtype == bool
    assert set(data["observed_data"].data_vars) == {"image_0", "mask_0", "image_1", "mask_1"}


@pytest.mark.skipif(ARVIZ >= 1, reason="the installed ArviZ is of generation 1")
def test_posterior_is_the_inference_data_of_arviz_0(folder, result):
    data = arviz.from_netcdf(folder / "posterior.nc")
    assert set(data.groups()) == {*GROUPS, "amplitudes", "checks"}
    check_posterior(data, result)
    assert float(arviz.rhat(data)["mass.0.e1"]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.skipif(ARVIZ < 1, reason="the installed ArviZ is 0.23, the last for Python 3.11")
def test_posterior_is_the_data_tree_of_arviz_1(folder, result):
    with arviz.from_netcdf(folder / "posterior.nc") as data:
        assert set(data.children) == {*GROUPS, "amplitudes", "checks"}
        check_posterior(data, result)
        assert float(arviz.rhat(data)["mass.0.e1"]) == pytest.approx(1.0, abs=0.05)


def test_posterior_opens_without_arviz(folder, result):
    with xarray.open_datatree(folder / "posterior.nc") as data:
        assert set(data.children) == {*GROUPS, "amplitudes", "checks"}
        check_posterior(data, result)


def test_model_images_keep_the_wcs(folder, result):
    given = make_wcs(24, 0.15)
    with fits.open(folder / "model.fits") as hdus:
        hdus.verify("exception")
        assert hdus[0].data is None
        assert hdus[0].header["CHI2"] == pytest.approx(result.chi2)
        for name in ("DATA", "MODEL", "RESIDUAL", "LENS_LIGHT", "LENSED_SOURCE", "NOISE", "MASK"):
            wcs = WCS(hdus[name, 1].header)
            corners = np.array([[0.0, 0.0], [23.0, 0.0], [11.5, 20.0]])
            np.testing.assert_allclose(wcs.wcs_pix2world(corners, 0), given.wcs_pix2world(corners, 0), rtol=1e-12)
            assert wcs.wcs.ctype[0] == "RA---TAN"
            if "BUNIT" in hdus[name, 1].header:
                assert units.Unit(hdus[name, 1].header["BUNIT"]).is_equivalent("ct/s")
        np.testing.assert_allclose(hdus["MODEL", 2].data, result.model_images[1], rtol=1e-6)
        source = hdus["SOURCE_PLANE", 1]
        assert units.Unit(source.header["BUNIT"]) == units.Unit("ct s-1 arcsec-2")
        assert list(WCS(source.header).wcs.cunit) == ["arcsec", "arcsec"]
        angles = WCS(hdus["DATA", 2].header, key="A")
        x, y = (np.asarray(c) for c in result.observations[1].grid.coordinates())
        rows, columns = np.array([0, 5, 23]), np.array([2, 11, 0])
        expected = np.stack([x[rows, columns], y[rows, columns]], axis=1)
        np.testing.assert_allclose(angles.wcs_pix2world(np.stack([columns, rows], 1), 0), expected, atol=1e-5)


def test_round_trip(folder, result):
    back, drawn = read_results(folder)
    assert back.names == result.names and back.truth == result.truth and back.best == result.best
    assert back.reduced_chi2 == pytest.approx(result.reduced_chi2)
    for name in result.names:
        np.testing.assert_array_equal(back.samples[name], result.samples[name])
        np.testing.assert_array_equal(back.vi_samples[name], result.vi_samples[name])
    np.testing.assert_array_equal(back.sample_stats["diverging"], result.sample_stats["diverging"])
    assert sum(picture.chi2 for picture in drawn) == pytest.approx(result.chi2, rel=1e-5)
    for old, new in zip(result.observations, back.observations, strict=True):
        np.testing.assert_array_equal(new.mask, old.mask)
        assert float(new.grid.rotation) == pytest.approx(float(old.grid.rotation))
        assert bool(new.header) == bool(old.header)
    assert [curve.closed for curve in drawn[0].curves] == [True, True]
    assert summary(back) == summary(result)


def test_redraw_gives_the_same_pictures(folder):
    before = {name: (folder / name).read_bytes() for name in FILES}
    written = redraw(folder)
    assert sorted(path.name for path in written) == ["checks.png", "corner.png", "fit.png", "report.html"]
    assert (folder / "corner.png").read_bytes() == before["corner.png"]
    assert abs(len((folder / "fit.png").read_bytes()) / len(before["fit.png"]) - 1.0) < 0.02
    for name in ("posterior.nc", "model.fits", "summary.json", "config.toml"):
        assert (folder / name).read_bytes() == before[name]


@pytest.mark.parametrize("name", ["summary.json", "posterior.nc", "model.fits"])
@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_missing_or_damaged_file(folder, tmp_path, name, content):
    for file in ("summary.json", "posterior.nc", "model.fits"):
        if file != name:
            (tmp_path / file).write_bytes((folder / file).read_bytes())
        elif content is not None:
            (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: .*(no such file|cannot be read)"):
        read_results(tmp_path)


def full(path, *_, **__):
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_disk_full_names_the_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "model.fits"
    write_text(target, "the old one")
    with pytest.raises(OSError, match=r"disk full while writing.*model\.fits") as caught:
        write_atomically(target, full)
    assert caught.value.errno == errno.ENOSPC
    assert [file.name for file in tmp_path.iterdir()] == ["model.fits"] and target.read_text() == "the old one"


def test_a_library_that_hides_the_error_number(tmp_path):
    def write(path):
        path.write_bytes(b"half")
        raise OSError("Can't write data (error message = 'No space left on device')")

    with pytest.raises(OSError, match="disk full while writing"):
        write_atomically(tmp_path / "posterior.nc", write)
    assert not list(tmp_path.iterdir())


def test_any_failure_removes_the_temporary_file(tmp_path):
    def write(path):
        path.write_bytes(b"half")
        raise KeyError("surprise")

    with pytest.raises(KeyError):
        write_atomically(tmp_path / "a.txt", write)
    assert not list(tmp_path.iterdir())


def test_disk_full_in_a_run(result, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_model", lambda path, *_: write_atomically(path, full))
    with pytest.raises(OSError, match=r"disk full while writing.*model\.fits"):
        write_results(result, tmp_path, CONFIG)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.toml", "posterior.nc"]


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")  # of so few draws
def test_log_likelihoods_of_pixels_add_up_and_are_what_arviz_needs(tmp_path, result):
    """Of a Sersic whose amplitude is free: the pixels of a draw sum to the likelihood of all of them."""
    scene = make_scene()
    free = scene.replace(source_light=[scene.source_light[0].replace(amp=dist.Normal(12.0, 1.0))])
    posterior = Posterior.of(free, result.observations)
    z = np.random.default_rng(3).normal(size=(4, 25, 1)).astype(np.float32)
    draws, values = pointwise(posterior, z, 24)
    np.testing.assert_array_equal(draws, [0, 5, 10, 14, 19, 24])
    assert [one.shape for one in values] == [(4, 6, int(o.mask.sum())) for o in result.observations]
    total = np.asarray(jax.vmap(posterior.log_likelihood)(z[:, draws].reshape(-1, 1)), float)
    total = total + float(posterior.log_norm)
    np.testing.assert_allclose(sum(one.sum(-1) for one in values).ravel(), total, rtol=1e-4)  # of float32 pixels
    path = write_posterior(tmp_path / "posterior.nc", result.replace(pointwise=(draws, values)))
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        pixels = tree["log_likelihood"]
        assert pixels["image_1"].dims == ("chain", "draw", "pixel_1")
        k = 7
        row, column = int(pixels["y_1"][k]), int(pixels["x_1"][k])
        assert result.observations[1].mask[row, column]
        assert np.flatnonzero(result.observations[1].mask)[k] == row * 24 + column
    path = write_posterior(tmp_path / "more.nc", result.replace(pointwise=pointwise(posterior, z, 100)))
    loo = arviz.loo(arviz.from_netcdf(path), var_name="image_0")
    assert loo.n_data_points == result.observations[0].mask.sum()
    assert np.isfinite(loo.iloc[0] if ARVIZ < 1 else loo.elpd)
    assert read_posterior(path)["sample_stats"][TOTAL].shape == result.log_likelihood.shape


def test_totals_of_earlier_versions_are_read_as_such(tmp_path, folder, result):
    with xarray.open_datatree(folder / "posterior.nc", engine="h5netcdf") as tree:
        groups = {f"/{name}": tree[name].to_dataset() for name in tree}
    total = groups["/sample_stats"][TOTAL]
    groups["/log_likelihood"] = xarray.Dataset({"log_likelihood": total})
    groups["/sample_stats"] = groups["/sample_stats"].drop_vars(TOTAL)
    xarray.DataTree.from_dict(groups).to_netcdf(tmp_path / "old.nc", engine="h5netcdf")
    np.testing.assert_array_equal(read_posterior(tmp_path / "old.nc")["sample_stats"][TOTAL], result.log_likelihood)
