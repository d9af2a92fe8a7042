"""A scene, of numbers or of distributions, as the tables of a configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist

from giga.bayes.truncated import TruncatedNormal, exact
from giga.component import Component, is_distribution
from giga.io.configuration.profiles import SECTIONS
from giga.io.errors import InputError
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.light.base import LightProfile

ARGUMENTS = {dist.Normal: ("loc", "scale"), dist.LogNormal: ("loc", "scale"), dist.Uniform: ("low", "high"),
             dist.LogUniform: ("low", "high"), dist.HalfNormal: ("scale",)}


def scene_tables(scene: Scene, save: Callable[[str, np.ndarray], Path],
                 leave_out: Callable[[str], bool] = lambda path: False) -> tuple[dict[str, Any], list[str]]:
    """The sections [[mass]], [[lens_light]], [[source_light]] and [planes] of a scene.

    Args:
        scene: With numbers or distributions on its leaves; one distribution on two leaves is a tie.
        save: Keeps an image under the path that it has in the scene, and tells its file.
        leave_out: Tells of a path that it is not written, for a named set of priors to fill in.

    Returns:
        The tables, and what they do not hold, in words.

    Raises:
        InputError: A profile or a distribution that a configuration cannot hold, by its path.
    """
    tables: dict[str, Any] = {}
    notes: list[str] = []
    seen: dict[int, str] = {}
    for section, classes in SECTIONS.items():
        rows = []
        for k, profile in enumerate(getattr(scene, section)):
            path, name = f"{section}.{k}", type(profile).__name__
            if name not in classes:
                raise InputError("", path, f"{name}, which cannot be written in a configuration",
                                 f"one of {', '.join(classes)}")
            rows.append({"profile": name} | _fields(profile, path, save, leave_out, seen, notes))
        if rows:
            tables[section] = rows
    if isinstance(scene.planes, Planes):
        tables["planes"] = _planes(scene.planes, seen)
    return tables, notes


def _fields(profile: Component, path: str, save: Callable[[str, np.ndarray], Path], leave_out: Callable[[str], bool],
            seen: dict[int, str], notes: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in dataclasses.fields(profile):  # pyright: ignore[reportArgumentType]
        value, here = getattr(profile, field.name), f"{path}.{field.name}"
        if value is None or field.metadata.get("inner"):
            continue
        if field.metadata.get("static"):
            if value != field.default:
                row[field.name] = list(value) if isinstance(value, tuple) else value
        elif field.metadata.get("file") == "deflection":
            raise InputError("", here, "a field in memory", "its FITS files with a WCS, which a configuration names")
        elif field.metadata.get("list"):
            row[field.name] = [_leaf(one, f"{here}.{k}", seen) for k, one in enumerate(np.ravel(value))]
        elif field.metadata.get("file"):
            row[field.name] = str(save(here, np.asarray(value, float)))
        elif field.name == "amp" and isinstance(profile, LightProfile) and not profile.scalar_amp:
            notes.append(f"{here}: left out, a configuration solves the amplitudes of {type(profile).__name__}")
        elif not leave_out(here):
            row[field.name] = _leaf(value, here, seen)
    return row


def _leaf(value: Any, path: str, seen: dict[int, str]) -> Any:
    if is_distribution(value):
        first = seen.setdefault(id(value), path)
        return distribution_table(value, path) if first == path else {"same_as": first}
    if np.size(value) != 1:
        raise InputError("", path, f"an array of shape {np.shape(value)}", "one number")
    return float(np.reshape(value, ()))


def distribution_table(distribution: dist.Distribution, path: str) -> dict[str, Any]:
    """A distribution as a configuration writes it: {dist = "Normal", loc = 0.0, scale = 0.1}.

    Args:
        distribution: A scalar one.
        path: Where it stands, for messages.

    Raises:
        InputError: One that a configuration cannot hold.
    """
    one = exact(distribution)
    if isinstance(one, TruncatedNormal):
        bounds = {key: float(getattr(one, key)) for key in ("low", "high") if np.isfinite(getattr(one, key))}
        kind = "TruncatedNormal" if bounds else "Normal"
        return {"dist": kind, "loc": float(one.loc), "scale": float(one.scale)} | bounds
    if type(one) not in ARGUMENTS or np.size(getattr(one, ARGUMENTS[type(one)][0])) != 1:
        raise InputError("", path, f"a distribution {type(distribution).__name__} of shape {distribution.batch_shape}",
                         f"a scalar one of {', '.join(kind.__name__ for kind in ARGUMENTS)}, TruncatedNormal")
    return {"dist": type(one).__name__} | {key: float(getattr(one, key)) for key in ARGUMENTS[type(one)]}


def _planes(planes: Planes, seen: dict[int, str]) -> dict[str, Any]:
    table: dict[str, Any] = {"redshifts": [_leaf(z, f"planes.redshifts.{k}", seen)
                                           for k, z in enumerate(planes.redshifts)]}
    if planes.reference is not None:
        table["reference"] = _leaf(planes.reference, "planes.reference", seen)
    if planes.sources:
        table["sources"] = [_leaf(z, f"planes.sources.{k}", seen) for k, z in enumerate(planes.sources)]
    if planes.absolute:
        table["absolute"] = True
    names = [field.name for field in dataclasses.fields(planes.cosmology)]  # pyright: ignore[reportArgumentType]
    return table | {"cosmology": {name: _leaf(getattr(planes.cosmology, name), f"planes.cosmology.{name}", seen)
                                  for name in names}}
