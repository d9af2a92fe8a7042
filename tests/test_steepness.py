"""Cores that the sampling does not resolve, against a rendering on many more subpixels."""

import jax
import numpy as np
import pytest

from giga.imaging.grid import Grid
from giga.imaging.psf import PSF, plan
from giga.imaging.render import render
from giga.imaging.steepness import OFFSETS, core_errors, steep_cores
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.mass import EPL

RENDER = jax.jit(render)
STEEP = Sersic(R_sersic=0.5, n_sersic=4.0)


@pytest.mark.parametrize("n", [1, 2])
def test_error_of_the_central_pixel(n):
    """Against the renderer, with as many subpixels and with many, its centre where the samples are told to lie."""
    grid, errors = Grid(shape=(3, 3), pixel_scale=0.05), []
    coarse, fine = (plan(PSF(kernel=np.ones((1, 1)), supersampling=s), grid.shape) for s in (n, 64))
    for offset in OFFSETS:
        x, y = 0.05 * (np.array(offset) + 0.5 * (n % 2 == 0)) / n
        scene = Scene(lens_light=[STEEP.replace(amp=1.0, center_x=np.float32(x), center_y=np.float32(y))])
        seen, truth = (float(RENDER(scene, grid, convolution)[1, 1]) for convolution in (coarse, fine))
        errors.append(seen / truth - 1.0)
    assert core_errors(STEEP, 0.05, (n,))[0] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.03)


def test_steep_cores_are_named():
    scene = Scene(lens_light=[Sersic(R_sersic=0.5, n_sersic=0.8), STEEP, Shapelets(n_max=2, beta=0.2)],
                  source_light=[Sersic(R_sersic=0.3, n_sersic=1.0)], mass=[EPL(theta_E=1.0)])
    (note,) = steep_cores(scene, 0.05, 1)
    assert note.startswith("lens_light.1: Sersic is too steep for supersampling = 1: its central pixel is off by 3")
    assert "supersampling = 4 of the profile" in note
    finer = scene.replace(lens_light=[STEEP.replace(supersampling=4)])
    assert steep_cores(finer, 0.05, 1) == []
    assert steep_cores(scene.replace(lens_light=[STEEP.replace(bands=("g",))]), 0.05, 1, "r") == []


def test_softening_is_advised():
    scene = Scene(source_light=[STEEP], mass=[EPL(theta_E=1.0)])
    (note,) = steep_cores(scene, 0.05, 2)
    assert note.endswith(", softening = 0.01 leaves the likelihood without peaks")
    compact = STEEP.replace(R_sersic=0.03, softening=0.01)
    (note,) = steep_cores(Scene(source_light=[compact]), 0.05, 2)  # without a lens, which makes it larger
    assert "off by 13%" in note and "softening" not in note


def test_cusps_are_of_sources_that_are_not_softened():
    scene = Scene(lens_light=[STEEP], source_light=[STEEP])
    (note,) = steep_cores(scene, 0.05, 2, cusps=True)
    assert note.startswith("source_light.0")
    assert steep_cores(scene.replace(source_light=[STEEP.replace(softening=0.01)]), 0.05, 2, cusps=True) == []


@pytest.mark.parametrize(("pixel", "sharp", "soft"), [(0.025, 0.116, 0.048), (0.05, 0.153, 0.059)])
def test_a_softened_core_is_drawn_better(pixel, sharp, soft):
    """The numbers of docs/light.md: n = 4, a half-light radius of 0.3, softened by 0.4 of the samples' distance."""
    profile = STEEP.replace(R_sersic=0.3)
    errors = [core_errors(one, pixel, (2,))[0] for one in (profile, profile.replace(softening=0.2 * pixel))]
    np.testing.assert_allclose(errors, [sharp, soft], atol=0.002)


@pytest.mark.parametrize(("softening", "peaks"), [(0.0, True), (0.01, False)])
def test_a_cusp_makes_a_likelihood_of_many_peaks(softening, peaks):
    """A lensed source moves by less than two samples: one parabola, or a peak wherever its cusp falls on a sample."""
    grid = Grid(shape=(60, 60), pixel_scale=0.05)
    convolution = plan(PSF.gaussian(0.1, 0.05, 7, supersampling=2), grid.shape)
    source = Sersic(amp=3.0, R_sersic=0.3, n_sersic=4.0, e1=0.1, e2=0.0, center_y=0.03, softening=softening)

    def image(x):
        return render(Scene(mass=[EPL(theta_E=1.0, gamma=2.0, e1=0.1, e2=0.05)],
                            source_light=[source.replace(center_x=x)]), grid, convolution)

    offsets = np.linspace(-0.02, 0.02, 81).astype(np.float32)
    images = np.asarray(jax.jit(lambda at: jax.lax.map(image, at))(offsets), float)
    fall = np.sum((images - images[40]) ** 2, (1, 2))  # chi2 of noise of 1, in units of its own
    left = fall - np.polyval(np.polyfit(offsets, fall, 4), offsets)
    assert (left.std() > 0.02 * np.ptp(fall)) == peaks
