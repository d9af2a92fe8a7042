"""Masks from region files, places on the sky and segmentation; weight and exposure maps; numbers of headers."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from giga.io.errors import InputError
from giga.io.images.companion import known
from giga.io.images.config import CutoutConfig, ObservationConfig, RingConfig
from giga.io.images.fits import load_observation

pytestmark = pytest.mark.quick

SHAPE, SCALE = (60, 64), 0.1
ROW, COLUMN = np.indices(SHAPE)


def header(**cards):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.1, 2.2], [0.5 * (SHAPE[1] + 1), 0.5 * (SHAPE[0] + 1)]
    wcs.wcs.cd = SCALE / 3600.0 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    out = wcs.to_header()
    out.update(cards)
    return out


def write(path, data, **cards):
    fits.PrimaryHDU(data, header(**cards)).writeto(path, overwrite=True)
    return path


@pytest.fixture
def config(tmp_path, rng):
    image = write(tmp_path / "image.fits", rng.normal(0.0, 0.1, SHAPE), BUNIT="electron/s")
    return ObservationConfig(image=image, background_rms=0.1, psf_fwhm=0.2, psf_size=5)


def sky_of(column, row):
    return WCS(header()).pixel_to_world_values(column, row)


RA, DEC = sky_of(20.0, 33.0)
REGIONS = {
    "image.reg": "# Region file format: DS9\nimage\ncircle(21,34,6)\n",  # DS9 counts pixels from 1
    "sky.reg": f"icrs\ncircle({RA:.8f},{DEC:.8f},0.6\")\n",
    "casa.crtf": f"#CRTFv0\nglobal coord=ICRS\ncircle[[{RA:.8f}deg, {DEC:.8f}deg], 0.6arcsec]\n",
}


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize("meaning", ["good", "bad"])
def test_region_files(config, tmp_path, name, meaning):
    (tmp_path / name).write_text(REGIONS[name])
    kept = load_observation(replace(config, mask=tmp_path / name, mask_is=meaning)).mask
    inside = np.hypot(COLUMN - 20, ROW - 33) < 6.0
    differ = kept != (inside == (meaning == "good"))
    assert not differ[np.abs(np.hypot(COLUMN - 20, ROW - 33) - 6.0) > 1e-3].any()  # but for pixels on the circle


def test_excluded_regions_are_cut_out_and_a_cutout_moves_them(config, tmp_path):
    (tmp_path / "a.reg").write_text("image\ncircle(21,34,8)\n-circle(21,34,3.5)\n")
    (tmp_path / "b.reg").write_text("image\n-box(21,34,5,5,0)\n")
    ring = load_observation(replace(config, mask=tmp_path / "a.reg", mask_is="good",
                                    cutout=CutoutConfig(size=31, x=22.0, y=30.0)))
    r = np.hypot(COLUMN - 20, ROW - 33)[15:46, 7:38]
    np.testing.assert_array_equal(ring.mask, (r < 8) & (r >= 3.5))
    rest = load_observation(replace(config, mask=tmp_path / "b.reg", mask_is="good")).mask
    assert (~rest).sum() == 25 and not rest[33, 20]


@pytest.mark.parametrize(("name", "text", "words"), [
    ("none.reg", None, ["no such file", "DS9"]), ("empty.reg", "image\n", ["holds no region"]),
    ("line.reg", "image\nline(1,2,3,4)\n", ["region 0 (LinePixel) has no area"]),
    ("bad.crtf", "nothing\n", ["bad.crtf", "region"]),
    ("part.reg", "image\ncircle(3,3,2)\nphysical\ncircle(28,20,4)\n", ['"physical" frame', "image, fk5"]),
])
def test_region_files_that_cannot_be_used(config, tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        load_observation(replace(config, mask=tmp_path / name, mask_is="bad"))
    message = str(caught.value)
    assert "\n" not in message and "observation.mask" in message and all(word in message for word in words)


def test_regions_on_the_sky_need_a_wcs(config, tmp_path, rng):
    (tmp_path / "sky.reg").write_text(REGIONS["sky.reg"])
    fits.writeto(tmp_path / "plain.fits", rng.normal(size=SHAPE))
    plain = replace(config, image=tmp_path / "plain.fits", pixel_scale=SCALE, mask=tmp_path / "sky.reg", mask_is="bad")
    with pytest.raises(InputError, match="on the sky, but the image has no celestial WCS"):
        load_observation(plain)
    with pytest.raises(InputError, match=r"mask_keep\.0\.ra: a sky position"):
        load_observation(replace(plain, mask=None, mask_keep=(RingConfig(radius=1.0, ra=RA, dec=DEC),)))


@pytest.mark.parametrize("place", [{"ra": float(RA), "dec": float(DEC)}, {"column": 20.0, "row": 33.0},
                                   {"x": (20 - 31.5) * SCALE, "y": (33 - 29.5) * SCALE}])
def test_a_circle_by_sky_pixel_or_angle_is_one_circle(config, place):
    kept = load_observation(replace(config, mask_keep=(RingConfig(radius=0.75, inner=0.25, **place),))).mask
    r = np.hypot(COLUMN - 20, ROW - 33) * SCALE
    np.testing.assert_array_equal(kept, (r < 0.75) & (r >= 0.25))


def test_what_leaves_out_no_pixel_is_said(config, tmp_path):
    (tmp_path / "far.reg").write_text('fk5\ncircle(150.2,2.2,3")\n')
    notes = []
    load_observation(replace(config, mask=tmp_path / "far.reg", mask_is="bad", mask_exclude=(
        RingConfig(radius=1.0, column=20.0, row=33.0), RingConfig(radius=1.0, column=500.0, row=3.0))), notes=notes)
    said = [note for note in notes if "leaves out no pixel" in note]
    assert len(said) == 2 and said[0].startswith("far.reg: observation.mask ")
    assert "observation.mask_exclude.1 " in said[1]


def test_a_place_beyond_the_poles_is_none(config):
    with pytest.raises(InputError, match=r"mask_exclude\.0\.ra: ra 1, dec 93 is too far"):
        load_observation(replace(config, mask_exclude=(RingConfig(radius=1.0, ra=1.0, dec=93.0),)))


@pytest.mark.parametrize(("place", "word"), [({"ra": 1.0}, "only one of ra and dec"),
                                             ({"x": 1.0, "column": 2.0, "row": 3.0}, "a centre in 2 ways")])
def test_a_circle_has_one_centre(place, word):
    with pytest.raises(InputError, match=word):
        RingConfig(radius=1.0, **place)


def test_neighbours_are_left_out_and_the_lens_is_not(config, tmp_path, rng):
    """A galaxy whose peak is outside the circle is masked where it reaches in; arcs beside the lens are kept."""
    def blob(column, row, peak, sigma):
        return peak * np.exp(-0.5 * ((COLUMN - column) ** 2 + (ROW - row) ** 2) / sigma**2)

    image = rng.normal(0.0, 0.1, SHAPE) + blob(31, 29, 30.0, 3.0) + blob(31, 39, 4.0, 1.5) + blob(48, 29, 10.0, 2.5)
    write(tmp_path / "image.fits", image, BUNIT="electron/s")
    keep, notes = (RingConfig(radius=1.5, column=31.0, row=29.0),), []
    observation = load_observation(replace(config, mask_keep=keep, mask_neighbours=True), notes=notes)
    circle = np.hypot(COLUMN - 31, ROW - 29) * SCALE < 1.5
    assert any("mask_neighbours leaves out" in note for note in notes)
    assert not observation.mask[29, 44] and observation.mask[29, 31] and observation.mask[39, 31]
    assert 0.8 < observation.mask.sum() / circle.sum() < 1.0


def test_weights_and_exposures(config, tmp_path):
    """Noise of a weight map and an exposure map; pixels without either are masked, and that is said."""
    weight = np.full(SHAPE, 25.0)
    weight[3, 4] = 0.0
    seconds = np.full(SHAPE, 100.0)
    seconds[:, 40:], seconds[5, 6] = 400.0, 0.0
    maps = replace(config, background_rms=None, weight_map=write(tmp_path / "w.fits", weight),
                   exposure_map=write(tmp_path / "t.fits", seconds), gain=2.0)
    notes: list[str] = []
    observation = load_observation(maps, notes=notes)
    assert "w.fits: 2 pixels have no weight or exposure and are masked" in notes
    assert not observation.mask[3, 4] and not observation.mask[5, 6]
    light = np.maximum(observation.image, 0.0)
    expected = np.sqrt(0.2**2 + light / (2.0 * np.where(COLUMN >= 40, 400.0, 100.0)))
    np.testing.assert_allclose(observation.sigma()[observation.mask], expected[observation.mask], rtol=1e-12)
    data = observation.data(np.float64, trim=False)
    assert data.poisson and data.photon.shape == SHAPE
    np.testing.assert_allclose(data.photon[0, [0, 50]], [1 / 200.0, 1 / 800.0])


def test_counts_over_a_map(config, tmp_path):
    seconds = np.where(COLUMN >= 40, 400.0, 100.0)
    observation = load_observation(replace(config, units="counts", exposure_map=write(tmp_path / "t.fits", seconds)))
    np.testing.assert_allclose(observation.image, fits.getdata(config.image) / seconds)
    np.testing.assert_allclose(observation.background_rms, 0.1 / seconds)


@pytest.mark.parametrize(("cards", "changes", "photons", "word"), [
    ({"BUNIT": "electron/s", "EXPTIME": 200.0, "GAIN": 4.0}, {}, 200.0, "200 s by its header (EXPTIME)"),
    ({"BUNIT": "adu/s", "EXPTIME": 200.0, "GAIN": 4.0}, {}, 800.0, "4 electrons per count by its header (GAIN)"),
    ({"BUNIT": "adu/s", "EXPTIME": 200.0, "GAIN": 4.0}, {"exposure_time": 10.0, "gain": 2.0}, 20.0, None),
    ({"BUNIT": "adu/s", "EXPTIME": 200.0}, {"from_header": False}, None, None),
    ({"EXPTIME": 200.0, "GAIN": 4.0}, {}, None, "which is not used"),
    ({"BUNIT": "electron", "EXPTIME": 50.0}, {"units": "counts"}, 50.0, "50 s by its header (EXPTIME)"),
])
def test_exposure_and_gain_of_a_header(config, cards, changes, photons, word):
    write(config.image, np.random.default_rng(1).normal(size=SHAPE), **cards)
    notes: list[str] = []
    assert load_observation(replace(config, **changes), notes=notes).exposure_time == photons
    assert word is None or any(word in note for note in notes)


def test_counts_without_an_exposure_time_are_refused(config):
    with pytest.raises(InputError, match="exposure_time: missing, and the header has none"):
        load_observation(replace(config, units="counts"))


@pytest.mark.parametrize(("cards", "zero"), [
    ({"MAGZERO": 25.5}, 25.5), ({"FLUXMAG0": 63095734448.0194}, 27.0), ({"BUNIT": "nanomaggy"}, 22.5),
    ({"PHOTFLAM": 7.0486e-20, "PHOTPLAM": 8045.0}, 25.944),  # ACS F814W, whose AB zero point is 25.94
    ({"BUNIT": "uJy"}, 23.9), ({"BUNIT": "MJy/sr"}, 20.472), ({"PHOTZPT": -21.1}, None), ({"BUNIT": "adu"}, None),
])
def test_zero_point_of_a_header(config, cards, zero):
    found = known(write(config.image, np.zeros(SHAPE), **cards), None, "image").zero_point
    assert found is None if zero is None else found[0] == pytest.approx(zero, abs=5e-3)


def test_keywords_of_the_first_hdu(tmp_path):
    first = fits.PrimaryHDU()
    first.header.update(EXPTIME=2200.0, SATURATE=60000.0)
    fits.HDUList([first, fits.ImageHDU(np.zeros(SHAPE), header(), name="SCI")]).writeto(tmp_path / "a.fits")
    about = known(tmp_path / "a.fits", "SCI", "image")
    assert about.exposure == (2200.0, "EXPTIME") and about.saturation == (60000.0, "SATURATE") and about.gain is None
