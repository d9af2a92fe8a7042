"""The parameters that a configuration leaves out, filled in by a named set of priors that is scaled to its image."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from giga.component import Component
from giga.io.configuration.priors import SETS, Expected, default, parts
from giga.io.errors import InputError, nearest
from giga.io.images.config import ObservationConfig
from giga.io.images.fits import frame_of
from giga.io.images.masks import ring_center
from giga.io.tables import Place, show
from giga.light.point import Point

UNSEEN = (0.05, 5.0)  # side of a pixel and radius of a field that cannot be read, whose image is refused when loaded


def filled(tables: Mapping[str, Any], name: Any, observation: ObservationConfig,
           classes: Mapping[str, Mapping[str, type[Component]]], place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables of a configuration with the parameters that they leave out.

    Args:
        tables: The configuration as TOML gave it, whatever it may hold.
        name: Of the set.
        observation: The first observation, whose field the priors are scaled to.
        classes: Profiles of each section by name.
        place: Where the configuration stands.

    Returns:
        The tables, and what was taken from the set, as TOML has it, by path.

    Raises:
        InputError: No such set.
    """
    if not isinstance(name, str) or name not in SETS:
        raise place.at("priors").error(show(name), nearest(str(name), SETS))
    tables, taken = copy.deepcopy(dict(tables)), {}
    center = _written(tables)

    @cache
    def expected() -> Expected:
        return _expected(observation, center)

    for section, known in classes.items():
        entries = tables.get(section, [])
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            continue  # which is refused when it is read
        names = [str(entry.get("profile")) for entry in entries]
        for k, (entry, profile, part) in enumerate(zip(entries, names, parts(names), strict=True)):
            if profile == Point.__name__:  # it may be anywhere
                continue
            fields: Any = known.get(profile, Component)
            for field in dataclasses.fields(fields) if profile in known else ():
                if field.name in entry or field.metadata.get("inner"):
                    continue
                value = default(SETS[name], section, profile, field.name, expected, part)
                if value is not None:
                    entry[field.name] = taken[f"{section}.{k}.{field.name}"] = value
    return tables, taken


def said(name: str, taken: Mapping[str, Any], profiles: Mapping[str, str]) -> list[str]:
    """What was taken from a set, a line a profile.

    >>> said("galaxy-scale", {"mass.0.theta_E": {"dist": "LogNormal", "median": 1.2, "factor": 1.6}}, {"mass.0": "SIE"})
    ['priors = "galaxy-scale" gives mass.0 (SIE): theta_E LogNormal(median 1.2, factor 1.6)']
    """
    lines: dict[str, list[str]] = {}
    for path, value in taken.items():
        profile, _, parameter = path.rpartition(".")
        text = f"{value:g}" if not isinstance(value, Mapping) else f"{value['dist']}(" + ", ".join(
            f"{key} {number:g}" for key, number in value.items() if key != "dist") + ")"
        lines.setdefault(profile, []).append(f"{parameter} {text}")
    return [f'priors = "{name}" gives {profile} ({profiles[profile]}): {", ".join(words)}'
            for profile, words in lines.items()]


def _expected(observation: ObservationConfig, center: Sequence[float | None]) -> Expected:
    """What is expected of a lens by its field alone."""
    ring = observation.mask_keep[0] if observation.mask_keep else None
    try:
        grid, window, wcs = frame_of(observation)
        scale, radius = float(grid.pixel_scale), 0.5 * min(grid.shape) * float(grid.pixel_scale)
        x, y = (0.0, 0.0) if ring is None else ring_center(ring, grid, window, wcs, observation.image, "mask_keep")
    except InputError:  # loading says what is wrong; until then one lens of many must not stop the others
        scale, radius = observation.pixel_scale or UNSEEN[0], UNSEEN[1]
        x, y = (0.0, 0.0) if ring is None else (ring.x, ring.y)
    at = (x if center[0] is None else center[0], y if center[1] is None else center[1])
    return Expected.of_field(scale, radius if ring is None else min(ring.radius, radius), at, observation.supersampling)


def _written(tables: Mapping[str, Any]) -> list[float | None]:
    """Centre of the first mass or light of the lens that has one by a number or the loc of a prior; None without."""
    out: list[float | None] = [None, None]
    for section in ("mass", "lens_light"):
        entries = tables.get(section, [])
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and entry.get("profile") == Point.__name__:
                continue
            for k, key in enumerate(("center_x", "center_y")):
                value = entry.get(key) if isinstance(entry, Mapping) else None
                value = value.get("loc") if isinstance(value, Mapping) else value
                if out[k] is None and isinstance(value, int | float) and not isinstance(value, bool):
                    out[k] = float(value)
    return out
