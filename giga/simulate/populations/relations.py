"""Relations between leaves of a population: ellipticities, offsets, presence, Einstein radii, amplitudes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from giga import ellipse
from giga.component import Param
from giga.lensing.cosmology import Cosmology
from giga.light.sersic import Sersic, ShapeConstant, unit_flux
from giga.simulate.populations.derived import Derived

# A leaf of a population: a number or an array, a distribution, a Derived or a Column.


def ellipticity(q: Param, phi: Param) -> tuple[Derived, Derived]:
    """Ellipticity components e1 and e2 of an axis ratio q and a position angle phi [rad, from +x to +y]."""
    return Derived(_e1, q, phi), Derived(_e2, q, phi)


def within(center: Param, radius: Param, reach: float = 0.8) -> Derived:
    """A coordinate uniform in center +- reach radius, drawn anew for each call [arcsec].

    Called for x and for y it puts a source in the box about the lens that GGSL-UNet has, x_l +- 0.8 theta_E.

    Args:
        center: Coordinate of what it is near to.
        radius: Its size, such as theta_E.
        reach: Half the side of the box, in units of the radius.

    References:
        GGSL-UNet, table 2.
    """
    return Derived(_offset, center, radius, reach, dist.Uniform(-1.0, 1.0))


def present(value: Param, probability: Param) -> Derived:
    """A value in some scenes and zero in the others, such as the amplitude of a galaxy that is not always there.

    Args:
        value: The amplitude, shape () or (bands,).
        probability: Its share of the scenes; or a distribution of 0 and 1, which several leaves and extras can have
            in common: a pair's amplitude and its mass, or a source and the label that tells that there is one.

    Raises:
        ValueError: A probability outside 0 to 1.
    """
    if isinstance(probability, (int, float)):
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"present: probability: got {probability}; expected a number from 0 to 1")
        probability = dist.Bernoulli(float(probability))
    return Derived(_times, value, probability)


def einstein_radius(sigma_v: Param, z_lens: Param, z_source: Param, cosmology: Cosmology | None = None) -> Derived:
    """Einstein radius of an isothermal lens [arcsec], see `Cosmology.einstein_radius`.

    Args:
        sigma_v: Velocity dispersion [km / s].
        z_lens, z_source: Redshifts.
        cosmology: Its fields may be distributions too; the default is flat with H0 = 70 and Om0 = 0.3.
    """
    c = cosmology or Cosmology()
    return Derived(_einstein_radius, sigma_v, z_lens, z_source, c.H0, c.Om0, c.Ok0, c.w0, c.wa)


def amplitude(magnitude: Param, zero_point: Param, R_sersic: Param, n_sersic: Param,
              b_n: ShapeConstant = "exact") -> Derived:
    """Amplitude of a Sersic profile from its total magnitude [counts / s / arcsec^2].

    Args:
        magnitude: Total magnitude, shape () or (bands,).
        zero_point: Magnitude of 1 count / s, shape () or (bands,); `Survey.zero_points`.
        R_sersic: Half-light radius on the intermediate axis [arcsec].
        n_sersic: Sersic index.
        b_n: As the profile has it.
    """
    return Derived(_linear_amplitude if b_n == "linear" else _amplitude, magnitude, zero_point, R_sersic, n_sersic)


def rotated(x: Param, y: Param, angle: Param) -> tuple[Derived, Derived]:
    """A position turned about the origin by an angle [rad], from +x to +y."""
    return Derived(_rotated_x, x, y, angle), Derived(_rotated_y, x, y, angle)


def bulge_and_disc(magnitude: Param, zero_point: Param, bulge_to_total: Param, bulge: Sersic,
                   disc: Sersic) -> list[Sersic]:
    """Light of a bulge and a disc that share one magnitude and one centre.

    Args:
        magnitude: Total magnitude of both, shape () or (bands,).
        zero_point: Magnitude of 1 count / s, shape () or (bands,).
        bulge_to_total: Share of the bulge in the flux, 0 to 1, shape () or (bands,).
        bulge: Shape of the bulge, usually of n_sersic = 4; its amp is set, and its centre is that of both.
        disc: Shape of the disc, usually of n_sersic = 1; its amp and centre are set.

    Returns:
        The two profiles, to stand among the lights of a scene.
    """
    parts = (bulge, _bulge_share), (disc, _disc_share)
    return [profile.replace(
        amp=Derived(share, amplitude(magnitude, zero_point, profile.R_sersic, profile.n_sersic, profile.b_n),
                    bulge_to_total),
        center_x=bulge.center_x, center_y=bulge.center_y) for profile, share in parts]


# Functions of Deriveds are named ones of the module, so that two populations that are built alike compile once.

def _e1(q: Array, phi: Array) -> Array:
    return ellipse.ellipticity(q, phi)[0]


def _e2(q: Array, phi: Array) -> Array:
    return ellipse.ellipticity(q, phi)[1]


def _offset(center: Array, radius: Array, reach: Array, uniform: Array) -> Array:
    return center + reach * radius * uniform


def _times(value: Array, factor: Array) -> Array:
    return value * jnp.asarray(factor, float)


def _einstein_radius(sigma_v: Array, z_lens: Array, z_source: Array, *fields: Any) -> Array:
    H0, Om0, Ok0, w0, wa = fields
    return Cosmology(H0=H0, Om0=Om0, Ok0=Ok0, w0=w0, wa=wa).einstein_radius(sigma_v, z_lens, z_source)


def _amplitude(magnitude: Array, zero_point: Array, R_sersic: Array, n_sersic: Array,
               b_n: ShapeConstant = "exact") -> Array:
    counts = 10.0 ** (-0.4 * (jnp.asarray(magnitude) - zero_point))
    return counts / unit_flux(R_sersic, n_sersic, b_n)


def _linear_amplitude(magnitude: Array, zero_point: Array, R_sersic: Array, n_sersic: Array) -> Array:
    return _amplitude(magnitude, zero_point, R_sersic, n_sersic, "linear")


def _rotated_x(x: Array, y: Array, angle: Array) -> Array:
    return x * jnp.cos(angle) - y * jnp.sin(angle)


def _rotated_y(x: Array, y: Array, angle: Array) -> Array:
    return x * jnp.sin(angle) + y * jnp.cos(angle)


def _bulge_share(amp: Array, bulge_to_total: Array) -> Array:
    return amp * bulge_to_total


def _disc_share(amp: Array, bulge_to_total: Array) -> Array:
    return amp * (1.0 - bulge_to_total)
