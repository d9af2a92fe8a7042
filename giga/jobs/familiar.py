"""Whether the observations of a fit are like what a network has seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from giga.imaging.observation import Observation
from giga.models.zoo import Seen


def unfamiliar(name: str, seen: Seen | None, observations: Sequence[Observation]) -> list[str]:
    """What of some observations is far from what a network has seen, for notes.

    Args:
        name: Of the network.
        seen: What it has seen.
        observations: In the order of its bands.
    """
    if seen is None:
        return []
    widths = [None if one.psf is None else one.psf.fwhm(float(one.grid.pixel_scale)) for one in observations]
    return [f"{name}: {text}" for text in seen.unlike([sky_rms(one) for one in observations], widths,
                                                      float(observations[0].grid.pixel_scale))]


def sky_rms(observation: Observation) -> float:
    """Standard deviation of the sky [counts / s]; with a noise map the smallest but for a tenth of the pixels."""
    if observation.noise_map is None:
        rms = np.asarray(observation.background_rms, float)
        return float(np.quantile(rms[observation.mask], 0.1) if rms.ndim else rms)
    return float(np.quantile(np.asarray(observation.noise_map, float)[observation.mask], 0.1))
