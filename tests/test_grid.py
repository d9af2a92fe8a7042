"""Pixel grids: orders, inverses, rotation, and grids made from a WCS."""

import numpy as np
import pytest
from astropy.wcs import WCS

from giga.imaging.grid import Grid, position_to_pixel

pytestmark = pytest.mark.quick

ROTATED = Grid(shape=(6, 9), pixel_scale=0.2, center_x=0.3, center_y=-0.1, rotation=0.4)


def make_wcs(shape, scale, angle=0.0, ra=150.0, dec=2.0, mirrored=False, stretch=1.0):
    """Tangential WCS with its reference in the image centre; north is `angle` from +y, in degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [0.5 * (shape[1] + 1), 0.5 * (shape[0] + 1)]
    wcs.wcs.crval = [ra, dec]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]]) * scale / 3600.0
    wcs.wcs.cd = np.diag([1.0 if mirrored else -1.0, 1.0]) @ turn @ np.diag([1.0, stretch])
    return wcs


def test_coordinates_run_right_and_up_from_the_centre(x64):
    x, y = Grid(shape=(2, 3), pixel_scale=0.5).coordinates()
    np.testing.assert_allclose(x, [[-0.5, 0.0, 0.5]] * 2)
    np.testing.assert_allclose(y, [[-0.25] * 3, [0.25] * 3])


@pytest.mark.parametrize("s", [1, 2, 3])
def test_phases_are_the_coordinates_in_another_order(s, x64):
    ny, nx = ROTATED.shape
    for fine, phases in zip(ROTATED.coordinates(s), ROTATED.phases(s), strict=True):
        assert fine.shape == (s * ny, s * nx) and phases.shape == (s * s, ny, nx)
        expected = fine.reshape(ny, s, nx, s).transpose(1, 3, 0, 2).reshape(s * s, ny, nx)
        np.testing.assert_allclose(phases, expected, atol=1e-14)


def test_subpixels_average_to_their_pixel(dtype):
    for fine, pixel in zip(ROTATED.phases(4), ROTATED.coordinates(), strict=True):
        assert fine.dtype == pixel.dtype == dtype
        np.testing.assert_allclose(fine.mean(0), pixel, atol=1e-6)


def test_to_pixel_is_the_inverse(x64):
    column, row = ROTATED.to_pixel(*ROTATED.coordinates())
    np.testing.assert_allclose(column, np.arange(9)[None, :] * np.ones((6, 1)), atol=1e-12)
    np.testing.assert_allclose(row, np.arange(6)[:, None] * np.ones((1, 9)), atol=1e-12)


def test_rotation_turns_the_columns_counter_clockwise(x64):
    x, y = Grid(shape=(3, 3), pixel_scale=1.0, rotation=np.pi / 2).coordinates()
    np.testing.assert_allclose([x[1, 2], y[1, 2]], [0.0, 1.0], atol=1e-15)  # one column right is up on the sky
    np.testing.assert_allclose([x[2, 1], y[2, 1]], [-1.0, 0.0], atol=1e-15)


def test_extent_and_pixel_area():
    assert Grid(shape=(4, 6), pixel_scale=0.5, center_x=1.0).extent == (-0.5, 2.5, -1.0, 1.0)
    assert Grid(shape=(4, 6), pixel_scale=0.5).pixel_area == 0.25


def test_from_wcs_alone():
    grid = Grid.from_wcs(make_wcs((40, 50), 0.065, angle=33.0), (40, 50))
    assert grid.shape == (40, 50)
    np.testing.assert_allclose(grid.pixel_scale, 0.065, rtol=1e-9)
    assert (grid.center_x, grid.center_y, grid.rotation) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("angle", [0.0, 25.0, -100.0])
@pytest.mark.parametrize("reference_angle", [0.0, 40.0])
def test_from_wcs_with_a_reference(angle, reference_angle):
    """A second band, turned and offset: its angles are those of the first, on every pixel, to 1e-6 pixel.

    The default precision is float32; the host keeps more.
    """
    wcs0, wcs1 = make_wcs((60, 80), 0.1, reference_angle), make_wcs((30, 41), 0.13, angle, ra=150.0005, dec=1.9998)
    first = Grid(shape=(60, 80), pixel_scale=0.1)
    second = Grid.from_wcs(wcs1, (30, 41), first, wcs0)
    column, row = np.meshgrid([0.0, 20.0, 40.0], [0.0, 14.5, 29.0])
    there, up = wcs0.world_to_pixel(wcs1.pixel_to_world(column, row))
    expected_x, expected_y = (there - 39.5) * 0.1, (up - 29.5) * 0.1
    found_column, found_row = second.to_pixel(expected_x, expected_y)
    # The tangent planes differ by the offset squared, 1e-11.
    np.testing.assert_allclose(found_column, column, atol=3e-6)
    np.testing.assert_allclose(found_row, row, atol=3e-6)


def test_from_wcs_refuses_opposite_parity():
    reference = Grid(shape=(20, 20), pixel_scale=0.1)
    with pytest.raises(ValueError, match="opposite parity"):
        Grid.from_wcs(make_wcs((20, 20), 0.1, mirrored=True), (20, 20), reference, make_wcs((20, 20), 0.1))


def test_from_wcs_refuses_oblong_pixels():
    with pytest.raises(ValueError, match="square, got 0.1 x 0.11"):
        Grid.from_wcs(make_wcs((20, 20), 0.1, stretch=1.1), (20, 20))


def test_position_to_pixel():
    column, row = position_to_pixel(make_wcs((20, 30), 0.1), 150.0, 2.0)
    np.testing.assert_allclose([column, row], [14.5, 9.5], atol=1e-7)
