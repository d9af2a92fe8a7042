"""Rendering: lenstronomy's image, supersampling, bands, trimming, and the count of traces."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from giga.bayes.posterior import Posterior
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF, plan
from giga.imaging.render import basis_images, render, render_data, sampling, supersamplings
from giga.lensing.scene import Scene
from giga.light import MultiGaussian, Sersic, Shapelets
from giga.mass import EPL, Shear

GRID = Grid(shape=(20, 24), pixel_scale=0.1)
LENS = Sersic(amp=5.0, R_sersic=0.6, n_sersic=2.0, e1=0.1)
SOURCE = Sersic(amp=8.0, R_sersic=0.2, n_sersic=1.0, center_x=0.1)
MASS = [EPL(theta_E=0.6, gamma=1.9, e1=0.1, e2=-0.05), Shear(gamma1=0.03, gamma2=-0.02)]
SCENE = Scene(mass=MASS, lens_light=[LENS], source_light=[SOURCE])


def make_psf(supersampling=2):
    return PSF.gaussian(fwhm=0.25, pixel_scale=0.1, size=7, supersampling=supersampling)


def peers_scene(shapelet_amp):
    """The scene of tests/reference/make_lenstronomy.py."""
    return Scene(
        mass=[EPL(theta_E=2.65, gamma=1.9, e1=0.11, e2=-0.13, center_x=0.01, center_y=-0.02),
              Shear(gamma1=0.03, gamma2=-0.02)],
        lens_light=[Sersic(amp=20.0, R_sersic=1.0, n_sersic=3.5, e1=0.08, e2=-0.09, center_x=0.01, center_y=-0.02,
                           b_n="linear"),
                    Sersic(amp=10.0, R_sersic=2.5, n_sersic=1.2, e1=0.1, e2=-0.1, center_x=0.02, center_y=-0.01,
                           b_n="linear")],
        source_light=[Sersic(amp=30.0, R_sersic=0.25, n_sersic=1.5, e1=0.1, e2=0.05, center_x=0.1, center_y=-0.15,
                             b_n="linear"),
                      Shapelets(amp=shapelet_amp, beta=0.12, center_x=0.1, center_y=-0.15, n_max=6)])


@pytest.mark.parametrize("method", ["fft", "lowrank"])
def test_image_against_lenstronomy(method, dtype, reference):
    """128 x 128, EPL + shear, 2 + 1 Sersics, 28 shapelets; relative to the brightest pixel.

    In float64 what is left is the series of the default 18 terms, cut off at |e|^18 = 1e-14, and
    the softened centre of the EPL and of the Sersic.
    """
    scene = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), peers_scene(reference["image/shapelet_amp"]))
    psf = PSF.gaussian(fwhm=0.2, pixel_scale=0.065, size=27, supersampling=2)
    assert psf.kernel.shape == (53, 53)
    expected = reference["image/pixels"]
    grid = Grid(shape=expected.shape, pixel_scale=0.065)
    image = jax.jit(render)(scene, grid, plan(psf, grid.shape, dtype, method))
    assert image.dtype == dtype
    error = np.abs(np.asarray(image, float) - expected).max() / expected.max()
    assert error < {"float32": 5e-6, "float64": 1e-7}[dtype.name]


@pytest.mark.parametrize("lens_factor, source_factor", [(1, None), (1, 2), (None, 4), (4, 1), (2, 4)])
def test_supersampling_of_each_component(lens_factor, source_factor, x64):
    """The image is the sum of each component rendered alone at its own sampling."""
    scene = SCENE.replace(lens_light=[LENS.replace(supersampling=lens_factor)],
                          source_light=[SOURCE.replace(supersampling=source_factor)])
    convolution = plan(make_psf(), GRID.shape, x64, "fft")
    image = render(scene, GRID, convolution)
    alone = sum(render(scene.replace(**{gone: []}), GRID, convolution) for gone in ("lens_light", "source_light"))
    np.testing.assert_allclose(image, alone, rtol=1e-12)
    assert supersamplings(scene, 2) == sorted({lens_factor or 2, source_factor or 2})


def test_supersampling_converges(x64):
    """Each doubling of the subpixels brings the image nearer to that of 16 x 16."""
    convolution = plan(make_psf(), GRID.shape, x64, "fft")

    def image(factor):
        return render(SCENE.replace(source_light=[SOURCE.replace(supersampling=factor)]), GRID, convolution)

    errors = [float(jnp.abs(image(factor) - image(16)).max()) for factor in (2, 4, 8)]
    assert errors[0] > 2.0 * errors[1] > 4.0 * errors[2]


def test_supersampling_that_does_not_fit():
    with pytest.raises(ValueError, match=r"Sersic.supersampling: expected 1 or a multiple of the PSF's 2, got 3"):
        sampling(LENS.replace(supersampling=3), 2)


@pytest.mark.parametrize("supersampling", [None, 1, 4])
def test_basis_images_are_renders_of_unit_amplitudes(supersampling, x64):
    linear = Scene(mass=MASS, lens_light=[LENS.replace(amp=None)],
                   source_light=[SOURCE.replace(amp=None, supersampling=supersampling),
                                 Shapelets(beta=0.2, n_max=2, supersampling=supersampling), SOURCE])
    convolution = plan(make_psf(), GRID.shape, x64, "fft")
    images = basis_images(linear, GRID, convolution)
    assert images.shape == (8, *GRID.shape)
    for k, image in enumerate(images):
        unit = jnp.zeros(8).at[k].set(1.0)
        scene = linear.with_amplitudes([unit[0], unit[1], unit[2:]])
        scene = scene.replace(source_light=scene.source_light[:2])
        np.testing.assert_allclose(image, render(scene, GRID, convolution), atol=1e-13)


def test_pixels_hold_brightness_times_area(x64):
    """A profile much wider than the image is flat: amp times the pixel's area, away from the edges."""
    flat = Scene(lens_light=[Shapelets(amp=jnp.asarray([3.0 * np.sqrt(np.pi)]), beta=1e6, n_max=0)])
    image = render(flat, GRID, plan(make_psf(), GRID.shape, x64, "fft"))
    np.testing.assert_allclose(image[10, 12], 3.0 * 0.1**2, rtol=1e-10)


def test_flux_of_a_sersic_in_an_image(x64):
    """A Gaussian (n = 0.5) of half-light radius R holds 2 pi R^2 amp / (2 ln 2) * 2."""
    grid = Grid(shape=(80, 80), pixel_scale=0.05)
    gaussian = Scene(lens_light=[Sersic(amp=1.0, R_sersic=0.4, n_sersic=0.5)])
    image = render(gaussian, grid, plan(make_psf(), grid.shape, x64, "fft"))
    np.testing.assert_allclose(image.sum(), 2.0 * np.pi * 0.4**2 / np.log(2.0), rtol=1e-3)


def test_without_a_psf_pixels_are_means_over_subpixels(x64):
    data = Observation(image=np.zeros(GRID.shape), grid=GRID, background_rms=1.0, supersampling=3).data(np.float64)
    x, y = GRID.phases(3)
    np.testing.assert_allclose(render_data(Scene(lens_light=[LENS]), data), LENS.brightness(x, y).mean(0) * 0.01,
                               rtol=1e-10)


def test_bands(x64):
    red = Observation(image=np.zeros(GRID.shape), grid=GRID, background_rms=1.0, band="r").data(np.float64)
    blue, nameless = (Observation(image=np.zeros(GRID.shape), grid=GRID, background_rms=1.0, band=band).data(np.float64)
                      for band in ("g", None))
    scene = Scene(lens_light=[LENS.replace(bands=("r",)), SOURCE.replace(bands=("r", "g"))])
    both, one = (render_data(Scene(lens_light=lights), red) for lights in ([LENS, SOURCE], [SOURCE]))
    np.testing.assert_allclose(render_data(scene, red), both)
    np.testing.assert_allclose(render_data(scene, blue), one)
    assert scene.in_band(nameless.band).light == []
    dark = render_data(Scene(mass=MASS), red)
    assert dark.shape == GRID.shape and not dark.any()


@pytest.mark.parametrize("supersampling", [None, 1, 2])
@pytest.mark.parametrize("method", ["fft", "direct", "lowrank"])
def test_trimming_leaves_the_fitted_pixels_alone(supersampling, method, x64, rng):
    psf = None if supersampling is None else make_psf(supersampling)
    mask = np.zeros(GRID.shape, bool)
    mask[3:9, 2:15] = rng.random((6, 13)) < 0.6
    grid = GRID.replace(center_x=0.2, center_y=-0.1, rotation=0.3)
    observation = Observation(image=rng.random(GRID.shape), grid=grid, psf=psf, background_rms=1.0, mask=mask)
    whole, trimmed = (observation.data(np.float64, trim=trim, method=method) for trim in (False, True))
    assert trimmed.image.size < whole.image.size
    for values in (lambda d: d.image, lambda d: render_data(SCENE, d)):
        kept, cut = (np.asarray(values(d))[np.asarray(d.mask, bool)] for d in (whole, trimmed))
        np.testing.assert_allclose(cut, kept, atol=1e-13)


def test_new_data_of_the_same_shape_compiles_once(rng):
    """Numbers are arguments: neither another image, PSF, scene nor pixel scale traces again."""
    traces = []

    @jax.jit
    def chi2(scene, data):
        traces.append(1)
        return jnp.sum(data.mask * (data.image - render_data(scene, data)) ** 2 / data.variance)

    values = []
    for k in range(3):
        grid = GRID.replace(pixel_scale=0.1 + 0.01 * k)
        psf = PSF.gaussian(fwhm=0.2 + 0.05 * k, pixel_scale=0.1, size=7, supersampling=2)
        observation = Observation(image=rng.random(GRID.shape), grid=grid, psf=psf, background_rms=0.1 + k)
        values.append(float(chi2(SCENE.replace(lens_light=[LENS.replace(amp=1.0 + k)]), observation.data())))
    assert len(traces) == 1 and len(set(values)) == 3


def test_render_under_vmap_and_lax_map(dtype):
    convolution = plan(make_psf(), GRID.shape, dtype, "fft")
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) * jnp.asarray([1.0, 1.01, 1.02], dtype), SCENE)
    one = jax.jit(render)
    loop = jnp.stack([one(jax.tree.map(lambda leaf: leaf[k], batch), GRID, convolution) for k in range(3)])  # noqa: B023
    tolerance = {"float32": 1e-6, "float64": 1e-13}[dtype.name]
    mapped = jax.jit(lambda b: jax.lax.map(lambda s: render(s, GRID, convolution), b))(batch)
    vmapped = jax.jit(jax.vmap(render, (0, None, None)))(batch, GRID, convolution)
    np.testing.assert_allclose(mapped, loop, atol=tolerance)
    np.testing.assert_allclose(vmapped, loop, atol=tolerance)


def test_gradient_of_an_image_with_a_round_lens_on_a_pixel_centre_is_finite(dtype):
    """Odd images have a pixel on the origin: r = 0 for the lens, its light and, undeflected, the source."""
    grid = Grid(shape=(15, 15), pixel_scale=0.1)
    scene = Scene(mass=[EPL(theta_E=0.5, gamma=2.0)], lens_light=[Sersic(amp=1.0, R_sersic=0.5, n_sersic=4.0)],
                  source_light=[Sersic(amp=1.0, R_sersic=0.2, n_sersic=1.0, supersampling=1)])
    convolution = plan(PSF.gaussian(fwhm=0.2, pixel_scale=0.1, size=5), grid.shape, dtype, "fft")
    scene = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), scene)
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(render(s, grid, convolution) ** 2)))(scene)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("s, error", [(3, 2e-6), (2, 5e-5), (4, 5e-6)])  # an even one halves subpixels of the kernel
@pytest.mark.parametrize("amp", [None, "numbers"])
def test_wide_gaussians_are_as_exact_sampled_once_a_pixel(amp, s, error, x64, rng):
    """Basis, image and derivatives are those on subpixels."""
    pixel_scale = 0.05
    grid = Grid(shape=(40, 36), pixel_scale=pixel_scale)
    blur = plan(PSF.from_native(np.asarray(PSF.gaussian(0.11, pixel_scale, 9).kernel), s), grid.shape, np.float64)
    fluxes = None if amp is None else rng.uniform(0.5, 2.0, 12)
    fine = MultiGaussian(amp=fluxes, sigma_min=0.02, sigma_max=1.5, n_gaussians=12, e1=0.25, e2=-0.2, center_x=0.013)
    apart = fine.for_pixels(pixel_scale)
    assert apart.n_smooth == np.sum(np.geomspace(0.02, 1.5, 12) >= 2.5 * pixel_scale) == 7
    assert [part.part for part in apart.sampled_apart()] == [(0, 5), (5, 12)]

    def image(profile, e1):
        scene = Scene(lens_light=[profile.replace(e1=e1)])
        return basis_images(scene, grid, blur) if amp is None else render(scene, grid, blur)

    for e1 in (0.25, -0.3):
        (one, slope), (other, other_slope) = (jax.jvp(lambda e, p=p: image(p, e), (e1,), (1.0,)) for p in (fine, apart))
        for a, b in ((one, other), (slope, other_slope)):
            inside = (slice(None),) * (a.ndim - 2) + (slice(6, -6),) * 2  # beyond the edge there is no light
            np.testing.assert_allclose(b[inside], a[inside], rtol=0.0,
                                           atol=error * float(jnp.abs(a).max()))
    assert fine.replace(sigma_max=dist.Uniform(1.0, 2.0)).for_pixels(pixel_scale).n_smooth == 0


def test_a_posterior_samples_wide_gaussians_once_a_pixel():
    scene = Scene(lens_light=[MultiGaussian(sigma_min=0.02, sigma_max=1.5, n_gaussians=12, e1=dist.Normal(0.0, 0.1))])
    psf = PSF.from_native(np.asarray(PSF.gaussian(0.11, 0.05, 9).kernel), 2)
    observation = Observation(image=np.ones((40, 36), np.float32), grid=Grid(shape=(40, 36), pixel_scale=0.05), psf=psf,
                              background_rms=0.1)
    (profile,) = Posterior.of(scene, [observation]).prior.scene(jnp.zeros(1)).lens_light
    assert profile.n_smooth == 7
