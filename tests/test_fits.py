"""FITS input: what is read, and the one clear error of each thing that can be wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from giga.imaging.psf import PSF
from giga.io.errors import InputError
from giga.io.images.config import CutoutConfig, ObservationConfig, RingConfig
from giga.io.images.fits import cutout, load_observation, load_observations, read_image, wcs_header
from giga.io.images.units import kind_of, parse_unit, to_rate

pytestmark = pytest.mark.quick

SHAPE = (24, 30)
SCALE = 0.08


def sky(shape=SHAPE, scale=SCALE, angle=0.0, ra=150.1, dec=2.2):
    """Header of an image with north turned by an angle [rad]."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [0.5 * (shape[1] + 1), 0.5 * (shape[0] + 1)]
    cos, sin = np.cos(angle), np.sin(angle)
    wcs.wcs.cd = scale / 3600.0 * np.array([[-cos, sin], [sin, cos]])
    return wcs.to_header()


def write(path, data, header=None, **cards):
    hdu = fits.PrimaryHDU(data, header)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


def gaussian(side, sigma=1.3):
    axis = np.arange(side) - (side - 1) / 2
    kernel = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / sigma**2)
    return kernel / kernel.sum()


@pytest.fixture
def image(rng):
    return rng.normal(1.0, 0.1, SHAPE)


@pytest.fixture
def config(tmp_path, image):
    """A good observation; the tests spoil one thing of it."""
    return ObservationConfig(
        image=write(tmp_path / "image.fits", image, sky(), BUNIT="electron/s"),
        noise_map=write(tmp_path / "noise.fits", np.full(SHAPE, 0.1)), psf=write(tmp_path / "psf.fits", gaussian(7)))


def refused(config, *words):
    """Load, and check that the error is one line that holds the words."""
    with pytest.raises(InputError) as caught:
        load_observation(config)
    message = str(caught.value)
    assert "\n" not in message and "; expected " in message
    for word in words:
        assert word in message
    return caught.value


def test_good(config, image):
    notes = []
    observation = load_observation(config, notes=notes)
    assert notes == []
    np.testing.assert_array_equal(observation.image, image)
    assert observation.image.dtype.isnative and observation.mask.all()
    assert float(observation.grid.pixel_scale) == pytest.approx(SCALE, rel=1e-6)
    assert float(observation.psf.kernel.sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">i4", "u1"])
def test_byte_order_and_type(tmp_path, dtype):
    data = np.arange(12).reshape(3, 4).astype(dtype)
    image, _, unit = read_image(write(tmp_path / "a.fits", data))
    assert image.dtype == np.dtype(np.float64) and image.dtype.isnative and unit is None
    np.testing.assert_array_equal(image, np.arange(12).reshape(3, 4))


def test_scaled_integers_and_blanks(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[0, 1], [2, -9]], np.int16))
    hdu.header.update(BSCALE=0.5, BZERO=10.0, BLANK=-9)
    hdu.writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits")[0], [[10.0, 10.5], [11.0, np.nan]])


@pytest.mark.parametrize("name", ["a.fits.gz", "packed.fits"])
def test_compressed(tmp_path, name):
    data = np.arange(400, dtype=np.int32).reshape(20, 20)
    hdu = fits.CompImageHDU(data) if name == "packed.fits" else fits.PrimaryHDU(data)
    hdu.writeto(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name)[0], data)


@pytest.fixture
def several(tmp_path):
    """A file of an empty primary, a cube, two images and a table."""
    path = tmp_path / "several.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(3))], name="CAT")
    cube, first = fits.ImageHDU(np.ones((2, 3, 4)), name="CUBE"), fits.ImageHDU(np.ones((3, 4)), name="SCI")
    second = fits.ImageHDU(np.full((3, 4), 2.0), name="SCI", ver=2)
    fits.HDUList([fits.PrimaryHDU(), cube, first, table, second]).writeto(path)
    return path


@pytest.mark.parametrize("hdu, value", [(None, 1.0), (2, 1.0), ("SCI", 1.0), ("sci", 1.0), ("SCI,2", 2.0), (4, 2.0)])
def test_hdu(several, hdu, value):
    np.testing.assert_array_equal(read_image(several, hdu)[0], np.full((3, 4), value))


@pytest.mark.parametrize("hdu, words", [
    ("WHT", ["no HDU 'WHT'", "2 SCI 2-D (3, 4)", "3 CAT a table"]),
    (9, ["no HDU 9", "0 PRIMARY without data"]),
    (-1, ["no HDU -1", "0 PRIMARY without data"]),
    ("SCI,x", ["no HDU 'SCI,x'"]),
    ("CUBE", ["3-D (2, 3, 4)", "a 2-D image"]),
    (0, ["without data"]),
    ("CAT", ["a table"]),
])
def test_wrong_hdu(several, hdu, words):
    with pytest.raises(InputError) as caught:
        read_image(several, hdu)
    for word in ["several.fits", "image", *words]:
        assert word in str(caught.value)


def test_cube(config, tmp_path):
    refused(replace(config, image=write(tmp_path / "cube.fits", np.ones((3, *SHAPE)))), "cube.fits", "3-D (3, 24, 30)")


@pytest.mark.parametrize("field", ["image", "noise_map", "psf", "mask"])
def test_missing_file(config, tmp_path, field):
    spoilt = replace(config, **{field: tmp_path / "nowhere.fits"}, mask_is="bad")
    refused(spoilt, "nowhere.fits", f"observation.{field}", "no such file", "a FITS file")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 5000])
def test_not_fits(config, tmp_path, content):
    (tmp_path / "text.fits").write_bytes(content)
    refused(replace(config, image=tmp_path / "text.fits"), "text.fits", "cannot be read")


def test_cut_short(config, tmp_path):
    content = (tmp_path / "image.fits").read_bytes()
    (tmp_path / "short.fits").write_bytes(content[:6000])
    refused(replace(config, image=tmp_path / "short.fits"), "short.fits", "cannot be read")


def test_folder_as_image(config, tmp_path):
    refused(replace(config, image=tmp_path), "is a folder")


def test_noise_shape(config, tmp_path):
    other = write(tmp_path / "other.fits", np.ones((10, 10)))
    refused(replace(config, noise_map=other), "other.fits", "noise_map", "(10, 10)", "(24, 30)")


@pytest.mark.parametrize("value", [0.0, -0.2, np.nan, np.inf])
@pytest.mark.parametrize("kind", ["sigma", "variance", "weight"])
def test_bad_noise(config, tmp_path, value, kind):
    noise = np.full(SHAPE, 0.1)
    noise[5, 7] = value
    spoilt = replace(config, noise_map=write(tmp_path / "bad_noise.fits", noise), noise_kind=kind)
    refused(spoilt, "bad_noise.fits", "observation.noise_map", "1 fitted pixels", "[y=5, x=7]", f"a {kind} above zero")
    kept = load_observation(replace(spoilt, mask_exclude=(RingConfig(radius=0.1, x=-7.5 * SCALE, y=-6.5 * SCALE),)))
    assert not kept.mask[5, 7]


@pytest.mark.parametrize("kind, power", [("sigma", 1.0), ("variance", 2.0), ("weight", -2.0)])
def test_noise_kind(config, tmp_path, rng, kind, power):
    sigma = rng.uniform(0.1, 0.3, SHAPE)
    observation = load_observation(replace(config, noise_map=write(tmp_path / "n.fits", sigma**power), noise_kind=kind))
    np.testing.assert_allclose(observation.noise_map, sigma, rtol=1e-12)


def test_nan_outside_and_inside_the_mask(config, tmp_path, image):
    image[3, 4] = np.nan
    spoilt = replace(config, image=write(tmp_path / "nan.fits", image, sky(), BUNIT="electron/s"))
    refused(spoilt, "nan.fits", "observation.image", "1 fitted pixels are NaN", "[y=3, x=4]")
    bad = np.zeros(SHAPE)
    bad[3, 4] = 1.0
    observation = load_observation(replace(spoilt, mask=write(tmp_path / "mask.fits", bad), mask_is="bad"))
    assert observation.mask.sum() == bad.size - 1


def test_nan_is_placed_in_the_file(config, tmp_path, image):
    image[12, 15] = np.nan
    spoilt = replace(config, image=write(tmp_path / "nan.fits", image, sky(), BUNIT="electron/s"))
    refused(replace(spoilt, cutout=CutoutConfig(size=12)), "[y=12, x=15]")


@pytest.mark.parametrize("kernel, words", [
    (gaussian(8), ["(8, 8)", "an odd side"]),
    (gaussian(9)[:, 1:-1], ["(9, 7)", "square"]),
    (-gaussian(7), ["sums to -1", "a positive sum"]),
    (np.zeros((5, 5)), ["sums to 0", "a positive sum"]),
    (gaussian(25), ["25 pixels wide", "24 x 30"]),
    (np.full((5, 5), np.nan), ["25 values are NaN"]),
])
def test_bad_psf(config, tmp_path, kernel, words):
    refused(replace(config, psf=write(tmp_path / "bad_psf.fits", kernel)), "bad_psf.fits", "observation.psf", *words)


def test_psf_is_renormalised_and_that_is_said(config, tmp_path):
    notes = []
    observation = load_observation(replace(config, psf=write(tmp_path / "p.fits", 0.956 * gaussian(7))), notes=notes)
    assert notes == ["p.fits: sums to 0.956, renormalised to 1"]
    np.testing.assert_allclose(observation.psf.kernel, gaussian(7), rtol=1e-5)


def test_psf_off_centre_is_said(config, tmp_path):
    notes = []
    load_observation(replace(config, psf=write(tmp_path / "p.fits", np.roll(gaussian(9), 1, axis=1))), notes=notes)
    assert notes == ["p.fits: its peak is at [y=4, x=5], not at its centre [y=4, x=4]"]


def test_psf_resampled(config):
    psf = load_observation(replace(config, supersampling=2)).psf
    assert psf.supersampling == 2 and psf.kernel.shape == (13, 13)


@pytest.mark.parametrize("resampling", ["integrated", "lenstronomy"])
def test_psf_resampled_as_asked(config, resampling):
    psf = load_observation(replace(config, supersampling=3, psf_resampling=resampling)).psf
    np.testing.assert_array_equal(psf.kernel, PSF.from_native(gaussian(7), 3, resampling).kernel)


def test_psf_resampled_as_lenstronomy_is_broader(config, tmp_path):
    file = write(tmp_path / "whole.fits", gaussian(15, 1.3))  # not cut by its stamp
    whole = replace(config, supersampling=2, psf=file)
    narrow, broad = (np.asarray(load_observation(replace(whole, psf_resampling=name)).psf.kernel)
                     for name in ("integrated", "lenstronomy"))
    offset = np.arange(len(narrow)) - len(narrow) // 2
    assert np.sum(broad * offset**2) > np.sum(narrow * offset**2)


@pytest.mark.parametrize("wanted, side", [(1, 7), (2, 11), (4, 21)])
def test_psf_given_supersampled(config, tmp_path, wanted, side):
    fine = write(tmp_path / "fine.fits", gaussian(21, 4.0))
    psf = load_observation(replace(config, psf=fine, psf_supersampling=4, supersampling=wanted)).psf
    assert psf.supersampling == wanted and psf.kernel.shape == (side, side)
    assert float(psf.kernel.sum()) == pytest.approx(1.0, abs=1e-6)


def test_psf_gaussian(config):
    psf = load_observation(replace(config, psf=None, psf_fwhm=0.2, psf_size=9, supersampling=2)).psf
    assert psf.supersampling == 2 and psf.kernel.shape == (17, 17)
    refused(replace(config, psf=None, psf_fwhm=0.2, psf_size=25), "psf_size", "got 25 pixels", "24 x 30")


def test_psf_that_its_stamp_cuts_is_said(config):
    """The share outside a square of five pixels, from the error function."""
    notes = []
    load_observation(replace(config, psf=None, psf_fwhm=10.0 * SCALE, psf_size=5), notes=notes)
    inside = math.erf(2.5 / (math.sqrt(2.0) * 10.0 / 2.35482)) ** 2
    assert any(f"{100.0 * (1.0 - inside):.3g}% of the light" in note and "psf_size = 5" in note for note in notes)
    notes.clear()
    load_observation(replace(config, psf=None, psf_fwhm=2.0 * SCALE, psf_size=9), notes=notes)
    assert not any("of the light" in note for note in notes)


def test_pixels_marked_by_their_noise_are_said(config, tmp_path):
    noise, notes = np.full(SHAPE, 0.1), []
    noise[2, 3:6] = 1e20
    found = load_observation(replace(config, noise_map=write(tmp_path / "marked.fits", noise)), notes=notes)
    assert not found.mask[2, 3:6].any() and found.mask.sum() == found.mask.size - 3
    assert any("marked.fits: 3 pixels have more than 1e+06 times the noise" in note for note in notes)


def test_no_psf_is_said(config):
    notes = []
    assert load_observation(replace(config, psf=None), notes=notes).psf is None
    assert "not blurred" in notes[0]


@pytest.mark.parametrize("changes, words", [
    ({"noise_map": None}, ["noise_map", "no noise"]),
    ({"background_rms": 0.1}, ["noise_map", "both"]),
    ({"exposure_map": "t.fits", "exposure_time": 9.0}, ["exposure_map", "both"]),
    ({"mask_neighbours": True}, ["mask_neighbours", "without mask_keep"]),
    ({"mask": "m.fits"}, ["mask_is", "missing"]),
    ({"psf_fwhm": 0.1, "psf_size": 5}, ["psf", "both"]),
    ({"psf": None, "psf_fwhm": 0.1}, ["psf_size"]),
    ({"psf": None, "psf_fwhm": 0.1, "psf_size": 4}, ["psf_size", "got 4", "odd"]),
    ({"psf_supersampling": 3, "supersampling": 2}, ["psf_supersampling", "got 3", "2"]),
    ({"psf_supersampling": 2, "psf_resampling": "lenstronomy"}, ["psf_resampling", "lenstronomy", "pixel scale"]),
    ({"psf": None, "psf_resampling": "lenstronomy"}, ["psf_resampling", "lenstronomy", "pixel scale"]),
])
def test_settings_that_disagree(config, changes, words):
    with pytest.raises(InputError) as caught:
        replace(config, **changes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("meaning", ["good", "bad"])
def test_mask_meaning(config, tmp_path, meaning):
    ones = np.zeros(SHAPE, np.int16)
    ones[:, :10] = 1
    observation = load_observation(replace(config, mask=write(tmp_path / "m.fits", ones), mask_is=meaning))
    np.testing.assert_array_equal(observation.mask, (ones == 1) == (meaning == "good"))


def test_mask_that_leaves_nothing(config, tmp_path):
    empty = replace(config, mask=write(tmp_path / "none.fits", np.zeros(SHAPE)), mask_is="good")
    refused(empty, "none.fits", "observation.mask", "no pixel is left to fit, all 720")
    far, all_of_it = (RingConfig(radius=0.5, x=99.0),), (RingConfig(radius=99.0),)
    refused(replace(config, mask_keep=far), "image.fits", "observation.mask_keep", "no pixel is left")
    refused(replace(config, mask_exclude=all_of_it), "image.fits", "observation.mask_exclude", "no pixel is left")


def test_mask_shape_and_nan(config, tmp_path):
    refused(replace(config, mask=write(tmp_path / "m.fits", np.ones((3, 3))), mask_is="good"), "m.fits", "(3, 3)")
    refused(replace(config, mask=write(tmp_path / "n.fits", np.full(SHAPE, np.nan)), mask_is="good"), "n.fits", "NaN")


def test_mask_rings(config):
    keep, exclude = (RingConfig(radius=0.8, inner=0.3),), (RingConfig(radius=0.25, x=0.5),)
    observation = load_observation(replace(config, mask_keep=keep, mask_exclude=exclude))
    x = (np.arange(SHAPE[1]) - 14.5)[None, :] * SCALE
    y = (np.arange(SHAPE[0]) - 11.5)[:, None] * SCALE
    r = np.hypot(x, y)
    np.testing.assert_array_equal(observation.mask, (r < 0.8) & (r >= 0.3) & ~(np.hypot(x - 0.5, y) < 0.25))


@pytest.mark.parametrize("text, kind", [
    ("electron/s", "counts/s"), ("ELECTRONS/S", "counts/s"), ("e-/s", "counts/s"), ("cps", "counts/s"),
    ("DN/s", "counts/s"), ("counts", "counts"), ("adu", "counts"), ("MJy/sr", "surface_brightness"),
    ("electron/s/arcsec2", "surface_brightness"), ("nJy", "other"),
])
def test_kinds_of_unit(text, kind):
    unit = parse_unit(text)
    assert unit is not None and kind_of(unit) == kind


@pytest.mark.parametrize("bunit, units, factor, said", [
    ("electron/s", None, 1.0, ""),
    ("ct/min", None, 1.0 / 60.0, ""),
    (None, None, 1.0, "no BUNIT"),
    ("nJy", None, 1.0, "not a count rate"),
    (None, "counts", 0.01, "divided by the exposure time 100 s"),
    ("ELECTRONS", "counts", 0.01, "divided by the exposure time 100 s"),
    ("ELECTRONS", "counts/s", 1.0, "which is followed"),
    ("electron/s/arcsec2", "surface_brightness", 0.04, "pixel area"),
    ("MJy/sr", "surface_brightness", 0.04 * (np.pi / 648000.0) ** 2, "pixel area"),
])
def test_factor(bunit, units, factor, said):
    value, note = to_rate(bunit, units, 100.0, 0.04)
    assert value == pytest.approx(factor, rel=1e-12)
    assert said in note and bool(said) == bool(note)


@pytest.mark.parametrize("bunit", ["electron", "COUNTS", "MJy/sr", "mag/arcsec2"])
def test_units_are_never_guessed(config, tmp_path, image, bunit):
    refused(replace(config, image=write(tmp_path / "u.fits", image, sky(), BUNIT=bunit)), "u.fits", "units", bunit)


def test_counts(config, tmp_path, image):
    """Image, noise map and rms are divided alike; the gain turns the exposure time into photons."""
    file = write(tmp_path / "c.fits", 400.0 * image, sky(), BUNIT="adu")
    counts = replace(config, image=file, units="counts", exposure_time=400.0, gain=2.0)
    mapped = load_observation(counts)
    np.testing.assert_allclose(mapped.image, image, rtol=1e-12)
    np.testing.assert_allclose(mapped.noise_map, 0.1 / 400.0, rtol=1e-12)
    plain = load_observation(replace(counts, noise_map=None, background_rms=20.0))
    assert plain.background_rms == pytest.approx(0.05) and plain.exposure_time == 800.0


def test_pixel_scale(config, tmp_path, image):
    assert float(load_observation(replace(config, pixel_scale=SCALE * 1.005)).grid.pixel_scale) == pytest.approx(SCALE)
    refused(replace(config, pixel_scale=0.05), "image.fits", "pixel_scale", "got 0.05", "0.08", "1%")
    bare = replace(config, image=write(tmp_path / "bare.fits", image, BUNIT="electron/s"))
    refused(bare, "bare.fits", "pixel_scale", "missing")
    assert load_observation(replace(bare, pixel_scale=0.05)).grid.pixel_scale == 0.05


def test_oblong_pixels(config, tmp_path, image):
    header = sky()
    header["CDELT1"] *= 1.1
    refused(replace(config, image=write(tmp_path / "o.fits", image, header, BUNIT="electron/s")), "o.fits", "square")


@pytest.mark.parametrize("size, shape", [(8, (8, 8)), (9, (9, 9)), ((6, 10), (6, 10))])
def test_cutout_keeps_the_wcs(image, size, shape):
    wcs = WCS(sky(angle=0.4))
    part, part_wcs, (rows, columns) = cutout(image, size, wcs, pixel=(12.0, 10.0))
    assert part.shape == shape
    np.testing.assert_array_equal(part, image[rows, columns])
    expected = wcs.pixel_to_world_values(2.0 + columns.start, 3.0 + rows.start)
    np.testing.assert_allclose(part_wcs.pixel_to_world_values(2.0, 3.0), expected, rtol=0, atol=1e-11)


def test_cutout_by_sky_and_by_centre(image):
    wcs = WCS(sky())
    ra, dec = wcs.pixel_to_world_values(11.0, 9.0)
    by_sky = cutout(image, 7, wcs, position=(float(ra), float(dec)))[0]
    np.testing.assert_array_equal(by_sky, cutout(image, 7, wcs, pixel=(11.0, 9.0))[0])
    np.testing.assert_array_equal(cutout(image, (4, 6))[0], image[10:14, 12:18])


def test_cutout_of_all_the_maps(config, tmp_path, rng, image):
    noise = rng.uniform(0.1, 0.2, SHAPE)
    cut = replace(config, noise_map=write(tmp_path / "n.fits", noise), cutout=CutoutConfig(size=10, x=14.0, y=8.0))
    observation = load_observation(cut)
    np.testing.assert_array_equal(observation.image, image[3:13, 9:19])
    np.testing.assert_array_equal(observation.noise_map, noise[3:13, 9:19])
    kept = WCS(wcs_header(observation))
    expected = WCS(sky()).pixel_to_world_values(9.0, 3.0)
    np.testing.assert_allclose(kept.pixel_to_world_values(0.0, 0.0), expected, rtol=1e-12)


@pytest.mark.parametrize("part, word", [(CutoutConfig(size=10, x=1.0, y=8.0), "over the edge"),
                                        (CutoutConfig(size=10, ra=10.0, dec=2.0), "ra 10, dec 2 is too far"),
                                        (CutoutConfig(size=10, ra=150.2, dec=2.2), "over the edge"),
                                        (CutoutConfig(size=100), "24 x 30")])
def test_cutout_over_the_edge(config, part, word):
    refused(replace(config, cutout=part), "image.fits", "observation.cutout", word)


def test_sky_cutout_without_wcs(config, tmp_path, image):
    bare = write(tmp_path / "bare.fits", image, BUNIT="electron/s")
    part = CutoutConfig(size=5, ra=150.1, dec=2.2)
    refused(replace(config, image=bare, pixel_scale=0.1, cutout=part), "bare.fits", "cutout", "no celestial WCS")


def test_wcs_header(config, tmp_path, image):
    header = wcs_header(load_observation(config))
    assert header["CTYPE1"] == "RA---TAN"
    np.testing.assert_allclose(WCS(header).pixel_to_world_values(3.0, 4.0), WCS(sky()).pixel_to_world_values(3.0, 4.0))
    bare = replace(config, image=write(tmp_path / "bare.fits", image, BUNIT="electron/s"), pixel_scale=0.1)
    assert len(wcs_header(load_observation(bare))) == 0


def test_later_observations_take_their_angles_from_the_first(config, tmp_path, image):
    turned = sky(scale=0.1, angle=0.3, ra=150.1 + 0.5 / 3600.0 / np.cos(np.radians(2.2)))
    second = replace(config, image=write(tmp_path / "two.fits", image, turned, BUNIT="electron/s"), band="i")
    one, two = load_observations([config, second])
    assert one.grid.center_x == 0.0 and two.band == "i"
    # half an arcsecond east, which is to the left
    assert two.grid.center_x == pytest.approx(-0.5, abs=1e-3) and two.grid.center_y == pytest.approx(0.0, abs=1e-3)
    assert abs(two.grid.rotation) == pytest.approx(0.3, abs=1e-4)


def test_unaligned_observation_is_said(config, tmp_path, image):
    bare = write(tmp_path / "bare.fits", image, BUNIT="electron/s")
    notes = []
    load_observations([config, replace(config, image=bare, pixel_scale=0.1)], notes)
    assert "bare.fits: no celestial WCS" in notes[0]


def test_index_of_the_observation_is_said(config, tmp_path):
    with pytest.raises(InputError, match=r"observation\.1\.psf"):
        load_observations([config, replace(config, psf=tmp_path / "nowhere.fits")])


@pytest.mark.parametrize("give", [{"x": 3.0}, {"dec": 3.0}, {"x": 1.0, "y": 2.0, "ra": 3.0, "dec": 4.0}])
def test_half_a_position(give):
    with pytest.raises(InputError, match="expected (both|one)"):
        CutoutConfig(size=4, **give)
