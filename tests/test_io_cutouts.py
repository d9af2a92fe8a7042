"""Noise cutouts from files: folders, cubes, arrays, and every way in which they can be wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits

from giga.io.errors import InputError
from giga.io.images.cutouts import load_cutout_noise, read_cutouts
from giga.simulate.surveys.presets import SURVEYS

KIDS = SURVEYS["kids"].replace(shape=(20, 20))
ONE, TWO = KIDS.select("r"), KIDS.select("gr")


def sky(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def header(scale):
    return fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 10.0, "CRPIX2": 10.0, "CRVAL1": 30.0,
                        "CRVAL2": -5.0, "CDELT1": -scale / 3600, "CDELT2": scale / 3600})


def folder(path, n=4, side=24, scale=0.2, seed=0):
    path.mkdir()
    for k in range(n):
        fits.writeto(path / f"sky{k}.fits", sky(side, side + k, seed=seed + k), header(scale))
    return path


def test_a_folder_of_images(tmp_path):
    images = read_cutouts(folder(tmp_path / "r"), ONE)
    assert images.shape == (4, 24, 24, 1) and images.dtype == np.float32
    np.testing.assert_allclose(images[0, :, :, 0], sky(24, 24), rtol=1e-6)
    np.testing.assert_allclose(images[2, :, :, 0], sky(24, 26, seed=2)[:, 1:25], rtol=1e-6)


def test_a_folder_for_each_band(tmp_path):
    paths = [folder(tmp_path / "g"), folder(tmp_path / "r", seed=9)]
    assert read_cutouts(paths, TWO).shape == (4, 24, 24, 2)


def test_arrays_and_cubes(tmp_path):
    np.save(tmp_path / "all.npy", sky(3, 20, 20, 2))
    fits.writeto(tmp_path / "r.fits", sky(3, 20, 20).astype(">f4"), header(0.2))
    np.testing.assert_allclose(read_cutouts(tmp_path / "all.npy", TWO), sky(3, 20, 20, 2), rtol=1e-6)
    np.testing.assert_allclose(read_cutouts(tmp_path / "r.fits", ONE)[..., 0], sky(3, 20, 20), rtol=1e-6)


def test_noise_is_vetted_and_brought_to_the_surveys_zero_point(tmp_path):
    images = sky(6, 20, 20, 1)
    images[4, 8:12, 8:12] += 6.0
    np.save(tmp_path / "sky.npy", images)
    noise, vetted = load_cutout_noise(tmp_path / "sky.npy", ONE, zero_points=[27.5])
    assert vetted.counts == {"centre not empty": 1} and list(vetted.kept) == [0, 1, 2, 3, 5]
    np.testing.assert_allclose(vetted.sigma, 10.0, rtol=0.2)  # 2.5 magnitudes; 400 pixels
    sample, sigma = noise(jax.random.key(0), jnp.zeros((20, 20, 1)))
    assert sample.shape == sigma.shape == (20, 20, 1)


def write(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: (p / "none", ONE), "none: noise.cutouts: no such file or folder"),
    (lambda p: (folder(p / "f", side=10), ONE), "noise cutouts are 10 x 10, the survey needs 20 x 20"),
    (lambda p: (folder(p / "f", n=0), ONE), "no FITS file in the folder"),
    (lambda p: (folder(p / "f", scale=0.05), ONE),
     "pixels of 0.05 arcsec; expected 0.2 within 2%, those of the survey 'kids'"),
    (lambda p: (write(p / "a.npy", sky(3, 20, 20, 3)), TWO), "3 bands in 1 files"),
    (lambda p: (write(p / "a.npy", sky(20, 20)), ONE), r"shape \(20, 20\)"),
    (lambda p: (write(p / "a.npy", np.array(["x"])), ONE), "not an array of numbers"),
    (lambda p: (write(p / "a.npy", np.full((3, 20, 20), np.nan)), ONE), r"none of 3 can be used \(not finite 3\)"),
    (lambda p: ([write(p / "a.npy", sky(3, 20, 20)), write(p / "b.npy", sky(4, 20, 20))], TWO), "the same cutouts"),
])
def test_bad_input_is_refused(tmp_path, make, message):
    paths, survey = make(tmp_path)
    with pytest.raises(InputError, match=message):
        load_cutout_noise(paths, survey)


def test_broken_files_are_refused(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY nothing")
    (tmp_path / "b.fits").write_bytes(b"SIMPLE  = nothing")
    fits.writeto(tmp_path / "c.fits", sky(20, 20))
    for name, message in (("a.npy", "cannot be read"), ("b.fits", "cannot be read"), ("c.fits", "no HDU with three")):
        with pytest.raises(InputError, match=message):
            read_cutouts(tmp_path / name, ONE)


def test_a_given_scale_and_zero_points_are_checked(tmp_path):
    np.save(tmp_path / "sky.npy", sky(3, 20, 20))
    with pytest.raises(InputError, match="pixels of 0.263 arcsec"):
        read_cutouts(tmp_path / "sky.npy", ONE, pixel_scale=0.263)
    with pytest.raises(InputError, match=r"2 values; expected one for each of the bands \['r'\]"):
        load_cutout_noise(tmp_path / "sky.npy", ONE, zero_points=[30.0, 30.0])
