"""The picture of a fit without pixels: images on the convergence, magnification, and how well it is known."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from giga.inference.field import Field
from giga.inference.result import Found, Result
from giga.show.plot import OUTLINE, STYLE

MARKERS = "osD^vPX*<>hp"
COLOURS = 10  # of matplotlib's cycle
NAMED = 12  # systems that have their names in a picture
LIMITS = (0.5, 100.0)  # of the magnification


def field_figure(found: Found) -> Figure:
    """Convergence with images and critical curves; magnification; of a finished fit also its relative uncertainty.

    Args:
        found: A fit without pixels, or what its search has found.
    """
    shown: Field = found.field
    known = isinstance(found, Result) and shown.draws > 0
    figure = Figure(figsize=(5.1 * (2 + known), 4.7), layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04))
    axes = np.atleast_1d(figure.subplots(1, 2 + known))
    for_source = "" if shown.z_map is None else f", source at z = {shown.z_map:g}"
    kappa = shown.maps["CONVERGENCE"]
    _map(figure, axes[0], shown, kappa, "magma", LogNorm(0.05, max(float(np.quantile(kappa, 0.999)), 1.0)),
         r"$\kappa$")
    axes[0].set_title(f"Convergence and images{for_source}", fontsize=10)
    _images(axes[0], shown)
    median = shown.maps["MAGNIFICATION_Q50"] if known else np.abs(shown.maps["MAGNIFICATION"])
    _map(figure, axes[1], shown, median, "viridis", LogNorm(*LIMITS), r"$|\mu|$")
    axes[1].set_title("Magnification" + (f", median of {shown.draws} draws" if known else ", best fit"), fontsize=10)
    if known:
        width = 0.5 * (shown.maps["MAGNIFICATION_Q84"] - shown.maps["MAGNIFICATION_Q16"]) / median
        _map(figure, axes[2], shown, width, "cividis", LogNorm(1e-3, 1.0), r"half of 68% width $/$ median")
        axes[2].set_title("Its relative uncertainty", fontsize=10)
    for axis in axes:
        _curves(axis, shown)
    numbers = rf"$\chi^2={found.total_chi2:.1f}$, $\chi^2_\nu={found.reduced_chi2:.3f}$, rms {shown.total.image:.3f}″"
    if not isinstance(found, Result):
        figure.suptitle(f"best fit of the search, nothing is sampled yet: {numbers}", color="C3")
    else:
        figure.suptitle(f"{numbers} in the image plane, {shown.total.images} images of {len(shown.rows)} sources",
                        fontsize=11)
    return figure


def _map(figure: Figure, axis: Axes, shown: Field, values: np.ndarray, colours: str, norm: Normalize,
         label: str) -> None:
    image = axis.imshow(values, origin="lower", extent=shown.grid.extent, cmap=colours, norm=norm,
                        interpolation="nearest")
    figure.colorbar(image, ax=axis, label=label, shrink=0.85, extend="both")
    axis.set(xlabel="$x$ [arcsec]", ylabel="$y$ [arcsec]")
    axis.tick_params(direction="in", top=True, right=True, color="0.5")


def _images(axis: Axes, shown: Field) -> None:
    for k, row in enumerate(shown.rows):
        own = shown.owner == k
        axis.plot(shown.x[own], shown.y[own], ls="", marker=MARKERS[k // COLOURS % len(MARKERS)], ms=5.0, mfc="none",
                  mec=f"C{k % COLOURS}", mew=1.3, label=row.name if len(shown.rows) <= NAMED else None)
    if 1 < len(shown.rows) <= NAMED:
        axis.legend(fontsize=7, loc="upper right", framealpha=0.6, ncols=2, title="system", title_fontsize=7)


def _curves(axis: Axes, shown: Field) -> None:
    left, right, bottom, top = shown.grid.extent
    for curve in shown.curves:
        if len(curve.critical):
            axis.plot(*curve.critical.T, color="white", lw=0.5 if curve.secondary else 0.9, ls=STYLE[curve.kind],
                      path_effects=OUTLINE if curve.kind == "tangential" else None)
    axis.set(xlim=(left, right), ylim=(bottom, top))
