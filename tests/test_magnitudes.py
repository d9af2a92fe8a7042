"""Corrections of magnitudes, against errors that are known."""

import numpy as np
import pytest

from giga.io.results.separation import magnitudes
from giga.models.systems.separation_metrics import summary
from giga.models.zoo import ZooError
from giga.models.zoo.card import Card
from giga.models.zoo.magnitudes import GROUP, MOST, check_corrections, correction, flux_error, measure_corrections

pytestmark = pytest.mark.quick

BANDS = ("g", "r")


def rows_of(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Errors of 1 / snr in the median, half of that in scatter; g is brighter than r."""
    snr = np.exp(rng.uniform(np.log(2.0), np.log(200.0), (n, 2))) * [3.0, 1.0]
    error = 1.0 / snr + 0.5 / snr * rng.standard_normal((n, 2))
    rows = {f"{kind}_{name}": value for name in ("lens", "source")
            for kind, value in (("snr", snr), ("magnitude_error", error), ("psnr", snr[:, 0]))}
    chi2 = {f"chi2_{k}_{kind}": np.ones(n) for k in (1, 2) for kind in ("printed", "realised", "expected")}
    source = {name: np.ones(n) for name in ("pixels_true", "pixels_found", "pixels_both", "chi2_source", "chi2_inside",
                                            "source_snr", "flux_ratio")}
    return rows | chi2 | source | {"label": np.ones(n, int), "source_share": np.zeros(n)}


def test_what_is_measured_is_the_median_and_the_scatter_at_each_signal_to_noise(rng):
    found = measure_corrections(rows_of(20_000, rng), BANDS)
    assert set(found) == {"lens", "source"} and set(found["lens"]) == set(BANDS)
    assert len(found["lens"]["r"]["snr"]) == MOST
    for band in BANDS:
        at = np.array([10.0, 30.0, 90.0])
        offset, scatter = correction(found, "lens", band, at)
        np.testing.assert_allclose(offset, 1.0 / at, rtol=0.12)
        np.testing.assert_allclose(scatter, 0.5 / at, rtol=0.2)
    check_corrections(found)


def test_corrected_magnitudes_are_right_in_the_median_on_other_images(rng):
    corrections = measure_corrections(rows_of(20_000, rng), BANDS)
    numbers = summary(rows_of(5_000, rng), BANDS, corrections=corrections)
    for name in ("lens", "source"):
        for band in ("all", *BANDS):
            assert numbers[f"magnitude_{name}_{band}_median"] > 0.01
            assert numbers[f"corrected_magnitude_{name}_{band}_median"] == pytest.approx(0.0, abs=2e-3)
            assert numbers[f"corrected_magnitude_{name}_{band}_scatter"] < numbers[f"magnitude_{name}_{band}_scatter"]


def test_beyond_the_last_group_the_last_one_holds():
    known = {"lens": {"g": {"snr": [10.0, 100.0], "offset": [0.2, 0.0], "scatter": [0.1, 0.05]}}}
    offset, scatter = correction(known, "lens", "g", [1.0, 10.0, np.sqrt(1000.0), 100.0, 1e4, -3.0])
    np.testing.assert_allclose(offset, [0.2, 0.2, 0.1, 0.0, 0.0, 0.2])
    np.testing.assert_allclose(scatter, [0.1, 0.1, 0.075, 0.05, 0.05, 0.1])
    assert correction(known, "lens", "r", 5.0) is None and correction({}, "source", "g", 5.0) is None


def test_few_images_give_no_correction(rng):
    rows = rows_of(GROUP + 20, rng)
    rows["label"][:30] = 0
    found = measure_corrections(rows, BANDS)
    assert len(found["lens"]["g"]["snr"]) == 1 and found["source"] == {}


def test_the_table_is_corrected_and_says_so():
    part = np.zeros((6, 6, 2))
    part[2:4, 2:4] = 25.0  # flux 100 on four pixels
    corrections = {"lens": {"g": {"snr": [1.0], "offset": [0.3], "scatter": [0.07]}}}
    parts = {"lens": part, "source": 0.0 * part}
    plain = magnitudes(parts, BANDS, [25.0, 25.0], np.ones(2))
    table = magnitudes(parts, BANDS, [25.0, 25.0], np.ones(2), corrections)
    assert np.asarray(flux_error(part, np.ones(2))) == pytest.approx([2.0, 2.0])
    assert plain["mag_g"][0] == pytest.approx(20.0) and table["mag_g"][0] == pytest.approx(19.7)
    assert table["magerr_g"][0] == 0.07 and table["flux_g"][0] == pytest.approx(100.0)
    assert table["mag_r"][0] == plain["mag_r"][0] and np.isnan(table["mag_g"][1])
    assert table.meta["corrected"] == {"lens": ["g"]} and plain.meta["corrected"] == {}


@pytest.mark.parametrize(("known", "message"), [
    ({"snr": [1.0], "offset": [0.1]}, "got offset, snr, expected snr, offset and scatter"),
    ({"snr": [1.0, 2.0], "offset": [0.1], "scatter": [0.1]}, "got 2, 1 and 1 numbers"),
    ({"snr": [2.0, 1.0], "offset": [0.1, 0.1], "scatter": [0.1, 0.1]}, "above 0 that grows"),
    ({"snr": [1.0], "offset": [np.nan], "scatter": [0.1]}, "finite numbers")])
def test_corrections_that_cannot_be_used(known, message):
    with pytest.raises(ZooError, match=rf"card: magnitudes.lens.g: .*{message}"):
        Card(network="", config={}, recipe={}, seed=0, git_hash="", command="", metrics={}, limits=(), flops=0.0,
             images_per_s={}, magnitudes={"lens": {"g": known}})
