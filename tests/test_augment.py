"""Flips and quarter turns carry the truth with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga import SIE, Grid, Scene, Sersic, Shear
from giga.lensing.tracing import trace
from giga.light.spiral import Spiral
from giga.simulate.batch import Batch, dihedral

GRID = Grid(shape=(24, 24), pixel_scale=0.2)


def seen(truth) -> jnp.ndarray:
    """An image of a lensed source, without PSF, from names and numbers."""
    lens = {name.removeprefix("mass.0."): value for name, value in truth.items() if name.startswith("mass.0.")}
    shear = {name.removeprefix("mass.1."): value for name, value in truth.items() if name.startswith("mass.1.")}
    light = {name.removeprefix("source.0."): value for name, value in truth.items() if name.startswith("source.0.")}
    scene = Scene(mass=[SIE(**lens), Shear(**shear)])
    x, y = GRID.coordinates()
    return Sersic(amp=1.0, R_sersic=0.3, n_sersic=1.0, **light).brightness(*trace(scene.mass, x, y))[..., None]


def batch() -> Batch:
    truth = {name: jnp.asarray(value) for name, value in {
        "mass.0.theta_E": 1.1, "mass.0.e1": 0.15, "mass.0.e2": -0.08, "mass.0.center_x": 0.1, "mass.0.center_y": -0.2,
        "mass.1.gamma1": 0.05, "mass.1.gamma2": 0.03, "source.0.center_x": 0.2, "source.0.center_y": 0.05,
        "source.0.e1": -0.1, "source.0.e2": 0.2}.items()}
    image = seen(truth)
    return Batch(image=image, parts={"lens": image, "source": image, "noise": 0.0 * image},
                 companions=0.0 * image, truth=truth, label=jnp.asarray(1), sigma=image + 1.0,
                 psf=jnp.arange(9.0).reshape(1, 3, 3))


def test_the_turned_truth_renders_the_turned_image():
    one, turn = batch(), jax.jit(dihedral)
    found = set()
    for seed in range(40):
        turned = turn(jax.random.key(seed), one)
        np.testing.assert_allclose(seen(turned.truth), turned.image, atol=2e-5)  # float32, rays at other roundings
        np.testing.assert_array_equal(turned.sigma, turned.image + 1.0)
        found.add(np.asarray(turned.image).tobytes())
    assert len(found) == 8


def test_the_arms_of_a_spiral_turn_with_the_image():
    truth = {f"lens_light.0.{name}": jnp.asarray(value) for name, value in dict(
        Rs=0.5, contrast=0.8, pitch=0.4, phi0=0.3, e1=0.1, e2=0.2, center_x=0.3, center_y=-0.2).items()}

    def spiral(truth):
        names = {name.rpartition(".")[2]: value for name, value in truth.items()}
        return Spiral(amp=1.0, **names).brightness(*GRID.coordinates())[..., None]

    one = batch().replace(image=spiral(truth), truth=truth, parts={})
    found, turn = set(), jax.jit(dihedral)
    for seed in range(40):
        turned = turn(jax.random.key(seed), one)
        np.testing.assert_allclose(spiral(turned.truth), turned.image, atol=2e-5)
        found.add(np.asarray(turned.image).tobytes())
    assert len(found) == 8


def test_the_psf_turns_with_the_image():
    one = batch()
    one = one.replace(image=one.psf[0][..., None] * jnp.ones((3, 3, 1)), parts={}, sigma=jnp.ones((3, 3, 1)), truth={},
                      companions=jnp.zeros((3, 3, 1)))
    for seed in range(10):
        turned = dihedral(jax.random.key(seed), one)
        np.testing.assert_array_equal(turned.psf[0], turned.image[..., 0])


def test_an_oblong_image_is_refused():
    with pytest.raises(ValueError, match="square image, got 3 x 4"):
        dihedral(jax.random.key(0), batch().replace(image=jnp.zeros((3, 4, 1))))
