"""Noise: means, variances and distributions of what is drawn, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from giga.simulate.surveys.noise import (
    FEW,
    CameraNoise,
    CorrelatedNoise,
    CutoutNoise,
    PhotonNoise,
    autocovariance,
    poisson,
)
from giga.simulate.surveys.survey import Band, GaussianPSF, Survey

KEY = jax.random.key(3)
SURVEY = Survey("s", 0.2, (32, 40), tuple(
    Band(name, GaussianPSF(0.7), zero_point=28.0, gain=2.0, exposure_time=100.0, n_exposures=4, read_noise=6.0,
         sky_brightness=sky) for name, sky in (("g", 22.0), ("r", 21.0))))
KERNEL = np.outer([0.5, 1.0, 0.5], [0.5, 1.0, 0.5])  # neighbours correlate by 2/3


def camera(sky: float, photon: float, read: float, few: bool) -> CameraNoise:
    """Sky and read noise in electrons."""
    return CameraNoise(background_rms=jnp.array([photon * np.sqrt(sky + read**2)], jnp.float32),
                       photon=jnp.array([photon], jnp.float32), sky=jnp.array([sky * photon], jnp.float32), few=few)


@pytest.mark.parametrize("few", [False, True])
def test_camera_noise_has_the_stated_sigma(few):
    model = jnp.stack([jnp.full((256, 256), value) for value in (-1.0, 0.0, 20.0)], -1)
    noise, sigma = camera(60.0, 0.25, 5.0, few)(KEY, model)
    electrons = np.array([0.0, 0.0, 80.0]) + 60.0 + 25.0
    np.testing.assert_allclose(sigma[0, 0], 0.25 * np.sqrt(electrons), rtol=1e-6)
    # 65536 pixels: the mean is known to sigma / 256, the standard deviation to 0.3%.
    np.testing.assert_allclose(np.mean(noise, (0, 1)) / sigma[0, 0], 0.0, atol=4 / 256)
    np.testing.assert_allclose(np.std(noise, (0, 1)) / sigma[0, 0], 1.0, atol=0.012)


def test_camera_noise_of_a_survey():
    noise = CameraNoise.of(SURVEY)
    np.testing.assert_allclose(noise.background_rms, SURVEY.background_rms, rtol=1e-6)
    np.testing.assert_allclose(noise.photon, SURVEY.photon, rtol=1e-6)
    assert not noise.few
    empty = SURVEY.replace(bands=tuple(band.replace(sky_brightness=30.0) for band in SURVEY.bands))
    assert CameraNoise.of(empty).few
    sample, sigma = noise(KEY, jnp.zeros((32, 40, 2)))
    assert sample.shape == sigma.shape == (32, 40, 2) and sample.dtype == jnp.float32


def test_few_electrons_are_poisson():
    rate = np.array([0.3, 5.0, 30.0])
    noise, _ = camera(0.0, 1.0, 0.0, True)(KEY, jnp.broadcast_to(jnp.asarray(rate, jnp.float32), (200, 200, 3)))
    for k, value in enumerate(rate):
        numbers = np.asarray(noise[..., k]) + value
        assert np.abs(numbers - np.round(numbers)).max() < 1e-4
        top = int(stats.poisson.ppf(1 - 1e-3, value))
        seen = np.bincount(np.clip(np.round(numbers).astype(int).ravel(), 0, top), minlength=top + 1)
        wanted = stats.poisson.pmf(np.arange(top + 1), value)
        wanted[-1] += stats.poisson.sf(top, value)
        assert stats.chisquare(seen, 40000 * wanted).pvalue > 1e-3


def test_poisson_inverts_its_distribution():
    uniform = (jnp.arange(4096) + 0.5) / 4096
    for rate in (0.01, 1.0, 12.5, float(FEW)):
        wanted = stats.poisson.ppf(np.asarray(uniform, float), rate)
        found = np.asarray(poisson(uniform, jnp.full(4096, rate)))
        # Float32 sums may put a quantile that falls on a step on its other side.
        assert np.mean(found != wanted) < 2e-3 and np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize(("electrons", "read", "largest"), [(FEW, 0.0, 2.5e-3), (FEW, 3.0, 2e-3), (200, 0.0, 4e-4)])
def test_the_gaussian_limit_is_harmless_from_few_on(electrons, read, largest):
    """Distance of the distribution that is drawn from the exact one, Poisson plus Gaussian."""
    variance = electrons + read**2
    bend = electrons / variance**1.5 / 6.0
    z = np.linspace(-5.0, 5.0, 20001)
    value = np.sqrt(variance) * (z + bend * (z * z - 1.0)) / np.sqrt(1.0 + 2.0 * bend**2)
    k = np.arange(int(electrons + 12 * np.sqrt(electrons)))
    if read:
        exact = stats.poisson.pmf(k, electrons) @ stats.norm.cdf((value[None] + electrons - k[:, None]) / read)
        drawn = stats.norm.cdf(z)
    else:  # a pixel holds whole electrons: compared half way between two of them
        exact = stats.poisson.cdf(k, electrons)
        drawn = stats.norm.cdf(np.interp(k + 0.5 - electrons, value, z))
    assert np.abs(exact - drawn).max() < largest
    # Without the bend it is several times further.
    plain = stats.norm.cdf(value / np.sqrt(variance)) if read else stats.norm.cdf(
        (k + 0.5 - electrons) / np.sqrt(variance))
    assert np.abs(exact - plain).max() > 3 * np.abs(exact - drawn).max()


@pytest.mark.parametrize("noise", [
    camera(60.0, 0.25, 5.0, False), camera(6.0, 0.25, 5.0, True),
    CorrelatedNoise.of(np.eye(3)[1][:, None] * np.eye(3)[1], (16, 16), 0.1),
    CutoutNoise.of(np.random.default_rng(0).normal(size=(5, 18, 18, 1)), (16, 16), photon=0.1)],
    ids=["camera", "few", "correlated", "cutouts"])
def test_noise_is_pure_and_batched_by_vmap(noise):
    model = jnp.ones((3, 16, 16, 1))
    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(noise))(keys, model)
    for k in range(3):
        for one, many in zip(noise(keys[k], model[k]), together, strict=True):
            np.testing.assert_allclose(one, many[k], rtol=2e-5, atol=2e-6)  # XLA fuses differently
    assert not np.allclose(together[0][0], together[0][1])


def white(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def smoothed(m, n, seed=0):
    """Blank cutouts of unit variance whose neighbours correlate."""
    noise = white((m, n + 2, n + 2, 1), seed)
    out = sum(KERNEL[i, j] * noise[:, i:i + n, j:j + n] for i in range(3) for j in range(3))
    return out / np.sqrt(np.sum(KERNEL**2))


def expected_covariance():
    line = np.convolve([0.5, 1.0, 0.5], [0.5, 1.0, 0.5])
    return np.pad(np.outer(line, line) / line[2] ** 2, 1)[..., None]


def test_autocovariance_of_smoothed_noise():
    found = autocovariance(smoothed(300, 40), 3)
    assert found.shape == (7, 7, 1)
    # 480,000 pixels, fewer independent ones: 1%; a cutout's own mean takes away (sum of covariance) / 1600 more.
    np.testing.assert_allclose(found, expected_covariance(), atol=0.015)


def test_correlated_noise_has_its_covariance_and_exact_variance():
    noise = CorrelatedNoise.of(4.0 * expected_covariance(), (24, 30))
    mean_square = np.mean(np.concatenate([np.asarray(noise.transfer), np.asarray(noise.transfer)[:, 1:-1]], 1) ** 2)
    assert mean_square == pytest.approx(4.0, rel=1e-5)
    keys = jax.random.split(KEY, 400)
    images, sigma = jax.vmap(lambda key: noise(key, jnp.zeros((24, 30, 1))))(keys)
    np.testing.assert_allclose(sigma, 2.0, rtol=1e-6)
    images = np.asarray(images, float)
    np.testing.assert_allclose(images.var(), 4.0, rtol=0.02)
    lagged = np.mean(images[:, 1:] * images[:, :-1])
    np.testing.assert_allclose(lagged, 4.0 * 2.0 / 3.0, rtol=0.03)
    opposite = np.mean(images[:, 0] * images[:, -1])  # 12,000 pairs of variance 4: 0.04 each
    assert abs(opposite) < 0.2


def test_measured_noise_is_made_again():
    noise = CorrelatedNoise.of(autocovariance(3.0 * smoothed(200, 32), 4), (64, 64))
    keys = jax.random.split(KEY, 60)
    again = jax.vmap(lambda key: noise(key, jnp.zeros((64, 64, 1)))[0])(keys)
    np.testing.assert_allclose(autocovariance(again, 2), 9.0 * expected_covariance()[1:-1, 1:-1], atol=0.25)


def test_photon_noise_is_added_to_correlated_noise():
    noise = CorrelatedNoise.of(expected_covariance(), (64, 64), photon=0.5)
    model = jnp.full((64, 64, 1), 6.0)
    sample, sigma = jax.vmap(lambda key: noise(key, model))(jax.random.split(KEY, 20))
    np.testing.assert_allclose(sigma, 2.0, rtol=1e-6)
    assert np.std(np.asarray(sample)) == pytest.approx(2.0, rel=0.02)


def test_cutouts_are_pieces_of_the_bank():
    bank = np.arange(3 * 9 * 8 * 2, dtype=np.float32).reshape(3, 9, 8, 2)
    noise = CutoutNoise.of(bank, (6, 6), sigma=np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    draw = jax.jit(jax.vmap(lambda key: noise(key, jnp.zeros((6, 6, 2)))))
    samples, sigma = jax.device_get(draw(jax.random.split(KEY, 200)))
    pieces = set()
    for cutout in range(3):
        for y in range(4):
            for x in range(3):
                piece = bank[cutout, y:y + 6, x:x + 6]
                for turned in (piece, piece.swapaxes(0, 1)):
                    for flipped in (turned, turned[::-1], turned[:, ::-1], turned[::-1, ::-1]):
                        pieces.add((cutout, flipped.tobytes()))
    found = {(int(np.asarray(s).min() // 144), np.ascontiguousarray(s).tobytes()) for s in samples}
    assert found <= pieces and len(found) > 100
    for sample, scatter in zip(samples, sigma, strict=True):
        cutout = int(np.asarray(sample).min() // 144)
        np.testing.assert_allclose(scatter, np.broadcast_to([2 * cutout + 1, 2 * cutout + 2], (6, 6, 2)))


def test_a_map_of_sigma_goes_with_its_cutout():
    bank = white((4, 8, 10, 1)).astype(np.float32)
    noise = CutoutNoise.of(bank, (6, 7), sigma=np.exp(bank))
    assert not noise.turn
    sample, sigma = noise(KEY, jnp.zeros((6, 7, 1)))
    np.testing.assert_allclose(sigma, np.exp(sample), rtol=1e-5)


def test_sigma_of_a_cutout_is_robust_to_its_companions():
    bank = 3.0 * white((5, 64, 64, 1))
    bank[:, :6, :6] += 500.0
    np.testing.assert_allclose(CutoutNoise.of(bank, (64, 64)).sigma, 3.0, rtol=0.05)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: CutoutNoise.of(np.ones((3, 40, 40, 1)), (64, 64)),
     "noise cutouts are 40 x 40, the survey needs 64 x 64"),
    (lambda: CutoutNoise.of(np.ones((0, 64, 64, 1)), (64, 64)), r"got \(0, 64, 64, 1\)"),
    (lambda: CutoutNoise.of(np.full((1, 8, 8, 1), np.nan), (8, 8)), "64 pixels are NaN"),
    (lambda: CutoutNoise.of(np.ones((1, 8, 8, 1)), (8, 8)), "sigma must be positive, got 0"),
    (lambda: CutoutNoise.of(white((1, 8, 8, 1)), (8, 8), sigma=np.ones(3)), r"sigma of shape \(3,\)"),
    (lambda: CorrelatedNoise.of(np.ones((4, 4)), (8, 8)), "expected shape"),
    (lambda: CorrelatedNoise.of(-np.ones((3, 3)), (8, 8)), "positive variance"),
    (lambda: autocovariance(np.ones((2, 8, 8, 1)), 4), "sides above 8"),
    (lambda: autocovariance(np.full((2, 8, 8, 1), np.inf), 2), "128 pixels are NaN"),
])
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_photon_noise_of_added_light():
    """Its variance is photon times the light, and where there is none nothing is added."""
    model = jnp.concatenate([jnp.zeros((1, 64, 2)), jnp.full((63, 64, 2), 4.0)])
    drawn, sigma = PhotonNoise(photon=jnp.array([0.25, 1.0]))(jax.random.key(0), model)
    assert (drawn[0] == 0.0).all() and sigma[-1, -1].tolist() == [1.0, 2.0]
    assert np.std(np.asarray(drawn)[1:], axis=(0, 1)) == pytest.approx([1.0, 2.0], rel=0.03)
