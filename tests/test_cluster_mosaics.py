"""Lenses injected into a user's images of a cluster, and models from deflection maps."""

import jax
import numpy as np
import pytest
from _clusters import HALF, PLACES, lens
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from giga.io.clusters import models, mosaics
from giga.io.errors import InputError
from giga.io.lenstool.catalogues import on_sky
from giga.lensing.tracing import deflection
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.clusters import cluster_lenses

REFERENCE, SCALE, SIDE = (150.0, -30.0), 0.24, 200
SURVEY = SURVEYS["hst-hff-60mas"].replace(pixel_scale=SCALE, shape=(16, 16))
NAMES = [band.name for band in SURVEY.bands]


def header(scale=SCALE, turn=0.0, side=SIDE, reference=REFERENCE):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], reference, [side / 2 + 0.7, side / 2 + 0.2]
    cos, sin = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = scale / 3600.0 * np.array([[-cos, sin], [sin, cos]])
    return wcs.to_header()


def write(folder, change=None, **placed):
    random, files = np.random.default_rng(0), []
    for name in NAMES:
        image = random.normal(0.0, 1e-3, (SIDE, SIDE)).astype(np.float32)
        if change:
            change(image)
        files.append(folder / f"{name}.fits")
        fits.writeto(files[-1], image, header(**placed), overwrite=True)
    return files


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    blank = slice(0, 20)
    files = write(tmp_path_factory.mktemp("mosaic"), lambda image: image.__setitem__(blank, np.nan))
    mosaic = mosaics.read_mosaic(files, SURVEY)
    field, stamps = mosaics.on_mosaic(lens(), REFERENCE, mosaic, SURVEY, HALF, nodes=2)
    return mosaic, field, cluster_lenses(field, SURVEY, stamps=stamps, sigma=mosaic.sigma, turns=False)


def test_cutouts_lie_on_the_pixels(seen):
    mosaic, field, made = seen
    assert len(field.center) == 3
    assert np.abs(np.asarray(field.center) - PLACES).max() <= 0.5 * SCALE + 1e-3  # to half a pixel, about the galaxies
    assert made.sigma == pytest.approx(np.full(3, 1e-3), rel=0.03)


def test_lenses_are_added_where_their_galaxies_are(seen, tmp_path):
    mosaic, field, made = seen
    added, table = mosaics.inject_lenses(jax.random.key(0), mosaic, REFERENCE, made, 2)
    assert len(table) == 2 and np.isfinite(added).all()
    lit = np.argwhere(np.abs(added).sum(-1) > 0.0)
    sky = mosaic.wcs.all_world2pix(np.stack([table["ra"], table["dec"]], -1), 0)
    away = np.abs(lit[:, None, ::-1] - sky).max(-1).min(-1)
    assert away.max() < 8 + 4 + 1
    files = mosaics.write_lenses(tmp_path, mosaic, added, table)
    with fits.open(files[0]) as hdus:
        np.testing.assert_allclose(hdus[0].data - hdus["LIGHT"].data, mosaic.images[..., 0], atol=1e-6)
        assert hdus[0].header["INJECTED"] and hdus[0].header["CTYPE1"] == "RA---TAN"
    assert list(Table.read(files[-1])["theta_E"]) == pytest.approx(list(table["theta_E"]))


@pytest.mark.parametrize(("placed", "said"), [
    (dict(scale=0.3), "0.3"), (dict(turn=0.2), "north .* from up"), (dict(reference=(10.0, 0.0)), "cover the cutout")])
def test_images_that_do_not_suit_are_said(tmp_path, placed, said):
    with pytest.raises(InputError, match=said):
        mosaic = mosaics.read_mosaic(write(tmp_path, **placed), SURVEY)
        mosaics.on_mosaic(lens(), REFERENCE, mosaic, SURVEY, HALF, nodes=2)


def test_bands_that_do_not_belong_together_are_said(tmp_path):
    files = write(tmp_path)
    with pytest.raises(InputError, match="2 files.*3, for F435W, F606W, F814W"):
        mosaics.read_mosaic(files[:2], SURVEY)
    fits.writeto(files[1], np.zeros((SIDE, SIDE - 1)), header(), overwrite=True)
    with pytest.raises(InputError, match="images: .*199.*pixels"):
        mosaics.read_mosaic(files, SURVEY)
    fits.writeto(files[0], np.full((SIDE, SIDE), np.nan), header(), overwrite=True)
    with pytest.raises(InputError, match="no finite pixel"):
        mosaics.read_mosaic(files, SURVEY)


def test_originals_are_kept(seen):
    mosaic, field, made = seen
    with pytest.raises(InputError, match="would be overwritten"):
        mosaics.write_lenses(mosaic.files[0].parent, mosaic, np.zeros(mosaic.images.shape), Table())
    with pytest.raises(InputError, match="count: 9.*galaxies that act as lenses"):
        mosaics.inject_lenses(jax.random.key(0), mosaic, REFERENCE, made, 9)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder, model, side = tmp_path_factory.mktemp("maps"), lens(), 161
    axis = (np.arange(side) - 80) * 0.25
    x, y = np.meshgrid(axis, axis)
    alpha = deflection(model.mass, x.astype(np.float32), y.astype(np.float32))
    efficiency = float(model.cosmology.lensing_efficiency(0.4, np.float64(2.0)))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], REFERENCE, [81.0, 81.0]
    wcs.wcs.cdelt = [-0.25 / 3600.0, 0.25 / 3600.0]
    for name, values in zip("xy", alpha, strict=True):
        fits.writeto(folder / f"{name}.fits", np.asarray(values, float) * efficiency, wcs.to_header())
    ra, dec = on_sky(PLACES[:, 0], PLACES[:, 1], REFERENCE)
    Table(dict(ra=ra, dec=dec, mag=[19.0, 20.0, 20.5])).write(folder / "members.csv")
    return folder


def test_deflection_map_is_the_model(maps):
    read = models.map_lens(maps / "x.fits", maps / "y.fits", maps / "members.csv", 0.4, z_map=2.0)
    assert read.galaxies.places == pytest.approx(PLACES, abs=2e-3) and not read.smooth
    x, y = np.float32([3.0, -5.0]), np.float32([1.0, 8.0])
    expected = np.stack(deflection(lens().mass, x, y))
    np.testing.assert_allclose(np.stack(deflection(read.mass, x, y)), expected, atol=0.02)


@pytest.mark.parametrize(("change", "said"), [
    (dict(z_map=0.3), "z_map: 0.3"), (dict(catalogue="none.csv"), "none.csv")])
def test_maps_that_do_not_suit_are_said(maps, change, said):
    settings = dict(catalogue="members.csv", z_map=2.0) | change
    with pytest.raises(InputError, match=said):
        models.map_lens(maps / "x.fits", maps / "y.fits", maps / settings["catalogue"], 0.4, z_map=settings["z_map"])


PAR = """runmode
  reference 3 150.0 -30.0
  end
potentiel O1
  profil 81
  x_centre 1.0
  y_centre 0.0
  ellipticite 0.3
  angle_pos 20.0
  core_radius_kpc 40.0
  cut_radius_kpc 1000.0
  v_disp 800.0
  z_lens 0.4
  end
potentiel G1
  profil 81
  x_centre 9.0
  y_centre 3.0
  core_radius_kpc 0.1
  cut_radius_kpc 20.0
  v_disp 220.0
  mag 19.0
  z_lens 0.4
  end
potentiel G2
  profil 81
  x_centre -7.0
  y_centre 6.0
  core_radius_kpc 0.1
  cut_radius_kpc 15.0
  v_disp 110.0
  z_lens 0.4
  end
fini
"""


def test_galaxies_of_a_par_are_told_from_halos(tmp_path):
    (tmp_path / "one.par").write_text(PAR)
    read = models.read_cluster(tmp_path / "one.par")
    assert len(read.smooth) == 1 and len(read.galaxies.mag) == 2 and read.z == 0.4
    # Half the velocity dispersion is a sixteenth of the light.
    assert list(read.galaxies.mag) == pytest.approx([19.0, 19.0 + 10.0 * np.log10(2.0)])
    assert np.asarray(read.smooth[0].each.sigma).tolist() == [800.0]


def test_galaxies_without_any_magnitude_are_said(tmp_path):
    (tmp_path / "one.par").write_text(PAR.replace("  mag 19.0\n", ""))
    with pytest.raises(InputError, match="2 galaxies, none with a magnitude"):
        models.read_cluster(tmp_path / "one.par")
