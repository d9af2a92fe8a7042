"""gallery.html of a search: the cutouts that a network ranks first, in colour, on one page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np

from giga.show.grading.pixels import RGB, encoded, picture, white_balance
from giga.show.report import html_page

SIDE = 150  # of a picture on the page [pixels of the screen]
STYLE = f"""
body {{ max-width: 1500px; }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: .8rem; }}
.one {{ background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem; font-size: .82rem;
  overflow-wrap: anywhere; }}
.one img {{ display: block; width: {SIDE}px; height: {SIDE}px; margin: 0 auto .4rem; image-rendering: pixelated; }}
.one b {{ font-variant-numeric: tabular-nums; }} .one.known {{ border-color: var(--accent); border-width: 2px; }}
.one p {{ margin: .1rem 0; }} .one a {{ color: var(--accent); text-decoration: none; }}
.one details code {{ white-space: pre-wrap; }} .one summary {{ margin: .2rem 0; }}
"""


@dataclass(frozen=True)
class About:
    """What the page says of the search as a whole.

    Attributes:
        model: Name of the network.
        cutouts, unread: Cutouts that were searched, and those among them that could not be read.
        prevalence: Share of lenses for which the scores are probabilities, where that is known.
        notes: What else there is to say.
    """

    model: str
    cutouts: int
    unread: int
    prevalence: float | None
    notes: Sequence[str] = ()


def thumbnails(images: Mapping[str, np.ndarray], bands: Sequence[str]) -> dict[str, bytes]:
    """Cutouts in colour as PNG files, as `giga grade` shows them: light of a usual colour among them is white.

    Args:
        images: Shape (ny, nx, bands) each, by name.
        bands: Their names, the bluest first.
    """
    balance, band = white_balance(list(images.values())), RGB if len(bands) > 1 else bands[0]
    return {name: encoded(picture(image, bands, band, "arcsinh", balance)) for name, image in images.items()}


def candidates_page(rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes], about: About) -> str:
    """The page as text, without a script.

    Args:
        rows: Of the catalogue of candidates, in its order.
        pictures: PNG files by the name of the candidate.
        about: The search.
    """
    said = [f"{about.cutouts:,} cutouts scored by {about.model}, {about.unread:,} of them unread; the first "
            f"{len(rows)} are shown."]
    if about.prevalence is not None:
        said.append(f"Scores are probabilities where {about.prevalence:.0%} are lenses, as in training; in a survey, "
                    "where lenses are rare, they only rank.")
    parts = ["<h1>giga: candidates</h1>", *(f'<p class="sub">{escape(text)}</p>' for text in [*said, *about.notes]),
             '<div class="grid">', *(_one(row, pictures.get(str(row["name"]))) for row in rows), "</div>"]
    return html_page("candidates", parts, STYLE)


def _one(row: Mapping[str, Any], picture: bytes | None) -> str:
    """A candidate."""
    name = str(row["name"])
    image = "" if picture is None else (f'<img alt="{escape(name)}" src="data:image/png;base64,'
                                        f'{base64.b64encode(picture).decode()}">')
    lines = [f'<p><b>{row["rank"]}</b> · <a href="{quote(str(row["cutout"]))}">{escape(name)}</a></p>',
             f'<p>score <b>{row["score"]:.4f}</b>, logit <b>{row["logit"]:.2f}</b></p>']
    if np.isfinite(row["ra"]) and np.isfinite(row["dec"]):
        lines.append(f'<p>{row["ra"]:.5f}° {row["dec"]:+.5f}°</p>')
    if np.isfinite(row.get("theta_E", np.nan)):
        lines.append(f'<p>θ<sub>E</sub> {row["theta_E"]:.2f}″</p>')
    known = str(row.get("known", ""))
    if known:
        lines.append(f'<p>known: {escape(known)}, {row["known_sep"]:.2f}″ away</p>')
    lines.append(f'<details><summary>fit</summary><code>{escape(str(row["fit"]))}</code></details>')
    return f'<div class="one{" known" * bool(known)}">{image}{"".join(lines)}</div>'
