"""Pixels as pictures: stretches keep the order of brightness, colours do not depend on units, tiles their place."""

import io

import numpy as np
import pytest
from _cutouts import BANDS, cutout
from matplotlib.image import imread

from giga.show.grading.pixels import (
    MISSING,
    RGB,
    STRETCHES,
    colours,
    encoded,
    field,
    picture,
    resampled,
    residual,
    sheet,
    white_balance,
)

pytestmark = pytest.mark.quick
IMAGE = np.moveaxis(cutout(1).data, 0, -1).astype(float)


@pytest.mark.parametrize("stretch", STRETCHES)
@pytest.mark.parametrize("band", [RGB, "r"])
def test_brighter_pixels_are_brighter_whatever_the_unit(stretch, band):
    shown = picture(IMAGE, BANDS, band, stretch)
    assert shown.shape == (32, 32, 3) and shown.dtype == np.uint8
    assert shown[10:22, 10:22].mean() > shown[:6, :6].mean() + 40
    np.testing.assert_allclose(picture(1e-9 * IMAGE + 3e-8, BANDS, band, stretch).astype(int), shown, atol=2)
    if band == "r" and stretch != "lupton":
        assert (shown[..., 0] == shown[..., 2]).all()
        order = np.argsort(IMAGE[::-1, :, 1], axis=None)
        assert (np.diff(shown[..., 0].ravel()[order].astype(int)) >= 0).all()


def test_row_zero_is_the_lowest():
    image = np.random.default_rng(0).normal(size=(20, 20, 1))
    image[2, 5] = 500.0
    shown = picture(image, ("r",), "r", "linear")[..., 0]
    assert np.unravel_index(shown.argmax(), shown.shape) == (17, 5)


def test_white_is_the_usual_object_and_another_one_has_a_colour():
    usual = [np.moveaxis(cutout(2 * k).data, 0, -1) * [1.0, 5.0, 0.2] for k in range(9)]
    balance = white_balance(usual)
    centre = picture(usual[0], BANDS, RGB, "linear", balance)[15, 15].astype(int)
    assert centre.min() > 120 and centre[0] >= centre[2]
    blue = picture(usual[0] * [3.0, 1.0, 0.3], BANDS, RGB, "linear", balance)[15, 15].astype(int)
    assert blue[2] > blue[0] + 60
    assert white_balance([np.full((4, 4, 2), np.nan)]) == [] == white_balance([])


def test_missing_pixels_have_a_colour_of_their_own():
    image = IMAGE.copy()
    image[0, :4] = np.nan
    assert (picture(image, BANDS, RGB, "arcsinh")[-1, :4] == MISSING).all()
    assert (picture(np.full((9, 9, 1), np.nan), ("r",), "r", "zscale") == MISSING).all()
    assert picture(np.zeros((9, 9, 1)), ("r",), "r", "log").max() < 255  # a band without noise


@pytest.mark.parametrize(("band", "stretch", "said"), [("q", "log", "band: got 'q'"), ("r", "square", "stretch: got")])
def test_what_there_is_not_is_refused(band, stretch, said):
    with pytest.raises(ValueError, match=said):
        picture(IMAGE, BANDS, band, stretch)


@pytest.mark.parametrize(("bands", "chosen"), [(("g", "r"), [1, 0]), (("g", "r", "i"), [2, 1, 0]),
                                               (("u", "g", "r", "i"), [3, 2, 1]), (tuple("ugrizY"), [5, 3, 1])])
def test_bands_that_are_red_green_and_blue(bands, chosen):
    assert colours(bands) == chosen


@pytest.mark.parametrize("size", [8, 31, 32, 64, 200])
def test_tiles_keep_flux_and_place(size):
    ramp = np.broadcast_to(np.linspace(0.0, 100.0, size)[None, :, None], (size, size, 3)).astype(np.float32)
    tile = resampled(ramp, 32)
    assert tile.shape == (32, 32, 3) and tile.mean() == pytest.approx(50.0, abs=0.1)
    assert (np.diff(tile[3, :, 0]) >= 0).all() and np.allclose(tile, tile[:1])
    if size == 32:
        np.testing.assert_allclose(tile, ramp, atol=1e-4)


def test_a_tile_of_no_square_has_black_beside_it():
    tile = resampled(np.full((10, 20, 3), 200, np.uint8), 16)
    assert (tile[4:12] == 200).all() and not tile[:4].any() and not tile[12:].any()


def test_pages_and_files():
    tiles = [np.full((4, 4, 3), k, np.uint8) for k in range(12)]
    page = sheet(tiles, 10, 4)
    assert page.shape == (8, 40, 3) and page[4, 4, 0] == 11 and page[0, 39, 0] == 9 and not page[4:, 8:].any()
    shown = picture(IMAGE, BANDS, RGB, "log")
    assert (np.round(255 * imread(io.BytesIO(encoded(shown)))[..., :3]) == shown).all()
    assert encoded(shown, exact=False)[:3] == b"\xff\xd8\xff"


def test_the_field_is_the_middle():
    image = np.arange(64).reshape(8, 8)
    assert field(image, 0.5).tolist() == image[2:6, 2:6].tolist() and field(image, 1.0) is not None


def test_residuals_are_blue_below_and_red_above():
    shown = residual(np.array([[-5.0, 0.0, 5.0]]), np.array([[True, True, True]]))[0].astype(int)
    assert shown[0, 2] > shown[0, 0] + 60 and shown[2, 0] > shown[2, 2] + 60 and shown[1].min() > 240
