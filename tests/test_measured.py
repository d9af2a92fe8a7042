"""Test sets beside their baselines: curves in closed form, separations without a network, and the page."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from giga.models.systems.measured import (
    Estimate,
    Measured,
    Scores,
    calibration_error,
    confusion,
    flattened,
    precision_recall,
    reliability,
)
from giga.models.systems.modular_table import ring
from giga.models.systems.separation_metrics import KINDS, measure, measured, without_network, without_source
from giga.models.zoo import Card
from giga.show.evaluation import ABOUT, evaluation_page
from giga.simulate.batch import Batch

RMS = np.array([0.1, 0.1], np.float32)
CARD = Card(network="Toy", config={}, recipe={}, seed=0, git_hash="0", command="none", metrics={},
            limits=("knows <spots> alone",), flops=1.0, images_per_s={}, sha256="0123456789abcdef")


def batch(n: int, rng: np.random.Generator) -> Batch:
    """A deflector of one bright pixel, and in every second image a source of four, in white noise."""
    lens, source = np.zeros((2, n, 8, 8, 2), np.float32)
    lens[:, 3, 3] = 20.0
    source[1::2, 6, 2:6] = 2.0
    noise = 0.1 * rng.normal(size=lens.shape).astype(np.float32)
    return Batch(image=lens + source + noise, parts={"lens": lens, "source": source, "noise": noise},
                 companions=np.zeros_like(lens), truth={}, label=(np.arange(n) % 2).astype(np.int32),
                 sigma=np.full_like(lens, 0.1), psf=np.ones((n, 2, 1, 1), np.float32))


def rows(of: Batch, parts) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in measure(of, parts, RMS).items()}


def test_what_discriminates_between_methods(rng):
    """Half of the peak is the right split of this scene, a threshold takes the deflector too; chi2_2 sees neither."""
    of = batch(200, rng)
    methods = {"": {name: jnp.asarray(of.parts[name]) for name in ("lens", "source", "noise")}}
    methods |= {"no source": without_source(methods[""])} | without_network(jnp.asarray(of.image), RMS)
    for parts in methods.values():
        np.testing.assert_allclose(sum(parts.values()), of.image, rtol=1e-5, atol=1e-5)
    found = measured({name: rows(of, parts) for name, parts in methods.items()}, "gr")
    assert found.numbers["completeness"] == found.numbers["purity"] == 1.0
    assert found.numbers["chi2_source_median"] == 0.0 and found.numbers["source_snr_median"] == pytest.approx(
        np.sqrt(8 * 20.0**2), rel=1e-3)
    assert found.numbers["flux_ratio_snr_30_100_images"] == 100 and found.numbers["flux_ratio_snr_30_100_median"] == 1.0
    half, threshold, none = (found.baselines[name] for name in ("half the peak", "threshold", "nothing subtracted"))
    assert half["completeness"] == 1.0 and half["chi2_source_median"] == pytest.approx(1.0, abs=0.1)
    assert threshold["completeness"] == 1.0 and threshold["purity"] == pytest.approx(800 / 1200, abs=0.05)
    assert none["completeness"] == 0.0 and "purity" not in none and none["chi2_source_median"] == pytest.approx(400.0)
    assert threshold["chi2_2_expected_below_2"] == half["chi2_2_expected_below_2"] == 1.0
    assert found.baselines["no source"]["chi2_inside_median"] > 100.0
    assert found.baselines["flux alone"]["finder_area_under_roc"] == 1.0, "light is added: total flux tells it all"
    assert set(found.recovered) == {"network", "threshold", "half the peak"}
    assert found.scores is not None and confusion(found.scores).tolist() == [[100, 0], [0, 100]]
    assert not any("magnitude_lens_g" in name for name in half) and "magnitude_lens_g_median" in found.numbers
    assert flattened({"mock": found})["mock: threshold"] == threshold
    assert [name for name in found.numbers if name.startswith("chi2")][0] == "chi2_source_median"
    assert f"chi2_2_{KINDS[-1]}_median" in found.numbers


def test_a_ring_has_its_radius_and_turns_with_the_image():
    y, x = np.mgrid[:41, :41] - 20.0
    round_, flat = np.abs(np.hypot(x, y) - 10.0) < 0.7, np.hypot(x, 2.0 * y) < 15.0
    pixels = jnp.asarray(np.stack([round_, flat, flat.T]))
    found = {name: np.asarray(value) for name, value in ring(pixels, 0.1).items()}
    assert found["theta_E"][0] == pytest.approx(1.0, rel=0.02) and found["q"][0] == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(found["q"][1:], 0.5, atol=0.02)
    assert np.cos(2 * found["phi"][1]) == pytest.approx(1.0) and found["phi"][2] == pytest.approx(np.pi / 2)


def test_curves_of_a_classifier_in_closed_form(rng):
    positive = np.array([True, True, False, False])
    precision, recall = precision_recall(np.array([3.0, 1.0, 2.0, 0.0]), positive)
    np.testing.assert_allclose(precision, [1.0, 0.5, 2 / 3, 0.5])
    np.testing.assert_allclose(recall, [0.5, 0.5, 1.0, 1.0])
    assert confusion(Scores(positive, np.array([3.0, 1.0, 2.0, 0.0]), 1.5)).tolist() == [[1, 1], [1, 1]]
    probability = rng.uniform(size=40_000)
    truth = rng.uniform(size=40_000) < probability
    assert calibration_error(probability, truth) < 0.01
    assert calibration_error(np.where(probability > 0.5, 1.0, 0.0), truth) == pytest.approx(0.25, abs=0.01)
    mean, share, count = reliability(np.array([0.05, 0.05, 1.0]), np.array([True, False, True]))
    assert count.tolist() == [2, 1] and share.tolist() == [0.5, 1.0] and mean.tolist() == [0.05, 1.0]


def test_errors_of_angles_go_the_shorter_way_round():
    angle = Estimate(np.array([0.1, 3.0]), np.array([3.1, 0.1]), period=np.pi)
    np.testing.assert_allclose(angle.errors(angle.found), [3.0 - np.pi, 0.1 - 3.0 + np.pi])


def test_the_page_stands_alone_and_explains_its_numbers(rng):
    n = 60
    positive, truth = np.arange(n) % 2 == 0, rng.normal(size=n)
    logit = rng.normal(size=n) + positive
    scores = Scores(positive, logit, 0.0, 1 / (1 + np.exp(-logit)), {"flux alone": rng.normal(size=n)})
    posterior = Estimate(truth, truth + 0.1, "arcsec", np.stack([truth - 1, truth + 1]), rng.uniform(size=n),
                         {"the mean": np.zeros(n)})
    sets = {"mock": Measured({"accuracy": 0.9, "area_under_roc": 0.95, "coverage_68": 0.7},
                           {"flux alone": {"accuracy": 0.95, "area_under_roc": 0.6}}, scores, {"theta": posterior},
                           {"network": np.stack([np.geomspace(5, 100, n), np.ones(n)])})}
    page = evaluation_page("my<net>", CARD, sets, "giga evaluate my<net>")
    assert page.count("data:image/png;base64,") == 4 and not re.search(r'(?:src|href)="(?!data:)', page)
    assert "my&lt;net&gt;" in page and "knows &lt;spots&gt; alone" in page and "<net>" not in page
    assert "accuracy; flux alone has 0.95" in page and 'class="tile bad"' in page, "a shortcut that does better"
    assert all(any(re.fullmatch(pattern, name) for pattern in ABOUT) for name in sets["mock"].numbers)
