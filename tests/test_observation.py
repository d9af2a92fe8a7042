"""Observations: every complaint about bad input, and the arrays made of good input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.imaging.grid import Grid
from giga.imaging.observation import Observation, bounding_box, crop_grid
from giga.imaging.psf import PSF

pytestmark = pytest.mark.quick

NAN = np.zeros((8, 10))
NAN[3, 4] = np.nan
HALF = np.zeros((8, 10), bool)
HALF[2:5, 3:9] = True


def observation(**changes):
    good = dict(image=np.ones((8, 10)), grid=Grid(shape=(8, 10), pixel_scale=0.1), background_rms=0.1)
    return Observation(**(good | changes))


def noise(value):
    out = np.ones((8, 10))
    out[3, 4] = value
    return out


@pytest.mark.parametrize("changes, message", [
    pytest.param(dict(image=np.ones((2, 8, 10))), r"image: expected two dimensions.*\(2, 8, 10\)", id="3-D"),
    pytest.param(dict(image=np.ones((8, 9))), r"image: shape \(8, 9\).*grid's \(8, 10\)", id="shape"),
    pytest.param(dict(mask=np.ones((8, 9), bool)), r"mask: shape \(8, 9\).*image's \(8, 10\)", id="mask shape"),
    pytest.param(dict(mask=np.zeros((8, 10), bool)), "mask: no pixel is left to fit, all 80", id="empty mask"),
    pytest.param(dict(image=NAN), r"image: 1 pixels inside the fitted area.*\[y=3, x=4\]", id="NaN"),
    pytest.param(dict(image=NAN, mask=HALF), r"image: 1 pixels inside the fitted area", id="NaN fitted"),
    pytest.param(dict(background_rms=None), "noise: give a noise_map, or background_rms", id="no noise"),
    pytest.param(dict(background_rms=0.0), "background_rms: expected a positive number, got 0.0", id="rms"),
    pytest.param(dict(background_rms=np.nan), "background_rms: expected a positive number, got nan", id="rms NaN"),
    pytest.param(dict(exposure_time=-5.0), "exposure_time: expected a positive number, got -5.0", id="exposure"),
    pytest.param(dict(noise_map=np.ones((8, 9))), r"noise_map: shape \(8, 9\)", id="noise shape"),
    pytest.param(dict(noise_map=noise(0.0)), r"noise_map: 1 fitted.*is 0 at \[y=3, x=4\]", id="zero noise"),
    pytest.param(dict(noise_map=noise(-1.0)), r"noise_map: 1 fitted.*is -1 at", id="negative noise"),
    pytest.param(dict(noise_map=noise(np.nan)), r"noise_map: 1 fitted.*is nan at", id="NaN noise"),
    pytest.param(dict(psf=PSF(kernel=np.ones((4, 4)) / 16)), r"psf: kernel must be square with an odd side.*\(4, 4\)",
                 id="even PSF"),
    pytest.param(dict(psf=PSF(kernel=np.ones((3, 5)) / 15)), r"psf: kernel must be square.*\(3, 5\)", id="oblong PSF"),
    pytest.param(dict(psf=PSF(kernel=np.full((3, 3), np.nan))), "psf: kernel holds 9 values", id="NaN PSF"),
    pytest.param(dict(psf=PSF(kernel=np.ones((9, 9)) / 81)), r"psf: kernel of 9 samples \(9 pixels\) is wider than",
                 id="wide PSF"),
    pytest.param(dict(psf=PSF(kernel=-np.ones((3, 3)))), "psf: kernel must have a positive sum, got -9", id="PSF sum"),
    pytest.param(dict(psf=PSF(kernel=np.ones((3, 3)))), "psf: kernel must sum to one, got 9", id="PSF norm"),
])
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        observation(**changes)


def test_bad_pixels_under_the_mask_are_fine(x64):
    mask = np.ones((8, 10), bool)
    mask[3, 4] = False
    data = observation(image=NAN, noise_map=noise(np.nan), mask=mask).data(np.float64)
    for leaf in jax.tree.leaves((data.image, data.variance, data.mask)):
        assert np.isfinite(leaf).all()
    assert data.mask.sum() == 79 and data.image[3, 4] == 0.0 and data.variance[3, 4] > 0.0


def test_replace_checks_again():
    with pytest.raises(ValueError, match="background_rms"):
        observation().replace(background_rms=-1.0)


def test_noise_models(x64):
    image = np.full((8, 10), 4.0)
    image[0, 0] = -3.0
    from_model = observation(image=image, exposure_time=100.0).data(np.float64)
    np.testing.assert_allclose(from_model.variance, 0.01)
    np.testing.assert_allclose(from_model.photon, 0.01)
    assert from_model.poisson
    from_data = observation(image=image, exposure_time=100.0).data(np.float64, poisson=False)
    assert not from_data.poisson and from_data.photon == 0.0
    np.testing.assert_allclose(from_data.variance[0, :2], [0.01, 0.05])
    given = observation(image=image, exposure_time=100.0, noise_map=np.full((8, 10), 0.3)).data(np.float64)
    assert not given.poisson
    np.testing.assert_allclose(given.variance, 0.09)


def test_every_array_has_the_precision_asked_for(dtype):
    psf = PSF.gaussian(fwhm=0.2, pixel_scale=0.1, size=5)
    data = observation(psf=psf, exposure_time=10.0).data(dtype, method="lowrank")
    numbers = [leaf for leaf in jax.tree.leaves(data) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in numbers} == {dtype}
    assert len(jax.tree.leaves(data)) == len(numbers) + 1  # the convolution's origin is an integer


@pytest.mark.parametrize("margin, expected", [(0, (2, 5, 3, 9)), (1, (1, 6, 2, 10)), (5, (0, 8, 0, 10))])
def test_bounding_box(margin, expected):
    rows, columns = bounding_box(HALF, margin)
    assert (rows.start, rows.stop, columns.start, columns.stop) == expected


def test_a_cropped_grid_keeps_its_angles(x64):
    grid = Grid(shape=(8, 10), pixel_scale=0.1, center_x=0.5, center_y=-0.2, rotation=0.7)
    rows, columns = slice(2, 7), slice(3, 6)
    part = crop_grid(grid, rows, columns)
    assert part.shape == (5, 3)
    for whole, cut in zip(grid.coordinates(), part.coordinates(), strict=True):
        np.testing.assert_allclose(cut, whole[rows, columns], atol=1e-14)


def test_a_cropped_grid_keeps_float64_on_the_host():
    grid = Grid(shape=(8, 10), pixel_scale=0.1, center_x=100.0, rotation=0.7)
    part = crop_grid(grid, slice(0, 4), slice(0, 10))
    np.testing.assert_allclose(part.center_x, 100.0 + np.sin(0.7) * 0.2, rtol=1e-14)


def test_trim_needs_enough_rows_for_the_kernel():
    """A mask much smaller than the PSF still gives the same pixels, see tests/test_render.py."""
    mask = np.zeros((8, 10), bool)
    mask[0, 0] = True
    data = observation(mask=mask, psf=PSF.gaussian(fwhm=0.2, pixel_scale=0.1, size=7)).data(np.float32)
    assert data.image.shape == (4, 4) and jnp.isfinite(data.image).all()
