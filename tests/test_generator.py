"""Simulated images: what they are made of, and that they depend on the key alone."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _processes import devices, python

from giga import PSF, SIE, Grid, Scene, Sersic, Shear
from giga.imaging.psf import plan
from giga.imaging.render import render
from giga.runtime.parallel import rounded_up
from giga.simulate.generator import simulator
from giga.simulate.mixing import MEDIAN, Mixing
from giga.simulate.populations.population import Derived, Population
from giga.simulate.surveys.noise import CorrelatedNoise, Noise

GRID = Grid(shape=(20, 24), pixel_scale=0.2)
BANDS = 3


def noise(rms=0.05, bands: int = BANDS) -> CorrelatedNoise:
    """White noise without photon noise: its standard deviation is known."""
    return CorrelatedNoise.of(np.full((1, 1, bands), np.square(rms)), GRID.shape)


def population(lensed: float = 1.0) -> Population:
    """Lenses whose bands differ by amplitude (first galaxy), by slope (second), or not at all (source)."""
    x, there = dist.Normal(0.0, 0.1), dist.Bernoulli(lensed)
    flux = dist.Uniform(0.5, 2.0).expand([BANDS])
    return Population.of(Scene(
        mass=[SIE(theta_E=dist.Uniform(0.8, 1.2), e1=0.1, e2=0.0, center_x=x), Shear(gamma1=0.02, gamma2=-0.03)],
        lens_light=[Sersic(amp=flux, R_sersic=0.5, n_sersic=2.0, center_x=x),
                    Sersic(amp=1.0, R_sersic=0.3, n_sersic=dist.Uniform(1.0, 2.0).expand([BANDS]), center_x=0.5)],
        source_light=[Sersic(amp=Derived(lambda on: 2.0 * on, there), R_sersic=0.2, n_sersic=1.0,
                             center_x=dist.Normal(0.0, 0.1))]), extras={"lensed": there})


def psfs(fwhms) -> list[PSF]:
    return [PSF.gaussian(fwhm, 0.2, 7, supersampling=2) for fwhm in fwhms]


def band_of(tree, band: int):
    return jax.tree.map(lambda a: a[band] if jnp.ndim(a) else a, tree)


@pytest.mark.parametrize("fwhms", [(0.7, 0.7, 0.7), (0.6, 0.7, 0.9)], ids=["one PSF", "three PSFs"])
def test_each_band_is_what_render_makes_of_it(fwhms):
    made = simulator(population(), GRID, psfs(fwhms), noise())
    key = jax.random.key(3)
    geometry = jax.jit(made.geometry)(key)
    scene, _ = made.population.draw(jax.random.split(key, 3)[0])
    for band, psf in enumerate(psfs(fwhms)):
        one = band_of(scene, band)
        convolution = plan(psf, GRID.shape)
        for part, alone in (("lens", one.replace(source_light=[])), ("source", one.replace(lens_light=[]))):
            np.testing.assert_allclose(getattr(geometry, part)[..., band], render(alone, GRID, convolution),
                                       rtol=2e-5, atol=2e-6)


def test_an_example_depends_on_key_and_number_alone():
    made = simulator(population(), GRID, psfs([0.7] * BANDS), noise())
    few, many = made.simulate(jax.random.key(1), 3), made.simulate(jax.random.key(1), 8)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[:3], rtol=1e-6, atol=1e-6), few, many)
    one = jax.jit(made.example)(jax.random.fold_in(jax.random.key(1), 2))
    np.testing.assert_allclose(one.image, many.image[2], rtol=1e-5, atol=1e-5)
    other = made.simulate(jax.random.key(2), 3)
    assert float(jnp.abs(other.image - few.image).max()) > 0.1


def test_one_device_and_eight_make_the_same_images():
    python("""
        import jax, numpy as np
        from test_generator import BANDS, GRID, noise, population, psfs
        from giga.runtime import parallel
        from giga.simulate.generator import simulator
        made = simulator(population(), GRID, psfs([0.6, 0.7, 0.8]), noise())
        one, eight = (made.simulate(jax.random.key(1), 11, parallel.mesh(jax.devices()[:n])) for n in (1, 8))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, eight)
    """, **devices(8))


def test_parts_truth_label_and_noise():
    made = simulator(population(lensed=0.5), GRID, psfs([0.7] * BANDS), noise([0.02, 0.05, 0.1]))
    batch = made.simulate(jax.random.key(0), 200)
    assert batch.image.shape == (200, *GRID.shape, BANDS) and batch.psf.shape == (200, BANDS, 7, 7)
    np.testing.assert_allclose(sum(batch.parts.values()), batch.image, atol=1e-6)
    np.testing.assert_allclose(np.std(batch.parts["noise"], axis=(0, 1, 2)), [0.02, 0.05, 0.1], rtol=0.02)
    np.testing.assert_allclose(batch.sigma[:, 0, 0], np.tile([0.02, 0.05, 0.1], (200, 1)), rtol=1e-5)
    assert set(np.unique(batch.label)) == {0, 1} and 70 < int(batch.label.sum()) < 130
    shines = np.asarray(batch.parts["source"]).max((1, 2, 3)) > 0.0
    np.testing.assert_array_equal(shines, batch.label == 1)
    assert batch.truth["lens_light.0.amp"].shape == (200, BANDS)
    assert batch.truth["mass.0.theta_E"].shape == (200,)


def test_companions_are_noise():
    near = Population.of(Scene(lens_light=[Sersic(amp=1.0, R_sersic=0.3, n_sersic=1.0, center_x=1.5, center_y=1.0)]))
    plain = simulator(population(), GRID, psfs([0.7] * BANDS), noise())
    crowded = simulator(population(), GRID, psfs([0.7] * BANDS), noise(), companions=near)
    a, b = (made.simulate(jax.random.key(4), 2) for made in (plain, crowded))
    np.testing.assert_allclose(a.parts["lens"], b.parts["lens"], rtol=1e-6, atol=1e-7)
    extra = np.asarray(b.parts["noise"] - a.parts["noise"])
    expected = render(near.sample(jax.random.key(0)), GRID, plan(psfs([0.7])[0], GRID.shape))
    np.testing.assert_allclose(extra, np.broadcast_to(expected[..., None], extra.shape), atol=1e-5)
    np.testing.assert_allclose(b.companions, extra, atol=1e-5)


def test_psf_variants_are_drawn_and_told():
    made = simulator(population(), GRID, [psfs([fwhm] * BANDS) for fwhm in (0.5, 0.9)], noise())
    batch = made.simulate(jax.random.key(5), 40)
    peaks = np.asarray(batch.psf)[:, 0, 3, 3]
    assert len(np.unique(peaks)) == 2 and 8 < np.sum(peaks == peaks.max()) < 32


def test_mixing_in_closed_form():
    flat = Population.of(Scene(mass=[SIE(theta_E=1.0)], source_light=[Sersic(amp=7.0, R_sersic=0.3, n_sersic=1.0)],
                               lens_light=[Sersic(amp=5.0, R_sersic=0.5, n_sersic=1.0)]))
    made = simulator(flat, GRID, psfs([0.7]), noise(0.3, 4), mixing=Mixing(bands=4))
    batch = made.simulate(jax.random.key(0), 300)
    assert batch.image.shape == (300, *GRID.shape, 4) and batch.psf.shape[1] == 4
    alpha, beta, gamma, epsilon = (np.asarray(batch.truth[f"mixing.{name}"])
                                   for name in ("alpha", "beta", "gamma", "epsilon"))
    np.testing.assert_allclose(np.max(batch.parts["lens"], (1, 2)), alpha, rtol=1e-5)
    np.testing.assert_allclose(np.max(batch.parts["source"], (1, 2)), alpha * beta, rtol=1e-5)
    np.testing.assert_allclose(batch.sigma[:, 0, 0], alpha * beta * epsilon / MEDIAN, rtol=1e-5)
    ratio = np.std(batch.parts["noise"], axis=(1, 2)) / np.asarray(batch.sigma[:, 0, 0])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    unit = np.asarray(batch.parts["lens"]) / alpha[:, None, None]
    steeper = np.log(unit[:, 5, 5]) / np.log(unit[0, 5, 5, 0]) * gamma[0, 0]
    np.testing.assert_allclose(steeper, gamma, rtol=2e-4)
    assert gamma.min() < 0.55 and gamma.max() > 1.45 and alpha.max() <= 1.0


def test_a_band_may_miss_the_source():
    one = Population.of(Scene(source_light=[Sersic(amp=1.0, R_sersic=0.3, n_sersic=1.0)]))
    made = simulator(one, GRID, psfs([0.7]), noise(), mixing=Mixing(bands=BANDS, missing=0.3))
    shines = np.asarray(made.simulate(jax.random.key(0), 200).parts["source"]).max((1, 2)) > 0.0
    assert 0.6 < shines.mean() < 0.8


def test_a_population_of_the_same_structure_is_not_compiled_again():
    traces = []

    @jax.jit
    def run(made, key):
        traces.append(0)
        return made.example(key).image

    for lensed in (0.2, 0.8):
        run(simulator(population(lensed), GRID, psfs([0.7] * BANDS), noise()), jax.random.key(0))
    assert len(traces) <= 2  # functions of Deriveds are static: a new lambda is a new structure


def test_a_new_number_of_images_is_not_compiled_for():
    """Few sizes have a program: 9 takes that of 10."""
    traces = []

    class Counted(Noise):
        inner: CorrelatedNoise

        def __call__(self, key, model):
            traces.append(0)
            return self.inner(key, model)

    made = simulator(population(), GRID, psfs([0.7] * BANDS), Counted(inner=noise()))
    ten, before = made.simulate(jax.random.key(1), 10), len(traces)
    nine = made.simulate(jax.random.key(1), 9)
    assert before > 0 and len(traces) == before
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:9]), nine, ten)
    sizes = [rounded_up(n) for n in range(1, 2000)]
    assert len(set(sizes)) < 50 and all(n <= size <= 1.25 * n for n, size in enumerate(sizes, 1))


def test_psfs_that_do_not_go_together():
    with pytest.raises(ValueError, match="one supersampling"):
        simulator(population(), GRID, [PSF.gaussian(0.7, 0.2, 7, 1), PSF.gaussian(0.7, 0.2, 7, 2)], noise())
    with pytest.raises(ValueError, match="at least one variant"):
        simulator(population(), GRID, [], noise())
    with pytest.raises(ValueError, match="must share one PSF"):
        simulator(population(), GRID, psfs([0.6, 0.7, 0.8]), noise(), mixing=Mixing(bands=3))
    with pytest.raises(ValueError, match="population: leaves of 3 bands; expected 2, one a PSF"):
        simulator(population(), GRID, psfs([0.6, 0.7]), noise())
    with pytest.raises(ValueError, match="population: leaves of 3 bands; expected none"):
        simulator(population(), GRID, psfs([0.7]), noise(), mixing=Mixing(bands=3))
    with pytest.raises(ValueError, match="wider than the image"):
        simulator(population(), Grid(shape=(4, 4), pixel_scale=0.2), psfs([0.7]), noise())
