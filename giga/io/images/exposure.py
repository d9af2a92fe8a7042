"""Exposure time, gain and weights of an image: from the configuration, from maps, or from its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from giga.io.errors import InputError
from giga.io.images.companion import Known
from giga.io.images.config import ObservationConfig
from giga.io.images.masks import Window, read_with
from giga.io.images.units import is_electrons, kind_of, parse_unit


@dataclass(frozen=True, eq=False)
class Exposure:
    """How photons were counted.

    Attributes:
        time: Exposure time [s], a number or of each pixel, NaN where nothing was exposed; None if it is not known.
        gain: Electrons per count.
    """

    time: float | np.ndarray | None
    gain: float

    @property
    def photons(self) -> float | np.ndarray | None:
        """Exposure time in seconds of one electron per count."""
        return None if self.time is None else self.time * self.gain


def read_exposure(config: ObservationConfig, about: Known, image: np.ndarray, window: Window, notes: list[str],
                  path: str) -> Exposure:
    """Find exposure time and gain; what comes from a header is said.

    A header is followed only where the unit of the image is known, by BUNIT or by the configuration: an exposure time
    says nothing of pixels that may be counts, rates, or scaled to a zero point.

    Args:
        config: What the user says, which comes first.
        about: What the header says.
        image: The whole image.
        window: Rows and columns of the part that is used.
        notes: Gets what the user should know of.
        path: Path of the section, for messages.

    Raises:
        InputError: Counts without an exposure time, or a map that cannot be read.
    """
    name = Path(config.image).name
    needed = config.noise_map is None or config.units == "counts"
    time: float | np.ndarray | None = config.exposure_time
    if config.exposure_map is not None:
        field = f"{path}.exposure_map"
        values = read_with(config.exposure_map, config.exposure_hdu, image, field, config)[window]
        time = np.where(np.isfinite(values) & (values > 0.0), values, np.nan)
        if not np.isfinite(time).any():
            raise InputError(config.exposure_map, field, "no pixel above 0", "exposure times [s]")
    elif time is None and needed and config.from_header and about.exposure is not None:
        seconds, key = about.exposure
        if _unit_is_known(config, about):
            time = seconds
            notes.append(f"{name}: the exposure time is {seconds:g} s by its header ({key})")
        else:
            notes.append(f"{name}: its header has an exposure time of {seconds:g} s ({key}), which is not used, for "
                         "nothing says what unit its pixels have; with units it is, and photons of the lens count as "
                         "noise")
    if config.units == "counts" and time is None:
        raise InputError(config.image, f"{path}.exposure_time", "missing, and the header has none",
                         'an exposure time [s], because units = "counts" are divided by it')
    return Exposure(time, _gain(config, about, needed and time is not None, notes))


def _gain(config: ObservationConfig, about: Known, needed: bool, notes: list[str]) -> float:
    if config.gain is not None:
        return config.gain
    if not needed or not config.from_header or about.gain is None or is_electrons(about.unit):
        return 1.0
    if not _unit_is_known(config, about):
        return 1.0
    gain, key = about.gain
    notes.append(f"{Path(config.image).name}: {gain:g} electrons per count by its header ({key})")
    return gain


def _unit_is_known(config: ObservationConfig, about: Known) -> bool:
    """Whether it is known that pixels are counts or counts per second."""
    if config.units in ("counts", "counts/s"):
        return True
    try:
        unit = parse_unit(about.unit) if about.unit else None
    except ValueError:
        return False
    return unit is not None and kind_of(unit) in ("counts", "counts/s")


def read_weights(config: ObservationConfig, image: np.ndarray, window: Window, path: str) -> np.ndarray | None:
    """Standard deviation of the sky by a weight map, NaN without weight; None without a map. Raises InputError."""
    if config.weight_map is None:
        return None
    field = f"{path}.weight_map"
    values = read_with(config.weight_map, config.weight_hdu, image, field, config)[window]
    usable = np.isfinite(values) & (values > 0.0)
    if not usable.any():
        raise InputError(config.weight_map, field, "no pixel above 0", "1 / variance of the sky")
    return np.where(usable, values, np.nan) ** -0.5
