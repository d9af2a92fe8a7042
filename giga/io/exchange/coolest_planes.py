"""Where the profiles of a COOLEST template lie: one lens plane and one source plane, or any number of planes.

COOLEST has a redshift of each galaxy and field, and does not say which source a strength is of. Here it is the most
distant galaxy, as in lenstronomy's multi-plane lenses: theta_E is the Einstein radius for a source there, without the
other planes, and a shear or convergence is that of such a source. A scene whose deflections are scaled to another one
is written by other strengths; `meta.giga_planes` says which, so that it is read back as it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from giga.component import is_distribution
from giga.io.errors import InputError, nearest
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.mass.epl import EPL
from giga.mass.external import Convergence, Flexion, Shear
from giga.mass.nie import NIE
from giga.mass.sie import SIE
from giga.mass.spemd import SPEMD

FIELD = (Shear, Convergence, Flexion)  # masses of a field, not of a galaxy
META = "giga_planes"
STRENGTHS: dict[type, tuple[str, ...]] = {SIE: ("theta_E",), NIE: ("theta_E",), EPL: ("theta_E",), SPEMD: ("theta_E",),
                                          Shear: ("gamma1", "gamma2"), Convergence: ("kappa",)}
"""Fields of the masses that COOLEST has which go with their deflection, or with a power of it."""
ALIKE = ("theta_E", "kappa")  # those that are parameters of COOLEST
STRETCHED: dict[type, tuple[str, str]] = {dist.Normal: ("loc", "scale"), dist.Uniform: ("low", "high")}
"""Priors of both, and their arguments, which all go with a factor on the parameter."""
POWER = (EPL, SPEMD)  # deflections that go with theta_E^(gamma - 1)


@dataclass(frozen=True)
class Place:
    """An entity of a template.

    Attributes:
        kind: "Galaxy" or "MassField".
        name: What it is called.
        redshift: Its redshift; None is not known.
        mass, lens_light, source_light: Numbers of the profiles that it has, in the sections of the scene.
        keep: Whether it is written without profiles too.
    """

    kind: str
    name: str
    redshift: float | None
    mass: Sequence[int] = ()
    lens_light: Sequence[int] = ()
    source_light: Sequence[int] = ()
    keep: bool = False


def is_several(scene: Scene) -> bool:
    """Whether a scene is more than one lens plane and one source plane behind it."""
    planes = scene.planes
    if not isinstance(planes, Planes):
        return False
    at = {planes.mass_plane(p) for p in scene.mass}, {planes.light_plane(p) for p in scene.source_light}
    scaled = planes.reference is not None or planes.sources or planes.absolute
    return len(planes.redshifts) != 2 or bool(scaled) or not (at[0] <= {0} and at[1] <= {1})


def simple_places(scene: Scene, z: Redshifts) -> list[Place]:
    """The entities of one lens plane and one source plane."""
    apart = [isinstance(profile, FIELD) for profile in scene.mass]
    return [Place("Galaxy", "lens", z.z_lens, [k for k, one in enumerate(apart) if not one],
                  range(len(scene.lens_light)), keep=True),
            Place("MassField", "field", z.z_lens, [k for k, one in enumerate(apart) if one]),
            Place("Galaxy", "source", z.z_source, source_light=range(len(scene.source_light)))]


def plane_places(scene: Scene, planes: Planes) -> list[Place]:
    """The entities of several planes, nearest first; masses of the last plane, which bend no light, are in none."""
    last = len(planes.redshifts) - 1
    mass = [planes.mass_plane(profile) for profile in scene.mass]
    light = [planes.light_plane(profile) for profile in scene.source_light]
    front = min([k for k in mass if k < last], default=0)
    out = []
    for k, z in enumerate(planes.redshifts):
        here = [j for j, at in enumerate(mass) if at == k < last]
        fields = [j for j in here if isinstance(scene.mass[j], FIELD)]
        own = [j for j in here if j not in fields]
        lens_light = range(len(scene.lens_light)) if k == front else ()
        sources = [j for j, at in enumerate(light) if at == k]
        words = [word for word, there in (("lens", len(own) + len(lens_light)), ("source", len(sources))) if there]
        out.append(Place("Galaxy", f"{'_and_'.join(words) or 'empty'}_plane_{k}", float(z), own, lens_light, sources,
                         k == last))
        out.append(Place("MassField", f"field_plane_{k}", float(z), fields))
    return out


def stated(planes: Planes) -> dict[str, Any]:
    """What COOLEST has no words for, as it stands in `meta`: planes of numbers."""
    names = [one.name for one in dataclasses.fields(Cosmology)]  # pyright: ignore[reportArgumentType]
    return {"redshifts": [float(z) for z in planes.redshifts], "absolute": planes.absolute,
            "reference": None if planes.reference is None else float(planes.reference),
            "cosmology": {name: float(getattr(planes.cosmology, name)) for name in names}}


def _to_last(planes: Planes, drawn: Planes | None = None) -> np.ndarray | None:
    """What deflections of each plane but the last are multiplied by to be those for a source on the last.

    Args:
        planes: Of numbers.
        drawn: The same with draws along the first axis of free leaves.

    Returns:
        Shape (planes - 1,), or (planes - 1, draws) where anything differs from draw to draw; None is no change.
    """
    if planes.reference is None and not planes.absolute or len(planes.redshifts) < 2:
        return None
    leaves, tree = jax.tree.flatten(planes)
    used = leaves if drawn is None else jax.tree.leaves(drawn)
    axes = [0 if np.ndim(many) > np.ndim(one) else None for one, many in zip(leaves, used, strict=True)]
    lenses = range(len(planes.redshifts) - 1)

    def of(leaves: list[Any]) -> Any:
        return jax.tree.unflatten(tree, leaves).weights(lenses)[:, -1]

    function = jax.vmap(of, (axes,), out_axes=1) if any(axis == 0 for axis in axes) else of
    with jax.enable_x64(True):
        return np.asarray(jax.jit(function)([np.asarray(leaf, float) for leaf in used]))


def _multiplier(profile: Any, factor: Any) -> Any:
    """What a profile's strength is multiplied by so that its deflection is by a factor."""
    return factor ** (1.0 / (np.asarray(profile.gamma, float) - 1.0)) if isinstance(profile, POWER) else factor


def _scaled(profile: Any, factor: Any) -> Any:
    """The profile with its deflection times a factor; those that COOLEST does not have stay as they are."""
    fields = STRENGTHS.get(type(profile), ())
    return profile.replace(**{name: getattr(profile, name) * _multiplier(profile, factor) for name in fields})


def of_last(scene: Scene, draws: Scene | None, prior: Scene | None
            ) -> tuple[Scene, Scene | None, Scene | None, list[tuple[str, str]]]:
    """A scene, its draws and its prior by strengths for a source on the last plane.

    Args:
        scene: Of numbers, with planes.
        draws: The same with draws along the first axis of free leaves.
        prior: The same with distributions on free leaves.

    Returns:
        The three, and priors that are left out, with the reason.
    """
    planes: Any = scene.planes
    if (factors := _to_last(planes)) is None:
        return scene, draws, prior, []
    at = [planes.mass_plane(profile) for profile in scene.mass]
    last, left = len(planes.redshifts) - 1, []

    def all_of(masses: Sequence[Any], by: np.ndarray) -> list[Any]:
        return [profile if k >= last else _scaled(profile, by[k]) for profile, k in zip(masses, at, strict=True)]

    made = scene.replace(mass=all_of(scene.mass, factors))
    if draws is not None:
        many = _to_last(planes, draws.planes)  # pyright: ignore[reportArgumentType]
        assert many is not None
        draws = draws.replace(mass=all_of(draws.mass, many))
    if prior is not None:
        free = any(map(is_distribution, jax.tree.leaves(prior.planes, is_leaf=is_distribution)))
        masses = []
        for k, (profile, number, plane) in enumerate(zip(prior.mass, scene.mass, at, strict=True)):
            name = STRENGTHS.get(type(profile), ("",))[0]
            one = getattr(profile, name, None)
            if plane < last and name in ALIKE and type(one) in STRETCHED:
                if free or is_distribution(getattr(profile, "gamma", None)):
                    left.append((f"mass.{k}.{name}: prior", "of a strength for another source than the last plane's, "
                                 "which differs by more than a number"))
                    one = 0.0
                else:
                    one = _stretched(one, float(_multiplier(number, factors[plane])))
                profile = profile.replace(**{name: one})
            masses.append(profile)
        prior = prior.replace(mass=masses)
    return made, draws, prior, left


def _stretched(prior: Any, by: float) -> dist.Distribution:
    """The prior of a parameter that is multiplied, one of `STRETCHED`."""
    kind = type(prior)
    return kind(*(float(getattr(prior, name)) * by for name in STRETCHED[kind]))


@dataclass(frozen=True)
class Layout:
    """What the redshifts of a template say.

    Attributes:
        source: Of each entity, whether its light is behind a lens.
        bends: Of each entity, whether its mass bends light that the template has.
        plane: Of each entity, its plane; None where there are no planes, or of light in front of them.
        planes: None is one lens plane and one source plane.
        near: Redshift of the nearest lens, and of the last plane, where there are planes.
        notes: What is left out, in words.
    """

    source: list[bool]
    bends: list[bool]
    plane: list[int | None]
    planes: Planes | None = None
    near: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)


def check_redshifts(content: Mapping[str, Any]) -> None:
    """Refuse redshifts of a template that are none, before the package takes them. Raises InputError."""
    entities = content.get("lensing_entities")
    for k, entity in enumerate(entities if isinstance(entities, list) else ()):
        if not isinstance(entity, Mapping):
            continue
        z, name = entity.get("redshift", "missing"), entity.get("name")
        number = isinstance(z, int | float) and not isinstance(z, bool)
        if z is not None and not (number and math.isfinite(z) and z >= 0.0):
            raise InputError("", f"lensing_entities.{k}.redshift", "missing" if z == "missing" else f"got {z!r}"[:60],
                             f"a redshift of {name!r}, 0 or more, or null where it is not known")


def layout(made: Any) -> Layout:
    """Which entities of a template are lenses and sources, and on which planes.

    With two redshifts the further one is that of the source; with none, galaxies without mass are. With more each
    needs its own: light behind the nearest mass is source light, and masses in front of the furthest galaxy bend it.

    Raises:
        InputError: A redshift that is missing or on no plane, no mass, sources in front of every lens, a cosmology
            that is not known, or a `meta.giga_planes` that is none.
    """
    entities = list(made.lensing_entities)
    z: list[Any] = [None if entity.redshift is None else float(entity.redshift) for entity in entities]
    heavy = [len(entity.mass_model) > 0 for entity in entities]
    galaxy = [entity.type == "Galaxy" for entity in entities]
    said = made.meta.get(META)
    known = {at for at in z if at is not None}
    if said is None and len(known) <= 2:
        _check_behind(entities, z, heavy)
        furthest = max(known) if len({at for at, one in zip(z, galaxy, strict=True) if one} - {None}) == 2 else None
        source = [one and (not mass and any(heavy) if furthest is None or at is None else at == furthest)
                  for one, mass, at in zip(galaxy, heavy, z, strict=True)]
        return Layout(source, [not one for one in source], [None] * len(entities))
    for k, at in enumerate(z):
        if at is None:
            raise InputError("", f"lensing_entities.{k}.redshift", f"none of {entities[k].name!r}", "that of every "
                             "galaxy and field, where there are several planes")
    if not any(heavy):
        raise InputError("", "lensing_entities", "no mass", "a lens in front of the sources")
    _check_behind(entities, z, heavy)
    near = min(at for at, mass in zip(z, heavy, strict=True) if mass)
    listed = sorted({at for at, one, mass in zip(z, galaxy, heavy, strict=True) if at >= near and (one or mass)})
    last = max(at for at, one in zip(z, galaxy, strict=True) if one) if any(galaxy) else listed[-1]
    listed = [at for at in listed if at <= last]
    planes = _planes(made, listed, said)
    redshifts = [float(one) for one in planes.redshifts]
    for k, at in enumerate(z):
        if said is not None and at not in redshifts:
            raise InputError("", f"lensing_entities.{k}.redshift", f"got {at:g} of {entities[k].name!r}", "one of "
                             f"meta.{META}.redshifts, {', '.join(f'{one:g}' for one in redshifts)}")
    source = [one and at > near for one, at in zip(galaxy, z, strict=True)]
    notes = [f"lensing_entities.{k}.redshift: {at:g} of {entities[k].name!r}, in front of every lens, left out; its "
             "light is lens light" for k, (at, one) in enumerate(zip(z, galaxy, strict=True)) if one and at < near
             and len(entities[k].light_model)]
    bends = [at < redshifts[-1] for at in z]
    if said is None and len(redshifts) == 2:
        return Layout(source, bends, [None] * len(entities), None, (near, last), notes)
    plane = [redshifts.index(at) if at in redshifts else None for at in z]
    return Layout(source, bends, plane, planes, (near, last), notes)


def _check_behind(entities: Sequence[Any], z: Sequence[float | None], heavy: Sequence[bool]) -> None:
    """Refuse a template whose light is all in front of its masses. Raises InputError."""
    near = min((at for at, mass in zip(z, heavy, strict=True) if mass and at is not None), default=None)
    light = [k for k, entity in enumerate(entities) if entity.type == "Galaxy" and len(entity.light_model)]
    apart = [(k, at) for k in light if not heavy[k] and (at := z[k]) is not None]
    if near is None or not apart or any(z[k] is None or z[k] > near for k in light):  # pyright: ignore
        return
    k, at = apart[0]
    raise InputError("", f"lensing_entities.{k}.redshift", f"got {at:g} of {entities[k].name!r}, in front of every "
                     "lens", f"a source behind one, above {near:g}")


def _planes(made: Any, listed: list[float], said: Any) -> Planes:
    """The planes of a template, by its redshifts or by what giga has left in `meta`."""
    if said is not None:
        return _said_planes(said)
    flat, planes = made.cosmology, Planes(redshifts=listed)
    if flat is None:
        return planes
    if flat.astropy_name != "FlatLambdaCDM":
        raise InputError("", "cosmology.astropy_name", f"got {flat.astropy_name!r}", "'FlatLambdaCDM', by which "
                         "deflections of several planes are scaled")
    return planes.replace(cosmology=Cosmology(H0=float(flat.H0), Om0=float(flat.Om0)))


def _said_planes(said: Any) -> Planes:
    names = [one.name for one in dataclasses.fields(Cosmology)]  # pyright: ignore[reportArgumentType]
    if not isinstance(said, Mapping):
        raise InputError("", f"meta.{META}", f"got {said!r}"[:60], "an object with redshifts, reference, absolute and "
                         "cosmology")

    def number(value: Any, key: str, what: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError("", f"meta.{META}.{key}", f"got {value!r}"[:60], what)
        return float(value)

    rows, reference, absolute = said.get("redshifts"), said.get("reference"), said.get("absolute", False)
    if not isinstance(rows, list) or not rows:
        raise InputError("", f"meta.{META}.redshifts", f"got {rows!r}"[:60], "a list of redshifts, nearest first")
    if not isinstance(absolute, bool):
        raise InputError("", f"meta.{META}.absolute", f"got {absolute!r}"[:60], "true or false")
    cosmology = said.get("cosmology", {})
    if not isinstance(cosmology, Mapping):
        raise InputError("", f"meta.{META}.cosmology", f"got {cosmology!r}"[:60], f"an object with {', '.join(names)}")
    for key in cosmology:
        if key not in names:
            raise InputError("", f"meta.{META}.cosmology.{key}", "unknown", nearest(key, names))
    planes = Planes(redshifts=[number(z, f"redshifts.{k}", "a redshift") for k, z in enumerate(rows)],
                    reference=None if reference is None else number(reference, "reference", "a redshift, or null"),
                    cosmology=Cosmology(**{key: number(value, f"cosmology.{key}", "a number")
                                           for key, value in cosmology.items()}), absolute=absolute)
    try:
        planes.check((), ())
    except ValueError as error:  # it begins with the path of the value
        raise InputError("", f"meta.{META}", str(error), "redshifts that increase") from None
    return planes


def from_last(scene: Scene, priors: dict[str, dist.Distribution]) -> tuple[Scene, dict[str, dist.Distribution],
                                                                            list[str]]:
    """A scene that was read, by strengths of the source that its planes scale deflections to, and its priors.

    Args:
        scene: Of numbers, with planes, by strengths for a source on the last one.
        priors: By path in the scene.

    Returns:
        Scene and priors, and priors that are left out, in words.
    """
    planes: Any = scene.planes
    if (factors := _to_last(planes)) is None:
        return scene, priors, []
    masses, kept, notes = [], dict(priors), []
    for k, profile in enumerate(scene.mass):
        by = 1.0 / float(factors[planes.mass_plane(profile)])
        masses.append(_scaled(profile, by))
        path = f"mass.{k}.{STRENGTHS.get(type(profile), ('',))[0]}"
        if path in kept and f"mass.{k}.gamma" in priors:
            notes.append(f"{path}: prior left out, of a strength for another source than the last plane's")
            kept.pop(path)
        elif path in kept:
            kept[path] = _stretched(kept[path], float(_multiplier(profile, by)))
    return scene.replace(mass=masses), kept, notes
