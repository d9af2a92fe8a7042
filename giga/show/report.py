"""report.html: one self-contained page about a fit, opened from disk."""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from giga.inference.digits import rounded
from giga.inference.result import Found, Result
from giga.lensing.critical import Curve, einstein_radius_of
from giga.lensing.labels import unit
from giga.show.point_images import point_images_part

RHAT_LIMIT, ESS_LIMIT = 1.01, 400.0
PIXELS = ("Data with critical curves, model, normalised residual, and the source plane with caustics. Tangential "
          "curves are solid, radial ones dashed, cuts dotted; grey pixels were not fitted.")
POSITIONS = ("Convergence with the images that were fitted, magnification, and how well it is known. Tangential "
             "critical curves are solid, radial ones dashed.")
FEW = 12  # amplitudes that are shown unfolded
STAGES = {"map": "MAP search", "svi": "Variational inference", "hmc": "Hamiltonian Monte Carlo",
          "evidence": "Evidence"}
AMPLITUDE = {"mean": "mean", "sd": "sd", "q16": "16%", "q50": "50%", "q84": "84%", "best": "best fit"}
SAMPLERS = {"smc": "Tempered sequential Monte Carlo"}

CSS = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d5dae1; --page: #ffffff; --card: #f5f7f9;
  --bad: #b3261e; --bad-back: #fbe3e1; --good: #1b6e3c; --accent: #1f5fa8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa5b3; --line: #39424e; --page: #14181d;
  --card: #1d232a; --bad: #ff9a91; --bad-back: #4a2321; --good: #7fd1a0; --accent: #8bbcf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1.6rem 1.4rem 3rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.12rem; margin: 2.2rem 0 .7rem; }
h3 { font-size: .98rem; margin: 0 0 .5rem; }
.sub { color: var(--soft); margin: .15rem 0 1.2rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .7rem; margin-bottom: .7rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .65rem .85rem; }
.tile b { display: block; font-size: 1.28rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .82rem; }
.tile.bad { border-color: var(--bad); background: var(--bad-back); } .tile.bad b { color: var(--bad); }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .5rem; }
figure img { display: block; width: 100%; height: auto; }
figcaption, .note { color: var(--soft); font-size: .85rem; margin: .45rem .2rem 0; }
figcaption { color: #5b6675; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .8rem; }
small { color: var(--soft); }
th, td { text-align: right; padding: .28rem .36rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td.bad { color: var(--bad); background: var(--bad-back); font-weight: 600; }
code, pre { font: .85rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto;
  margin: 0; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: .9rem; align-items: start; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
.card td { white-space: normal; overflow-wrap: anywhere; } .card td:first-child { white-space: nowrap; }
.found { border-color: var(--bad); } .found ul { margin: 0; padding-left: 1.2rem; }
.card tr:last-child td { border-bottom: 0; }
svg { display: block; width: 100%; height: 44px; }
summary { cursor: pointer; color: var(--accent); margin: .8rem 0 .5rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; }
  figure, .card, .tile, tr { break-inside: avoid; } pre { white-space: pre-wrap; } }
"""


def report_page(result: Found, curves: Sequence[Curve], images: Mapping[str, bytes], config_text: str,
                files: Sequence[str]) -> str:
    """The page as text, with its pictures and styles inside and no script.

    Args:
        result: The fit, or what its search has found.
        curves: Critical curves of the best fit.
        images: PNG files by name: "fit", of a finished fit "corner", and "trace", "audit" and "checks" if wanted.
        config_text: The configuration as run.
        files: Names of the files beside the page.
    """
    bands = [observation.band for observation in result.observations if observation.band is not None]
    count, kind = len(result.observations), "report of a fit" if isinstance(result, Result) else "best fit of a search"
    about = f"{count} observation{'s' * (count > 1)}" + (f" ({', '.join(bands)})" if bands else "") if count else \
        f"{result.field.total.images} images of {len(result.field.rows)} sources"
    parts = [
        f"<h1>giga: {kind}</h1>",
        f'<p class="sub">{escape(about)}, {_fitted(result)}, {result.n_free} free parameters, '
        f"seed {result.seed}</p>",
        *_unfinished(result), _tiles(result, curves), *_findings(result),
        "<h2>Best fit</h2>",
        figure_part(images["fit"], PIXELS if result.field is None else POSITIONS), *_images(result),
        *point_images_part(result.point_images),
        "<h2>Parameters</h2>", _parameters(result) if isinstance(result, Result) else _best(result),
        *_derived(result),
        *_amplitudes(result),
        *_modes(result),
    ]
    if "corner" in images:
        parts += ["<h2>Posterior</h2>", figure_part(images["corner"], "HMC samples (filled, 39% and 86%) and "
                                                                      "variational posterior (lines).")]
    if "audit" in images:
        parts += ["<h2>Data</h2>", figure_part(images["audit"], "The data before the fit: image and mask, the sky "
                  "against the noise, and what the audit found.")]
    if "checks" in images:
        parts += ["<h2>Checks</h2>", figure_part(images["checks"], "Left: discrepancies of the data from the model of "
                  "each draw, beside those of data replicated from it. Right: the posterior of each parameter on the "
                  "scale of its prior, and the share of the prior's 68% width that is left.")]
    if "trace" in images:
        figure = figure_part(images["trace"], "Median and 68% band of the chains, and four single chains.")
        parts.append(f"<details><summary>Chains</summary>{figure}</details>")
    parts += ["<h2>Stages</h2>", _stages(result), "<h2>Configuration</h2>", f"<pre>{escape(config_text)}</pre>",
              "<h2>Run</h2>", _run(result, files)]
    return html_page(kind, parts)


def html_page(title: str, parts: Sequence[str], style: str = "") -> str:
    """A page that stands alone: its parts under one another, in the styles of a report and more."""
    return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>giga: {title}</title>\n"
            f"<style>{CSS}{style}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n")


def _unfinished(result: Found) -> list[str]:
    """What a page without samples says of itself."""
    if isinstance(result, Result):
        return []
    return ['<div class="card found"><h3>Nothing is sampled yet</h3><p>This is the best fit of the search. It has no '
            "errors, and the fit is not finished: the same command with <code>--resume</code> goes on.</p></div>"]


def _tiles(result: Found, curves: Sequence[Curve]) -> str:
    tiles = [(f"{einstein_radius_of(curves):.4f}″", "effective Einstein radius", False),
             (f"{result.reduced_chi2:.3f}", f"reduced χ²; χ² = {result.total_chi2:.1f}", False)]
    if result.field is not None:
        tiles.append((f"{result.field.total.image:.3f}″", "rms of images, image plane", False))
    if isinstance(result, Result):
        rhat = _worst(result, "rhat", max)
        ess = _worst(result, "ess_bulk", min), _worst(result, "ess_tail", min)
        smallest = min(ess) if not any(map(math.isnan, ess)) else math.nan
        tiles += [(_number(rhat, 4), "worst R-hat", not rhat <= RHAT_LIMIT),
                  (_number(smallest, 0), "smallest ESS", not smallest >= ESS_LIMIT)]
    if isinstance(result, Result) and "diverging" in result.sample_stats:
        diverging = np.asarray(result.sample_stats["diverging"])
        tiles.append((str(int(diverging.sum())), f"divergences in {diverging.size} draws", bool(diverging.any())))
    times = [(f"{sum(result.timings_s.values()):.1f} s", "time, all stages", False)]
    times += [(f"{seconds:.1f} s", f"time, {name}", False) for name, seconds in result.timings_s.items()]
    return tile_row(tiles) + tile_row(times)


def _fitted(result: Found) -> str:
    return f"{result.n_pixels} fitted pixels" if not result.points.n else f"{result.data_said}, fitted"


def _images(result: Found) -> list[str]:
    """How well the images of each source agree, of a fit without pixels."""
    if result.field is None:
        return []
    head = "".join(f"<th>{text}</th>" for text in ("system", "images", "rms, source plane [″]", "rms, image plane [″]",
                                                   "not found"))
    body = "".join(f"<tr><td>{escape(row.name)}</td><td>{row.images}</td><td>{row.source:.4f}</td>"
                   f"<td>{row.image:.4f}</td><td>{row.missed or ''}</td></tr>"
                   for row in (*result.field.rows, result.field.total))
    return ["<h2>Images</h2>", f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
            '</div><p class="note">Of the best fit. Source plane: distance of what images are traced to from their '
            "mean. Image plane: distance of the images of the best source from those seen.</p>"]


def _findings(result: Found) -> list[str]:
    """What must be seen before the numbers are used."""
    if "findings" not in result.info:  # a fit of an earlier version
        return []
    if not result.findings:
        return ['<p class="note">Nothing was found that must be looked at.</p>']
    rows = "".join(f"<li>{escape(text)}</li>" for text in result.findings)
    return [f'<div class="card found"><h3>Look at this first</h3><ul>{rows}</ul></div>']


def tile_row(tiles: Sequence[tuple[str, str, bool]]) -> str:
    """Numbers with what they are, side by side; those that are bad are marked."""
    kinds = {True: "tile bad", False: "tile"}
    cells = [f'<div class="{kinds[bad]}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
             for value, label, bad in tiles]
    return f'<div class="tiles">{"".join(cells)}</div>'


def _worst(result: Result, key: str, choose) -> float:
    """Extreme of a diagnostic over the parameters, NaN if any is."""
    values = [float(row[key]) for row in result.diagnostics.values()]
    return math.nan if not values or any(map(math.isnan, values)) else choose(values)


def _parameters(result: Result) -> str:
    heads = ["parameter", "mean", "sd", "16%", "50%", "84%", "best fit", "R-hat", "ESS bulk", "ESS tail"]
    heads += ["truth", "pull"] if result.truth is not None else []
    rows = [_parameter_row(result, name) for name in result.names]
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return (f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
            f'<p class="note">Marked: R-hat above {RHAT_LIMIT:g}, or an effective sample size under {ESS_LIMIT:g}.'
            f"{' Pull: (mean − truth) / sd.' * (result.truth is not None)}</p>")


def _best(result: Found) -> str:
    heads = ["parameter", "best fit", *(["truth"] if result.truth is not None else [])]
    head = "".join(f"<th>{text}</th>" for text in heads)
    rows = []
    for name, value in result.best.items():
        true = "" if result.truth is None else f"<td>{result.truth.get(name, math.nan):.4g}</td>".replace("-", "−")
        rows.append(f"<tr><td><code>{escape(name)}</code> <small>{escape(unit(name))}</small></td>"
                    + f"<td>{value:.4g}</td>".replace("-", "−") + f"{true}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _parameter_row(result: Result, name: str) -> str:
    samples, known = np.asarray(result.samples[name], float), result.diagnostics[name]
    mean, sd = float(samples.mean()), float(samples.std(ddof=1))
    values = [mean, sd, *np.quantile(samples, [0.16, 0.5, 0.84]), result.best.get(name, math.nan)]
    cells = [f"<td><code>{escape(name)}</code> <small>{escape(unit(name))}</small></td>"]
    cells += [f"<td>{_rounded(float(value), sd)}</td>" for value in values]
    cells.append(_flagged(known["rhat"], 4, not known["rhat"] <= RHAT_LIMIT))
    cells += [_flagged(known[key], 0, not known[key] >= ESS_LIMIT) for key in ("ess_bulk", "ess_tail")]
    if result.truth is not None:
        true = result.truth.get(name, math.nan)
        away = (mean - true) / sd if sd > 0.0 else math.nan
        cells += [f"<td>{_rounded(true, sd)}</td>", f"<td>{_number(away, 2, sign=True)}</td>"]
    return f"<tr>{''.join(cells)}</tr>"


def _derived(result: Found) -> list[str]:
    """The numbers for a paper, and what is to be known of them."""
    if result.derived is None:
        return []
    body = []
    for name, row in result.derived.rows().items():
        cells = "".join(f"<td>{_rounded(row[key], row['sd'])}</td>"
                        for key in ("mean", "sd", "q16", "q50", "q84", "best"))
        body.append(f"<tr><td><code>{escape(name)}</code> <small>{escape(result.derived.units[name])}</small></td>"
                    f"{cells}</tr>")
    body += [f"<tr><td><code>{escape(name)}</code></td><td colspan=6>{escape(reason)}</td></tr>"
             for name, reason in result.derived.missing.items()]
    head = "".join(f"<th>{text}</th>" for text in ("number", "mean", "sd", "16%", "50%", "84%", "best fit"))
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in result.derived.notes)
    return ["<h2>Numbers for a paper</h2>", f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f'<tbody>{"".join(body)}</tbody></table></div>', notes]


def _amplitudes(result: Found) -> list[str]:
    """A table of solved amplitudes, folded in where it is long."""
    rows = result.amplitudes.rows()
    if not rows:
        return []
    body, keys = [], [key for key in AMPLITUDE if key in next(iter(rows.values()))]
    for name, row in rows.items():
        columns = [np.atleast_1d(row[key]) for key in keys]
        sds = np.atleast_1d(row.get("sd", np.zeros_like(row["best"])))
        for term, values in enumerate(zip(*columns, strict=True)):
            label = name if np.ndim(row["best"]) == 0 else f"{name}[{term}]"
            unit = result.amplitudes.units[name]
            cells = "".join(f"<td>{_rounded(float(value), float(sds[term]))}</td>" for value in values)
            body.append(f"<tr><td><code>{escape(label)}</code> <small>{escape(unit)}</small></td>{cells}</tr>")
    head = "".join(f"<th>{text}</th>" for text in ("amplitude", *(AMPLITUDE[key] for key in keys)))
    table = (f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>')
    if len(body) > FEW:
        table = f"<details><summary>{len(body)} amplitudes</summary>{table}</details>"
    return ["<h2>Solved amplitudes</h2>", table]


def _modes(result: Found) -> list[str]:
    """What modes were found: a sentence, and a table where there are several."""
    rows = result.info.get("map", {}).get("modes", [])
    if not rows:
        return []
    text = f'<p class="note">Modes: {escape(result.info["map"]["modes_sentence"])}.</p>'
    if len(rows) == 1:
        return [text]
    heads = ["mode", "weight", "log evidence", "Laplace weight", "log posterior", "distance / σ", "pass below",
             "finalists", "sampled"]
    body = []
    for k, row in enumerate(rows):
        weight, evidence = row.get("weight", math.nan), row.get("log_evidence", math.nan)
        barrier = math.nan if row["barrier"] is None else row["barrier"]
        body.append(f"<tr><td>{k + 1}</td><td>{_number(weight, 4)}</td><td>{_number(evidence, 2)}</td>"
                    f"<td>{row['laplace_weight']:.2g}</td><td>{_number(row['log_prob'], 2)}</td>"
                    f"<td>{_number(row['distance'], 1)}</td><td>{_number(barrier, 1)}</td><td>{row['starts']}</td>"
                    f"<td>{'yes' if row['sampled'] else 'no'}</td></tr>")
    head = "".join(f"<th>{text}</th>" for text in heads)
    return ["<h2>Modes</h2>", text, f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f'<tbody>{"".join(body)}</tbody></table></div>']


def _flagged(value: float, digits: int, bad: bool) -> str:
    kind = "bad" if bad else "good"
    return f'<td class="{kind}">{_number(value, digits)}</td>'


def _rounded(value: float, sd: float) -> str:
    return rounded(value, sd).replace("-", "−") if math.isfinite(value) else "–"


def _number(value: float, digits: int, sign: bool = False) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _stages(result: Found) -> str:
    cards = []
    for stage in dict.fromkeys([*STAGES, *result.info]):
        if stage in ("checks", "findings"):  # they have a picture, and the head of the page
            continue
        rows: list[tuple[str, str]] = []
        if stage in result.timings_s:
            rows.append(("time", f"{result.timings_s[stage]:.1f} s"))
        if stage in result.evaluations:
            rows.append(("gradient evaluations", f"{result.evaluations[stage]:,}"))
        rows += [(str(key).replace("_", " "), _value(value)) for key, value in result.info.get(stage, {}).items()
                 if key not in ("seconds", "evaluations", "modes", "modes_sentence")]
        if stage == "hmc" and isinstance(result, Result):
            rows += _hmc_rows(result)
        if rows:
            title = SAMPLERS.get(result.info.get(stage, {}).get("sampler", ""), STAGES.get(stage, stage))
            cards.append(f'<div class="card"><h3>{escape(title)}</h3>{_pairs(rows)}</div>')
    return f'<div class="columns">{"".join(cards)}</div>'


def _hmc_rows(result: Result) -> list[tuple[str, str]]:
    rows = [("chains × draws", " × ".join(str(n) for n in np.shape(next(iter(result.samples.values())))))]
    if "acceptance_rate" in result.sample_stats:
        rows.append(("mean acceptance rate", f"{np.mean(result.sample_stats['acceptance_rate']):.3f}"))
    return rows


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    """A two-column table; the values are HTML already."""
    return f"<table>{''.join(f'<tr><td>{escape(key)}</td><td>{value}</td></tr>' for key, value in rows)}</table>"


def _value(value: Any) -> str:
    """A reported value as HTML: long lists of numbers as a line, the rest as text."""
    if isinstance(value, Mapping):
        return _pairs([(str(key).replace("_", " "), _value(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        numbers = [float(x) for x in value if isinstance(x, (int, float)) and math.isfinite(x)]
        if len(numbers) == len(value) > 8:
            return f"{_sparkline(numbers)}{numbers[0]:.5g} → {numbers[-1]:.5g}"
        return ", ".join(_value(item) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return "–" if not math.isfinite(value) else f"{value:.5g}"
    return escape(f"{value:,}" if isinstance(value, int) else str(value))


def _sparkline(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = " ".join(f"{200.0 * k / (len(values) - 1):.1f},{38.0 - 34.0 * (v - low) / span:.1f}"
                      for k, v in enumerate(values))
    return ('<svg viewBox="0 0 200 42" preserveAspectRatio="none"><polyline fill="none" stroke="currentColor" '
            f'stroke-width="1.4" vector-effect="non-scaling-stroke" points="{points}"/></svg>')


def figure_part(image: bytes, caption: str) -> str:
    """A picture, a PNG file, as part of a page."""
    data = base64.b64encode(image).decode("ascii")
    return (f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")


def _run(result: Found, files: Sequence[str]) -> str:
    run = [("seed", str(result.seed)), ("devices", escape(", ".join(map(str, result.devices)) or "–"))]
    versions = [(name, escape(str(version))) for name, version in result.versions.items()]
    listed = [(name, escape(ABOUT.get(name, ""))) for name in files]
    return ('<div class="columns">' + "".join(
        f'<div class="card"><h3>{title}</h3>{_pairs(rows)}</div>'
        for title, rows in (("Machine", run), ("Versions", versions), ("Files beside this page", listed))) + "</div>")


ABOUT = {
    "config.toml": "configuration as run", "posterior.nc": "samples, as ArviZ InferenceData",
    "model.fits": "images with their WCS, critical curves", "fit.png": "picture of the best fit",
    "corner.png": "picture of the posterior",
    "checks.png": "replicated data, posteriors in their priors", "report.html": "this page",
    "table.tex": "rows of a table in LaTeX", "table.csv": "the same as one row of a table",
    "summary.json": "numbers of this page", "search.json": "numbers of this page",
}
