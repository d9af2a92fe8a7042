"""Cubes in, parts and magnitudes out."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from giga.io.errors import InputError
from giga.io.images.cube import read_cube
from giga.io.results.separation import magnitudes, write_separation, write_table

BANDS = ("g", "r")


def header() -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [6.0, 5.0]
    wcs.wcs.cdelt = [-5e-5, 5e-5]
    return wcs.to_header()


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.normal(size=(2, 9, 11)).astype(np.float32)


@pytest.mark.parametrize("kind", ["cube", "extensions", "files"])
def test_the_three_ways_to_keep_bands(tmp_path, image, kind):
    paths = [tmp_path / "a.fits"]
    if kind == "cube":
        cards = header()
        cards["CTYPE3"], cards["CRVAL3"] = "WAVE", 5e-7
        fits.PrimaryHDU(image, cards).writeto(paths[0])
    elif kind == "extensions":
        fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(layer, header()) for layer in image)]).writeto(paths[0])
    else:
        paths.append(tmp_path / "b.fits")
        for path, layer in zip(paths, image, strict=True):
            fits.PrimaryHDU(layer, header()).writeto(path)
    cube = read_cube(paths, BANDS)
    np.testing.assert_array_equal(np.moveaxis(cube.image, -1, 0), image)
    assert WCS(cube.header).naxis == 2
    assert WCS(cube.header).wcs.crval[0] == 150.0


def test_hdus_that_are_named_say_which_band_they_are(tmp_path, image):
    """Errors and flags beside SCI are no bands, and bands may lie in another order."""
    def hdu(layer, name):
        return fits.ImageHDU(layer, header(), name=name)

    layers = [hdu(image[BANDS.index(band)], band.upper()) for band in reversed(BANDS)]
    fits.HDUList([fits.PrimaryHDU(), *layers]).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(np.moveaxis(read_cube([tmp_path / "a.fits"], BANDS).image, -1, 0), image)
    fits.HDUList([fits.PrimaryHDU(), hdu(image[0], "SCI"), hdu(image[1], "ERR"), hdu(image[1], "DQ")]).writeto(
        tmp_path / "b.fits")
    np.testing.assert_array_equal(read_cube([tmp_path / "b.fits"], ["F814W"]).image[..., 0], image[0])
    fits.PrimaryHDU(image[0, 0]).writeto(tmp_path / "c.fits")
    with pytest.raises(InputError, match=r"an image of shape \(\d+,\); expected two or three dimensions"):
        read_cube([tmp_path / "c.fits"], BANDS)


def test_a_window_keeps_the_sky_where_it_is(tmp_path, image):
    fits.PrimaryHDU(image, header()).writeto(tmp_path / "a.fits")
    cube = read_cube([tmp_path / "a.fits"], BANDS)
    for shape in ((5, 7), (13, 15), (6, 20)):
        part = cube.window(shape)
        assert part.image.shape == (*shape, 2)
        row, column = np.unravel_index(np.argmax(part.image[..., 0]), shape)
        there = WCS(part.header).pixel_to_world_values(column, row)
        y, x = np.argwhere(cube.image[..., 0] == part.image[row, column, 0])[0]
        np.testing.assert_allclose(there, WCS(cube.header).pixel_to_world_values(x, y), rtol=0, atol=1e-9)


def test_what_is_written_is_read_back(tmp_path, image):
    fits.PrimaryHDU(image, header()).writeto(tmp_path / "a.fits")
    cube = read_cube([tmp_path / "a.fits"], BANDS)
    parts = {"lens": 0.5 * cube.image, "source": 0.3 * cube.image, "noise": 0.2 * cube.image}
    write_separation(tmp_path / "out.fits", cube, parts, BANDS, "a network", "0" * 64)
    with fits.open(tmp_path / "out.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["IMAGE", "LENS", "SOURCE", "NOISE"]
        total = sum(hdus[name].data for name in ("LENS", "SOURCE", "NOISE"))
        np.testing.assert_allclose(total, hdus["IMAGE"].data, atol=1e-6)
        for hdu in hdus[1:]:
            assert WCS(hdu.header).celestial.wcs.crval[1] == 2.0
        assert hdus[0].header["BAND2"] == "r"


def test_magnitudes_are_those_of_the_flux(tmp_path):
    lens = np.zeros((4, 4, 2))
    lens[1, 1] = [100.0, 1000.0]
    table = magnitudes({"lens": lens, "source": 0.0 * lens}, BANDS, [25.0, 26.0], np.array([1.0, 2.0]))
    assert table["mag_g"][0] == pytest.approx(20.0) and table["mag_r"][0] == pytest.approx(18.5)
    assert table["magerr_g"][0] == pytest.approx(2.5 / np.log(10.0) * 1.0 / 100.0)
    assert np.isnan(table["mag_r"][1])
    write_table(tmp_path / "m.ecsv", table)
    again = Table.read(tmp_path / "m.ecsv")
    assert again.meta["zero_points"]["r"] == 26.0 and again["mag_g"].unit == "mag"


def test_bad_images(tmp_path, image):
    path = tmp_path / "a.fits"
    with pytest.raises(InputError, match="no such file"):
        read_cube([path], BANDS)
    fits.PrimaryHDU(image).writeto(path)
    with pytest.raises(InputError, match="image: 2 bands; expected 4, in one cube"):
        read_cube([path], "ugri")
    image[1, 2, 3] = np.nan
    fits.PrimaryHDU(image).writeto(path, overwrite=True)
    with pytest.raises(InputError, match=r"band 2: 1 pixels are NaN or infinite, the first at \[y=2, x=3\]"):
        read_cube([path], BANDS)
    path.write_bytes(path.read_bytes()[:3000])
    with warnings.catch_warnings(), pytest.raises(InputError, match="cannot be read"):
        warnings.simplefilter("error")  # one line alone says so
        read_cube([path], BANDS)
    fits.PrimaryHDU(image[0]).writeto(path, overwrite=True)
    fits.PrimaryHDU(image[0, 1:]).writeto(tmp_path / "b.fits")
    with pytest.raises(InputError, match="different shapes"):
        read_cube([path, tmp_path / "b.fits"], BANDS)
