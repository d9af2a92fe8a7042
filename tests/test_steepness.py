"""Cores that the sampling does not resolve, against a rendering on many more subpixels."""

import jax.numpy as jnp
import numpy as np
import pytest

from giga.imaging.steepness import core_errors, steep_cores
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.mass import EPL

STEEP = Sersic(R_sersic=0.5, n_sersic=4.0)


def test_error_of_the_central_pixel(rng):
    """At places of the centre that are drawn at random the error is, in the mean square, what is said to a third."""
    axis = {n: (np.arange(n) + 0.5) / n - 0.5 for n in (1, 2, 64)}
    found = []
    for center in rng.uniform(-0.25, 0.25, (40, 2)):
        means = [float(jnp.mean(STEEP.basis(*(0.05 * jnp.asarray(a, jnp.float32) for a in np.meshgrid(
            axis[n] - center[0], axis[n] - center[1]))))) for n in (1, 2, 64)]
        found.append(np.array(means[:2]) / means[2] - 1.0)
    rms = np.sqrt(np.median(np.square(found), 0))  # a centre on a sample is rare and without bound
    assert core_errors(STEEP, 0.05, (1, 2)) == pytest.approx(rms, rel=0.5)


def test_steep_cores_are_named():
    scene = Scene(lens_light=[Sersic(R_sersic=0.5, n_sersic=0.8), STEEP, Shapelets(n_max=2, beta=0.2)],
                  source_light=[Sersic(R_sersic=0.3, n_sersic=1.0)], mass=[EPL(theta_E=1.0)])
    (note,) = steep_cores(scene, 0.05, 1)
    assert note.startswith("lens_light.1: Sersic is too steep for supersampling = 1: its central pixel is off by 3")
    assert "supersampling = 4 of the profile" in note
    finer = scene.replace(lens_light=[STEEP.replace(supersampling=4)])
    assert steep_cores(finer, 0.05, 1) == []
    assert steep_cores(scene.replace(lens_light=[STEEP.replace(bands=("g",))]), 0.05, 1, "r") == []
