"""Cutouts of real sky for noise: vetted by their statistics, and the reasons counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Vetting:
    """What a cutout must be like. The unit is the noise of the cutout itself, by its median absolute deviation.

    The GGSL-UNet paper (sect. 2.2.1) vets by mean and rms of the pixels and wants an empty centre, without its numbers.

    Attributes:
        mean: Largest distance of the mean of the pixels from their median: a bright object or a gradient.
        rms: Largest standard deviation of the pixels: bright objects and spikes.
        peak: Brightest pixel: a star or a cosmic ray.
        centre: Largest signal to noise of the flux in the central circle.
        radius: Of that circle [pixels].
        typical: Noise above or below so many times the median noise of all cutouts is untypical.
        dead: Largest share of pixels of one value, as edges and masked columns have.
    """

    mean: float = 1.0
    rms: float = 5.0
    peak: float = 300.0
    centre: float = 5.0
    radius: float = 5.0
    typical: float = 3.0
    dead: float = 0.05


@dataclass(frozen=True, eq=False)
class Vetted:
    """Cutouts that were kept, and why the others were not.

    Attributes:
        cutouts: Kept, their median (the sky) taken off, shape (kept, ny, nx, bands).
        sigma: Their noise, shape (kept, bands).
        kept: Numbers of the kept ones in what was given.
        reasons: For each that was given, why it was rejected, or "".
    """

    cutouts: np.ndarray
    sigma: np.ndarray
    kept: np.ndarray
    reasons: tuple[str, ...] = field(repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """Number of rejected cutouts by reason, the commonest first."""
        return dict(Counter(reason for reason in self.reasons if reason).most_common())

    def __str__(self) -> str:
        return f"{len(self.kept)} of {len(self.reasons)} cutouts kept" + _listed(self.counts)


def vet(cutouts: ArrayLike, vetting: Vetting | None = None) -> Vetted:
    """Keep the cutouts whose statistics are those of sky with at most faint companions.

    Args:
        cutouts: Shape (m, ny, nx, bands); a cutout is rejected if any of its bands is.
        vetting: The limits; None is the default.

    Raises:
        ValueError: Another shape, or no cutout is kept, with the count of each reason.
    """
    images, limits = np.asarray(cutouts, np.float32), vetting or Vetting()
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"noise cutouts: expected shape (cutouts, ny, nx, bands), got {images.shape}")
    finite = np.asarray(np.isfinite(images).all((1, 2, 3)))
    safe = np.where(finite[:, None, None, None], images, 0.0).astype(float)
    middle = np.median(safe, (1, 2), keepdims=True)
    safe = safe - middle
    sigma = 1.4826 * np.median(np.abs(safe), (1, 2))
    dead = np.mean(safe == 0.0, (1, 2)) > limits.dead
    alive = finite & (sigma > 0.0).all(-1) & ~dead.any(-1)
    usual = np.median(sigma[alive], 0) if alive.any() else np.ones(images.shape[-1])
    unit = np.where(sigma > 0.0, sigma, 1.0)
    inside = _centre(images.shape[1:3], limits.radius)
    flux = safe[:, inside].sum(1) / (unit * np.sqrt(inside.sum()))
    failed: tuple[tuple[str, np.ndarray], ...] = (
        ("not finite", ~finite),
        ("blank or masked", ~alive & finite),
        ("untypical noise", (np.abs(np.log(unit / usual)) > np.log(limits.typical)).any(-1)),
        ("spike or star", (np.abs(safe).max((1, 2)) > limits.peak * unit).any(-1)),
        ("rms", (safe.std((1, 2)) > limits.rms * unit).any(-1)),
        ("mean", (np.abs(safe.mean((1, 2))) > limits.mean * unit).any(-1)),
        ("centre not empty", (np.abs(flux) > limits.centre).any(-1)))
    reasons = tuple(next((name for name, bad in failed if bad[k]), "") for k in range(len(images)))
    kept = np.flatnonzero([not reason for reason in reasons])
    if not len(kept):
        raise ValueError(f"noise cutouts: none of {len(images)} can be used{_listed(Counter(reasons))}")
    return Vetted(cutouts=safe[kept].astype(np.float32), sigma=sigma[kept].astype(np.float32), kept=kept,
                  reasons=reasons)


def tiles(image: ArrayLike, shape: tuple[int, int], step: int | None = None) -> np.ndarray:
    """Cut a large image into pieces.

    Args:
        image: Shape (ny, nx) or (ny, nx, bands).
        shape: (ny, nx) of a piece.
        step: Distance of neighbouring pieces [pixels]; None is their side, without overlap.

    Returns:
        Shape (pieces, ny, nx, bands).

    Raises:
        ValueError: An image smaller than a piece.
    """
    whole = np.asarray(image)
    whole = whole[..., None] if whole.ndim == 2 else whole
    if whole.ndim != 3 or whole.shape[0] < shape[0] or whole.shape[1] < shape[1]:
        raise ValueError(f"image of shape {whole.shape[:2]}: expected at least {shape[0]} x {shape[1]} pixels")
    rows = range(0, whole.shape[0] - shape[0] + 1, step or shape[0])
    columns = range(0, whole.shape[1] - shape[1] + 1, step or shape[1])
    return np.stack([whole[y:y + shape[0], x:x + shape[1]] for y in rows for x in columns])


def central(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The central part of images of shape (m, ny, nx, bands)."""
    y, x = ((have - want) // 2 for have, want in zip(images.shape[1:3], shape, strict=True))
    return images[:, y:y + shape[0], x:x + shape[1]]


def _centre(shape: tuple[int, int], radius: float) -> np.ndarray:
    y, x = (np.arange(n) - 0.5 * (n - 1) for n in shape)
    return np.hypot(y[:, None], x) <= max(radius, 1.0)


def _listed(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{reason} {count}' for reason, count in counts.items())})" if counts else ""
