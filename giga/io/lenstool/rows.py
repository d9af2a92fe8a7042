"""Rows and sections of a `.par` that giga does not take: told by line, refused where they change the model."""

from __future__ import annotations

from collections.abc import Sequence

from giga.io.errors import InputError, nearest
from giga.io.lenstool.par import COSMOLOGIES, FREE, GAUSSIAN, LIMITED, Par, Row, Section, numbers_of
from giga.io.lenstool.potentials import TYPES, Potential

POTENTIALS = ("potentiel", "potential")
MASS = ("profil", "profile", "z_lens", "x_centre", "y_centre", "angle_pos")
NEVER_FREE = ("profil", "profile", "z_lens")
ELLIPTICAL = (*MASS, "ellipticite", "ellipticity", "v_disp")
OF_TYPE: dict[int, tuple[str, ...]] = {
    1: ELLIPTICAL,
    12: (*ELLIPTICAL, "scale_radius", "scale_radius_kpc", "core_radius", "core_radius_kpc"),
    14: ("profil", "profile", "z_lens", "gamma", "angle_pos"),
    81: (*ELLIPTICAL, "core_radius", "core_radius_kpc", "cut_radius", "cut_radius_kpc")}
"""Rows of a potential that are taken, by its type."""
TAKEN: dict[str, tuple[str, ...]] = {
    "runmode": ("reference",), "image": ("multfile", "forme", "sigposArcsec", "z_m_limit"),
    "potfile": ("type", "filein", "zlens", "mag0", "sigma", "sigmakpc", "core", "corekpc", "cut", "cutkpc", "slope",
                "vdslope", "vdscatter", "rcutscatter"),
    **dict.fromkeys(COSMOLOGIES, ("model", "H0", "omegaM", "omegaX", "omegaK", "wX", "wa")),
    "champ": ("xmin", "xmax", "ymin", "ymax"), "cosmolimit": tuple(LIMITED), "limit": ()}
"""Rows that are taken, by section; those of a limit are those of its potential."""
QUIET: dict[str, tuple[str, ...]] = {
    "runmode": ("inverse", "image", "source", "mass", "ampli", "verbose", "shear", "poten", "dpl", "restart", "clean",
                "grille", "iclean", "pixel", "shearfield", "amplifield", "time", "study", "study1", "study2"),
    "image": ("newton", "mult_wcs", "grid", "n_grid"), "potentiel": ("mag", "lum", "identity"), "limit": ()}
"""Rows that say how LensTool runs and what it draws, or what nothing is computed from."""
SECTIONS = ("grille", "source", "cline", "grande", "cleanlens", "observ", "msgrid", "grid", "large", "pixel")
"""Sections that are likewise."""
DATA = ("arcletstat", "arcletfile", "arclet", "z_arclet", "z_a_limit", "sigell", "sourcefit", "critic", "dynfile")
"""Constraints of LensTool's fit that giga's has not: shapes of arclets, surface brightness, velocities."""
MASSES, EXPONENTS = "a mass in the place of a dispersion", "an exponent, which changes the mass"
CHANGING: dict[str, tuple[str, str]] = {
    "x_centre_wcs": ("a place in degrees", "x_centre in arcsec from the reference"),
    "y_centre_wcs": ("a place in degrees", "y_centre in arcsec from the reference"),
    "ellip_pot": ("which changes the mass", "ellipticite alone"),
    "kappa": ("a convergence, which changes the mass", "gamma and angle_pos alone"),
    "omega": ("the old name", "omegaM"), "lambda": ("the old name", "omegaX"),
    **dict.fromkeys(("pmass", "masse", "m200", "c200", "concentration", "rhos", "r200", "virial_mass",
                     "virial_radius"), (MASSES, "v_disp and the radii alone")),
    **dict.fromkeys(("alpha", "beta", "exponent", "rcslope"), (EXPONENTS, "none, as giga's types are"))}
"""Rows that change the masses or the distances in a way that giga does not follow: why, and what is expected."""


def passed_over(par: Par) -> list[str]:
    """What of a `.par` is not taken, in words with its lines: it changes neither masses nor images nor redshifts.

    Raises:
        InputError: A row that does change them, as a potential's ellipticity; file, line and reason are named. What
            `Potential` refuses.
    """
    quiet: dict[str, list[int]] = {}
    data: dict[str, list[int]] = {}
    notes = []
    kind = 0
    for section in par.sections:
        name = section.name.rstrip("0123456789")
        name = "potentiel" if name in POTENTIALS else name
        if name == "potentiel":
            kind = Potential(par, section).kind
        taken = OF_TYPE[kind] if name == "potentiel" else _free(kind) if name == "limit" else TAKEN.get(name)
        if taken is None:
            if name in SECTIONS:
                quiet.setdefault(name, []).append(section.line)
            else:
                notes.append(f"line {section.line}: section {section.name}, which giga does not know, is passed over")
            continue
        for row in section.rows:
            where = f"{name}.{row.key}"
            if row.key in taken:
                _check_taken(par, name, row)
            elif row.key in CHANGING and _counts(row):
                why, expected = CHANGING[row.key]
                raise InputError(par.file, f"line {row.line}", f"{_said(row)} of {_title(section)}, {why}", expected)
            elif name == "limit":
                _check_limit(par, section, row, kind)
            elif row.key in DATA:
                data.setdefault(where, []).append(row.line)
            elif row.key in QUIET.get(name, ()) or row.key in CHANGING or name == "potentiel" and any(
                    row.key in of for of in OF_TYPE.values()):
                quiet.setdefault(where, []).append(row.line)
            else:
                notes.append(f"line {row.line}: {_said(row)} of {_title(section)}, which giga does not know, is passed "
                             f"over; it takes {nearest(row.key, taken)}")
    for rows, why in ((data, "constraints that giga's fit has not"), (quiet, "neither masses nor images nor redshifts "
                                                                            "depend on it")):
        if rows:
            notes.append(f"passed over {', '.join(_lines(where, lines) for where, lines in rows.items())}: {why}")
    return notes


def _check_taken(par: Par, name: str, row: Row) -> None:
    """Refuse values of rows that are taken which make them others. Raises InputError."""
    if row.key == "model" and name in COSMOLOGIES and numbers_of(row, par.file, 1)[0] != 1.0:
        raise InputError(par.file, f"line {row.line}", f"{_said(row)} of {name}",
                         "model 1, matter and dark energy by w0 and wa")


def _check_limit(par: Par, section: Section, row: Row, kind: int) -> None:
    """Refuse a limit of what giga's mass of that type has not. Raises InputError."""
    if not _counts(row) or not row.values or row.values[0].partition(".")[0] not in (str(FREE), str(GAUSSIAN)):
        return
    raise InputError(par.file, f"line {row.line}", f"{_said(row)} of {_title(section)}, type {kind} ({TYPES[kind]})",
                     f"a limit of {', '.join(_free(kind))}, or 0")


def _free(kind: int) -> list[str]:
    """Rows of a limit that are taken, by the type of its potential."""
    return [key for key in OF_TYPE[kind] if key not in NEVER_FREE]


def _counts(row: Row) -> bool:
    """Whether a row says anything: not where its first number is 0."""
    try:
        return float(row.values[0]) != 0.0
    except (IndexError, ValueError):
        return True


def _said(row: Row) -> str:
    return f"{row.key} {' '.join(row.values)}".strip()


def _title(section: Section) -> str:
    return f"{section.name} {section.label}".strip()


def _lines(where: str, lines: Sequence[int], most: int = 3) -> str:
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return f"{where} (line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:most]))}{more})"
