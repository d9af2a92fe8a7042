"""The picture of separations: images, their parts, and what is left over, each beside its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SOFTENING = 8.0  # of the stretch, in sigma
BRIGHT = 0.995  # quantile of an image that is shown white
REST = 5.0  # sigma at the ends of the residual's scale
TITLES = {"image": "image", "lens": "deflector", "source": "source", "found lens": "deflector found",
          "found source": "source found", "rest": r"(image $-$ found) / $\sigma$"}


def separation_figure(images: np.ndarray, found: Mapping[str, np.ndarray], sigma: np.ndarray,
                      true: Mapping[str, np.ndarray] | None = None, colours: Sequence[int] = (0, 0, 0),
                      names: Sequence[str] = ()) -> Figure:
    """A row for each image: itself, its parts as found and as they are, and the residual in units of the noise.

    Args:
        images: Shape (n, ny, nx, bands).
        found: "lens" and "source", of that shape.
        sigma: Standard deviation of the noise, broadcast to that shape.
        true: The same parts as they are, if they are known.
        colours: Bands shown as red, green and blue; the residual is that of the first.
        names: Written at the left of each row.
    """
    rows, sigma = len(images), np.broadcast_to(sigma, images.shape)
    shown = ["image", "found lens", "found source", "rest"] if true is None else [
        "image", "lens", "found lens", "source", "found source", "rest"]
    ny, nx = images.shape[1:3]
    figure = Figure(figsize=(1.75 * len(shown) + 0.6, 1.75 * rows * ny / nx + 0.35), layout="constrained")
    axes = figure.subplots(rows, len(shown), squeeze=False)
    mesh = None
    for row in range(rows):
        panels = {"image": images[row], "found lens": found["lens"][row], "found source": found["source"][row]}
        if true is not None:
            panels |= {"lens": true["lens"][row], "source": true["source"][row]}
        scale = _scale(images[row], sigma[row])
        for axis, name in zip(axes[row], shown, strict=True):
            _bare(axis)
            if name == "rest":
                rest = (images[row] - found["lens"][row] - found["source"][row]) / sigma[row]
                mesh = axis.imshow(rest[..., colours[0]], origin="lower", cmap="RdBu_r", vmin=-REST, vmax=REST,
                                   interpolation="nearest")
            else:
                axis.imshow(_colour(panels[name], sigma[row], scale, colours), origin="lower", interpolation="nearest")
            if row == 0:
                axis.set_title(TITLES[name], fontsize=9)
        if names:
            axes[row, 0].set_ylabel(names[row], fontsize=8)
    if mesh is not None:
        figure.colorbar(mesh, ax=axes[:, -1].tolist(), shrink=min(1.0, 2.0 / rows), fraction=0.08).ax.tick_params(
            labelsize=7)
    return figure


def _scale(image: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Brightness that is shown white in each band, in sigma, at least ten."""
    return np.maximum(np.quantile(image / sigma, BRIGHT, axis=(0, 1)), 10.0)


def _colour(part: np.ndarray, sigma: np.ndarray, scale: np.ndarray, colours: Sequence[int]) -> np.ndarray:
    """Red, green and blue by one arcsinh stretch, the same for all parts of an image."""
    stretched = np.arcsinh(part / sigma / SOFTENING) / np.arcsinh(scale / SOFTENING)
    return np.clip(0.06 + 0.94 * stretched[..., list(colours)], 0.0, 1.0)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
