"""What is to be graded, as it is found in folders, and cutouts as they are looked at."""

import numpy as np
import pytest
from _cutouts import candidates, catalogue, cutout
from astropy.io import fits
from astropy.table import Table

from giga.io.errors import InputError
from giga.io.grading.folder import read_folder, read_simulations
from giga.io.grading.views import read_views
from giga.search.grading.questions import CANDIDATES, MODELS

pytestmark = pytest.mark.quick


def test_candidates_of_a_catalogue(tmp_path):
    folder = read_folder(candidates(tmp_path, 5))
    assert folder.scheme is CANDIDATES and [one.item.name for one in folder.graded] == [f"c{k:05d}" for k in range(5)]
    assert folder.graded[3].item.mark == "150.030000 +2.000000"
    assert folder.graded[3].files == (tmp_path / "candidates" / "c00003.fits",)


def test_plain_cutouts_and_further_views_of_them(tmp_path):
    for name in ("b", "a.hst", "a", "b.wide.deep"):
        cutout(1).writeto(tmp_path / f"{name}.fits")
    folder = read_folder(tmp_path)
    assert {one.item.name: [file.name for file in one.files] for one in folder.graded} == {
        "a": ["a.fits", "a.hst.fits"], "b": ["b.fits", "b.wide.deep.fits"]}


def test_a_fleet(tmp_path):
    for name in ("two", "one", "unfinished"):
        (tmp_path / "lenses" / name).mkdir(parents=True)
    for name in ("two", "one"):
        (tmp_path / "lenses" / name / "fit.png").write_bytes(b"")
    folder = read_folder(tmp_path)
    assert folder.scheme is MODELS and [one.item.name for one in folder.graded] == ["one", "two"]


@pytest.mark.parametrize(("change", "said"), [
    (lambda path: catalogue(path, range(2), cutout=["../../etc/passwd", "b"]), "a path within the folder"),
    (lambda path: catalogue(path, range(2), cutout=["/etc/passwd", "b"]), "a path within the folder"),
    (lambda path: catalogue(path, range(2), name=["a", "a"]), r"row 2: name: got 'a', as in row 1"),
    (lambda path: catalogue(path, range(0)), "nothing to grade"),
    (lambda path: Table({"name": ["a"]}).write(path / "candidates.fits", overwrite=True), "column 'cutout'"),
    (lambda path: Table({"name": ["a"], "cutout": ["a"]}, meta={"VERSION": "7"}).write(
        path / "candidates.fits", overwrite=True), "version: got '7'; expected '1'")])
def test_a_catalogue_that_is_wrong(tmp_path, change, said):
    change(candidates(tmp_path, 2))
    with pytest.raises(InputError, match=said):
        read_folder(tmp_path)


def test_folders_with_nothing_to_grade(tmp_path):
    for path, said in ((tmp_path / "none", "no such folder"), (tmp_path, "nothing to grade")):
        with pytest.raises(InputError, match=said):
            read_folder(path)


def test_simulations_tell_what_they_are(tmp_path):
    catalogue(candidates(tmp_path, 4), range(4), truth=["1", "0", "B", "no lens"])
    assert [one.item.truth for one in read_simulations(tmp_path)] == ["lens", "no lens", "B", "no lens"]
    catalogue(tmp_path, range(4), truth=["1", "0", "maybe", "0"])
    with pytest.raises(InputError, match="row 3 .c00002.: truth: got 'maybe'"):
        read_simulations(tmp_path)


def test_bands_are_sorted_from_blue_to_red_and_errors_are_passed_over(tmp_path):
    first = cutout(1).header
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(np.full((20, 20), k, np.float32), first, name=name)
                                 for k, name in enumerate(("z", "g", "WHT", "r")))]
    hdus[1].data[3, 4] = np.inf
    wide = cutout(1, size=48, pixel_scale=0.4).header
    hdus.append(fits.ImageHDU(np.ones((48, 48), np.float32), wide, name="F814W"))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    near, far = read_views([tmp_path / "a.fits"])
    assert near.bands == ("G", "R", "Z") and near.image[0, 0].tolist() == [1.0, 3.0, 0.0]
    assert np.isnan(near.image[3, 4, 2]) and np.isfinite(near.image).sum() == 3 * 400 - 1
    assert near.pixel_scale == pytest.approx(0.2) and far.name == "19.2″ at 0.4″, F814W"


def test_cubes_name_their_bands_or_number_them(tmp_path):
    for name, cards in (("listed", {"BANDS": "r, g"}), ("each", {"BAND1": "r", "BAND2": "g"}), ("none", {})):
        fits.PrimaryHDU(np.zeros((2, 16, 16), np.float32), fits.Header(cards)).writeto(tmp_path / f"{name}.fits")
    bands = {name: read_views([tmp_path / f"{name}.fits"])[0].bands for name in ("listed", "each", "none")}
    assert bands == {"listed": ("g", "r"), "each": ("g", "r"), "none": ("1", "2")}


@pytest.mark.parametrize(("content", "said"), [(b"no FITS", "it is a text"), (None, "no such file"),
                                               (np.zeros((4, 4), np.float32), "at least 8 x 8")])
def test_a_cutout_that_cannot_be_looked_at(tmp_path, content, said):
    if isinstance(content, np.ndarray):
        fits.PrimaryHDU(content).writeto(tmp_path / "a.fits")
    elif content is not None:
        (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_views([tmp_path / "a.fits"])
