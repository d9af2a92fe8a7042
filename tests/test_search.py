"""A search: every kind of pool gives the same scores, what cannot be read is a row, and it goes on where it was."""

import csv
import dataclasses
import errno
import json
import re
from functools import partial

import _pieces
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
from _networks import make
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from typer.testing import CliRunner

from giga.cli import app
from giga.io.errors import InputError
from giga.io.images.cube import read_cube
from giga.io.pools.base import read_positions
from giga.io.pools.kinds import READERS, pool_of
from giga.io.results.search import SearchFolder
from giga.jobs.surveys import search as jobs
from giga.jobs.surveys.candidates import Ranking, finder_of
from giga.jobs.surveys.search import Search, plan_search, run_search
from giga.models.networks.chain import Chain, ModularConfig, Stage, lens_logit
from giga.models.networks.cutouts import CutoutConfig, CutoutNet
from giga.models.networks.finder import Finder, FinderConfig
from giga.models.networks.resnet import ResNetConfig
from giga.models.networks.unet import UNet, UNetConfig
from giga.models.systems.finetune import card_of
from giga.models.zoo import Card, save_weights
from giga.runtime import parallel
from giga.runtime.workers import HERE, ClusterError, Workers, alone
from giga.search.matching import nearest_on_sky
from giga.search.scoring import Scorer, lens_class

SIDE, N, BANDS = 32, 10, ("g", "r", "i")
TINY = dict(pixels=SIDE, features=8, blocks=1, width=4, size="small")


def save(network, config, path):
    model = make(network, config)
    save_weights(model, path, Card(network.__name__, {**vars(config)}, {}, 0, "", "", {}, (), 1.0, {}, prevalence=0.5))
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A finder that is shown images as they are observed, and its path."""
    path = tmp_path_factory.mktemp("zoo") / "finder"
    return save(Stage, ModularConfig(stage="find", input="noisy", **TINY), path), str(path)


@pytest.fixture(scope="module")
def images():
    """Round blobs of many widths and colours, in noise."""
    rng, (y, x) = np.random.default_rng(3), np.mgrid[:SIDE, :SIDE] - 0.5 * (SIDE - 1)
    width, colour = rng.uniform(1.0, 5.0, (N, 1, 1, 1)), rng.exponential(3.0, (N, 1, 1, 3))
    blobs = colour * np.exp(-0.5 * (x**2 + y**2)[None, ..., None] / width**2)
    return blobs + rng.normal(0.0, 0.1, (N, SIDE, SIDE, 3))


@pytest.fixture(scope="module")
def wanted(model, images):
    network = model[0]
    found = np.asarray(lens_logit(network(network.config.stretch(jnp.asarray(images, jnp.float32)))))
    assert np.diff(np.sort(found)).min() > 1e-3 * np.abs(found).max()  # so that an order and a mix-up are seen
    return found


def wcs():
    made = WCS(naxis=2)
    made.wcs.ctype, made.wcs.crval, made.wcs.crpix = ["RA---TAN", "DEC--TAN"], [30.0, -5.0], [10.0, 20.0]
    made.wcs.cdelt = [-0.2 / 3600.0, 0.2 / 3600.0]
    return made.to_header()


def layers(image, names=BANDS, header=None):
    return fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(image[..., k], header, name=name)
                                              for k, name in enumerate(names))])


def as_folder(folder, images):
    for k, image in enumerate(images):
        order = [2, 0, 1] if k % 2 else [0, 1, 2]  # the bands in any order, by their names
        layers(image[..., order], [BANDS[one] for one in order]).writeto(folder / f"c{k:02d}.fits")
    return [folder], {}


def as_hdus(folder, images):
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.moveaxis(image, -1, 0), name=f"C{k:02d}")
                                       for k, image in enumerate(images))]).writeto(folder / "all.fits")
    return [folder / "all.fits"], {}


def as_hdf5(folder, images):
    with h5py.File(folder / "all.h5", "w") as file:
        file["images"], file["name"] = images, [f"c{k:02d}" for k in range(N)]
    return [folder / "all.h5"], {}


def as_named_hdf5(folder, images):
    with h5py.File(folder / "all.h5", "w") as file:
        file["deep/other"], file["deep/sky"] = np.zeros((2, 2, 2)), np.moveaxis(images[..., [1, 2, 0]], -1, 1)
        file["deep/sky"].attrs["bands"] = ["r", "i", "g"]
    return [folder / "all.h5"], {"dataset": "deep/sky"}


def as_zarr(folder, images):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / "all.zarr"), mode="w")
    array = group.create_array("cutouts", shape=images.shape, dtype="float64", chunks=(4, SIDE, SIDE, 3))
    array[:] = images
    return [folder / "all.zarr"], {}


def as_numpy(folder, images):
    np.save(folder / "all.npy", images)
    return [folder / "all.npy"], {}


def as_cubes(folder, images):
    for k, band in enumerate(BANDS):
        fits.PrimaryHDU(images[..., k]).writeto(folder / f"{band}.fits")
    return [folder / f"{band}.fits" for band in BANDS], {}


def as_mosaic(folder, images):
    """Side by side in one row of a mosaic, a file a band; the places are those of their middles."""
    for k, band in enumerate(BANDS):
        fits.PrimaryHDU(np.concatenate(list(images[..., k]), 1), wcs()).writeto(folder / f"{band}.fits")
    sky = WCS(wcs()).pixel_to_world(np.arange(N) * SIDE + SIDE / 2 - 0.4, np.full(N, SIDE / 2 - 0.4))
    Table({"NAME": [f"c{k:02d}" for k in range(N)], "RA": sky.ra.deg, "DEC": sky.dec.deg}).write(folder / "p.fits")
    return [folder / f"{band}.fits" for band in BANDS], {"catalogue": folder / "p.fits"}


def as_grid(folder, images):
    return as_mosaic(folder, images)[0], {"grid": SIDE * 0.2}


KINDS = [as_folder, as_hdus, as_hdf5, as_named_hdf5, as_zarr, as_numpy, as_cubes, as_mosaic, as_grid]


def go(out, paths, name, top=4, say=lambda text: None, where=HERE, **changes):
    kept = {key: changes.pop(key) for key in ("known", "init", "init_from", "radius") if key in changes}
    folder, _ = plan_search(Search(tuple(paths), name, **{"batch": 4, "part": 4} | changes), out)
    return folder, run_search(folder, Ranking(top=top, **kept), where, say)


def scores(folder):
    """The scores as FITS has them, which are those of Parquet."""
    kept = Table.read(folder.path / "scores.fits", mask_invalid=False)
    other = pyarrow.parquet.read_table(folder.path / "scores.parquet").to_pydict()
    assert kept.colnames == list(other) and list(kept["reason"]) == other["reason"]
    np.testing.assert_array_equal(kept["score"], other["score"])
    return kept


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_pool_gives_the_same_scores(kind, tmp_path, model, images, wanted):
    (tmp_path / "in").mkdir()
    paths, options = kind(tmp_path / "in", images)
    folder, found = go(tmp_path / "out", paths, model[1], **options)
    table = scores(folder)
    np.testing.assert_allclose(table["logit"], wanted, rtol=2e-4, atol=1e-5)
    assert (table["reason"] == "").all() and [row["rank"] for row in found] == [1, 2, 3, 4]
    np.testing.assert_allclose([row["logit"] for row in found], np.sort(wanted)[::-1][:4], rtol=2e-4, atol=1e-5)
    first = int(np.argmax(wanted))
    assert found[0]["name"] == table["name"][first]
    cube = read_cube([folder.path / found[0]["cutout"]], BANDS)  # what `giga predict` reads
    np.testing.assert_allclose(cube.image, images[first], rtol=1e-6)


def test_a_batch_is_one_program_whatever_its_size(model, images, wanted):
    scorer = Scorer(finder_of(model[1]), 4, parallel.mesh(jax.devices()[:1]))
    for size in (4, 1, 3):
        np.testing.assert_allclose(scorer(images[:size])["logit"], wanted[:size], rtol=2e-4, atol=1e-5)
    assert scorer._program._cache_size() == 1 and scorer.columns == ("logit",)


def test_a_chain_says_what_lens_it_is(tmp_path, images):
    network = save(Chain, ModularConfig(stage="joint", **TINY), tmp_path / "chain")
    np.save(tmp_path / "all.npy", images[:3])
    _, found = go(tmp_path / "out", [tmp_path / "all.npy"], str(tmp_path / "chain"), top=3, init="--survey lsst",
                  init_from="net")
    _, _, logit, parameters = network(jnp.asarray(images[:3], jnp.float32))
    order = np.argsort(-np.asarray(logit))
    np.testing.assert_allclose([row["theta_E"] for row in found], np.asarray(parameters["theta_E"])[order], rtol=1e-3)
    text = found[0]["fit"]
    assert f"--theta-e {found[0]['theta_E']:.3g} --survey lsst && giga fit" in text and text.endswith("--init-from net")


@pytest.mark.parametrize("network", ["vgg", "resnet18"])
def test_finders_of_clusters_search_too(tmp_path, images, network):
    made = save(Finder, FinderConfig(network=network, pixels=SIDE), tmp_path / "finder")
    scorer = Scorer(finder_of(str(tmp_path / "finder")), 4, parallel.mesh(jax.devices()[:1]))
    seen = jnp.asarray(images[:3], jnp.float32)
    found = scorer(images[:3])
    np.testing.assert_allclose(found["logit"], made(made.config.stretch(seen)), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(found["score"], 1.0 / (1.0 + np.exp(-found["logit"])), rtol=1e-5)


@pytest.mark.parametrize(("classes", "asked", "number"), [
    (("no", "yes"), None, 1), (("lens", "no"), None, 0), (("lens", "no"), "no", 1), (("arc", "lens", "star"), None, 2),
    (("0", "1"), "lens", None)])
def test_which_class_is_the_lenses(classes, asked, number):
    """The one that is called so, wherever the alphabet has it."""
    if number is None:
        with pytest.raises(ValueError, match="got the class 'lens'; expected one of 0, 1"):
            lens_class(classes, asked)
    else:
        assert lens_class(classes, asked) == number


@pytest.mark.parametrize(("lenses", "number"), [(None, 0), ("spiral", 1)])
def test_the_class_that_is_ranked_is_said(tmp_path, images, lenses, number):
    config = CutoutConfig.on(dataclasses.replace(ResNetConfig.small(3), width=4, blocks=(1,)), pixels=(SIDE, SIDE),
                             bands=BANDS, sigma=(0.1, 0.1, 0.1), classes=("lens", "spiral"))
    made = make(CutoutNet, config)
    save_weights(made, tmp_path / "net", Card("CutoutNet", card_of(config)["config"], {}, 0, "", "", {}, (), 1.0, {}))
    np.save(tmp_path / "all.npy", images)
    said = []
    folder, _ = go(tmp_path / "out", [tmp_path / "all.npy"], str(tmp_path / "net"), say=said.append, lenses=lenses)
    logits = np.asarray(made(jnp.asarray(images, jnp.float32)), float)
    np.testing.assert_allclose(scores(folder)["logit"], logits[:, number] - logits[:, 1 - number], rtol=2e-4, atol=1e-5)
    sentence = f"scores are of the class '{config.classes[number]}' of lens, spiral"
    assert sentence in said and sentence.replace("'", "&#x27;") in (folder.path / "gallery.html").read_text()
    with pytest.raises(InputError, match="--class: got the class 'ring'"):
        go(tmp_path / "other", [tmp_path / "all.npy"], str(tmp_path / "net"), lenses="ring")


def test_a_network_of_labelled_cutouts_searches_others(tmp_path, images):
    """In the unit of those, whatever it is."""
    config = CutoutConfig.on(dataclasses.replace(ResNetConfig.small(3), width=4, blocks=(1,)), pixels=(SIDE, SIDE),
                             bands=BANDS, sigma=(0.1, 0.1, 0.1), unit="nJy", classes=("spiral", "star", "lens"))
    made = make(CutoutNet, config)
    save_weights(made, tmp_path / "net", Card("CutoutNet", card_of(config)["config"], {}, 0, "", "", {}, (), 1.0, {}))
    for k, unit in enumerate(["nJy", None, "ct / s"]):
        hdus = [fits.ImageHDU(images[k, ..., j].astype(np.float32), name=band) for j, band in enumerate(BANDS)]
        for hdu in hdus if unit else ():
            hdu.header["BUNIT"] = unit
        (tmp_path / "pool").mkdir(exist_ok=True)
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "pool" / f"c{k}.fits")
    folder, found = go(tmp_path / "out", [tmp_path / "pool"], str(tmp_path / "net"), top=3)
    logits = np.asarray(made(jnp.asarray(images[:2], jnp.float32)), float)
    wanted = logits[:, 2] - np.logaddexp(logits[:, 0], logits[:, 1])
    assert [row["name"] for row in found] == [f"c{k}" for k in np.argsort(-wanted)]
    np.testing.assert_allclose([row["logit"] for row in found], np.sort(wanted)[::-1], rtol=2e-4, atol=1e-5)
    reasons = Table.read(tmp_path / "out" / "scores.fits")["reason"]
    assert str(reasons[2]) == "BUNIT is 'ct / s'; expected 'nJy', which the network learned"
    with pytest.raises(InputError, match="--units: counts for .*as they are, in nJy"):
        go(tmp_path / "other", [tmp_path / "pool"], str(tmp_path / "net"), units="counts")


def bad(folder, images):
    """A folder with one cutout that is right and others that are not; what is said of each."""
    def write(name, hdus):
        hdus.writeto(folder / f"{name}.fits")

    dark, holes, flat = (images[0].copy() for _ in range(3))
    dark[..., 1], holes[2, 3, 0], flat[..., 2] = np.nan, np.nan, 7.0
    write("right", layers(images[0]))
    write("bands", layers(images[0][..., :2], BANDS[:2]))
    write("other", layers(images[0], ("r", "i", "z")))  # shares two bands with the network's, in other places
    write("unseen", layers(images[0], ("u", "J", "K")))
    write("dark", layers(dark))
    write("holes", layers(holes))
    write("flat", layers(flat))
    write("large", layers(np.pad(images[0], [(2, 2), (2, 2), (0, 0)])))
    write("scale", layers(images[0], header=fits.Header({**wcs(), "CDELT1": -0.5 / 3600, "CDELT2": 0.5 / 3600})))
    write("unit", layers(images[0], header=fits.Header({"BUNIT": "mag"})))
    (folder / "text.fits").write_text("no image")
    (folder / "cut.fits").write_bytes((folder / "right.fits").read_bytes()[:4000])
    return {"other": "images of the bands R, I, Z; expected g, r, i", "unseen": "bands U, J, K",
            "bands": "2 bands; expected 3", "dark": "NaN or infinite", "holes": "band 1: 1 pixels are NaN",
            "flat": "band i is 7 everywhere", "large": "36 x 36 pixels; expected 32 x 32", "right": "",
            "scale": "pixels of 0.5 arcsec; expected 0.2", "unit": "logarithmic", "text": "it is a text",
            "cut": "cannot be read"}


def test_what_cannot_be_read_is_a_row_with_its_reason(tmp_path, model, images, wanted):
    (tmp_path / "in").mkdir()
    said = bad(tmp_path / "in", images)
    folder, found = go(tmp_path / "out", [tmp_path / "in"], model[1])
    table = scores(folder)
    assert list(table["name"]) == sorted(said)
    for row in table:
        assert said[row["name"]] in row["reason"] and bool(said[row["name"]]) == bool(row["reason"]), row["reason"]
        assert np.isfinite(row["logit"]) == (row["name"] == "right")
    assert [row["name"] for row in found] == ["right"]
    assert "11 of them unread" in (folder.path / "gallery.html").read_text()


def test_a_pool_of_which_nothing_can_be_read(tmp_path, model, images):
    np.save(tmp_path / "all.npy", np.full_like(images, np.nan))
    folder, found = go(tmp_path / "out", [tmp_path / "all.npy"], model[1])
    assert not found and len(scores(folder)) == N and "10 of them unread" in (folder.path / "gallery.html").read_text()
    assert len(Table.read(folder.path / "candidates.fits")) == 0


def test_other_sizes_are_cut_or_padded_when_asked_for(tmp_path, model, images, wanted):
    np.save(tmp_path / "large.npy", np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]))
    folder, _ = go(tmp_path / "out", [tmp_path / "large.npy"], model[1], size="crop")
    np.testing.assert_allclose(scores(folder)["logit"], wanted, rtol=2e-4, atol=1e-5)


def test_positions_off_the_mosaic_are_rows(tmp_path, model, images):
    (tmp_path / "in").mkdir()
    paths, _ = as_mosaic(tmp_path / "in", images)
    Table({"ra": [30.0, 200.0, 30.0], "dec": [-5.0, 40.0, -5.0 + 30.0 / 3600.0]}).write(tmp_path / "p.csv")
    folder, _ = go(tmp_path / "out", paths, model[1], catalogue=tmp_path / "p.csv")
    reasons = list(scores(folder)["reason"])
    assert "reaches over the edge" in reasons[0] + reasons[2] and "does not reach" in reasons[1]


def filters(folder, images, make=as_mosaic):
    paths, asked = make(folder, images)
    for path, name in zip(paths, ("i", "r SDSS", "g"), strict=True):
        fits.setval(path, "FILTER", value=name)
    return paths, asked


def no_wcs(folder, images):
    paths, options = as_mosaic(folder, images)
    for path in paths:
        fits.PrimaryHDU(fits.getdata(path)).writeto(path, overwrite=True)
    return paths, options


def other_pixels(folder, images):
    paths, options = as_mosaic(folder, images)
    fits.setval(paths[1], "CRPIX1", value=14.0)
    return paths, options


def coarse(folder, images):
    paths, options = as_mosaic(folder, images)
    for path in paths:
        fits.setval(path, "CDELT1", value=-0.4 / 3600), fits.setval(path, "CDELT2", value=0.4 / 3600)
    return paths, options


def twice(folder, images):
    with h5py.File(folder / "all.h5", "w") as file:
        file["images"], file["name"] = images, ["a", "b"] * (N // 2)
    return [folder / "all.h5"], {}


def other_bands(folder, images):
    with h5py.File(folder / "all.h5", "w") as file:
        file["images"] = images
        file["images"].attrs["bands"] = ["g", "r", "z"]
    return [folder / "all.h5"], {}


def table(folder, images, **columns):
    paths, _ = as_mosaic(folder, images)
    Table(columns).write(folder / "q.csv")
    return paths, {"catalogue": folder / "q.csv"}


def saved(folder, images):
    np.save(folder / "all.npy", images)
    return [folder / "all.npy"], {}


def uneven(folder, images):
    paths, _ = as_cubes(folder, images)
    fits.PrimaryHDU(images[:5, ..., 0]).writeto(paths[1], overwrite=True)
    return paths, {}


@pytest.mark.parametrize(("make_", "message"), [
    (no_wcs, "g.fits: WCS: none in HDU .*; expected a celestial WCS"),
    (filters, "band g: its FILTER is 'i'; expected the bands in the order g, r, i"),
    (partial(filters, make=as_cubes), "g.fits: band g: its FILTER is 'i'"),
    (other_pixels, "band r: shifted by .*; expected the 32 x 320 pixels of band g"),
    (coarse, "g.fits: WCS: pixels of 0.4 arcsec; expected 0.2"),
    (twice, "all.h5: name: 'a' 5 times, first in rows 1 and 3; expected a name of its own"),
    (other_bands, "all.h5: bands: g, r, z; expected g, r, i"),
    (uneven, r"r.fits: shape \(5, 32, 32\); expected \(10, 32, 32\), as g.fits has"),
    (lambda f, i: table(f, i, name=["a"], ra=[1.0], de=["x"]), "q.csv: de: not a number"),
    (lambda f, i: table(f, i, name=["a"], ra=[1.0]), "q.csv: dec: no such column"),
    (lambda f, i: table(f, i, name=["a"], ra=[400.0], dec=[0.0]), "q.csv: ra, row 1: got 400; expected degrees"),
    (lambda f, i: table(f, i, name=["a", "a"], ra=[30.0, 30.0], dec=[0.0, 0.0]), "name: 'a' 2 times"),
    (lambda f, i: saved(f, i[0]), r"all.npy: an array of shape \(32, 32, 3\); expected \(n, ny, nx, bands\)"),
    (lambda f, i: saved(f, i[..., :2]), r"shape \(10, 32, 32, 2\); expected .*with 3 bands: g, r, i"),
    (lambda f, i: ([f / "none"], {}), "none: no such file or folder"),
    (lambda f, i: ([f], {}), "no file that is FITS in the folder"),
    (lambda f, i: ([f], {"pattern": "*/image.fits"}), r"--pattern: no file \*/image.fits"),
    (lambda f, i: (as_grid(f, i)[0], {"grid": -1.0}), "--grid: got -1"),
    (lambda f, i: (as_hdf5(f, i)[0], {"dataset": "other"}), "--dataset: no array 'other'.*images"),
    (lambda f, i: (as_hdf5(f, i)[0], {"zero_points": (1.0,)}), "--zero-point: 1 values; expected one a band"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_searched_is_one_error(make_, message, tmp_path, model, images):
    (tmp_path / "in").mkdir()
    paths, options = make_(tmp_path / "in", images)
    with pytest.raises(InputError, match=message):
        go(tmp_path / "out", paths, model[1], **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("network", "config", "message"), [
    (Stage, ModularConfig(stage="find", **TINY), "a Stage of stage 'find', shown clean images, which tells no lenses"),
    (Stage, ModularConfig(stage="denoise", **TINY), "a Stage of stage 'denoise'"),
    (UNet, UNetConfig.small(3), "is a UNet, which tells no lenses in observed images; expected one of Chain, Finder, "
     "Stage, CutoutNet"),
])
def test_networks_that_tell_no_lenses(network, config, message, tmp_path):
    save(network, config, tmp_path / "net")
    with pytest.raises(InputError, match=message):
        finder_of(str(tmp_path / "net"))


def test_it_goes_on_where_it_was_and_knows_other_searches(tmp_path, model, images, monkeypatch):
    np.save(tmp_path / "all.npy", images)
    asked = Search((tmp_path / "all.npy",), model[1], part=4, batch=4)
    folder, there = plan_search(asked, tmp_path / "out")
    write = SearchFolder.write_part

    def full(self, number, *rest):
        if number == 1:
            raise OSError(errno.ENOSPC, "disk full while writing", str(self.part(number)))
        write(self, number, *rest)

    monkeypatch.setattr(SearchFolder, "write_part", full)
    with pytest.raises(OSError, match="disk full"):
        run_search(folder, Ranking(), say=lambda text: None)
    monkeypatch.undo()
    assert not there and folder.left() == [1, 2] and not list(folder.path.glob("parts/.*"))
    kept = folder.part(0).stat().st_mtime_ns
    again, there = plan_search(asked, tmp_path / "out")
    run_search(again, Ranking(), say=lambda text: None)
    assert there and folder.left() == [] and folder.part(0).stat().st_mtime_ns == kept
    assert list(scores(folder)["name"]) == [f"all_{k:06d}" for k in range(N)]
    fewer = run_search(again, Ranking(top=2), say=lambda text: None)
    assert {path.name for path in (folder.path / "candidates").glob("*")} == {f"{row['name']}.fits" for row in fewer}
    np.save(tmp_path / "all.npy", images[:8])
    with pytest.raises(InputError, match="holds another search .*number of cutouts: 10 -> 8"):
        plan_search(asked, tmp_path / "out")
    plan_search(asked, tmp_path / "out", overwrite=True)
    assert folder.left() == [0, 1]
    with alone(folder.path):
        with pytest.raises(ClusterError, match="works on this folder"):
            run_search(folder, Ranking(), say=lambda text: None)
        with pytest.raises(ClusterError, match="works on this folder"):
            plan_search(asked, tmp_path / "out", overwrite=True)
    assert folder.left() == [0, 1] and (folder.path / "search.json").exists()


def test_a_damaged_part_is_named(tmp_path, model, images):
    np.save(tmp_path / "all.npy", images)
    folder, _ = go(tmp_path / "out", [tmp_path / "all.npy"], model[1])
    folder.part(1).write_bytes(b"PAR1")
    with pytest.raises(InputError, match="parts: cannot be read.*remove the damaged one"):
        go(tmp_path / "out", [tmp_path / "all.npy"], model[1])


def test_two_workers_one_killed_every_row_once(tmp_path, model, images, wanted, monkeypatch):
    pytest.importorskip("distributed")
    np.save(tmp_path / "all.npy", images)
    monkeypatch.setattr(jobs, "score_part", _pieces.kill_once)
    folder, _ = go(tmp_path / "out", [tmp_path / "all.npy"], model[1], part=2, where=Workers(2))
    table = scores(folder)
    assert (folder.path / "killed").exists() and list(table["name"]) == [f"all_{k:06d}" for k in range(N)]
    np.testing.assert_allclose(table["logit"], wanted, rtol=2e-4, atol=1e-5)


def test_known_lenses(tmp_path, model, images, wanted):
    (tmp_path / "in").mkdir()
    paths, options = as_mosaic(tmp_path / "in", images)
    names, ra, dec = read_positions(options["catalogue"])
    last, first = int(np.argmin(wanted)), int(np.argmax(wanted))
    Table({"ID": ["first<b>", "last", "far"], "RAJ2000": [ra[first] + 0.5 / 3600, ra[last], 100.0],
           "DEJ2000": [dec[first], dec[last], 0.0]}).write(tmp_path / "known.csv")
    said = []
    folder, found = go(tmp_path / "out", paths, model[1], say=said.append, known=tmp_path / "known.csv", **options)
    assert [row["known"] for row in found] == ["first<b>", "", "", ""]
    np.testing.assert_allclose(found[0]["known_sep"], 0.5 * np.cos(np.radians(5.0)), atol=0.01)
    assert any("of 3 known lenses 2 are in cutouts within 3 arcsec of their middle, 1 of them among the first 4" in one
               for one in said)
    rows = list(csv.DictReader((folder.path / "known.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", str(N), "0"] and rows[1]["name"] == names[last]
    page = (folder.path / "gallery.html").read_text()
    assert "first&lt;b&gt;" in page and "<b>1</b>" in page and len(re.findall("data:image/png", page)) == 4
    assert not re.search(r'(src|href)="(https?:)?//', page)
    for suffix, kind in ((".fits", "fits"), (".vot", "votable"), (".csv", "ascii.csv")):
        kept = Table.read(folder.path / f"candidates{suffix}", format=kind)
        assert kept.colnames[:5] == ["rank", "name", "ra", "dec", "score"] and "cutout" in kept.colnames
    assert json.loads((folder.path / "search.json").read_text())["cutouts"] == N


def test_candidates_whose_names_fits_cannot_hold(tmp_path, model, images):
    (tmp_path / "in").mkdir()
    names = ["gal \u00e9\u2606", "a'b\"c", "plain", "two\nlines"]
    for name, image in zip(names, images, strict=False):
        layers(image).writeto(tmp_path / "in" / f"{name}.fits")
    folder, found = go(tmp_path / "out", [tmp_path / "in"], model[1])
    cards = {row["name"]: fits.getheader(folder.path / row["cutout"])["OBJECT"] for row in found}
    assert cards == dict(zip(names, [r"gal \xe9\u2606", "a'b\"c", "plain", r"two\nlines"], strict=True))


def test_no_folder_of_something_else_is_written_to_or_removed(tmp_path, model, images):
    for name in ("in", "other"):
        (tmp_path / name).mkdir()
    as_folder(tmp_path / "in", images)
    with pytest.raises(InputError, match="--out: is the folder of the cutouts"):
        plan_search(Search((tmp_path / "in",), model[1]), tmp_path / "other" / ".." / "in")
    (tmp_path / "other" / "candidates.csv").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"candidates.csv: --out: is of something else: there is no search.json"):
            plan_search(Search((tmp_path / "in",), model[1]), tmp_path / "other", overwrite)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["candidates.csv"]


def test_each_name_has_a_file_of_its_own(tmp_path):
    names = ["a b", "a_b", "a/b", "..", "é", *(200 * "x" + end for end in "yz")]
    files = [SearchFolder(tmp_path).cutout(name) for name in names]
    assert len(set(files)) == len(names) and {file.parent for file in files} == {tmp_path / "candidates"}
    assert SearchFolder(tmp_path).cutout("J0946+1006").name == "J0946+1006.fits"


def test_places_that_are_not_known_match_nothing():
    number, apart = nearest_on_sky(np.array([np.nan, 10.0, 359.9999]), np.zeros(3), np.array([np.nan, 0.0]),
                                   np.zeros(2), 1.0)
    assert number.tolist() == [-1, -1, 1] and np.isnan(apart[:2]).all()
    np.testing.assert_allclose(apart[2], 0.36, atol=1e-6)


def test_the_command(tmp_path, model, images):
    np.save(tmp_path / "all.npy", images)
    words = ["search", tmp_path / "all.npy", "--model", model[1], "--out", tmp_path / "out", "--top", 2]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0 and "10 cutouts, 1 parts to score" in done.output and "gallery.html" in done.output
    done = CliRunner().invoke(app, [*map(str, words), "--scheduler", "tcp://a:1", "--workers", "2"])
    assert done.exit_code == 2 and "--scheduler: given with" in done.stderr
    done = CliRunner().invoke(app, [*map(str, words[:3]), "nothing", *map(str, words[4:])])
    assert done.exit_code == 2 and "unknown model 'nothing'" in done.stderr


def test_readers_are_those_of_the_pools(tmp_path, images):
    kinds = set()
    for k, kind in enumerate(KINDS):
        (tmp_path / str(k)).mkdir()
        paths, options = kind(tmp_path / str(k), images)
        kinds.add(pool_of(paths, BANDS, (SIDE, SIDE), **options).kind)
    assert kinds == set(READERS)
