"""Halos and member galaxies of clusters by their velocity dispersions: dual pseudo-isothermal, LensTool's type 81."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import AnyArray, Component, Param, static
from giga.mass.base import MassProfile
from giga.mass.forms.functions import pick
from giga.mass.nie import axes
from giga.mass.pjaffe import Shape, dual_deflection, dual_hessian, dual_potential, flat_dual, shape, turned_dual

SCALE = 6.0 * 648000.0 / 299792.458**2
"""b0 = 6 pi (sigma / c)^2 of 1 km/s [arcsec]."""
AT_ONCE = 1 << 16  # members times positions that are evaluated at once, for them to stay in the cache
KEPT = 1 << 16  # members times positions of which all that derivatives need is kept
ROUNDEST = (1e-6, 1e-12)  # |e| of a round member in single and double precision: what it changes is below rounding
POSITIVE = (0.0, math.inf)
NO_MAGNITUDE = 50.0  # modulus from which a magnitude is none: catalogues write 99 or -99 where it is missing
BRIGHTEST = 15.0  # magnitudes that a member may be brighter than mag0: a million times its luminosity


class DPIE(MassProfile):
    """Dual pseudo-isothermal elliptical mass by its velocity dispersion, LensTool's type 81.

    kappa = b0 / 2 s / (s - a) (1 / sqrt(a^2 + R^2) - 1 / sqrt(s^2 + R^2)), b0 = 6 pi (sigma / c)^2,
    R^2 = x^2 / (1 + |e|)^2 + y^2 / (1 - |e|)^2, a = core, s = cut. Deflections are those of D_ls / D_s = 1, so it needs
    planes with `absolute`.

    Attributes:
        sigma: LensTool's velocity dispersion v_disp, sqrt(2/3) of the central one [km / s].
        core: Core radius a [arcsec].
        cut: Cut radius s [arcsec].
        e1, e2: Ellipticity components of the mass, (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        Kassiola & Kovner (1993), ApJ 417, 450, sect. 4.1; Eliasdottir et al. (2007), arXiv:0710.5636, app. A.
    """

    sigma: Param
    core: Param
    cut: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"sigma": POSITIVE, "core": POSITIVE, "cut": POSITIVE, "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}
    absolute = True

    @property
    def largest_deflection(self) -> Array:
        """No smaller than its deflection anywhere, for any source [arcsec]."""
        e = jnp.hypot(self.e1, self.e2)
        return SCALE * self.sigma**2 * jnp.sqrt((1.0 + e) / (1.0 - e))

    def potential(self, x: Array, y: Array) -> Array:
        scale, Ra, Rs = _scaled(self.sigma, self.core, self.cut, self.e1**2 + self.e2**2)
        return scale * dual_potential(x - self.center_x, y - self.center_y, self.e1, self.e2, Ra, Rs)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        scale, Ra, Rs = _scaled(self.sigma, self.core, self.cut, self.e1**2 + self.e2**2)
        alpha_x, alpha_y = dual_deflection(x - self.center_x, y - self.center_y, self.e1, self.e2, Ra, Rs)
        return scale * alpha_x, scale * alpha_y

    def jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        scale, Ra, Rs = _scaled(self.sigma, self.core, self.cut, self.e1**2 + self.e2**2)
        xx, xy, yy = dual_hessian(x - self.center_x, y - self.center_y, self.e1, self.e2, Ra, Rs)
        return scale * xx, scale * xy, scale * xy, scale * yy


def _scaled(sigma: Param, core: Param, cut: Param, e_squared: Param) -> tuple[Array, Array, Array]:
    """Factor of `giga.mass.pjaffe.dual_deflection`, and its radii on the intermediate axis [arcsec]."""
    axis = jnp.sqrt(1.0 - e_squared)
    return SCALE * sigma**2 * (1.0 - e_squared) * cut, axis * core, axis * cut


class Halos(MassProfile):
    """Any number of `DPIE` as one mass.

    They are summed in pieces, each computed again for derivatives, so that memory does not grow with their number, nor
    does the time to compile.

    Attributes:
        each: One profile with arrays on its leaves, shape (n,).
        shaped: Whether derivatives by the ellipticities are right for round ones too. Members that are gathered do
            without: their ellipticities are a catalogue's and no parameters, and gradients are faster.
    """

    each: DPIE
    shaped: bool = static(default=True)

    absolute = True
    from_numbers = False

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        rows = self._rows()
        if self.shaped:
            rows |= shape(rows["e1"], rows["e2"], rows["e1"])._asdict()
        else:
            _, *turned = axes(rows["e1"], rows["e2"], pick(rows["e1"], *ROUNDEST))
            rows |= dict(zip(("e", "cos", "sin"), turned, strict=True))

        def bent(x: Array, y: Array, row: dict[str, Array]) -> tuple[Array, ...]:
            x, y, Ra, Rs = x - row["x"], y - row["y"], row["Ra"], row["Rs"]
            if self.shaped:
                alpha = turned_dual(x, y, Shape(**{name: row[name] for name in Shape._fields}), Ra, Rs)
            else:
                alpha = flat_dual(x, y, row["e"], row["cos"], row["sin"], Ra, Rs)
            return tuple(row["scale"] * part for part in alpha)

        alpha_x, alpha_y = _summed(bent, 2, x, y, rows)
        return alpha_x, alpha_y

    def potential(self, x: Array, y: Array) -> Array:
        def deep(x: Array, y: Array, row: dict[str, Array]) -> tuple[Array, ...]:
            psi = dual_potential(x - row["x"], y - row["y"], row["e1"], row["e2"], row["Ra"], row["Rs"])
            return (row["scale"] * psi,)

        return _summed(deep, 1, x, y, self._rows())[0]

    def jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        def curved(x: Array, y: Array, row: dict[str, Array]) -> tuple[Array, ...]:
            parts = dual_hessian(x - row["x"], y - row["y"], row["e1"], row["e2"], row["Ra"], row["Rs"])
            return tuple(row["scale"] * part for part in parts)

        xx, xy, yy = _summed(curved, 3, x, y, self._rows())
        return xx, xy, xy, yy

    def _rows(self) -> dict[str, Array]:
        """What the sum runs over, shape (n,) each."""
        each = self.each
        scale, Ra, Rs = _scaled(each.sigma, each.core, each.cut, each.e1**2 + each.e2**2)
        rows = {"x": each.center_x, "y": each.center_y, "e1": each.e1, "e2": each.e2, "scale": scale, "Ra": Ra,
                "Rs": Rs}
        dtype = jnp.result_type(*rows.values())
        return {name: jnp.asarray(values, dtype) for name, values in rows.items()}


class Catalogue(Component):
    """Member galaxies of a cluster. Make it with `Catalogue.of`, which checks it.

    Attributes:
        x, y: Centres, shape (n,) [arcsec].
        e1, e2: Ellipticity components of the mass, shape (n,).
        mag: Magnitudes, shape (n,).
    """

    x: AnyArray
    y: AnyArray
    e1: AnyArray
    e2: AnyArray
    mag: AnyArray

    @staticmethod
    def of(x: Any, y: Any, e1: Any, e2: Any, mag: Any) -> Catalogue:
        """Check the columns of a catalogue and put them together.

        Raises:
            ValueError: Columns of several lengths, no row, rows that are not finite, ellipticities of 1 and more, or
                magnitudes of modulus 50 and more.
        """
        columns = {name: np.asarray(values, float) for name, values in zip(("x", "y", "e1", "e2", "mag"),
                                                                          (x, y, e1, e2, mag), strict=True)}
        count = columns["x"].size
        for name, values in columns.items():
            if values.shape != (count,) or not count:
                raise ValueError(f"{name}: got shape {values.shape}; expected ({max(count, 1)},), one a member")
            if (bad := np.flatnonzero(~np.isfinite(values))).size:
                raise ValueError(f"{name}: not finite in {rows_named(bad)}; expected numbers")
        if (bad := np.flatnonzero(np.hypot(columns["e1"], columns["e2"]) >= 1.0)).size:
            raise ValueError(f"e1: e1^2 + e2^2 of 1 or more in {rows_named(bad)}; expected less")
        if (bad := np.flatnonzero(np.abs(columns["mag"]) >= NO_MAGNITUDE)).size:
            raise ValueError(f"mag: got {columns['mag'][bad[0]]:g} in {rows_named(bad)}; expected {MAGNITUDES}")
        return Catalogue(**columns)


MAGNITUDES = f"magnitudes between {-NO_MAGNITUDE:g} and {NO_MAGNITUDE:g}; leave out members that have none"


def rows_named(rows: np.ndarray, most: int = 5) -> str:
    """Numbers of rows in words.

    >>> rows_named(np.array([0, 4]))
    'rows 0, 4'
    """
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows[:most]))}{more}"


class Members(MassProfile):
    """Member galaxies of a cluster, each a `DPIE` by a scaling relation with its luminosity.

    With l = 10^(-0.4 (mag - mag0)), sigma_i = sigma l^sigma_exponent 10^(scatter offset_i), core_i = core
    l^core_exponent, cut_i = cut l^cut_exponent 10^(cut_scatter cut_offset_i). LensTool's vdslope is 1 / sigma_exponent
    and its slope 2 / cut_exponent; a constant mass-to-light ratio has 1/4 and 1/2.

    They are summed as `Halos` are. Needs planes with `absolute`.

    Attributes:
        catalogue: Places, shapes and magnitudes.
        sigma: LensTool's velocity dispersion of a member of magnitude mag0 [km / s].
        core, cut: Its radii [arcsec].
        mag0: Magnitude at which the relation is anchored.
        sigma_exponent, core_exponent, cut_exponent: Exponents of the luminosity.
        scatter: Scatter of sigma about the relation [dex].
        offsets: Of each member from the relation, in units of the scatter; empty is none. As priors they are standard
            normal ones.
        cut_scatter, cut_offsets: The same of the cut radius.

    References:
        Natarajan & Kneib (1997), MNRAS 287, 833; Bergamini et al. (2019), arXiv:1905.13236 (exponents, scatter).
    """

    catalogue: Catalogue = dataclasses.field(metadata={"file": "members"})
    sigma: Param
    core: Param
    cut: Param
    mag0: Param
    sigma_exponent: Param = 0.25
    core_exponent: Param = 0.5
    cut_exponent: Param = 0.5
    scatter: Param = 0.0
    offsets: Sequence[Param] = dataclasses.field(default=(), metadata={"inner": True})
    cut_scatter: Param = 0.0
    cut_offsets: Sequence[Param] = dataclasses.field(default=(), metadata={"inner": True})

    ranges = {"sigma": POSITIVE, "core": POSITIVE, "cut": POSITIVE, "mag0": (-NO_MAGNITUDE, NO_MAGNITUDE)}
    absolute = True

    def each(self) -> DPIE:
        """The members as one profile with arrays on its leaves, shape (n,)."""
        log = -0.4 * (jnp.asarray(self.catalogue.mag) - self.mag0)  # of the luminosity, to the base of 10
        moved, stretched = _moved(self.scatter, self.offsets), _moved(self.cut_scatter, self.cut_offsets)
        return DPIE(sigma=self.sigma * 10.0 ** (self.sigma_exponent * log + moved),
                    core=self.core * 10.0 ** (self.core_exponent * log),
                    cut=self.cut * 10.0 ** (self.cut_exponent * log + stretched),
                    e1=self.catalogue.e1, e2=self.catalogue.e2, center_x=self.catalogue.x, center_y=self.catalogue.y)

    def potential(self, x: Array, y: Array) -> Array:
        return Halos(each=self.each()).potential(x, y)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        return Halos(each=self.each()).deflection(x, y)

    def jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        return Halos(each=self.each()).jacobian(x, y)


def _moved(scatter: Param, offsets: Sequence[Param]) -> Array | float:
    """By how much members are off a relation [dex]."""
    return scatter * jnp.stack([jnp.asarray(offset) for offset in offsets]) if len(offsets) else 0.0


def _summed(function: Callable[..., tuple[Array, ...]], outputs: int, x: Array, y: Array,
            rows: dict[str, Array]) -> tuple[Array, ...]:
    """Sum a function of positions and of one member over the members, so many at once as fit.

    Derivatives evaluate each piece again, so that nothing of it is kept.
    """
    dtype = jnp.result_type(x, y, rows["x"])
    x, y = jnp.broadcast_arrays(jnp.asarray(x, dtype), jnp.asarray(y, dtype))
    count = len(rows["x"])
    size = max(1, min(count, AT_ONCE // max(x.size, 1)))
    pieces = -(-count // size)
    # Members that only fill up the last piece are the last one again, without mass.
    padded = {name: jnp.concatenate([values, jnp.broadcast_to(values[-1:], (pieces * size - count,))])
              for name, values in rows.items()}
    padded["scale"] = jnp.where(jnp.arange(pieces * size) < count, padded["scale"], 0.0)
    split = {name: values.reshape((pieces, size) + (1,) * x.ndim) for name, values in padded.items()}

    def piece(x: Array, y: Array, some: dict[str, Array]) -> tuple[Array, ...]:
        if size == 1:
            return function(x, y, {name: values[0] for name, values in some.items()})
        return tuple(jnp.sum(part, 0) for part in function(x, y, some))

    if count * x.size > KEPT:
        piece = jax.checkpoint(piece)
    if pieces == 1:
        return piece(x, y, {name: values[0] for name, values in split.items()})

    def step(total: tuple[Array, ...], some: dict[str, Array]) -> tuple[tuple[Array, ...], None]:
        return tuple(a + b for a, b in zip(total, piece(x, y, some), strict=True)), None

    zero = jnp.zeros(x.shape, dtype)
    return jax.lax.scan(step, (zero,) * outputs, split)[0]


def gathered(mass: Sequence[MassProfile]) -> list[MassProfile]:
    """The same masses, with those of one plane that are dual pseudo-isothermal as one `Halos`, members as another.

    They are then evaluated together: a program of two sums at most, whatever their number.
    """
    out: list[MassProfile] = []
    parts: dict[tuple[int | None, bool], list[DPIE]] = {}
    for profile in mass:
        each = profile if isinstance(profile, DPIE) else profile.each if isinstance(profile, Halos) else \
            profile.each() if isinstance(profile, Members) else None
        if each is None:
            out.append(profile)
        else:
            shaped = profile.shaped if isinstance(profile, Halos) else isinstance(profile, DPIE)
            parts.setdefault((profile.plane, shaped), []).append(each.replace(plane=None))
    for (plane, shaped), several in parts.items():
        rows = [jax.tree.map(jnp.atleast_1d, _broadcast(each)) for each in several]
        each = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)
        out.append(Halos(each=each, shaped=shaped, plane=plane))
    return out


def _broadcast(each: DPIE) -> DPIE:
    leaves, structure = jax.tree.flatten(each)
    return jax.tree.unflatten(structure, jnp.broadcast_arrays(*leaves))
