"""Pixels of a cutout as a picture: stretches, colours, mosaics, and residuals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import matplotlib
import numpy as np
from astropy.visualization import (
    AsinhStretch,
    LinearStretch,
    LogStretch,
    SqrtStretch,
    ZScaleInterval,
    make_lupton_rgb,
)
from matplotlib.image import imsave
from scipy.sparse import csr_array

STRETCHES = ("arcsinh", "log", "sqrt", "linear", "zscale", "lupton")
RGB = "RGB"
MISSING = (38, 44, 62)  # colour of pixels that are missing
LOW, SOFT, TOP = -1.5, 2.5, 99.8  # black and the bend of arcsinh [sigma of the sky]; percentile that is white
HEADROOM = 12.0  # white lies so many sigma above the sky at least
LUPTON_STRETCH, LUPTON_Q = 4, 7
WARM = (1.15, 1.0, 0.85)  # of the usual object, that bluer ones may stand out
RESIDUAL_LIMIT = 5.0  # sigma


def picture(image: np.ndarray, bands: Sequence[str], band: str, stretch: str, balance: Sequence[float] = (),
            sky: np.ndarray | None = None) -> np.ndarray:
    """Turn bands into colours.

    Args:
        image: Shape (ny, nx, bands), any unit, NaN where a pixel is missing; row 0 is the lowest.
        bands: Their names, the bluest first.
        band: One of them, or "RGB", which of more than three bands takes those of `colours`.
        stretch: One of `STRETCHES`; "lupton" of one band is that of a grey image.
        balance: Factor of each band in a colour, see `white_balance`; without it bands are in units of their skies'
            scatter.
        sky: The image that tells level and scatter of the sky, of the same shape; None is the image itself.

    Returns:
        Shape (ny, nx, 3), uint8, row 0 the highest.

    Raises:
        ValueError: Another band or stretch, or RGB of fewer than two bands.

    References:
        Lupton et al. (2004), PASP 116, 133.
    """
    if stretch not in STRETCHES:
        raise ValueError(f"stretch: got {stretch!r}, expected one of {', '.join(STRETCHES)}")
    if band != RGB and band not in bands:
        raise ValueError(f"band: got {band!r}, expected one of {', '.join((RGB, *bands))}")
    if band == RGB and len(bands) < 2:
        raise ValueError(f"band: got {RGB!r} of {len(bands)} band, expected {bands[0]!r}")
    chosen = colours(bands) if band == RGB else [bands.index(band)]
    level, scatter = skies(image if sky is None else sky)
    factor = np.asarray(balance, float) if len(balance) == len(bands) else 1.0 / scatter
    layers = (image[..., chosen] - level[chosen]) * factor[chosen] / np.median((scatter * factor)[chosen])
    if len(chosen) == 2:  # green lies between them
        layers = np.stack([layers[..., 0], layers.mean(-1), layers[..., 1]], -1)
    if band == RGB and len(balance) == len(bands):
        layers = layers * np.asarray(WARM)
    missing = np.asarray(~np.isfinite(layers).any(-1))
    layers = np.where(np.isfinite(layers), layers, 0.0)
    if stretch == "lupton":
        red, green, blue = (layers[..., min(k, layers.shape[-1] - 1)] for k in range(3))
        out = make_lupton_rgb(red, green, blue, minimum=LOW, stretch=LUPTON_STRETCH, Q=LUPTON_Q)
    else:
        out = np.round(255.0 * _stretched(layers, ~missing, stretch)).astype(np.uint8)
        out = np.broadcast_to(out, (*out.shape[:2], 3)).copy()
    out[missing] = MISSING
    return out[::-1]


def colours(bands: Sequence[str]) -> list[int]:
    """Numbers of the bands that are red, green and blue: the reddest, the middle, the bluest; u has little light."""
    first = 1 if len(bands) > 3 and bands[0] == "u" else 0
    last = len(bands) - 1
    return [last, first] if last - first == 1 else [last, (last + first + 1) // 2, first]


def skies(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level and scatter of the sky in each band, shape (bands,), by medians, which objects move little."""
    level, scatter = np.zeros(image.shape[-1]), np.ones(image.shape[-1])
    for k in range(image.shape[-1]):
        known = image[..., k][np.isfinite(image[..., k])]
        if known.size:
            level[k] = np.median(known)
            below = known[known < level[k]]  # above it there is light
            scatter[k] = 1.4826 * np.median(level[k] - below) if below.size else 0.0
            scatter[k] = scatter[k] if scatter[k] > 0.0 else max(float(np.ptp(known)), 1e-30)
    return level, scatter


def white_balance(images: Sequence[np.ndarray]) -> list[float]:
    """Factors that make the light of a usual object white: of many images, so that one with another colour shows it.

    Args:
        images: Of the same bands, shape (ny, nx, bands).

    Returns:
        A factor a band; empty where a band has no light in most images.
    """
    whole = [image for image in images if np.isfinite(image).any((0, 1)).all()]
    if not whole:
        return []
    light = [np.nanpercentile(image.reshape(-1, image.shape[-1]), 99.0, axis=0) - skies(image)[0] for image in whole]
    usual = np.median(light, 0)
    return (1.0 / usual).tolist() if (usual > 0.0).all() else []


def _stretched(scaled: np.ndarray, known: np.ndarray, stretch: str) -> np.ndarray:
    """Levels from 0 to 1 of pixels in units of the sky's scatter."""
    values = scaled[known]
    if not values.size:
        return np.zeros_like(scaled)
    if stretch == "zscale":
        low, high = ZScaleInterval().get_limits(values)
    else:
        low, high = LOW, max(float(np.percentile(values, TOP)), HEADROOM)
    level = np.clip((scaled - low) / max(high - low, 1e-30), 0.0, 1.0)
    curves = {"arcsinh": AsinhStretch(min(SOFT / (high - low), 1.0)), "log": LogStretch(500.0), "sqrt": SqrtStretch()}
    return np.asarray(curves.get(stretch, LinearStretch())(level))


def field(image: np.ndarray, share: float) -> np.ndarray:
    """The middle of an image, a share of each of its sides."""
    ny, nx = (max(int(round(share * side)), 4) for side in image.shape[:2])
    y, x = (image.shape[0] - ny) // 2, (image.shape[1] - nx) // 2
    return image[y:y + ny, x:x + nx]


def resampled(image: np.ndarray, side: int) -> np.ndarray:
    """An image on a square of other pixels, its longer side along the square's; means of pixels, or between them.

    Args:
        image: Shape (ny, nx, colours).
        side: Of the square [pixels].

    Returns:
        Shape (side, side, colours), black beside an image that is no square.
    """
    longest = max(image.shape[:2])
    ny, nx = (max(round(size * side / longest), 1) for size in image.shape[:2])
    across = _weights(image.shape[0], ny) @ image.astype(np.float32).reshape(len(image), -1)
    turned = np.moveaxis(across.reshape(ny, *image.shape[1:]), 1, 0).reshape(image.shape[1], -1)
    small = np.moveaxis((_weights(image.shape[1], nx) @ turned).reshape(nx, ny, -1), 0, 1)
    out = np.zeros((side, side, image.shape[2]), image.dtype)
    y, x = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    out[y:y + small.shape[0], x:x + small.shape[1]] = np.round(small) if image.dtype == np.uint8 else small
    return out


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> csr_array:
    """Weights of old pixels in new ones, shape (new, old), rows sum to one; sparse, so that a product is one thread."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    width = max(old / new, 1.0)
    weights = np.clip(0.5 * (width + 1.0) - np.abs(np.arange(old)[None] - centre[:, None]), 0.0, min(width, 1.0))
    return csr_array((weights / weights.sum(1, keepdims=True)).astype(np.float32))


def residual(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A residual in units of the noise from blue through white to red; masked pixels are grey. Row 0 is the highest."""
    level = np.clip(0.5 + 0.5 * image / RESIDUAL_LIMIT, 0.0, 1.0)
    out = (255.0 * matplotlib.colormaps["RdBu_r"](level)[..., :3]).astype(np.uint8)
    out[~mask | ~np.isfinite(image)] = 120
    return out[::-1]


def sheet(tiles: Sequence[np.ndarray], columns: int, side: int) -> np.ndarray:
    """Tiles in rows on one picture, shape (rows side, columns side, 3)."""
    rows = -(-len(tiles) // columns)
    out = np.zeros((rows * side, columns * side, 3), np.uint8)
    for k, tile in enumerate(tiles):
        y, x = side * (k // columns), side * (k % columns)
        out[y:y + side, x:x + side] = tile
    return out


def crossed(side: int) -> np.ndarray:
    """What stands in the place of a picture that cannot be made: a cross."""
    out = np.full((side, side, 3), MISSING, np.uint8)
    along = np.arange(side)
    out[along, along] = (110, 90, 90)
    out[along, side - 1 - along] = (110, 90, 90)
    return out


def encoded(colours: np.ndarray, exact: bool = True) -> bytes:
    """A picture in memory, made fast rather than small.

    Args:
        colours: Shape (ny, nx, 3), uint8.
        exact: PNG, every pixel as it is; else JPEG, a tenth of the size and of the time, for pages of many pictures.
    """
    buffer = io.BytesIO()
    kind, settings = ("png", {"compress_level": 1}) if exact else ("jpeg", {"quality": 92, "subsampling": 0})
    imsave(buffer, np.ascontiguousarray(colours), format=kind, pil_kwargs=settings)
    return buffer.getvalue()
