"""Any number of lens and source planes: the exact recursion of rays from plane to plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from giga.component import Component, Param, is_distribution, static
from giga.lensing.cosmology import Cosmology
from giga.lensing.tracing import deflection, jacobian
from giga.light.base import LightProfile
from giga.mass.base import MassProfile
from giga.mass.members import gathered


class Planes(Component):
    """Redshifts of the planes that the profiles of a scene lie on, nearest first.

    A profile says by its field `plane` which one it lies on; a mass that does not lies on the first, a lensed light
    that does not on the last. Light of the first plane that shines is lens light, whatever lies further away is
    source light. Redshifts and the cosmology may be free like every leaf.

    Attributes:
        redshifts: One a plane, increasing.
        reference: Redshift of the source that the deflections of all masses are scaled to, behind them all; None is
            the last plane.
        cosmology: What makes redshifts distances.
        sources: Redshifts of further sources behind all masses, in any order, of which only images are seen: those of
            the systems of a cluster.
        absolute: Whether deflections are those of D_ls / D_s = 1 and not scaled to a reference, as those of a
            velocity dispersion are.
    """

    redshifts: Sequence[Param]
    reference: Param | None = None
    cosmology: Cosmology = Cosmology()
    sources: Sequence[Param] = ()
    absolute: bool = static(default=False)

    def mass_plane(self, profile: MassProfile) -> int:
        """Number of the plane of a mass profile."""
        return profile.plane or 0

    def light_plane(self, profile: LightProfile) -> int:
        """Number of the plane of a lensed light profile."""
        return len(self.redshifts) - 1 if profile.plane is None else profile.plane

    @property
    def scaled_to(self) -> Param:
        """Redshift of the source that deflections are scaled to."""
        return self.redshifts[-1] if self.reference is None else self.reference

    def weights(self, lenses: Sequence[int]) -> Array:
        """What deflections of some planes are multiplied by on each: D_ls / D_s over that of the reference.

        Args:
            lenses: Numbers of the planes.

        Returns:
            Shape (lenses, planes); zero on the planes in front.
        """
        return self._ratios(lenses, self.redshifts)

    def source_weights(self, lens: int) -> Array:
        """What deflections of one plane are multiplied by for each of `sources`, shape (sources,)."""
        return self._ratios([lens], self.sources)[0]

    def _ratios(self, lenses: Sequence[int], behind: Sequence[Param]) -> Array:
        """D_ls / D_s of some planes and redshifts, over that of the reference where there is one."""
        front = jnp.stack([jnp.asarray(self.redshifts[k], float) for k in lenses])[:, None]
        z = jnp.stack([jnp.asarray(one, float) for one in behind])
        if self.absolute:
            return self.cosmology.lensing_efficiency(front, z)
        ratio = self.cosmology.lensing_efficiency(front, jnp.append(z, self.scaled_to))
        return ratio[:, :-1] / ratio[:, -1:]

    def lenses(self, mass: Sequence[MassProfile], source: int) -> dict[int, list[MassProfile]]:
        """The masses in front of a plane, by the number of theirs, nearest first."""
        last = source % len(self.redshifts)
        groups = {k: [p for p in mass if self.mass_plane(p) == k] for k in range(last)}
        return {k: profiles for k, profiles in groups.items() if profiles}

    def check(self, mass: Sequence[MassProfile], light: Sequence[LightProfile]) -> None:
        """Refuse planes that are out of order, or that a profile names and are not there.

        Args:
            mass: The masses of the scene.
            light: Its lensed lights.

        Raises:
            ValueError: What is wrong, by its path in a scene.
        """
        count = len(self.redshifts)
        if not count:
            raise ValueError("planes.redshifts: empty; expected one redshift a plane, nearest first")
        for name, profiles in (("mass", mass), ("source_light", light)):
            for k, profile in enumerate(profiles):
                if profile.plane is not None and not 0 <= profile.plane < count:
                    raise ValueError(f"{name}.{k}.plane: got {profile.plane}; expected 0 to {count - 1}, one of the "
                                     f"{count} planes")
        for k, profile in enumerate(mass):
            if profile.absolute and not self.absolute:
                raise ValueError(f"mass.{k}.profile: got {type(profile).__name__}, whose mass is a velocity "
                                 "dispersion; expected planes with absolute = true, whose sources have D_ls / D_s")
        before = (0.0, 0.0)
        for k, z in enumerate(self.redshifts):
            here = _ends(z)
            if not here[0] >= before[1] or not here[1] > before[0]:
                behind = f"that of planes.redshifts.{k - 1}, {_shown(before)}" if k else "0"
                raise ValueError(f"planes.redshifts.{k}: got {_shown(here)}; expected redshifts above {behind}"
                                 " (give distributions bounds)")
            before = here
        lens = max((self.mass_plane(p) for p in mass), default=None)
        if lens is None:
            return
        front, behind = _ends(self.redshifts[lens]), _ends(self.scaled_to)
        for k, z in enumerate(self.sources):
            if not _ends(z)[0] >= front[1] or not _ends(z)[1] > front[0]:
                raise ValueError(f"planes.sources.{k}: got {_shown(_ends(z))}; expected a redshift behind every mass, "
                                 f"above {_shown(front)} of planes.redshifts.{lens}")
        if self.absolute:
            return
        if self.reference is None and lens == count - 1 or not behind[0] >= front[1] or not behind[1] > front[0]:
            raise ValueError(f"planes.reference: got {_shown(behind)}; expected a redshift behind every mass, above "
                             f"{_shown(front)} of planes.redshifts.{lens}")


def rays(mass: Sequence[MassProfile], planes: Planes, x: Array, y: Array) -> list[tuple[Array, Array]]:
    """Where the light that is seen in a direction crosses each plane.

    theta_j = theta - sum_{i < j} w_ij alpha_i(theta_i), with w_ij = (D_ij D_r) / (D_j D_ir) and alpha_i scaled to the
    reference r. Exact for thin planes, in a curved universe too.

    Args:
        mass: The masses.
        planes: The planes.
        x, y: Directions on the sky, any one shape [arcsec].

    Returns:
        For each plane two arrays of the shape of x [arcsec].

    References:
        Schneider, Ehlers & Falco (1992), Gravitational Lenses, chapter 9; Schneider (2014), arXiv:1409.0015.
    """
    lenses = planes.lenses(mass, -1)
    weights = dict(zip(lenses, planes.weights(list(lenses)), strict=True)) if lenses else {}
    bent: dict[int, tuple[Array, Array]] = {}
    out = []
    for k in range(len(planes.redshifts)):
        at_x, at_y = x, y
        for lens, (alpha_x, alpha_y) in bent.items():
            weight = weights[lens][k].astype(alpha_x.dtype)
            at_x, at_y = at_x - weight * alpha_x, at_y - weight * alpha_y
        out.append((at_x, at_y))
        if k in lenses:
            bent[k] = deflection(lenses[k], at_x, at_y)
    return out


class Seen(MassProfile):
    """Masses of planes as a source behind them sees them.

    Attributes:
        mass: The masses.
        planes: The planes.
    """

    mass: Sequence[MassProfile]
    planes: Planes

    from_numbers = False

    @property
    def center_x(self) -> Param:
        """Centre of the first mass that has one [arcsec]."""
        return self._middle().center_x

    @property
    def center_y(self) -> Param:
        return self._middle().center_y

    def _middle(self) -> Any:
        for profile in self.mass:
            if "center_x" in vars(profile):
                return profile
        raise AttributeError("no mass of this line of sight has a centre")


class Sightline(Seen):
    """All masses in front of one source plane as one thin lens: alpha = theta - theta_source(theta).

    With it whatever takes a list of masses takes several planes: critical curves, images, magnifications. Its
    deflection has a curl where lenses lie behind each other, so only one lens plane has a potential.

    Attributes:
        source: Number of the source plane; -1 is the last.
    """

    source: int = static(default=-1)

    def potential(self, x: Array, y: Array) -> Array:
        lenses = self.planes.lenses(self.mass, self.source)
        if len(lenses) != 1:
            raise NotImplementedError(f"a line of sight with {len(lenses)} lens planes has no potential")
        (lens, profiles), = lenses.items()
        total = sum((profile.potential(x, y) for profile in profiles), jnp.zeros_like(x))
        return self.planes.weights([lens])[0, self.source].astype(total.dtype) * total

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        at_x, at_y = rays(self.mass, self.planes, x, y)[self.source]
        return x - at_x, y - at_y


class Behind(Seen):
    """All masses of one plane as a source of some redshift behind them sees them, for planes with `absolute`.

    Attributes:
        z: Redshift of the source.
    """

    z: Param

    def potential(self, x: Array, y: Array) -> Array:
        total = sum((profile.potential(x, y) for profile in gathered(self.mass)), jnp.zeros_like(x))
        return self._weight(total) * total

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        alpha_x, alpha_y = deflection(gathered(self.mass), x, y)
        return self._weight(alpha_x) * alpha_x, self._weight(alpha_x) * alpha_y

    def jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        xx, xy, yx, yy = jacobian(gathered(self.mass), x, y)
        weight = self._weight(xx)
        return weight * xx, weight * xy, weight * yx, weight * yy

    def _weight(self, like: Array) -> Array:
        planes = self.planes.replace(sources=[self.z])
        return planes.source_weights(planes.mass_plane(self.mass[0]))[0].astype(like.dtype)


def _ends(z: Any) -> tuple[float, float]:
    """Smallest and largest redshift that a number or a distribution stands for."""
    if not is_distribution(z):
        return float(z), float(z)
    support = z.support
    return (float(getattr(support, "lower_bound", -math.inf)), float(getattr(support, "upper_bound", math.inf)))


def _shown(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g}"

