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
