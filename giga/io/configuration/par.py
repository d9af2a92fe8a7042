"""A `.par` of LensTool as tables of a configuration: its potentials and potfiles, with priors from its limits.

Priors of places, velocity dispersions and radii are LensTool's own. What follows from several of its numbers, as (e1,
e2) do from an ellipticity and an angle, takes a normal prior of the same mean and standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from giga.io.errors import InputError
from giga.io.lenstool.catalogues import has_reference
from giga.io.lenstool.par import (
    FLAT,
    FREE,
    GAUSSIAN,
    LIMITS,
    Par,
    Row,
    Section,
    free_cosmology,
    free_redshifts,
    middle,
    numbers_of,
    read_par,
)
from giga.io.lenstool.potentials import CORELESS, Potential
from giga.io.lenstool.potfiles import EXPONENTS, SCALES, SCATTERS, USUAL, Potfile, potfiles
from giga.io.lenstool.rows import passed_over
from giga.mass.members import DPIE

QUANTILES = 32  # of each of LensTool's priors, of which moments are taken
WIDEST = 0.95  # |e1| and |e2| that their priors reach
MASSES = {81: "DPIE", 14: "Shear", 12: "NFW", 1: "PJaffe"}
LINEAR = {"x_centre": "center_x", "y_centre": "center_y", "v_disp": "sigma", "core_radius": "core", "cut_radius": "cut"}
"""Numbers of type 81 that are one of giga's, but for a unit."""
PLACES = ("x_centre", "y_centre")
SHAPE = ("ellipticite", "ellipticity", "angle_pos", "gamma")


def tables_of(path: Path, *, images: bool = True) -> tuple[dict[str, Any], list[str]]:
    """The sections mass, lens and cluster that a `.par` stands for, as TOML has them; files with their whole path.

    Args:
        path: The file.
        images: Whether the images are those of its own catalogue.

    Returns:
        The tables, and what of the file is not taken, in words.

    Raises:
        InputError: What `giga.io.lenstool` refuses, several redshifts of lenses, a limit that is none of LensTool's
            kinds, limits of matter and dark energy that giga cannot have, or a catalogue of images that `mult_wcs` and
            its own header do not place; the line is named.
    """
    par = read_par(path)
    notes = [f"{path.name}: {note}" for note in passed_over(par)]
    made, redshifts = [], set()
    for section, limit in _with_limits(par):
        potential = Potential(par, section)
        redshifts.add(potential.z_lens)
        made.append(_mass(par, potential, section, limit))
    for potfile in potfiles(par):
        redshifts.add(potfile.z_lens)
        made.append(_members(par, potfile))
    if len(redshifts) != 1:
        raise InputError(path, "z_lens", f"got {sorted(redshifts)}", "one redshift of all potentials")
    z_lens = redshifts.pop()
    cosmology = par.cosmology
    given = {key: float(getattr(cosmology, key)) for key in ("Ok0", "w0", "wa")}
    usual = {"Ok0": 0.0, "w0": -1.0, "wa": 0.0}
    cluster: dict[str, Any] = {"reference": list(par.reference)}
    if par.images is not None:
        file = (path.parent / par.images).resolve()
        cluster["images"] = str(file)
        if images:
            _check_places(par, file)
    if par.ladder is not None:
        cluster["ladder"] = par.ladder
    if par.sigma is not None:
        cluster["sigma"] = par.sigma
    if par.field is not None:
        cluster["half_width"] = max(map(abs, par.field))
    if priors := {name: _redshift(numbers, z_lens) for name, numbers in free_redshifts(par).items()}:
        cluster["redshifts"] = priors
    free, more = _cosmology(par)
    notes += [f"{path.name}: {note}" for note in more]
    if changed := {key: value for key, value in given.items() if abs(value - usual[key]) > FLAT} | free:
        cluster["cosmology"] = changed
    return {"mass": made, "lens": {"z_lens": z_lens, "H0": float(cosmology.H0), "Om0": float(cosmology.Om0)},
            "cluster": cluster}, notes


def _check_places(par: Par, images: Path) -> None:
    """Refuse places in arcsec by `mult_wcs 0`, which a header goes before, where there is none. Raises InputError."""
    row = next((row for section in par.named("image") if (row := section.row("mult_wcs")) is not None), None)
    if row is not None and not numbers_of(row, par.file, 1)[0] and images.is_file() and not has_reference(images):
        raise InputError(par.file, f"line {row.line}", f"mult_wcs {' '.join(row.values)}, places in arcsec, and "
                         f"{images.name} has no #REFERENCE, without which they are in degrees",
                         "a first line #REFERENCE 3 RA DEC in the catalogue")


def _cosmology(par: Par) -> tuple[dict[str, Any], list[str]]:
    """Priors of the cosmology from `cosmolimit`, by giga's names, and what says nothing there, in words.

    LensTool's universe stays flat where it is flat at first, so that omegaX is 1 - omegaM; else omegaM and omegaX are
    by themselves, and the curvature is what is left. giga's parameters are matter and curvature.

    Raises:
        InputError: A limit that is none of LensTool's kinds, out of range, or of omegaM in a curved universe, where
            the curvature would go with it.
    """
    rows, cosmology, out, notes = free_cosmology(par), par.cosmology, {}, []
    flat = abs(float(cosmology.Ok0)) < FLAT
    for key, row in rows.items():
        said, line = f"{row.key} {' '.join(row.values)} of cosmolimit", f"line {row.line}"
        kind, first, second = _limits(row, par.file)
        if key == "omegaX" and flat:
            notes.append(f"{line}: {said} is passed over: the universe of this file is flat, where LensTool takes 1 - "
                         "omegaM for it")
        elif key == "omegaX":
            left = 1.0 - float(cosmology.Om0)
            out["Ok0"] = {"dist": "Uniform", "low": left - second, "high": left - first} if kind == FREE \
                else _normal(left - first, second, -math.inf, math.inf)
        elif key == "omegaM":
            if not flat:
                raise InputError(par.file, line, f"{said}, in a curved universe, where omegaX is not 1 - omegaM",
                                 "omegaK 0 in cosmologie, or a kind of 0 here and priors of Om0 and Ok0, each by "
                                 "itself, in [cluster.cosmology]")
            if kind == FREE and not (first >= 0.0 and second <= 1.0):
                raise InputError(par.file, line, said, "limits from 0 to 1")
            out["Om0"] = _prior(row, par.file, 1.0, 0.0) if kind == FREE else _normal(first, second, 0.0, 1.0)
        else:
            out[{"wX": "w0"}.get(key, key)] = _prior(row, par.file, 1.0, 0.0 if key == "H0" else None)
            if key == "H0":
                notes.append(f"{line}: {said} becomes a prior, but no position of an image depends on it; LensTool "
                             "itself has no limit of it")
    return out, notes


def _with_limits(par: Par) -> list[tuple[Section, Section | None]]:
    """Each potential with the limit that follows it; labels may be there twice. Raises InputError."""
    out: list[tuple[Section, Section | None]] = []
    for section in par.named("potentiel", "potential", "limit"):
        if section.name != "limit":
            out.append((section, None))
        elif not out or out[-1][0].label != section.label:
            raise InputError(par.file, f"line {section.line}", f"limit {section.label}", "a limit after its potentiel")
        else:
            out[-1] = (out[-1][0], section)
    return out


def _mass(par: Par, potential: Potential, section: Section, limit: Section | None) -> dict[str, Any]:
    """A table of [[mass]]."""
    profile = potential.profile()
    fields = [key for key in vars(profile) if key != "plane"]
    table: dict[str, Any] = {"profile": MASSES[potential.kind]}
    table |= {key: float(getattr(profile, key)) for key in fields}
    rows = [row for row in (() if limit is None else limit.rows) if int(numbers_of(row, par.file, 1)[0])]
    together = []
    for row in rows:
        key = row.key.removesuffix("_kpc")
        if key in PLACES or isinstance(profile, DPIE) and key in LINEAR:
            unit = par.kpc(potential.z_lens) if row.key.endswith("_kpc") else 1.0
            table[LINEAR[key]] = _prior(row, par.file, unit, None if key in PLACES else 0.0)
        else:
            together.append(row)
    if together:
        table |= _moments(par, section, together, table)
    return table


def _moments(par: Par, section: Section, rows: Sequence[Row], table: Mapping[str, Any]) -> dict[str, Any]:
    """Normal priors of what several of LensTool's numbers make together, by the moments over their quantiles."""
    grids = np.meshgrid(*[_quantiles(row, par.file) for row in rows], indexing="ij")
    columns = [grid.ravel() for grid in grids]
    if columns[0].size > QUANTILES**2:  # of more than two a part, evenly taken
        take = np.linspace(0, columns[0].size - 1, QUANTILES**2).round().astype(int)
        columns = [column[np.random.default_rng(0).permutation(column.size)[take]] for column in columns]
    keys = [row.key.replace("ellipticity", "ellipticite") for row in rows]
    kept = tuple(row for row in section.rows if row.key.replace("ellipticity", "ellipticite") not in keys)
    made = []
    for values in zip(*columns, strict=True):
        changed = tuple(Row(key, (repr(float(value)),), row.line)
                        for key, row, value in zip(keys, rows, values, strict=True))
        made.append(Potential(par, Section(section.name, section.label, kept + changed, section.line)).profile())
    out = {}
    for key in table:
        if key == "profile" or isinstance(table[key], dict):
            continue
        values = np.array([float(getattr(one, key)) for one in made])
        if not values.std() > 1e-9 * max(abs(table[key]), 1e-9):
            continue
        low, high = made[0].ranges.get(key, (-math.inf, math.inf))
        ends = (-WIDEST, WIDEST) if key in ("e1", "e2") else (low, high)
        out[key] = _normal(float(values.mean()), float(values.std()), *ends)
    return out


def _quantiles(row: Row, file: Path) -> np.ndarray:
    """Evenly spaced quantiles of one of LensTool's priors, inside what its number may be."""
    kind, first, second = _limits(row, file)
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES
    values = first + (second - first) * places if kind == FREE else norm.ppf(places, first, second)
    if row.key in ("ellipticite", "ellipticity"):
        return np.clip(values, 0.0, WIDEST)
    return values if row.key in SHAPE else np.maximum(values, 1e-3 * abs(first))


def _prior(row: Row, file: Path, unit: float, least: float | None) -> dict[str, Any]:
    """One of LensTool's priors, over a unit; `least` is what the number must be above."""
    kind, first, second = _limits(row, file)
    first, second = first / unit, second / unit
    if kind == FREE:
        return {"dist": "Uniform", "low": first if least is None else max(first, least), "high": second}
    return _normal(first, second, -math.inf if least is None else least, math.inf)


def _normal(mean: float, sd: float, low: float, high: float) -> dict[str, Any]:
    bounds = {key: value for key, value in (("low", low), ("high", high)) if math.isfinite(value)}
    return {"dist": "TruncatedNormal" if bounds else "Normal", "loc": mean, "scale": sd, **bounds}


def _limits(row: Row, file: Path) -> tuple[int, float, float]:
    """Kind and numbers of a prior. Raises InputError."""
    values = numbers_of(row, file, 3)
    kind, first, second = int(values[0]), values[1], values[2]
    if kind not in (FREE, GAUSSIAN) or (not first < second if kind == FREE else not second > 0.0):
        raise InputError(file, f"line {row.line}", f"{row.key} {' '.join(row.values)}",
                         LIMITS)
    return kind, first, second


def _redshift(numbers: tuple[float, ...], z_lens: float) -> dict[str, Any] | float:
    kind, first, second = int(numbers[0]), numbers[1], numbers[-1]
    if kind == 0:
        return first
    if kind == FREE:
        return {"dist": "Uniform", "low": max(first, z_lens), "high": second}
    return {"dist": "TruncatedNormal", "loc": first, "scale": second, "low": z_lens}


def _members(par: Par, potfile: Potfile) -> dict[str, Any]:
    """The table of [[mass]] of a potfile."""

    def scale(name: str) -> Any:
        row, unit = potfile.scale(name)
        numbers = numbers_of(row, par.file, 1)
        if len(numbers) > 1 and int(numbers[0]):
            return _prior(row, par.file, unit, 0.0)
        number = middle(numbers)
        if name == "core" and number == 0.0:
            return CORELESS
        if not number > 0.0:
            raise InputError(par.file, f"line {row.line}", f"{row.key} {number:g}", "a number above 0")
        return number / unit

    def exponent(name: str) -> Any:
        row, over = potfile.slope(name), EXPONENTS[name][1]
        if row is None or not int(numbers_of(row, par.file, 2)[0]):
            return over(USUAL if row is None else numbers_of(row, par.file, 2)[1])
        kind, first, second = _limits(row, par.file)
        if kind == FREE:
            return {"dist": "Uniform", "low": over(second), "high": over(first)}
        return {"dist": "Normal", "loc": over(first), "scale": over(first) * second / first}

    def scatter(name: str, row: Row) -> dict[str, Any]:
        """In dex: LensTool's over the number of a member of magnitude mag0, which it is added to."""
        of, unit = potfile.scale(SCATTERS[name][1])
        value = middle(numbers_of(of, par.file, 1)) / (1.0 if name == "scatter" else unit)
        return _prior(row, par.file, value * math.log(10.0), 0.0)

    return {"profile": "Members", "catalogue": str(potfile.catalogue.resolve()), "mag0": potfile.mag0,
            **{name: scale(name) for name in SCALES}, **{name: exponent(name) for name in EXPONENTS},
            **{name: scatter(name, row) for name in SCATTERS if (row := potfile.scatter(name)) is not None}}
