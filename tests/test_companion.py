"""What goes with an image is checked against it, and a WCS with distortions is followed by all that use it."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from giga.imaging.grid import Grid, position_to_pixel
from giga.imaging.observation import Observation
from giga.io.errors import InputError
from giga.io.images.companion import check_aligned, check_sampling, known
from giga.io.images.config import CutoutConfig, ObservationConfig
from giga.io.images.cube import read_cube
from giga.io.images.cutouts import load_cutout_noise
from giga.io.images.fits import load_observation, load_observations, wcs_header
from giga.io.images.sky import celestial_wcs, difference, distorted
from giga.io.images.units import power_of
from giga.simulate.surveys.presets import SURVEYS

SHAPE, SCALE = (20, 24), 0.1
DATA = 1.0 + np.random.default_rng(0).normal(0.0, 0.1, SHAPE)


def sky(shape=SHAPE, scale=SCALE, angle=0.0, shift=0.0, mirrored=False, stretch=1.0, ctype=("RA---TAN", "DEC--TAN"),
        **cards):
    """Header of an image whose north is turned by an angle [deg] and whose centre is moved along columns."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[-cos, sin], [sin, cos]]) @ np.diag([-1.0 if mirrored else 1.0, stretch])
    (a, b), (c, d) = scale / 3600.0 * turn
    return fits.Header({"CTYPE1": ctype[0], "CTYPE2": ctype[1], "CRVAL1": 150.0, "CRVAL2": 2.0, "BUNIT": "electron/s",
                        "CRPIX1": 0.5 * (shape[1] + 1) - shift, "CRPIX2": 0.5 * (shape[0] + 1), "CD1_1": a, "CD1_2": b,
                        "CD2_1": c, "CD2_2": d, **cards})


def write(path, data, header=None, **cards):
    hdu = fits.PrimaryHDU(np.asarray(data, np.float32), header)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


def gaussian(side, sigma=1.3):
    axis = np.arange(side) - side // 2
    return np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / sigma**2)


@pytest.fixture
def image(tmp_path):
    return ObservationConfig(image=write(tmp_path / "image.fits", DATA, sky()), background_rms=0.1)


def refused(config, *words):
    with pytest.raises(InputError) as caught:
        load_observation(config)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def noisy(config, tmp_path, header=None, data=None, **changes):
    data = np.full(SHAPE, 0.1) if data is None else data
    return replace(config, background_rms=None, noise_map=write(tmp_path / "map.fits", data, header), **changes)


def masked(config, tmp_path, header=None):
    return replace(config, mask=write(tmp_path / "map.fits", np.ones(SHAPE), header), mask_is="good")


@pytest.mark.parametrize("kind", ["noise_map", "mask"])
@pytest.mark.parametrize("header, word", [
    (sky(shift=10.0), "shifted by 10.00 columns and 0.00 rows"),
    (sky(scale=0.05), "pixels 0.5000 times as large"),
    (sky(angle=90.0), "turned by"),
    (sky(mirrored=True), "mirrored"),
    (sky(CRVAL1=10.0), "elsewhere on the sky"),
])
def test_a_map_of_other_pixels(image, tmp_path, kind, header, word):
    make = noisy if kind == "noise_map" else masked
    refused(make(image, tmp_path, header), "map.fits", f"observation.{kind}", word, "image.fits")


@pytest.mark.parametrize("header", [None, sky(), sky(shift=0.3), sky(ctype=("", "")), sky(BUNIT=""),
                                    sky(BUNIT="ELECTRONS/S"), sky(BUNIT="e-/s"), sky(BUNIT="what it is")])
def test_an_honest_map(image, tmp_path, header):
    assert load_observation(noisy(image, tmp_path, header)).noise_map is not None


def test_a_map_without_wcs_may_still_name_its_pixels(image, tmp_path):
    refused(masked(image, tmp_path, fits.Header({"PIXSCALE": 0.05})), "pixels of 0.05 arcsec", "0.1")


@pytest.mark.parametrize("bunit, kind, words", [
    ("electron", "sigma", ["'electron'", "'electron/s'", "expected electron/s for a sigma"]),
    ("electron2 / s2", "sigma", ["noise_kind = 'variance'"]),
    ("electron/s", "variance", ["(electron/s)^2", "noise_kind = 'sigma'"]),
    ("s2 / electron2", "sigma", ["noise_kind = 'weight'"]),
    ("adu/s", "sigma", ["'adu/s'"]), ("electron/min", "sigma", ["'electron/min'"]), ("s", "weight", ["BUNIT 's'"]),
    ("electron2 / s2", "variance", []), ("s2 / electron2", "weight", []), ("", "variance", []),
])
def test_the_unit_of_a_noise_map(image, tmp_path, bunit, kind, words):
    config = noisy(image, tmp_path, sky(BUNIT=bunit), noise_kind=kind)
    if words:
        refused(config, "map.fits", "observation.noise_map", *words)
    else:
        load_observation(config)


def test_a_rate_beside_counts(image, tmp_path):
    counts = write(tmp_path / "counts.fits", DATA, sky(BUNIT="electron"))
    refused(noisy(replace(image, image=counts, units="counts", exposure_time=100.0), tmp_path, sky()), "'electron/s'")
    bare = write(tmp_path / "bare.fits", DATA, sky(BUNIT=""))
    config = replace(image, image=bare, units="counts", exposure_time=100.0)
    (tmp_path / "map.fits").unlink()
    refused(noisy(config, tmp_path, sky()), "'electron/s'", "the image's unit, counts")


@pytest.mark.parametrize("one, other, power", [
    ("nJy", "nJy", 1.0), ("nJy**2", "nJy", 2.0), ("uJy", "nJy", np.nan), ("DN/S", "adu/s", 1.0), ("", "nJy", None),
    ("ct", "electron", 1.0), ("adu", "electron", np.nan), ("MJy2 / sr2", "MJy/sr", 2.0), ("mag", "nJy", np.nan),
    ("(e-/s)^2", "electron/s", 2.0), ("1/(electron/s)**2", "electron/s", -2.0), ("mag(ct/s)", "nJy", np.nan),
    ("Data Value", "Data Value", None), ("electron/s/pix", "electron/s", 1.0)])
def test_power_of(one, other, power):
    np.testing.assert_equal(power_of(one, other), power)


@pytest.fixture
def several(tmp_path):
    """An image with its noise and its mask in one file."""
    hdus = [fits.ImageHDU(data.astype("f4"), sky(), name=name) for name, data in
            (("SCI", DATA), ("ERR", np.full(SHAPE, 0.2)), ("MASK", np.ones(SHAPE)))]
    hdus[2].header["BUNIT"] = ""
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "all.fits")
    return tmp_path / "all.fits"


@pytest.mark.parametrize("changes, words", [
    ({"noise_map": None}, ["noise_map", "3 images, and no noise_hdu says which", "2 ERR (20, 24)"]),
    ({"noise_map": "SCI"}, ["noise_map", "HDU 1 (SCI) is the image itself"]),
    ({"mask": None}, ["mask", "no mask_hdu says which", "3 MASK (20, 24)"]),
    ({"mask": 1}, ["mask", "HDU 1 (SCI) is the image itself"]),
    ({"psf": None}, ["psf", "no psf_hdu says which"]),
])
def test_a_companion_in_the_file_of_its_image(several, changes, words):
    (name, hdu), = changes.items()
    setting = {"noise_map": "noise_hdu", "mask": "mask_hdu", "psf": "psf_hdu"}[name]
    settings = {name: several, setting: hdu} | ({"mask_is": "good"} if name == "mask" else {})
    settings |= {} if name == "noise_map" else {"background_rms": 0.1}
    with pytest.raises(InputError) as caught:
        load_observation(ObservationConfig(image=several, **settings))
    for word in ["all.fits", *words]:
        assert word in str(caught.value)


def test_companions_by_name(several):
    found = load_observation(ObservationConfig(image=several, noise_map=several, noise_hdu="ERR", mask=several,
                                               mask_hdu="MASK", mask_is="good"))
    np.testing.assert_allclose(found.noise_map, 0.2, rtol=1e-6)


def test_the_image_is_no_companion_by_default(tmp_path):
    hdus = [fits.ImageHDU(np.full(SHAPE, 0.2), sky(), name="WHT"), fits.ImageHDU(DATA, sky(), name="SCI")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    found = load_observation(ObservationConfig(image=tmp_path / "a.fits", background_rms=0.1))
    np.testing.assert_array_equal(found.image, DATA)


def test_a_copy_of_the_image_is_no_companion(image, tmp_path):
    refused(noisy(image, tmp_path, data=DATA), "its values are those of the image")
    other = np.random.default_rng(1).normal(size=SHAPE)
    refused(replace(image, mask=write(tmp_path / "m.fits", other), mask_is="good"), "negative and not whole")


@pytest.mark.parametrize("cards, supersampling, words", [
    ({"OVERSAMP": 4}, 1, ["4 samples a side", "psf_supersampling = 1", "psf_supersampling = 4"]),
    ({"DET_SAMP": 4}, 1, ["4 samples"]), ({"PIXELSCL": 0.025}, 1, ["0.025 arcsec", "psf_supersampling = 4"]),
    ({"CDELT1": 0.025, "CUNIT1": "arcsec"}, 1, ["0.025 arcsec"]), ({"CD1_1": -0.025 / 3600.0}, 1, ["0.025 arcsec"]),
    (sky((9, 9), 0.025), 1, ["0.025 arcsec"]), ({"OVERSAMP": 1}, 2, ["1 samples"]),
    ({"PIXSCALE": 0.1}, 2, ["0.1 arcsec"]),
    ({"EXTNAME": "OVERSAMP"}, 1, ["oversampled by its name"]), ({"PSF_SAMP": 0.5}, 1, ["2 samples"]),
    ({"OVERSAMP": 2, "PIXELSCL": 0.05}, 2, []), ({"OVERSAMP": 1, "DET_SAMP": 4, "PIXELSCL": 0.1}, 1, []),
    ({"OVERSAMP": 2, "PIXSCALE": 0.1}, 2, []), ({"PIXSCALE": 0.0985}, 1, []), ({"CDELT1": 1.0}, 1, []), ({}, 1, []),
])
def test_the_sampling_of_a_psf(tmp_path, cards, supersampling, words):
    psf = known(write(tmp_path / "psf.fits", gaussian(9), fits.Header(dict(cards))), None, "observation.psf", "psf_hdu")
    if not words:
        return check_sampling(psf, supersampling, SCALE, "observation.psf", "psf_supersampling")
    with pytest.raises(InputError) as caught:
        check_sampling(psf, supersampling, SCALE, "observation.psf", "psf_supersampling")
    for word in ["psf.fits", *words]:
        assert word in str(caught.value)


def test_a_psf_file_with_two_kernels(image, tmp_path):
    fine, native = fits.PrimaryHDU(gaussian(17, 5.2)), fits.ImageHDU(gaussian(9), name="DET_SAMP")
    for hdu, samples in ((fine, 4), (native, 1)):
        hdu.header.update(PIXELSCL=SCALE / samples, OVERSAMP=samples, DET_SAMP=4, FILTER="F200W")
    fits.HDUList([fine, native]).writeto(tmp_path / "psf.fits")
    config = replace(image, psf=tmp_path / "psf.fits")
    refused(config, "2 images, and no psf_hdu says which", "1 DET_SAMP (9, 9)")
    refused(replace(config, psf_hdu=0), "4 samples a side of a pixel")
    assert load_observation(replace(config, psf_hdu="DET_SAMP")).psf.kernel.shape == (9, 9)


def test_another_filter_is_said(image, tmp_path):
    fits.setval(image.image, "FILTER", value="F150W")
    notes = []
    load_observation(replace(image, psf=write(tmp_path / "p.fits", gaussian(9), FILTER="F200W")), notes=notes)
    assert "p.fits: its FILTER is 'F200W', that of the image 'F150W'" in notes


def test_observations_of_one_scene(image, tmp_path):
    with pytest.raises(InputError, match=r"observation\.1\.image: HDU 0 \(PRIMARY\) is the image of observation 0"):
        load_observations([image, image])
    second = write(tmp_path / "second.fits", DATA, sky())
    swapped = replace(image, image=second, background_rms=None, noise_map=image.image)
    with pytest.raises(InputError, match="is the image of observation 0|those of the image"):
        load_observations([image, swapped])
    far = write(tmp_path / "far.fits", DATA, sky(shift=100.0))
    with pytest.raises(InputError, match="10 arcsec from the first observation, with no pixel in common"):
        load_observations([image, replace(image, image=far)])


def bands(tmp_path, **headers):
    return [write(tmp_path / f"{name}.fits", DATA + k, header) for k, (name, header) in enumerate(headers.items())]


@pytest.mark.parametrize("header, words", [
    (sky(scale=0.05), "pixels 0.5000 times as large"), (sky(shift=-10.0), "shifted by -10.00 columns"),
    (sky(mirrored=True), "mirrored"), (sky(angle=5.0), "turned by"), (sky(BUNIT="electron"), "BUNIT 'electron'"),
    (sky(FILTER="g.MP9401"), "FILTER is 'g.MP9401'"), (sky(CD1_1=0.0, CD2_2=0.0), "WCS that cannot be used"),
])
def test_bands_that_do_not_match(tmp_path, header, words):
    with pytest.raises(InputError) as caught:
        read_cube(bands(tmp_path, g=sky(), r=header), "gr")
    assert "r.fits: image" in str(caught.value) and words in str(caught.value)


@pytest.mark.parametrize("header", [sky(FILTER="r"), sky(shift=0.2), sky(BUNIT=""), None])
def test_bands_that_match(tmp_path, header):
    cube = read_cube(bands(tmp_path, g=sky(), r=header), "gr")
    assert cube.image.shape == (*SHAPE, 2) and cube.pixel_scale == pytest.approx(SCALE, rel=1e-6)


def test_a_band_that_is_there_twice(tmp_path):
    g, _ = bands(tmp_path, g=sky(), r=sky())
    with pytest.raises(InputError, match="band 2 has the pixels of band 1"):
        read_cube([g, g], "gr")


def test_errors_are_no_bands(several):
    assert read_cube([several], "g").image.shape == (*SHAPE, 1)
    with fits.open(several, mode="update") as hdus:
        hdus["SCI"].name = "G"
    with pytest.raises(InputError, match="1 bands; expected 3"):
        read_cube([several], "gri")


def test_noise_cutouts_in_another_unit(tmp_path):
    survey = SURVEYS["kids"].replace(shape=(16, 16)).select("r")
    folder = tmp_path / "sky"
    folder.mkdir()
    for k, unit in enumerate(("electron", "electron")):
        write(folder / f"{k}.fits", np.random.default_rng(k).normal(size=SHAPE), sky(scale=0.2, BUNIT=unit))
    with pytest.raises(InputError, match="BUNIT 'electron'; expected counts / s"):
        load_cutout_noise(folder, survey)
    load_cutout_noise(folder, survey, zero_points=[25.0])
    fits.setval(folder / "1.fits", "BUNIT", value="electron/s")
    with pytest.raises(InputError, match="one unit for all cutouts"):
        load_cutout_noise(folder, survey, zero_points=[25.0])


def test_observations_that_a_network_takes():
    def one(band, **grid):
        return Observation(image=DATA, grid=Grid(shape=SHAPE, pixel_scale=SCALE, **grid), background_rms=0.1, band=band)

    check_aligned([one("g"), one("r", center_x=0.02)], "gr", "--mask-from")
    check_aligned([one("F475W"), one(None)], "gr", "--mask-from")
    for second, word in ((one("r", center_x=1.0), "10 pixels"), (one("r", rotation=0.2), "pixels of observation 1")):
        with pytest.raises(InputError, match=word):
            check_aligned([one("g"), second], "gr", "--mask-from")
    with pytest.raises(InputError, match="observation 0 is in the band 'r'"):
        check_aligned([one("r"), one("g")], "gr", "--mask-from")


SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 4e-5, "A_1_1": -2e-5, "B_1_1": 3e-5, "B_0_2": -3e-5}
TPV = {"PV1_0": 0.0, "PV1_1": 1.004, "PV1_2": 0.001, "PV2_0": 0.0, "PV2_1": 1.003, "PV2_2": 0.0, "PV1_4": 0.8}
BIG = (200, 240)


def tables(header):
    """Lookup tables of a distortion, by the cards of the distortion paper."""
    hdus = []
    for k, shift in ((1, 4.0), (2, -3.0)):
        header.update({f"CPDIS{k}": "LOOKUP", f"CPERR{k}": 4.5, f"DP{k}.EXTVER": float(k), f"DP{k}.NAXES": 2.0,
                       f"DP{k}.AXIS.1": 1.0, f"DP{k}.AXIS.2": 2.0})
        values = np.full((10, 10), shift, np.float32) + np.linspace(0.0, 0.5, 10, dtype=np.float32)
        hdus.append(fits.ImageHDU(values, fits.Header({"CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 1.0, "CRVAL2": 1.0,
                                                       "CDELT1": 28.0, "CDELT2": 28.0}), name="WCSDVARR", ver=k))
    return hdus


@pytest.mark.parametrize("kind, header, stale", [
    ("SIP", sky(BIG, ctype=("RA---TAN-SIP", "DEC--TAN-SIP"), **SIP), False), ("", sky(BIG, **SIP), True),
    ("TPV", sky(BIG, ctype=("RA---TPV", "DEC--TPV"), **TPV), False), ("tables", sky(BIG), False),
    ("SIN", sky(BIG, ctype=("RA---SIN", "DEC--SIN")), False), ("", sky(BIG, ctype=("DEC--TAN", "RA---TAN"), CRVAL1=2.0,
                                                                       CRVAL2=150.0), False),
])
def test_a_cutout_where_the_whole_wcs_has_it(tmp_path, kind, header, stale):
    """The pixel is found by astropy's WCS, in the cutout, by its header, and by its grid."""
    more = tables(header) if kind == "tables" else []
    data = np.zeros(BIG, np.float32)
    data[40, 200] = 1.0
    file = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(data, header), *more]).writeto(file)
    with fits.open(file) as hdus:
        whole = WCS(sky(BIG) if stale else hdus[0].header, hdus)
        there = whole.pixel_to_world(200.0, 40.0)
        far = whole.pixel_to_world(206.0, 44.0)
        assert distorted(celestial_wcs(hdus[0].header, hdus)) == kind
    notes = []
    config = ObservationConfig(image=file, background_rms=1.0, cutout=CutoutConfig(size=21, ra=there.ra.deg,
                                                                                   dec=there.dec.deg))
    found = load_observation(config, notes=notes)
    assert np.argwhere(found.image > 0.0).tolist() == [[10, 10]]
    np.testing.assert_allclose(celestial_wcs(wcs_header(found)).world_to_pixel(far), [16.0, 14.0], atol=0.02)
    assert float(found.grid.pixel_scale) * np.hypot(6.0, 4.0) == pytest.approx(there.separation(far).arcsec, rel=0.01)
    assert any("SIP coefficients are left out" in note for note in notes) == stale
    assert any(f"its distortion ({kind}) is followed" in note for note in notes) == bool(kind)


def test_a_map_whose_header_has_lost_the_distortions(tmp_path):
    header = sky(BIG, ctype=("RA---TAN-SIP", "DEC--TAN-SIP"), **SIP)
    maps = {name: write(tmp_path / f"{name}.fits", np.full(BIG, 0.1), sky(BIG, shift=shift))
            for name, shift in (("same", 0.0), ("moved", 3.0))}
    data = np.random.default_rng(2).normal(size=BIG)
    config = ObservationConfig(image=write(tmp_path / "a.fits", data, header), noise_map=maps["same"])
    load_observation(config)
    refused(replace(config, noise_map=maps["moved"]), "moved.fits", "columns")


def test_tables_that_the_file_has_not(tmp_path):
    header = sky()
    tables(header)
    notes = []
    load_observation(ObservationConfig(image=write(tmp_path / "a.fits", DATA, header), background_rms=1.0), notes=notes)
    assert "a.fits: distortions in tables that are not in the file are left out, up to 4.5 pixels" in notes


def test_a_place_that_distortions_do_not_reach():
    wcs = celestial_wcs(sky(BIG, ctype=("RA---TAN-SIP", "DEC--TAN-SIP"), **SIP))
    assert np.isnan(position_to_pixel(wcs, 160.0, -3.0)).all()
    assert position_to_pixel(wcs, 150.0, 2.0) == pytest.approx((119.5, 99.5), abs=1e-4)


@pytest.mark.parametrize("cards, words", [
    ({}, "CTYPE, but no CD, PC or CDELT"), ({"CDELT1": 1.0, "CDELT2": 1.0}, "pixels of 3600 arcsec"),
    ({"CDELT1": 3e-5}, "pixels of 3600 arcsec"), ({"CD1_1": 3e-5}, "singular"),
])
def test_a_wcs_without_a_scale(tmp_path, cards, words):
    header = sky()
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        del header[key]
    header.update(cards)
    config = ObservationConfig(image=write(tmp_path / "a.fits", DATA, header), background_rms=1.0)
    refused(config, "a.fits", "observation.image", words)
    notes = []
    assert load_observation(replace(config, pixel_scale=0.3), notes=notes).grid.pixel_scale == 0.3
    assert words in notes[0] and "pixel_scale takes its place" in notes[0]


def test_pixels_that_are_nearly_square(tmp_path):
    config = ObservationConfig(image=write(tmp_path / "a.fits", DATA, sky(stretch=1.0016)), background_rms=1.0)
    notes = []
    found = load_observation(config, notes=notes)
    assert float(found.grid.pixel_scale) == pytest.approx(SCALE * 1.0016**0.5, rel=1e-6)
    assert "pixels of 0.1 x 0.10016 arcsec, 0.16% from square, are taken as 0.10008, their mean" in notes[0]
    assert load_observation(replace(config, pixel_scale=SCALE)).grid.pixel_scale == SCALE


def test_skewed_pixels_are_not_square():
    skewed = sky()
    skewed["CD1_2"] = 0.1 * skewed["CD2_2"]
    with pytest.raises(ValueError, match=r"square, got 0.1 x 0.100499 arcsec at an angle of"):
        Grid.from_wcs(WCS(skewed), SHAPE)


def test_difference():
    whole = slice(0, 20), slice(0, 24)
    found = difference(WCS(sky(shift=2.0, angle=3.0)), WCS(sky()), *whole)
    assert found.scale == pytest.approx(1.0, abs=1e-6) and abs(found.turn) == pytest.approx(3.0, abs=1e-4)
    assert not found.mirrored
    assert found.columns == pytest.approx(2.0 * np.cos(np.radians(3.0)), abs=1e-4) and not found.same
    mirrored = difference(WCS(sky(mirrored=True)), WCS(sky()), *whole)
    assert mirrored.mirrored and str(mirrored) == "mirrored"
