"""audit.png: the data as they go into a fit, what was measured on them, and what was found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from giga.imaging.audit import Audit
from giga.imaging.observation import Observation
from giga.show.first_look import MARK, MASKED, RING, draw_image, draw_mask

BLANK, ODD = "#7fc97f", "#ff3355"


def audit_figure(observations: Sequence[Observation], audits: Sequence[Audit]) -> Figure:
    """One row for each observation: image and mask, the sky against its noise, and the findings."""
    figure = Figure(figsize=(13.0, 4.6 * len(audits)), layout="constrained")
    rows = figure.subplots(len(audits), 3, squeeze=False, width_ratios=[1.0, 0.8, 1.1])
    for k, (axes, observation, one) in enumerate(zip(rows, observations, audits, strict=True)):
        name = "" if len(audits) == 1 else f" {k}" + (f" ({observation.band})" if observation.band else "")
        _image(axes[0], observation, one)
        axes[0].set_title(f"data{name}: {int(observation.mask.sum())} fitted pixels")
        _sky(axes[1], observation, one)
        _words(axes[2], one)
    return figure


def _image(axis: Axes, observation: Observation, one: Audit) -> None:
    scale, (ny, nx) = float(observation.grid.pixel_scale), observation.mask.shape
    extent = (-0.5 * nx * scale, 0.5 * nx * scale, -0.5 * ny * scale, 0.5 * ny * scale)
    draw_image(axis, observation, extent)
    draw_mask(axis, observation.mask, extent)
    axis.plot([], [], color=MASKED, lw=1.0, label="edge of the mask")

    def place(column: np.ndarray | float, row: np.ndarray | float) -> tuple[np.ndarray | float, np.ndarray | float]:
        return extent[0] + (column + 0.5) * scale, extent[2] + (row + 0.5) * scale

    if one.blank is not None and one.blank.pixels.any():
        mark = np.ma.masked_where(~one.blank.pixels, np.ones(one.blank.pixels.shape))
        axis.imshow(mark, origin="lower", extent=extent, cmap="Greens", vmin=0.0, vmax=1.6, alpha=0.25)
        axis.plot([], [], "s", color=BLANK, ls="", label="sky")
    rows, columns = np.nonzero(one.odd & observation.mask)
    if len(rows):
        axis.plot(*place(columns, rows), "x", color=ODD, ms=5, mew=1.0, ls="", label="odd pixels")
    if one.look is not None:
        x, y = (float(at) for at in place(one.look.column, one.look.row))
        axis.plot(x, y, "+", color=MARK, ms=8, ls="", label="peak of the light")
        if np.isfinite(one.look.theta_E):
            axis.add_patch(Circle((x, y), one.look.theta_E, fill=False, color=RING, ls="--", label="ring"))
    axis.legend(loc="upper right", fontsize=7, framealpha=0.6)
    axis.set_xlabel("along columns, from the middle [arcsec]")


def _sky(axis: Axes, observation: Observation, one: Audit) -> None:
    """Pixels of sky over their noise, beside the Gaussian that they should be."""
    axis.set_title("sky / noise")
    if one.blank is None:
        axis.text(0.5, 0.5, "too little sky", ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    noise = one.blank.rms / one.numbers["scatter over noise"]
    edges = np.linspace(-5.0, 5.0, 51)
    values = np.clip(observation.image[one.blank.pixels] / noise, edges[0], edges[-1])
    axis.hist(values, edges.tolist(), density=True, color=BLANK, alpha=0.8, label="sky")
    axis.plot(edges, np.exp(-0.5 * edges**2) / np.sqrt(2.0 * np.pi), color="0.2", lw=1.2, label="as the noise says")
    axis.set_yticks([])
    axis.legend(loc="upper right", fontsize=8)


def _words(axis: Axes, one: Audit) -> None:
    axis.set_axis_off()
    lines = []
    for finding in one.findings:
        mark = "SERIOUS: " if finding.serious else "· "
        lines.append(textwrap.fill(mark + finding.text, 62, subsequent_indent="  "))
    if not lines:
        lines.append("nothing found")
    lines.append("\n".join(f"{name}: {value:.4g}" for name, value in one.numbers.items()))
    axis.text(0.0, 1.0, "\n\n".join(lines), transform=axis.transAxes, va="top", ha="left", fontsize=8)
