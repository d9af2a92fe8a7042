"""Prepared clusters on disk: one `.npz` each, arrays alone."""

from __future__ import annotations

import io
import zipfile
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.runtime.atomic import write_bytes
from giga.simulate.systems.cluster_fields import ClusterField

VERSION = 1


def save_field(path: str | PathLike[str], field: ClusterField) -> Path:
    """Write a field, whole or not at all. Returns the path."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(getattr(field, name)) for name in _names()}
    np.savez(buffer, version=np.int64(VERSION), **arrays)
    return write_bytes(path, buffer.getvalue())


def load_field(path: str | PathLike[str]) -> ClusterField:
    """Read what `save_field` wrote.

    Raises:
        InputError: A file that is not there, damaged, of another version, or with arrays that are missing, not finite
            or do not go together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(path, "", "no such file", "a prepared cluster, see giga.io.clusters.fields") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, "", f"cannot be read ({error})", "a prepared cluster (.npz)") from error
    if (version := int(values.pop("version", 0))) != VERSION:
        raise InputError(path, "version", str(version), f"{VERSION}: prepare the cluster again")
    if missing := sorted(set(_names()) - set(values)):
        raise InputError(path, missing[0], "missing", f"arrays {', '.join(_names())}")
    for name, array in values.items():
        finite = np.isfinite(array[..., 1:]) if name == "light" else np.isfinite(array)
        if not finite.all():
            raise InputError(path, name, f"{np.sum(~finite)} values that are NaN or infinite", "finite numbers")
    galaxies, lines = len(values["center"]), len(values["lens"])
    for name, count in dict(alpha=galaxies, light=galaxies, near=galaxies, member=galaxies, node=lines, theta_E=lines,
                            caustic=lines).items():
        if len(values[name]) != count:
            raise InputError(path, name, f"{len(values[name])} rows", f"{count}")
    numbers = {"pixel_scale": float(values["pixel_scale"]), "supersampling": int(values["supersampling"])}
    return ClusterField(**{name: values[name] for name in _names()} | numbers)


def _names() -> list[str]:
    return [field.name for field in fields(ClusterField)]  # pyright: ignore[reportArgumentType]
