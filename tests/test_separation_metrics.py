"""Measures of a separation, against numbers known in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from giga.models.systems import separation_metrics
from giga.models.systems.measured import area_under_roc, best_threshold, roc
from giga.models.systems.separation_metrics import (
    chi2,
    magnitude,
    psnr,
    summary,
)
from giga.simulate.batch import Batch

RMS = np.array([0.1, 0.1], np.float32)


def made(n: int, rng: np.random.Generator, noise: float = 0.1) -> tuple[Batch, dict]:
    lens, source = rng.uniform(1.0, 2.0, (2, n, 8, 8, 2)).astype(np.float32)
    source[::2] = 0.0
    white = noise * rng.normal(size=lens.shape).astype(np.float32)
    parts = {"lens": lens, "source": source, "noise": white}
    batch = Batch(image=lens + source + white, parts=parts, companions=np.zeros_like(lens), truth={},
                  label=(np.arange(n) % 2).astype(np.int32),
                  sigma=np.full_like(lens, noise), psf=np.ones((n, 2, 1, 1), np.float32))
    return batch, parts


def measure(batch: Batch, parts: dict) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in separation_metrics.measure(batch, parts, RMS).items()}


def test_a_perfect_separation(rng):
    batch, parts = made(400, rng)
    rows = measure(batch, parts)
    # chi-squared per degree of freedom of 128 pixels, over 400 images: 1 +- 0.006
    assert rows["chi2_2_expected"].mean() == pytest.approx(1.0, abs=0.03)
    assert (rows["chi2_2_realised"] < 1.0).all()
    np.testing.assert_allclose(rows["magnitude_error_lens"], 0.0, atol=1e-6)
    numbers = summary(rows, "gr")
    assert numbers["chi2_2_expected_below_2"] == 1.0
    assert numbers["finder_area_under_roc"] == 1.0 and numbers["finder_accuracy"] == 1.0
    assert numbers["lensed"] == 200 and numbers["false_source_95"] == 0.0


def test_as_printed_the_second_chi_squared_cannot_exceed_one(rng):
    batch, _ = made(20, rng)
    useless = {name: jnp.zeros_like(batch.image) for name in ("lens", "source", "noise")}
    assert (measure(batch, useless)["chi2_2_printed"] < 1.0).all()
    assert (measure(batch, useless)["chi2_2_expected"] > 50.0).all()


@pytest.mark.parametrize("each", [False, True], ids=["one rms", "an rms of each image"])
def test_the_unit_of_the_images_does_not_matter(rng, each):
    """Recipes divide an image by its peak or by its noise: the floor of sigma means the same in both."""
    batch, parts = made(20, rng)
    half = parts | {"source": 0.5 * parts["source"]}
    units = rng.uniform(1e-3, 1e3, (20, 1, 1, 1)).astype(np.float32) if each else np.float32(1e3)

    def scaled(images):
        return {name: part * units for name, part in images.items()}

    other = batch.replace(image=batch.image * units, parts=scaled(batch.parts), sigma=batch.sigma * units)
    rms = RMS * units[:, 0, 0] if each else RMS * units
    rows, same = measure(batch, half), separation_metrics.measure(other, scaled(half), rms)
    for name in rows:
        if name.startswith(("chi2", "source_share")):
            np.testing.assert_allclose(same[name], rows[name], rtol=1e-3, err_msg=name)


def test_light_of_companions_is_no_error(rng):
    batch, parts = made(20, rng)
    near = np.full_like(batch.image, 5.0)
    crowded = batch.replace(image=batch.image + near, companions=near)
    for name in ("chi2_1_expected", "chi2_2_expected"):
        np.testing.assert_allclose(measure(crowded, parts)[name], measure(batch, parts)[name], rtol=1e-3)


def test_chi2_in_closed_form():
    image = jnp.full((1, 2, 2, 1), 3.0)
    first, second = chi2(image, jnp.ones_like(image), jnp.full_like(image, 0.5), jnp.full_like(image, 0.5))
    assert float(first[0]) == pytest.approx(16.0) and float(second[0]) == pytest.approx(9.0)


def test_a_separation_that_loses_a_tenth_of_the_flux(rng):
    batch, parts = made(50, rng)
    rows = measure(batch, parts | {"source": 0.9 * parts["source"]})
    lensed = rows["label"] == 1
    np.testing.assert_allclose(rows["magnitude_error_source"][lensed], -2.5 * np.log10(0.9), atol=1e-5)
    assert np.isnan(rows["magnitude_error_source"][~lensed]).all()
    numbers = summary(rows, "gr")
    for band in ("g", "r", "all"):
        assert numbers[f"magnitude_source_{band}_median"] == pytest.approx(0.1144, abs=1e-4)
        assert numbers[f"magnitude_source_{band}_scatter"] == pytest.approx(0.0, abs=1e-4)


def test_a_separation_that_sees_sources_everywhere(rng):
    batch, parts = made(50, rng)
    rows = measure(batch, parts | {"source": parts["source"] + 0.2 * parts["lens"]})
    assert summary(rows, "gr")["false_source_median"] == pytest.approx(0.2, abs=1e-3)


def test_psnr_and_magnitude():
    true = jnp.ones((1, 4, 4, 1))
    assert float(psnr(true, true + 0.01)[0]) == pytest.approx(40.0, abs=1e-3)
    assert float(magnitude(true)[0, 0]) == pytest.approx(-2.5 * np.log10(16.0))
    assert np.isnan(magnitude(-true)).all()


def test_roc_with_ties():
    score, positive = np.array([3.0, 2.0, 2.0, 1.0, 0.0]), np.array([True, True, False, False, False])
    false, true = roc(score, positive)
    np.testing.assert_allclose(false, [0.0, 0.0, 1 / 3, 2 / 3, 1.0])
    np.testing.assert_allclose(true, [0.0, 0.5, 1.0, 1.0, 1.0])
    assert np.trapezoid(true, false) == pytest.approx(area_under_roc(score, positive))
    cut = best_threshold(score, positive)
    assert np.mean((score > cut) == positive) == pytest.approx(0.8)


def test_the_best_threshold_is_the_best_of_all(rng):
    score, positive = rng.normal(size=60), rng.uniform(size=60) < 0.4
    reached = np.mean((score > best_threshold(score, positive)) == positive)
    assert reached == max(np.mean((score > cut) == positive) for cut in np.append(score, score.min() - 1.0)
                          if cut >= score.min())
