"""A cluster of giga in LensTool's files: a `.par` with its potentials, potfiles of members, a catalogue of images.

Lengths are in arcsec, so that nothing depends on a cosmology. What LensTool has no words for is named, with the reason.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from giga.io.lenstool.catalogues import Table, write_table
from giga.io.lenstool.par import FLAT, GAUSSIAN, Par, Row, Section, write_par
from giga.io.lenstool.potentials import ENDLESS, ISOTHERMAL, POINTLIKE
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.mass.base import MassProfile
from giga.mass.external import Shear
from giga.mass.members import DPIE, SCALE, Halos, Members
from giga.mass.nfw import NFW
from giga.mass.pjaffe import PJaffe, PJaffeEllipse
from giga.mass.sis import SIS

PAR, ARCS = "best.par", "arcs.dat"
CORE_EXPONENT = 0.5  # of a potfile's core radius, which LensTool has no row for
SHAPE_ERROR = 1e-6  # relative difference below which an exponent or a radius is taken as LensTool's

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Arcs:
    """Multiple images as they are written.

    Attributes:
        table: Their rows, positions from the reference.
        free: What is known of redshifts that a fit has freed, by system: value and standard deviation.
        sigma: Standard deviation of each coordinate [arcsec].
        image_plane: Whether positions are compared in the image plane.
    """

    table: Table
    free: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sigma: float | None = None
    image_plane: bool = True


@dataclass(frozen=True)
class Files:
    """What is written.

    Attributes:
        texts: By the name of the file.
        skipped: What LensTool cannot say, by its path in the scene, and why.
    """

    texts: Mapping[str, str]
    skipped: Sequence[tuple[str, str]]


def lenstool_files(scene: Scene, reference: tuple[float, float], arcs: Arcs | None = None,
                   half_width: float | None = None, comments: Sequence[str] = (),
                   names: Mapping[int, Sequence[str]] | None = None,
                   cosmology: Mapping[str, float] | None = None) -> Files:
    """A scene as LensTool's files.

    Args:
        scene: Of numbers, its masses on one plane, whose deflections are those of D_ls / D_s = 1.
        reference: Right ascension and declination of the origin [deg], x to the west.
        arcs: Multiple images.
        half_width: Of the field [arcsec].
        comments: For the head of the `.par`.
        names: Of the members of a mass, by its number; without them they are numbers.
        cosmology: Standard deviations of what is free of the cosmology, by giga's name.

    Raises:
        ValueError: A scene without such planes, or masses none of which LensTool has.
    """
    planes = scene.planes
    if not isinstance(planes, Planes) or not planes.absolute:
        raise ValueError("planes: no absolute = true; expected deflections of D_ls / D_s = 1, which LensTool's are")
    if len(on := {planes.mass_plane(profile) for profile in scene.mass}) != 1:
        raise ValueError(f"mass: got masses on {len(on)} planes; expected all on one")
    z_lens = float(planes.redshifts[on.pop()])
    texts: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    sections: list[Section] = []
    potfiles: list[Section] = []
    count = 0
    for k, profile in enumerate(scene.mass):
        profile = jax.tree.map(lambda leaf: np.asarray(leaf, float), profile)
        if isinstance(profile, Members) and (reason := _off_relation(profile)) is None:
            name = f"members{len(potfiles)}.cat"
            numbers = [str(j + 1) for j in range(len(profile.catalogue.x))]
            texts[name] = write_table(_catalogue(profile, (names or {}).get(k, numbers)), reference)
            potfiles.append(_potfile(profile, f"potfile{len(potfiles)}", name, z_lens))
            count += len(profile.catalogue.x)
            continue
        if isinstance(profile, Members):
            skipped.append((f"mass.{k}", f"{reason}, so that each member is a potentiel of its own"))
        try:
            made = _potentials(profile)
        except ValueError as error:
            skipped.append((f"mass.{k}", str(error)))
            continue
        for rows in made:
            rows = [*rows, ("z_lens", _text(z_lens))]
            sections.append(_section("potentiel", f"O{len(sections) + 1}", rows))
    if not sections and not potfiles:
        raise ValueError("; ".join(f"{path}: {why}" for path, why in skipped) or "mass: none; expected masses")
    if scene.lens_light or scene.source_light:
        skipped.append(("lens_light, source_light", "LensTool's masses have no light"))
    head = [_section("runmode", "", [("reference", "3 {:.15g} {:.15g}".format(*reference))])]
    if arcs is not None:
        texts[ARCS] = write_table(arcs.table, reference, images=True)
        head.append(_image(arcs))
    grid = _section("grille", "", [("nombre", "128"), ("polaire", "0"), ("nlentille", str(count + len(sections))),
                                   ("nlens_opt", "0")])
    tail = [_cosmology(planes.cosmology)]
    limits, left = _cosmolimit(planes.cosmology, cosmology or {})
    tail += [_section("cosmolimit", "", limits)] if limits else []
    skipped += left
    if half_width is not None:
        tail.append(_section("champ", "", [(f"{axis}{end}", _text(sign * half_width)) for axis in "xy"
                                           for end, sign in (("min", -1.0), ("max", 1.0))]))
    par = Par(tuple(f" {line}" for line in comments), (*head, grid, *sections, *potfiles, *tail))
    return Files({PAR: write_par(par), **texts}, skipped)


def _text(value: Any) -> str:
    return f"{float(value):.12g}"


def _section(name: str, label: str, rows: Rows) -> Section:
    return Section(name, label, tuple(Row(key, tuple(values.split()), 0) for key, values in rows), 0)


def _image(arcs: Arcs) -> Section:
    rows: Rows = [("multfile", f"1 {ARCS}"), ("forme", "-1" if arcs.image_plane else "0"), ("mult_wcs", "1")]
    rows += [("z_m_limit", f"{k} {name} {GAUSSIAN} {_text(z)} {_text(sd)} 0.1")
             for k, (name, (z, sd)) in enumerate(arcs.free.items(), start=1)]
    return _section("image", "", rows + ([] if arcs.sigma is None else [("sigposArcsec", _text(arcs.sigma))]))


def _cosmology(cosmology: Cosmology) -> Section:
    given = {key: float(getattr(cosmology, key)) for key in ("H0", "Om0", "Ok0", "w0", "wa")}
    rows = {"H0": given["H0"], "omegaM": given["Om0"], "omegaX": 1.0 - given["Om0"] - given["Ok0"],
            "omegaK": given["Ok0"], "wX": given["w0"], "wa": given["wa"]}
    return _section("cosmologie", "", [("model", "1"), *((key, _text(value)) for key, value in rows.items())])


def _cosmolimit(cosmology: Cosmology, free: Mapping[str, float]) -> tuple[Rows, list[tuple[str, str]]]:
    """Normal limits of what is free of a cosmology, about its values; and what LensTool has none of, and why."""
    rows: Rows = []
    skipped: list[tuple[str, str]] = []
    names = {"Om0": "omegaM", "Ok0": "omegaX", "w0": "wX", "wa": "wa"}
    curved = "Ok0" in free or abs(float(cosmology.Ok0)) > FLAT
    for key, sd in free.items():
        value, name = float(getattr(cosmology, key)), names.get(key)
        if name is None:
            skipped.append((f"planes.cosmology.{key}", "the best fit is written: LensTool has no limit of it"))
        elif curved and "Om0" in free and key in ("Om0", "Ok0"):
            skipped.append((f"planes.cosmology.{key}", "the best fit is written: LensTool's limits in a curved "
                            "universe are those of omegaM and omegaX, which are not by themselves here"))
        else:
            middle = 1.0 - float(cosmology.Om0) - value if key == "Ok0" else value
            rows.append((name, f"{GAUSSIAN} {_text(middle)} {_text(sd)} 0.01"))
    return rows, skipped


def _off_relation(members: Members) -> str | None:
    """Why a potfile cannot say what members are; None where it can."""
    if abs(float(members.core_exponent) - CORE_EXPONENT) > SHAPE_ERROR:
        return f"a potfile's core radii go with the luminosity to 1/2, not to {float(members.core_exponent):g}"
    if not float(members.sigma_exponent) or not float(members.cut_exponent):
        return "a potfile's slopes are the inverse of an exponent, which is 0"
    if len(members.offsets) and float(members.scatter) or len(members.cut_offsets) and float(members.cut_scatter):
        return "a potfile has no offset of a member from the relation"
    return None


def _potfile(members: Members, name: str, file: str, z_lens: float) -> Section:
    fixed = {"sigma": members.sigma, "cut": members.cut, "slope": 2.0 / members.cut_exponent,
             "vdslope": 1.0 / members.sigma_exponent}
    rows = [("filein", f"1 {file}"), ("zlens", _text(z_lens)), ("type", "81"), ("mag0", _text(members.mag0)),
            ("core", _text(members.core)), *((key, f"0 {_text(value)} 0") for key, value in fixed.items())]
    return _section(name, "", rows)


def _catalogue(members: Members, names: Sequence[str]) -> Table:
    """The rows of a potfile; the axes of an ellipse of |e| are 1 + |e| and 1 - |e|."""
    of = members.catalogue
    e, none = np.hypot(of.e1, of.e2), np.zeros(len(of.x))
    return Table(tuple(names), of.x, of.y, 1.0 + e, 1.0 - e,
                 0.5 * np.degrees(np.arctan2(of.e2, of.e1)), none, of.mag, (), Path())


def _potentials(profile: MassProfile) -> list[Rows]:
    """The potentials that a mass is. Raises ValueError for one that LensTool has not."""
    if isinstance(profile, Members):
        with jax.enable_x64(True):
            profile = Halos(each=jax.tree.map(lambda leaf: np.asarray(leaf, float), profile.each()))
    if isinstance(profile, Halos):
        each = profile.each
        keys = [one.name for one in dataclasses.fields(each) if one.name != "plane"]  # pyright: ignore
        columns = np.broadcast_arrays(*[getattr(each, key) for key in keys])
        return [_dual(DPIE(**dict(zip(keys, row, strict=True)))) for row in zip(*columns, strict=True)]
    for kind, write in WRITERS.items():
        if isinstance(profile, kind):
            return [write(profile)]
    raise ValueError(f"LensTool has no type that is a {type(profile).__name__}, of those that giga reads")


def _dual(mass: DPIE) -> Rows:
    """Type 81. With core and cut exchanged it is the same mass, of another dispersion."""
    core, cut, sigma = float(mass.core), float(mass.cut), float(mass.sigma)
    if core > cut:
        core, cut, sigma = cut, core, sigma * math.sqrt(cut / core)
    if not cut - core > SHAPE_ERROR * cut:
        raise ValueError(f"core and cut radius are both {cut:g} arcsec, which LensTool's type 81 divides by")
    return [("profil", "81"), *_place(mass), *_shape(mass), ("core_radius", _text(core)), ("cut_radius", _text(cut)),
            ("v_disp", _text(sigma))]


def _jaffe_ellipse(mass: PJaffeEllipse) -> Rows:
    """Type 81, whose radii are not on the intermediate axis."""
    axis = math.sqrt(1.0 - float(mass.e1) ** 2 - float(mass.e2) ** 2)
    core, cut = sorted((float(mass.Ra) / axis, float(mass.Rs) / axis))
    return _dual(DPIE(sigma=_dispersion(2.0 * float(mass.sigma0) * core), core=core, cut=cut,
                      e1=mass.e1, e2=mass.e2, center_x=mass.center_x, center_y=mass.center_y))


def _jaffe(mass: PJaffe) -> Rows:
    """Type 81 of a round one; type 1 of one without core and cut, which is elliptical in the potential."""
    if not mass.e1 and not mass.e2:
        return _jaffe_ellipse(PJaffeEllipse(**{key: getattr(mass, key) for key in vars(mass) if key != "plane"}))
    core, cut = sorted((float(mass.Ra), float(mass.Rs)))
    if core > POINTLIKE or cut < ENDLESS:
        raise ValueError("elliptical in the potential, with a core or a cut radius: LensTool's type 81 is in the mass")
    return [("profil", "1"), *_place(mass), *_shape(mass, ISOTHERMAL),
            ("v_disp", _text(_dispersion(3.0 * float(mass.sigma0) * core)))]


def _isothermal(mass: SIS) -> Rows:
    return [("profil", "1"), *_place(mass), ("ellipticite", "0"), ("angle_pos", "0"),
            ("v_disp", _text(_dispersion(1.5 * float(mass.theta_E))))]


def _nfw(mass: NFW) -> Rows:
    if not float(mass.alpha_Rs) > 0.0:
        raise ValueError(f"alpha_Rs is {float(mass.alpha_Rs):g}: LensTool's NFW has a velocity dispersion, above 0")
    return [("profil", "12"), *_place(mass), *_shape(mass), ("scale_radius", _text(mass.Rs)),
            ("v_disp", _text(_dispersion(float(mass.alpha_Rs) / (1.0 - math.log(2.0)))))]


def _shear(mass: Shear) -> Rows:
    return [("profil", "14"), ("gamma", _text(np.hypot(mass.gamma1, mass.gamma2))),
            ("angle_pos", _text(0.5 * np.degrees(np.arctan2(mass.gamma2, mass.gamma1))))]


WRITERS: dict[type[MassProfile], Callable[[Any], Rows]] = {
    DPIE: _dual, PJaffeEllipse: _jaffe_ellipse, PJaffe: _jaffe, SIS: _isothermal, NFW: _nfw, Shear: _shear}
"""What writes a mass as a potentiel."""


def _dispersion(b0: float) -> float:
    """Velocity dispersion of b0 = 6 pi (sigma / c)^2 [km / s]. Raises ValueError for a mass that is negative."""
    if b0 < 0.0:
        raise ValueError("a negative mass: LensTool's masses have a velocity dispersion")
    return math.sqrt(b0 / SCALE)


def _place(mass: Any) -> Rows:
    return [("x_centre", _text(mass.center_x)), ("y_centre", _text(mass.center_y))]


def _shape(mass: Any, share: float = 1.0) -> Rows:
    """LensTool's ellipticity, (a^2 - b^2) / (a^2 + b^2) over a share, and angle. Raises ValueError."""
    e = float(np.hypot(mass.e1, mass.e2))
    value = 2.0 * e / (1.0 + e**2) / share
    if not value < 1.0:
        raise ValueError(f"its potential's ellipticity is {value * share:g}, LensTool's is below {share:g}")
    return [("ellipticite", _text(value)), ("angle_pos", _text(0.5 * np.degrees(np.arctan2(mass.e2, mass.e1))))]
