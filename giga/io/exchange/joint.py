"""Priors as GIGA-Lens scripts write them, joint distributions of TensorFlow Probability, as priors of giga.

A distribution is known by the name of its class and by its parameters, so that nothing of the package is imported: its
NumPy, JAX and TensorFlow substrates all do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpyro.distributions as dist

from giga.io.errors import InputError, nearest
from giga.io.exchange.gigalens import AMPLITUDE
from giga.io.exchange.tables import distribution_table
from giga.lensing.scene import Scene
from giga.light.sersic import Sersic
from giga.light.shapelets import Shapelets
from giga.mass.epl import EPL
from giga.mass.external import Shear
from giga.mass.sie import SIE
from giga.mass.sis import SIS
from giga.mass.tnfw import TNFW

SECTIONS = {"mass": "lenses", "lens_light": "lens_light", "source_light": "source_light"}
"""giga's sections by the fields of GIGA-Lens's `PhysicalModel`."""
MASS = {"EPL": EPL, "SIE": SIE, "SIS": SIS, "TNFW": TNFW, "Shear": Shear}
LIGHT = ("SersicEllipse", "Sersic", "Shapelets")
NOT = "CoreSersic of GIGA-Lens computes something else than the core-Sersic profile"


KINDS: Mapping[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "Normal": (("loc", "scale"), dist.Normal),
    "LogNormal": (("loc", "scale"), dist.LogNormal),
    "Uniform": (("low", "high"), dist.Uniform),
    "TruncatedNormal": (("loc", "scale", "low", "high"),
                        lambda loc, scale, low, high: dist.TruncatedNormal(loc, scale, low=low, high=high)),
    "HalfNormal": (("scale",), dist.HalfNormal),
    "LogUniform": (("low", "high"), dist.LogUniform),
    "Deterministic": (("loc",), float),
    "VectorDeterministic": (("loc",), float),
}
"""Distributions by the names of their classes, with their parameters; a deterministic one is a fixed number."""
JOINTS = ("JointDistributionSequential", "JointDistributionNamed")


def distribution_of(one: Any, path: str = "") -> Any:
    """A scalar distribution of TensorFlow Probability as one of NumPyro, or a number.

    Args:
        one: The distribution, or a number.
        path: Where it stands, for messages.

    Raises:
        InputError: A kind that giga does not have, parameters that are no numbers, or several of them.
    """
    if isinstance(one, int | float) or np.ndim(one) == 0 and hasattr(one, "dtype") and not hasattr(one, "parameters"):
        return float(one)
    kind = type(one).__name__
    if kind not in KINDS:
        raise InputError("", path, f"a distribution {kind}", nearest(kind, KINDS))
    names, make = KINDS[kind]
    numbers = {}
    for name in names:
        value = np.asarray(one.parameters[name])
        if value.size != 1 or not np.isfinite(value).all() and name in ("loc", "scale"):
            raise InputError("", f"{path}.{name}", f"got {value} of shape {value.shape}", f"one number, of {kind}")
        numbers[name] = float(value.reshape(()))
    try:
        return make(**numbers) if kind not in ("Deterministic", "VectorDeterministic") else numbers["loc"]
    except ValueError as error:
        raise InputError("", path, f"{kind} with {numbers}", str(error)) from None


def scene_of_joint(joint: Any, model: Any = None, **profiles: Sequence[str]) -> Scene:
    """The prior of giga that a joint distribution of a GIGA-Lens script is.

    Args:
        joint: A `JointDistributionSequential` of one joint distribution for the masses, one for the lens light (which
            may be left out) and one for the source light, each a sequence of a `JointDistributionNamed` a profile;
            lists and dicts stand for these as well. One distribution in two places is two parameters.
        model: GIGA-Lens's `PhysicalModel`, whose profiles are known by their classes; or
        profiles: lists of these names: mass, lens_light, source_light.

    Returns:
        A scene with distributions on its leaves, for `giga.Prior.of` and `giga.fit`. Amplitudes that the joint
        distribution does not have are solved.

    Raises:
        InputError: A profile or a distribution that giga does not have, or one too many or too few; named by its path.
    """
    names = {section: _names(model, section, profiles) for section in SECTIONS}
    filled = [section for section in SECTIONS if names[section]]
    parts = _parts(joint, "prior")
    if isinstance(parts, Mapping):
        alias = {SECTIONS[section]: section for section in SECTIONS} | {"lens_mass": "mass"}
        parts = {alias.get(str(key), str(key)): value for key, value in parts.items()}
        if set(parts) != set(filled):
            raise InputError("", "prior", f"parts {', '.join(parts)}", f"{', '.join(filled)}, as the profiles are")
        parts = [parts[section] for section in filled]
    if len(parts) != len(filled):
        raise InputError("", "prior", f"{len(parts)} parts", f"{len(filled)}: {', '.join(filled)}")
    scene = {}
    for section, part in zip(filled, parts, strict=True):
        found = _parts(part, section)
        rows = list(found.values()) if isinstance(found, Mapping) else list(found)
        if len(rows) != len(names[section]):
            raise InputError("", section, f"{len(rows)} profiles", f"{len(names[section])}: {names[section]}")
        scene[section] = [_profile(kind, row, f"{section}.{k}", settings)
                          for k, ((kind, settings), row) in enumerate(zip(names[section], rows, strict=True))]
    return Scene(**scene)


def _names(model: Any, section: str, profiles: Mapping[str, Sequence[str]]) -> list[tuple[str, dict[str, Any]]]:
    if unknown := [key for key in profiles if key not in SECTIONS]:
        raise InputError("", unknown[0], "no such part of a lens", nearest(unknown[0], SECTIONS))
    if model is None:
        return [(str(name), {}) for name in profiles.get(section, ())]
    found = getattr(model, SECTIONS[section], None) or ()
    return [(type(one).__name__, {"n_max": one.n_max} if hasattr(one, "n_max") else {}) for one in found]


def _parts(joint: Any, path: str) -> Any:
    """What a joint distribution is made of: a mapping or a list."""
    if isinstance(joint, Mapping | list | tuple):
        return joint
    if type(joint).__name__ not in JOINTS:
        raise InputError("", path, f"a {type(joint).__name__}", f"one of {', '.join(JOINTS)}, a dict or a list")
    return joint.model


def _profile(kind: str, row: Any, path: str, settings: Mapping[str, Any]) -> Any:
    found = _parts(row, path)
    if not isinstance(found, Mapping):
        raise InputError("", path, f"a {type(found).__name__}", "a JointDistributionNamed, or a dict")
    section = path.partition(".")[0]
    known = MASS if section == "mass" else LIGHT
    if kind not in known:
        raise InputError("", path, f"a profile {kind}", NOT if kind == "CoreSersic" else nearest(kind, known))
    values = {key: distribution_of(one, f"{path}.{key}") for key, one in found.items()}
    if kind in MASS:
        return _made(MASS[kind], values, path)
    if kind == "Shapelets":
        amplitudes = [key for key in values if key.startswith("amp")]
        if amplitudes:
            raise InputError("", f"{path}.{amplitudes[0]}", "a prior of an amplitude", "none: giga solves those of "
                             "shapelets")
        return _made(Shapelets, values | dict(settings), path)
    amp = values.pop(AMPLITUDE, values.pop("amp", None))
    if kind == "Sersic" and amp is not None:
        amp = _squared(amp, f"{path}.{AMPLITUDE}")
    return _made(Sersic, values | {"b_n": "linear"} | ({} if amp is None else {"amp": amp}), path)


def _squared(amp: Any, path: str) -> Any:
    """The prior of Ie^2, which a round Sersic of GIGA-Lens shines with."""
    if isinstance(amp, float):
        return amp**2
    table = distribution_table(amp, path)
    if table["dist"] == "LogNormal":
        return dist.LogNormal(2.0 * table["loc"], 2.0 * table["scale"])
    if table["dist"] == "LogUniform":
        return dist.LogUniform(table["low"] ** 2, table["high"] ** 2)
    raise InputError("", path, f"{type(amp).__name__} of the amplitude of a round Sersic, which GIGA-Lens multiplies "
                     "twice", "LogNormal or LogUniform, whose square giga can write; or SersicEllipse")


def _made(profile: Any, values: Mapping[str, Any], path: str) -> Any:
    try:
        return profile(**values)
    except TypeError as error:  # it names the argument that is unknown or missing
        raise InputError("", path, str(error).partition("__init__() ")[2] or str(error),
                         f"the parameters of {profile.__name__}") from None

