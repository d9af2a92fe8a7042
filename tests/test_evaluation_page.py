"""The tables of docs/evaluation.md are what the cards of the zoo say."""

from pathlib import Path

import pytest

from giga.models.zoo import FOLDER, read_card

PAGE = Path(__file__).parents[1] / "docs" / "evaluation.md"
SEPARATORS = ("ggsl-unet-kids", "ggsl-unet-des", "ggsl-unet-hst")
SPLIT = ("threshold", "half the peak")
FLUX = [(f"flux found over true, S/N {text}: {kind}", f"flux_ratio_snr_{key}_{field}", ".2f", methods)
        for text, key in (("10 to 30", "10_30"), ("30 to 100", "30_100"), ("over 100", "100_up"))
        for kind, field, methods in (("median", "median", SPLIT), ("standard deviation", "scatter", ()))]
ROWS = [("completeness of the source's pixels", "completeness", ".2f", SPLIT),
        ("purity of the source's pixels", "purity", ".2f", SPLIT),
        ("chi2 of the source in its own pixels, median", "chi2_source_median", ".3g", (*SPLIT, "no source")),
        *FLUX,
        ("matched S/N of the source, median", "source_snr_median", ".3g", ()),
        ("corrected magnitude of the deflector, standard deviation", "corrected_magnitude_lens_all_scatter", ".2f", ()),
        ("corrected magnitude of the source, standard deviation", "corrected_magnitude_source_all_scatter", ".2f", ()),
        ("chi2_2 below 2, share of images", "chi2_2_expected_below_2", ".3f", (*SPLIT, "no source"))]
CHAIN = [("accuracy of the finder", "accuracy", ".3f", ("flux alone", "threshold", "half the peak")),
         ("area under the ROC curve", "area_under_roc", ".3f", ("flux alone", "threshold", "half the peak")),
         ("calibration error of the probability", "calibration_error", ".3f", ()),
         ("mean error of the parameters, of their range", "mae_wrapped", ".3f", ("the mean", "half the peak")),
         ("PSNR of the source, stretched [dB]", "psnr_deblended_stretched", ".1f", ("nothing subtracted",))]


def table(columns, rows) -> str:
    """A table whose cells have a network's number and, in brackets, those of methods without one.

    Args:
        columns: Title, name of the network and test set of each.
        rows: Title, name of the number, digits and the methods of each.
    """
    cards = {name: read_card(FOLDER / f"{name}.json").metrics for _, name, _ in columns}
    lines = [f"| | {' | '.join(title for title, _, _ in columns)} |", "|---" * (1 + len(columns)) + "|"]
    for title, key, digits, methods in rows:
        cells = []
        for _, name, kind in columns:
            found = cards[name]
            beside = [f"{found[f'{kind}: {method}'][key]:{digits}}" for method in methods]
            own = f"{found[kind][key]:{digits}}" if key in found[kind] else ""
            cells.append(f"{own} ({', '.join(beside)})" if own and beside else own)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


@pytest.mark.parametrize(("columns", "rows"), [
    ([(name.removeprefix("ggsl-unet-"), name, "mock") for name in SEPARATORS], ROWS),
    ([(kind, "ggsl-unet-kids", kind) for kind in ("shifted", "paper's recipe")], ROWS),
    ([(kind, "modular-lsst", kind) for kind in ("mock", "shifted")], CHAIN)], ids=["mock", "unseen", "chain"])
def test_tables_are_those_of_the_cards(columns, rows):
    expected = table(columns, rows)
    assert expected in PAGE.read_text(), f"the page should have\n{expected}"


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.json"))])
def test_every_card_has_its_baselines(name):
    metrics = read_card(FOLDER / f"{name}.json").metrics
    sets = [kind for kind in metrics if ":" not in kind and not kind.startswith("validation")]
    assert sets
    for kind in sets:
        methods = [other for other in metrics if other.startswith(f"{kind}: ")]
        assert methods and all(metrics[other].keys() <= metrics[kind].keys() for other in methods)
