"""The page of `giga evaluate`: what a network makes of test sets, beside methods without one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giga.lensing.labels import labels
from giga.models.systems.measured import (
    Estimate,
    Measured,
    Scores,
    area_under_roc,
    confusion,
    precision_recall,
    reliability,
    roc,
)
from giga.models.zoo import Card
from giga.show.checks import draw_coverage
from giga.show.plot import png
from giga.show.report import figure_part, html_page, tile_row

COLOURS = {"network": "#1f5fa8", "threshold": "#c0392b", "half the peak": "#b8860b", "flux alone": "#5b8c5a",
           "colour alone": "#8e5ea2"}
NETWORK, GREY = COLOURS["network"], "0.55"
COLUMNS = 4
SHOWN = 400  # points of a scatter plot, at most
LEADING = {"completeness": 1, "purity": 1, "chi2_source_median": -1, "finder_area_under_roc": 1, "accuracy": 1,
           "area_under_roc": 1, "mae_wrapped": -1, "psnr_deblended_stretched": 1, "coverage_68": 0, "gain": 1}
"""Numbers that a page begins with, and whether more is better (1), less is (-1), or neither."""
ABOUT = {
    "images|lensed": "Size of the set, and how many of it have a lensed source.",
    "completeness": "Share of the source's own pixels (true light above one sigma of the noise) that are found to be.",
    "purity": "Share of the pixels found to be the source's that are its own; images without a source count.",
    "chi2_source_.*": "Mean of ((found - true source) / sigma)^2 in the source's own pixels, an image: median, and "
                      "share of images below 2. 1 is the true source with all of the noise.",
    "chi2_inside_.*": "chi2 of the residual after both parts, in those pixels. It does not see which part has "
                      "the light.",
    "source_snr_median": "Matched signal-to-noise of the sources, sqrt(sum (true / sigma)^2).",
    "flux_ratio_.*": "Found over true flux of the source, all bands, by signal-to-noise: median and standard "
                     "deviation.",
    "chi2_2_.*": "chi2 of the whole image after both parts, with three kinds of sigma. Most of an image is sky, so "
                 "that it barely tells one method from another.",
    "(corrected_)?magnitude_.*": "Error of magnitudes: median, standard deviation, half of the central 68%.",
    "psnr_.*": "Peak signal-to-noise ratio [dB].",
    "false_source_.*": "Light called a source where there is none, over the deflector's.",
    "(finder_)?(accuracy|threshold)": "Share that is told rightly; of a finder with classes, the mean over both.",
    "(finder_)?area_under_roc": "Probability that a lens scores above what is none.",
    "auc(_.*)?": "The same of a finder in clusters; with a kind of mimic, of the mocks' arcs against that kind.",
    "completeness_at_.*": "Share of lenses found where so few of the mocks' other images are called one.",
    "fpr(_[a-z-]+)?_at_.*": "Share of mimics, or of one kind, called a lens at the threshold that leaves this rate of "
                            "the mocks' own negatives; 68% interval.",
    "calibration_error": "Mean distance of stated probabilities from the shares that are lenses.",
    "mae.*": "Mean absolute error of parameters that go from 0 to 1; wrapped: an angle's the shorter way round.",
    "coverage_.*|gap_.*": "Share of truths inside central intervals, over all parameters; the worst parameter's gap.",
    "gain": "What the image tells of the parameters beyond the prior [nats].",
    "shrink .*": "Width of the posterior over the prior's.",
    "error .*": "Rms of the posterior's median from the truth, over that of the mean of the truths.",
}


def evaluation_page(model: str, card: Card, sets: Mapping[str, Measured], command: str) -> str:
    """The page as text, with its pictures inside.

    Args:
        model: Name or path of the network.
        card: Of the network.
        sets: By name.
        command: That measures them again.
    """
    parts = [f"<h1>giga: {escape(model)}, measured</h1>",
             f'<p class="sub">{escape(card.network)}, {card.parameters:,} weights, SHA-256 {card.sha256[:12]}; '
             f"<code>{escape(command)}</code></p>"]
    for name, tested in sets.items():
        parts += [f"<h2>{escape(name)}</h2>", *_leading(tested), *_figures(tested), _numbers(tested)]
    parts += ["<h2>What the numbers are</h2>", _about(sets), "<h2>Limits</h2>",
              f'<div class="card"><ul>{"".join(f"<li>{escape(text)}</li>" for text in card.limits)}</ul></div>']
    return html_page(f"{escape(model)}, measured", parts)


def _leading(tested: Measured) -> list[str]:
    """The numbers that tell most, each beside the best that is had without a network."""
    tiles = []
    for name, sign in LEADING.items():
        if name not in tested.numbers:
            continue
        value, others = tested.numbers[name], {method: numbers[name] for method, numbers in tested.baselines.items()
                                               if name in numbers}
        beside = ""
        if others and sign:
            best = max(others, key=lambda method: sign * others[method])
            beside = f"; {best} has {others[best]:.3g}"
        bad = bool(beside) and max(sign * one for one in others.values()) >= sign * value
        tiles.append((f"{value:.3g}", name.replace("_", " ") + beside, bad))
    return [tile_row(tiles)] if tiles else []


def _figures(tested: Measured) -> list[str]:
    parts = []
    if tested.scores is not None:
        parts.append(figure_part(png(scores_figure(tested.scores)), "Lenses found: images by class at the cut of the "
                     "network, receiver operating characteristic, precision against recall" + (
                         ", and how often a stated probability is true." if tested.scores.probability is not None
                         else ". The score is no probability.") + " Cuts of the other methods are drawn through all."))
    if tested.recovered:
        parts.append(figure_part(png(recovered_figure(tested.recovered)), "Flux of the source that is found over the "
                                 "true one, by signal-to-noise: median, and for the network the central 68%."))
    if tested.estimates:
        below = {name: one.below for name, one in tested.estimates.items() if one.below is not None}
        text = "Bars are the central 68% of its posterior." if below else "The network gives no errors, so that " \
            "there is no coverage."
        parts.append(figure_part(png(estimates_figure(tested.estimates)), f"Measured against true values. {text} Rms "
                                 "of the errors of each method above the panels."))
        if below:
            parts.append(figure_part(png(coverage_figure(below)), "Coverage: share of the truths in central intervals "
                                     "of a posterior, less their probability; thin lines are single parameters."))
    return parts


def scores_figure(scores: Scores) -> Figure:
    """Confusion matrix, ROC, precision against recall, and, of probabilities, a reliability diagram."""
    panels = [_confusion, _roc, _precision] + ([_reliability] if scores.probability is not None else [])
    figure = Figure(figsize=(3.6 * len(panels), 3.5), layout="constrained")
    for axis, draw in zip(figure.subplots(1, len(panels)), panels, strict=True):
        draw(axis, scores)
    return figure


def _confusion(axis: Axes, scores: Scores) -> None:
    table = confusion(scores)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(table):
        axis.text(column, row, f"{count}\n{100.0 * share[row, column]:.1f}%", ha="center", va="center",
                  color="white" if share[row, column] > 0.6 else "black")
    axis.set_xticks([0, 1], ["no lens", "lens"])
    axis.set_yticks([0, 1], ["no lens", "lens"], rotation=90, va="center")
    axis.set(xlabel="called", ylabel="is", title=f"Score above {scores.cut:.3g}")


def _curves(scores: Scores) -> list[tuple[str, np.ndarray, str, float]]:
    """Name, score, colour and width of the line of each method, the network last, on top."""
    others = [(name, score, COLOURS[name], 1.0) for name, score in scores.baselines.items()]
    return [*others, ("network", scores.score, NETWORK, 2.0)]


def _roc(axis: Axes, scores: Scores) -> None:
    for name, score, color, width in _curves(scores):
        axis.plot(*roc(score, scores.positive), color=color, lw=width,
                  label=f"{name}, {area_under_roc(score, scores.positive):.3f}")
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    axis.set(xlabel="others called a lens", ylabel="lenses called one", xlim=(0, 1), ylim=(0, 1.01), title="ROC, area")
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def _precision(axis: Axes, scores: Scores) -> None:
    for _, score, color, width in _curves(scores):
        precision, recall = precision_recall(score, scores.positive)
        axis.plot(recall, precision, color=color, lw=width)
    axis.axhline(scores.positive.mean(), color=GREY, lw=0.8, ls=":")
    axis.set(xlabel="recall: lenses found", ylabel="precision: of what is called one", xlim=(0, 1), ylim=(0, 1.01),
             title="Precision and recall")


def _reliability(axis: Axes, scores: Scores) -> None:
    assert scores.probability is not None
    mean, share, count = reliability(scores.probability, scores.positive)
    error = np.sqrt(np.maximum(share * (1.0 - share), 0.25 / count) / count)
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    axis.errorbar(mean, share, error, fmt="o", color=NETWORK, ms=4, lw=1.2, capsize=2)
    for x, y, n in zip(mean, share, count, strict=True):
        axis.annotate(str(n), (x, y), (4, -9), textcoords="offset points", fontsize=7, color=GREY)
    axis.set(xlabel="stated probability of a lens", ylabel="share that are lenses", xlim=(-0.02, 1.02),
             ylim=(-0.05, 1.05), title="Reliability, images in a bin")


def recovered_figure(recovered: Mapping[str, np.ndarray], groups: int = 10) -> Figure:
    """Found over true flux of sources, by signal-to-noise, for each method."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(1.0, color=GREY, lw=0.8, ls=":")
    for name, (snr, ratio) in recovered.items():
        parts = np.array_split(np.argsort(snr), max(1, min(groups, len(snr) // 10)))
        low, middle, high = np.array([np.percentile(ratio[part], [16.0, 50.0, 84.0]) for part in parts]).T
        x = [np.median(snr[part]) for part in parts]
        axis.plot(x, middle, "o-", color=COLOURS[name], ms=3, lw=2.0 if name == "network" else 1.0, label=name)
        if name == "network":
            axis.fill_between(x, low, high, color=NETWORK, alpha=0.2, lw=0)
    axis.set(xscale="log", yscale="symlog", xlabel="matched signal-to-noise of the source",
             ylabel="found over true flux", title="Flux of the source")
    axis.set_ylim(bottom=0.0)
    axis.legend(frameon=False, fontsize=8)
    return figure


def estimates_figure(estimates: Mapping[str, Estimate]) -> Figure:
    """Measured against true values, a panel a quantity."""
    count = len(estimates)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.1 * columns, 3.2 * rows), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    text = labels(list(estimates))
    for axis, (name, one) in zip(axes, estimates.items(), strict=False):
        _estimate(axis, text[name], one)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure


def coverage_figure(below: Mapping[str, np.ndarray]) -> Figure:
    """Coverage of posteriors: share of the truths in central intervals, less their probability."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    draw_coverage(figure.subplots(), below)
    return figure


def _estimate(axis: Axes, name: str, one: Estimate) -> None:
    some = np.linspace(0, len(one.truth) - 1, min(SHOWN, len(one.truth))).astype(int)
    bars = None if one.interval is None else np.abs(one.interval - one.found)[:, some]
    axis.errorbar(one.truth[some], one.found[some], bars, fmt=".", color=NETWORK, ms=3, lw=0.5, alpha=0.5)
    ends = np.percentile(one.truth, [0.0, 100.0])
    axis.plot(ends, ends, color="black", lw=0.8)
    low, high = np.percentile(one.found, [0.5, 99.5])
    pad = 0.05 * max(ends[1] - ends[0], high - low)
    limits = min(ends[0], low) - pad, max(ends[1], high) + pad
    unit = f" [{one.unit}]" if one.unit else ""
    methods = {"network": one.found, **one.baselines}
    rms = [f"{method} {np.sqrt(np.mean(one.errors(found) ** 2)):.3g}" for method, found in methods.items()]
    axis.set(xlabel=f"true {name}{unit}", ylabel=f"found {name}{unit}", xlim=limits, ylim=limits)
    axis.set_title("\n".join(rms), fontsize=7.5)


def _numbers(tested: Measured) -> str:
    """Every number of a set, the baselines' beside the network's."""
    methods = list(tested.baselines)
    names = dict.fromkeys([*tested.numbers, *(name for numbers in tested.baselines.values() for name in numbers)])
    head = "".join(f"<th>{escape(text)}</th>" for text in ("", "network", *methods))
    rows = "".join("<tr>" + f"<td>{escape(name)}</td>" + "".join(
        f"<td>{numbers[name]:.4g}</td>" if name in numbers else "<td></td>"
        for numbers in (tested.numbers, *tested.baselines.values())) + "</tr>" for name in names)
    return (f'<details><summary>All numbers</summary><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>'
            f"{rows}</tbody></table></div></details>")


def _about(sets: Mapping[str, Measured]) -> str:
    names = {name for tested in sets.values() for numbers in (tested.numbers, *tested.baselines.values())
             for name in numbers}
    rows = "".join(f"<tr><td>{escape(_shown(pattern, names))}</td><td>{escape(text)}</td></tr>"
                   for pattern, text in ABOUT.items() if _shown(pattern, names))
    return f'<div class="card"><table><tbody>{rows}</tbody></table></div>'


def _shown(pattern: str, names: Sequence[str] | set[str]) -> str:
    """Names that a pattern is of, the longest common beginning where they are many."""
    found = sorted(name for name in names if re.fullmatch(pattern, name))
    return ", ".join(found) if len(found) < 3 else f"{found[0]}, ... ({len(found)})"
