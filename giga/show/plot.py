"""The picture of a fit, and the chains. Drawn on Figure objects: no global state, safe in threads.

`giga.show.corner` draws the posterior.
"""

import io
from collections.abc import Sequence

import numpy as np
from astropy.wcs.utils import proj_plane_pixel_scales
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from giga.imaging.grid import Grid
from giga.inference.pictures import Picture, pictures
from giga.inference.result import Found, Result
from giga.io.images.fits import wcs_header
from giga.io.images.sky import celestial_wcs
from giga.lensing.labels import labels, with_unit

STYLE = {"tangential": "-", "radial": "--", "cut": ":"}
OUTLINE = [withStroke(linewidth=2.2, foreground="black", alpha=0.55)]
RESIDUAL_LIMIT = 5.0
GREY = ListedColormap(["0.72"])


def png(figure: Figure, dpi: int = 150) -> bytes:
    """Draw a figure as a PNG file in memory."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def fit_figure(result: Found, drawn: Sequence[Picture] | None = None) -> Figure:
    """Data with critical curves, model, normalised residual, and source plane with caustics.

    One row for each observation. Masked pixels are grey. A source without a given shape has its standard deviation
    beside it.

    Args:
        result: The fit, or what its search has found.
        drawn: Its pictures, when they are at hand (they are rendered otherwise).
    """
    drawn = pictures(result) if drawn is None else drawn
    columns = 4 + any(picture.source_error is not None for picture in drawn)
    figure = Figure(figsize=(3.75 * columns, 3.7 * len(drawn)),
                    layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.04, wspace=0.0))
    rows = figure.subplots(len(drawn), columns, squeeze=False)
    for k, (axes, picture) in enumerate(zip(rows, drawn, strict=True)):
        _row(figure, axes, picture)
        band = picture.observation.band
        axes[0].set_title("Data" if band is None else f"Data, {band}")
        if len(drawn) == 1:
            numbers = rf"$\chi^2={result.chi2:.1f}$, $\chi^2_\nu={result.reduced_chi2:.3f}$"
        else:
            numbers = rf"$\chi^2={picture.chi2:.1f}$, $\chi^2/N={picture.chi2 / picture.mask.sum():.3f}$"
        axes[2].set_title(f"(data − model) / noise\n{numbers}")
        if k == 0:
            axes[1].set_title("Model")
            axes[3].set_title("Source plane")
            if columns > 4:
                axes[4].set_title("Its standard deviation\nwith the lens as it is")
    if not isinstance(result, Result):
        figure.suptitle(rf"best fit of the search, nothing is sampled yet: $\chi^2={result.chi2:.1f}$, "
                        rf"$\chi^2_\nu={result.reduced_chi2:.3f}$", color="C3")
    elif len(drawn) > 1:
        figure.suptitle(rf"all observations: $\chi^2={result.chi2:.1f}$, $\chi^2_\nu={result.reduced_chi2:.3f}$")
    return figure


def trace_figure(result: Result, names: Sequence[str] | None = None) -> Figure:
    """Chains of each parameter and of the log-posterior, against the draw.

    The band holds 68% of the chains, the dark line is their median, thin lines are single chains.
    """
    names = result.names if names is None else list(names)
    text = labels(result.names)
    series = [("log posterior", np.asarray(result.sample_stats["lp"]), None)]
    truth = result.truth or {}
    series += [(with_unit(text[name], name), np.asarray(result.samples[name]), truth.get(name)) for name in names]
    rows = -(-len(series) // 3)
    figure = Figure(figsize=(13.0, 1.7 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False, sharex=True).ravel()
    for axis, (label, chains, true) in zip(axes, series, strict=False):
        draw = np.arange(chains.shape[1])
        for chain in chains[:: max(len(chains) // 4, 1)][:4]:
            axis.plot(draw, chain, lw=0.4, color="C0", alpha=0.35, rasterized=True)
        low, middle, high = np.quantile(chains, [0.16, 0.5, 0.84], axis=0)
        axis.fill_between(draw, low, high, color="C0", alpha=0.25, lw=0)
        axis.plot(draw, middle, color="C0", lw=1.0)
        if true is not None:
            axis.axhline(true, color="black", lw=0.9, ls="--")
        axis.set_ylabel(label)
        axis.margins(x=0)
        axis.yaxis.set_major_locator(MaxNLocator(4))
    for axis in axes[len(series):]:
        axis.set_axis_off()
    for axis in axes[max(len(series) - 3, 0):len(series)]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel("draw", fontsize=10)
    return figure


def _row(figure: Figure, axes: Sequence[Axes], picture: Picture) -> None:
    grid, mask = picture.observation.grid, picture.mask
    data = np.where(np.isfinite(picture.observation.image), picture.observation.image, np.nan)
    place = {"origin": "lower", "extent": _extent(grid), "interpolation": "nearest"}
    norm = _stretch(data, picture)
    for axis, image in ((axes[0], data), (axes[1], picture.model)):
        shown = axis.imshow(image, cmap="inferno", norm=norm, **place)
        axis.imshow(np.ma.masked_where(mask, np.ones(mask.shape)), cmap=GREY, alpha=0.8, **place)
        axis.set_facecolor("0.72")
        _color_bar(figure, axis, shown, r"counts s$^{-1}$ pixel$^{-1}$", extend="max")
    shown = axes[2].imshow(np.ma.masked_invalid(picture.residual), cmap="RdBu_r",
                           norm=Normalize(-RESIDUAL_LIMIT, RESIDUAL_LIMIT), **place)
    axes[2].set_facecolor("0.72")
    _color_bar(figure, axes[2], shown, r"$\sigma$", extend="both")
    top = max(float(picture.source.max()), 1e-30)
    shown = axes[3].imshow(picture.source, origin="lower", extent=picture.source_grid.extent, cmap="inferno",
                           norm=AsinhNorm(0.1 * top, vmin=min(float(picture.source.min()), 0.0), vmax=top))
    _color_bar(figure, axes[3], shown, r"counts s$^{-1}$ arcsec$^{-2}$")
    planes = [axes[3]]
    error = picture.source_error
    if len(axes) > 4 and error is None:
        axes[4].set_axis_off()
    elif error is not None:
        planes.append(axes[4])
        shown = axes[4].imshow(error, origin="lower", extent=picture.source_grid.extent, cmap="viridis",
                               vmin=0.0)
        _color_bar(figure, axes[4], shown, r"counts s$^{-1}$ arcsec$^{-2}$")
    _draw_curves(axes[0], [(c.kind, _to_axes(grid, c.critical)) for c in picture.curves], _extent(grid))
    for axis in planes:
        _draw_curves(axis, [(c.kind, c.caustic) for c in picture.curves], picture.source_grid.extent)
    for axis, letter in zip((*axes[:3], *planes), ("", "", "", *"s" * len(planes)), strict=True):
        axis.set_xlabel(rf"$x_{{\rm {letter}}}$ [arcsec]" if letter else "$x$ [arcsec]")
        axis.set_ylabel(rf"$y_{{\rm {letter}}}$ [arcsec]" if letter else "$y$ [arcsec]")
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.tick_params(direction="in", top=True, right=True, color="0.5")
    _scale_bar(axes[0])
    _scale_bar(axes[3])
    _compass(axes[0], picture)


def _stretch(data: np.ndarray, picture: Picture) -> AsinhNorm:
    """An asinh stretch, linear up to a few times the noise, that ends above the arcs: a bright core saturates."""
    mask, sigma = picture.mask, float(np.median(picture.sigma[picture.mask]))
    arcs = mask & (picture.lensed_source > 0.3 * picture.lensed_source[mask].max())
    top = float(np.quantile(data[mask], 0.998))
    if arcs.any():
        top = min(top, 1.5 * float(np.quantile(data[arcs], 0.98)))
    top = max(top, 6.0 * sigma)
    return AsinhNorm(linear_width=max(3.0 * sigma, 0.02 * top), vmin=-2.0 * sigma, vmax=top, clip=True)


def _color_bar(figure: Figure, axis: Axes, shown: ScalarMappable, label: str, extend: str = "neither") -> None:
    bar = figure.colorbar(shown, cax=axis.inset_axes((1.025, 0.0, 0.05, 1.0)), label=label, extend=extend)
    if isinstance(shown.norm, AsinhNorm):
        bar.set_ticks(_nice_ticks(shown.norm), labels=[f"{tick:g}" for tick in _nice_ticks(shown.norm)])
        bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8)


def _nice_ticks(norm: AsinhNorm) -> list[float]:
    """Ticks of 1, 2, 5 times powers of ten that lie apart on the stretched bar."""
    top = float(norm.vmax or 1.0)
    decades = range(int(np.floor(np.log10(top))) - 3, int(np.floor(np.log10(top))) + 1)
    candidates = [0.0, *sorted((m * 10.0**d for d in decades for m in (1, 2, 5)), reverse=True)]
    kept: list[float] = []
    for tick in candidates:
        place = float(norm(tick))
        if (norm.vmin or 0.0) <= tick <= top and all(abs(place - float(norm(other))) > 0.11 for other in kept):
            kept.append(tick)
    return sorted(kept)


def _extent(grid: Grid) -> tuple[float, float, float, float]:
    """Extent of an image along its own columns and rows; from its centre when it is turned."""
    if float(grid.rotation) != 0.0:
        grid = grid.replace(center_x=0.0, center_y=0.0, rotation=0.0)
    return grid.extent


def _to_axes(grid: Grid, points: np.ndarray) -> np.ndarray:
    """Points in arcsec where `_extent` puts them."""
    if not len(points):
        return points
    column, row = (np.asarray(c, float) for c in grid.to_pixel(*points.T))
    left, _, bottom, _ = _extent(grid)
    scale = float(grid.pixel_scale)
    return np.stack([left + (column + 0.5) * scale, bottom + (row + 0.5) * scale], axis=1)


def _draw_curves(axis: Axes, lines: Sequence[tuple[str, np.ndarray]], extent) -> None:
    for kind, points in lines:
        if len(points):
            axis.plot(*points.T, color="white", ls=STYLE[kind], lw=1.0,
                      path_effects=OUTLINE if kind == "tangential" else None)
    axis.set_xlim(extent[:2])
    axis.set_ylim(extent[2:])


def _scale_bar(axis: Axes) -> None:
    """A bar of a round length, about a fifth of the width, at the lower left."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    target = 0.22 * (right - left)
    power = 10.0 ** np.floor(np.log10(target))
    length = max(m * power for m in (1, 2, 5) if m * power <= target)
    x, y = left + 0.06 * (right - left), bottom + 0.07 * (top - bottom)
    axis.plot([x, x + length], [y, y], color="white", lw=2.0, path_effects=OUTLINE, solid_capstyle="butt")
    axis.text(x + 0.5 * length, y + 0.02 * (top - bottom), f"{length:g}″", color="white", ha="center", va="bottom",
              fontsize=9, path_effects=OUTLINE)


def _compass(axis: Axes, picture: Picture) -> None:
    """Arrows to north and east at the upper right, where the image has a celestial WCS."""
    wcs = celestial_wcs(wcs_header(picture.observation)) if picture.observation.header else None
    if wcs is None:
        return
    matrix = wcs.celestial.pixel_scale_matrix / proj_plane_pixel_scales(wcs.celestial)[:, None]
    inverse = np.linalg.inv(matrix)
    east, north = inverse[:, 0], inverse[:, 1]
    size = 0.1 / max(np.hypot(*east), np.hypot(*north))
    middle = np.array([0.86, 0.86]) - 0.5 * size * (east + north)
    for direction, letter in ((north, "N"), (east, "E")):
        tip = middle + size * direction
        axis.annotate("", xy=tuple(tip), xytext=tuple(middle), xycoords="axes fraction", textcoords="axes fraction",
                      arrowprops={"arrowstyle": "->", "color": "white", "lw": 1.1, "shrinkA": 0, "shrinkB": 0,
                                  "path_effects": OUTLINE})
        x, y = middle + 1.4 * size * direction
        axis.text(x, y, letter, transform=axis.transAxes, color="white", fontsize=8,
                  ha="center", va="center", path_effects=OUTLINE)
