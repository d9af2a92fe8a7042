"""lens.png: what `giga init` believes in, to be looked at before a fit."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from giga.imaging.first_look import Look
from giga.imaging.observation import Observation
from giga.imaging.sources import Blank

MASKED, RING, MARK = "#ff8c42", "#4dd0e1", "white"

Extent = tuple[float, float, float, float]


def draw_image(axis: Axes, observation: Observation, extent: Extent) -> None:
    """Draw an image with an asinh stretch, linear up to a few times its noise."""
    unit = float(np.median(observation.sigma()[observation.mask]))
    top = max(float(np.quantile(observation.image[observation.mask], 0.995)), 10.0 * unit)
    axis.imshow(observation.image, origin="lower", extent=extent, cmap="gray",
                norm=AsinhNorm(linear_width=3.0 * unit, vmin=-3.0 * unit, vmax=top, clip=True))


def draw_mask(axis: Axes, mask: np.ndarray, extent: Extent) -> None:
    """Draw the edge of a mask."""
    ny, nx = mask.shape
    x = extent[0] + (np.arange(nx + 2) - 0.5) * (extent[1] - extent[0]) / nx
    y = extent[2] + (np.arange(ny + 2) - 0.5) * (extent[3] - extent[2]) / ny
    axis.contour(x, y, np.pad(mask.astype(float), 1), levels=[0.5], colors=MASKED, linewidths=1.0)


def first_look_figure(observation: Observation, found: Look, sky: Blank, residual: np.ndarray, rms: float) -> Figure:
    """The image, and the image without the light of the lens, each with mask, centre and ring.

    Args:
        observation: As a fit loads it, whose mask is drawn.
        found: What was seen.
        sky: Of the image, in the unit of the file.
        residual: Image without sky and lens light, in that unit, shape (ny, nx).
        rms: Scatter that the residual is shown in.
    """
    figure = Figure(figsize=(11.0, 6.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    scale = float(observation.grid.pixel_scale)
    ny, nx = observation.mask.shape
    extent = (-(found.column + 0.5) * scale, (nx - found.column - 0.5) * scale,
              -(found.row + 0.5) * scale, (ny - found.row - 0.5) * scale)
    draw_image(left, observation, extent)
    left.set_title(f"image, asinh stretch (sky {sky.level:.3g}, scatter {sky.rms:.3g})")
    right.imshow(residual, origin="lower", extent=extent, cmap="gray", vmin=-3.0 * rms, vmax=10.0 * rms)
    right.set_title("without the light of the lens")
    for axis in (left, right):
        _marks(axis, observation, found, extent)
    left.legend(loc="upper right", fontsize=8, framealpha=0.6)
    return figure


def _marks(axis: Axes, observation: Observation, found: Look, extent: Extent) -> None:
    draw_mask(axis, observation.mask, extent)
    scale = (extent[1] - extent[0]) / observation.mask.shape[1]
    axis.plot([], [], color=MASKED, lw=1.0, label="edge of the mask")
    axis.add_patch(Circle((0.0, 0.0), found.theta_E, fill=False, color=RING, lw=1.2, ls="--",
                          label=f"ring, {found.theta_E:.2f}″"))
    axis.plot(0.0, 0.0, "+", color=MARK, ms=8, mew=1.2, ls="", label="centre")
    rows, columns = np.nonzero(observation.mask)
    reach = 1.25 * scale * max(np.abs(rows - found.row).max(), np.abs(columns - found.column).max())
    axis.set_xlim(max(extent[0], -reach), min(extent[1], reach))
    axis.set_ylim(max(extent[2], -reach), min(extent[3], reach))
    axis.set_xlabel("from the centre [arcsec]")
