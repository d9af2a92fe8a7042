"""PSFs: every convolution method against a plain convolution on the fine grid, and resampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.signal import convolve2d
from scipy.special import erf

from giga.imaging.grid import Grid
from giga.imaging.psf import PSF, TOGETHER, choose_method, plan, rank
from giga.imaging.resampling import bin_kernel, fine_side

METHODS = ["fft", "direct", "lowrank"]


def kernel_of(rng, side):
    """A lopsided positive kernel, peaked off its centre."""
    axis = np.arange(side) - side // 2
    peak = np.exp(-0.5 * ((axis[:, None] - 0.7) ** 2 / 2.0 + (axis[None, :] + 0.4) ** 2 / 5.0))
    kernel = peak * (1.0 + 0.5 * rng.random((side, side)))
    return kernel / kernel.sum()


def to_phases(fine, s):
    """Fine image (s*ny, s*nx) to phases (s*s, ny, nx)."""
    ny, nx = fine.shape[0] // s, fine.shape[1] // s
    return fine.reshape(ny, s, nx, s).transpose(1, 3, 0, 2).reshape(s * s, ny, nx)


def expected_image(fine, kernel, s):
    blurred = convolve2d(fine, kernel, mode="full")
    half = len(kernel) // 2
    blurred = blurred[half:half + fine.shape[0], half:half + fine.shape[1]]
    return blurred.reshape(fine.shape[0] // s, s, fine.shape[1] // s, s).mean((1, 3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("s, shape, side", [
    (1, (12, 12), 5), (1, (11, 14), 7), (1, (10, 10), 9), (2, (12, 12), 9), (2, (9, 15), 11), (2, (10, 8), 15),
    (3, (11, 10), 13), (3, (8, 9), 3), (4, (7, 8), 11),
])
def test_methods_agree_with_a_plain_convolution(method, s, shape, side, dtype, rng):
    kernel = kernel_of(rng, side)
    fine = rng.random((s * shape[0], s * shape[1]))
    convolution = plan(PSF(kernel=kernel, supersampling=s), shape, dtype, method)
    image = convolution(jnp.asarray(to_phases(fine, s), dtype))
    assert image.shape == shape and image.dtype == dtype
    np.testing.assert_allclose(image, expected_image(fine, kernel, s),
                               atol={"float32": 1e-6, "float64": 1e-12}[dtype.name])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("s", [1, 2, 3])
def test_a_single_phase_sees_the_kernel_summed_over_pixels(method, s, dtype, rng):
    psf, image = PSF(kernel=kernel_of(rng, 9), supersampling=s), rng.random((10, 11))
    result = plan(psf, image.shape, dtype, method)(jnp.asarray(image[None], dtype))
    np.testing.assert_allclose(result, expected_image(image, np.asarray(psf.at(1).kernel, float), 1),
                               atol={"float32": 1e-6, "float64": 1e-12}[dtype.name])


@pytest.mark.parametrize("method", METHODS)
def test_many_images_are_convolved_as_each(method, x64, rng):
    """In more than one group, in value, forward and reverse derivative."""
    convolution = plan(PSF(kernel=kernel_of(rng, 5), supersampling=2), (7, 8), x64, method)
    images, moves = (list(jnp.asarray(rng.random((TOGETHER + 3, 4, 7, 8)))) for _ in range(2))

    def each(images):
        return jnp.stack([convolution(image) for image in images])

    value, tangent = jax.jvp(each, (images,), (moves,))
    np.testing.assert_allclose(convolution.many(images), value, atol=1e-14)
    np.testing.assert_allclose(jax.jvp(convolution.many, (images,), (moves,))[1], tangent, atol=1e-14)
    weight = jnp.asarray(rng.random(value.shape))
    for found, wanted in zip(jax.vjp(convolution.many, images)[1](weight)[0], jax.vjp(each, images)[1](weight)[0],
                             strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("side", [1, 3, 7])
def test_delta_is_the_identity(method, side, dtype, rng):
    kernel = np.zeros((side, side))
    kernel[side // 2, side // 2] = 1.0
    image = rng.random((9, 12))
    result = plan(PSF(kernel=kernel), image.shape, dtype, method)(jnp.asarray(image[None], dtype))
    np.testing.assert_allclose(result, image, atol={"float32": 1e-6, "float64": 1e-13}[dtype.name])


@pytest.mark.parametrize("method", METHODS)
def test_a_point_shows_the_kernel_the_right_way_round(method, x64, rng):
    kernel, image = kernel_of(rng, 5), np.zeros((11, 13))
    image[6, 4] = 1.0
    result = plan(PSF(kernel=kernel), image.shape, x64, method)(jnp.asarray(image[None]))
    np.testing.assert_allclose(result[4:9, 2:7], kernel, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_flux_is_conserved_away_from_the_edges(method, x64, rng):
    fine = np.zeros((40, 44))
    fine[16:24, 18:26] = rng.random((8, 8))
    convolution = plan(PSF(kernel=kernel_of(rng, 9), supersampling=2), (20, 22), x64, method)
    np.testing.assert_allclose(convolution(jnp.asarray(to_phases(fine, 2))).sum(), fine.sum() / 4.0, rtol=1e-12)


def test_phases_of_the_grid_are_the_fine_grid_in_that_order(x64):
    grid = Grid(shape=(5, 7), pixel_scale=0.1)
    for fine, phases in zip(grid.coordinates(3), grid.phases(3), strict=True):
        np.testing.assert_allclose(to_phases(np.asarray(fine), 3), phases, atol=1e-15)


def test_choice_of_method(rng):
    gaussian = np.asarray(PSF.gaussian(fwhm=0.2, pixel_scale=0.1, size=15).kernel)
    assert rank(gaussian) == 1
    assert choose_method(gaussian) == "lowrank"
    assert choose_method(kernel_of(rng, 15)) == "fft"
    with pytest.raises(ValueError, match="method.*'quick'"):
        plan(PSF(kernel=gaussian), (20, 20), method="quick")


def integrated_gaussian(side, width, sigma):
    """Gaussian integrated over cells of a width, the centre on the middle cell."""
    edges = (np.arange(side + 1) - 0.5 * side) * width
    line = 0.5 * np.diff(erf(edges / (np.sqrt(2.0) * sigma)))
    return np.outer(line, line)


@pytest.mark.parametrize("s", [2, 3, 4])
@pytest.mark.parametrize("fwhm, tolerance", [(1.2, 4e-3), (2.0, 4e-4), (3.0, 3e-5)])
def test_from_native_recovers_the_fine_kernel(fwhm, tolerance, s, x64):
    """A PSF given by its pixel integrals comes back with its subpixel integrals; FWHM in pixels."""
    sigma = fwhm / 2.3548200450309493
    psf = PSF.from_native(integrated_gaussian(17, 1.0, sigma), s)
    side = psf.kernel.shape[0]
    assert side % 2 == 1 and psf.supersampling == s
    expected = integrated_gaussian(side, 1.0 / s, sigma)
    assert np.abs(psf.kernel - expected).max() < tolerance * expected.max()
    assert psf.kernel.min() > -1e-8 * expected.max()  # wings below 1e-8 of the peak are told linearly
    np.testing.assert_allclose(psf.kernel.sum(), 1.0, rtol=1e-12)


def test_from_native_bins_back(x64, rng):
    """Three subpixels a side lie wholly inside one pixel, so the sums must be the kernel given."""
    kernel = kernel_of(rng, 11)
    fine = np.asarray(PSF.from_native(kernel, 3).kernel)
    assert np.abs(fine.reshape(11, 3, 11, 3).sum((1, 3)) - kernel).max() < 1e-6 * kernel.max()
    np.testing.assert_allclose(PSF.from_native(kernel, 3).at(1).kernel, kernel, atol=1e-6 * kernel.max())


@pytest.mark.parametrize("s", [2, 3, 4])
def test_from_native_keeps_the_centroid(s, x64, rng):
    kernel = kernel_of(rng, 15)
    fine = np.asarray(PSF.from_native(kernel, s).kernel)
    for axis in (0, 1):
        native, place = (np.arange(15) - 7) @ kernel.sum(1 - axis), (np.arange(len(fine)) - len(fine) // 2) / s
        np.testing.assert_allclose(place @ fine.sum(1 - axis), native, atol=2e-3)


@pytest.mark.parametrize("s", [2, 3, 4, 5])
@pytest.mark.parametrize("noise, wings", [(3e-4, 0.0), (1e-3, 0.0), (0.0, -0.02)])
def test_a_measured_kernel_keeps_its_flux_and_centroid(noise, wings, s, x64, rng):
    """Noise and negative wings are part of a kernel: its flux, that of its core, and its centroid stay to 0.1%."""
    side, core = 41, slice(17, 24)
    true = integrated_gaussian(side, 1.0, 2.5 / 2.3548200450309493)
    ring = integrated_gaussian(side, 1.0, 4.0) - integrated_gaussian(side, 1.0, 3.0)
    kernel = true + noise * true.max() * rng.normal(size=true.shape) - wings * ring / np.abs(ring).max() * true.max()
    kernel /= kernel.sum()
    assert kernel.min() < 0.0
    psf = PSF.from_native(kernel, s)
    fine, binned = np.asarray(psf.kernel), np.asarray(psf.at(1).kernel)
    cut = (len(binned) - side) // 2
    binned = binned[cut:len(binned) - cut, cut:len(binned) - cut]
    assert fine.sum() == pytest.approx(1.0, abs=1e-12)
    assert binned[core, core].sum() == pytest.approx(kernel[core, core].sum(), rel=1e-3)
    place = (np.arange(len(fine)) - len(fine) // 2) / s
    for axis in (0, 1):
        assert place @ fine.sum(axis) == pytest.approx((np.arange(side) - side // 2) @ kernel.sum(axis), abs=1e-3)


@pytest.mark.parametrize("s", [2, 3])
def test_from_native_as_lenstronomy_does_it(s, x64, reference):
    psf = PSF.from_native(reference["psf/native"], s, "lenstronomy")
    np.testing.assert_allclose(psf.kernel, reference[f"psf/fine{s}"], atol=1e-12)


def test_from_native_unknown_resampling():
    with pytest.raises(ValueError, match="resampling.*'cubic'"):
        PSF.from_native(np.ones((3, 3)), 2, "cubic")  # pyright: ignore[reportArgumentType]


def test_gaussian_width_and_coarsening(x64):
    psf = PSF.gaussian(fwhm=0.3, pixel_scale=0.1, size=15, supersampling=4)
    axis = (np.arange(psf.kernel.shape[0]) - psf.kernel.shape[0] // 2) * 0.1 / 4
    np.testing.assert_allclose(np.sqrt(axis**2 @ psf.kernel.sum(0)), 0.3 / 2.3548200450309493, rtol=1e-4)
    np.testing.assert_allclose(psf.at(2).kernel.sum(), 1.0, rtol=1e-12)
    assert psf.at(4) is psf
    with pytest.raises(ValueError, match="supersampling 3 does not divide the kernel's 4"):
        psf.at(3)


@pytest.mark.parametrize("factor, error", [(2, 2e-3), (3, 1e-12), (4, 1e-4)])
def test_a_fine_kernel_is_integrated_over_pixels(factor, error):
    """Of exact integrals over subpixels it makes those over pixels; halves astride an edge would be 7% off at two."""
    def integrals(size, step):
        edges = (np.arange(size + 1) - 0.5 * size) * step
        line = np.diff(scipy.stats.norm.cdf(edges, scale=0.9))
        return np.outer(line, line)

    binned = bin_kernel(integrals(fine_side(11, factor), 1.0 / factor), factor)
    expected = integrals(11, 1.0)
    assert binned.shape == expected.shape
    np.testing.assert_allclose(binned[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=0.0, atol=error * expected.max())
    assert binned.sum() == pytest.approx(integrals(fine_side(11, factor), 1.0 / factor).sum(), rel=1e-12)
