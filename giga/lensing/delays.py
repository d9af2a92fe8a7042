"""Fermat potential and arrival times of light, through one lens plane or many."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from giga.lensing.cosmology import ARCSEC, SPEED_OF_LIGHT
from giga.lensing.planes import Planes, rays
from giga.mass.base import MassProfile

MPC = 3.0856775814913673e19
"""[km]"""
DAYS = MPC / SPEED_OF_LIGHT / 86400.0
"""Days that light takes for one Mpc."""


def fermat_potential(mass: Sequence[MassProfile], x: Array, y: Array, beta_x: Array, beta_y: Array) -> Array:
    """Fermat potential |theta - beta|^2 / 2 - psi(theta) of one lens plane, shape of x [arcsec^2].

    It is stationary at the images of a source at beta: a minimum or a maximum where the parity is positive, a saddle
    where it is negative.

    Args:
        mass: Masses that have a potential.
        x, y: Positions in the image plane, any one shape [arcsec].
        beta_x, beta_y: Position of the source, of a shape that broadcasts [arcsec].

    Raises:
        NotImplementedError: A mass without a potential.

    References:
        Blandford & Narayan (1986), ApJ 310, 568.
    """
    psi = sum((profile.potential(x, y) for profile in mass), jnp.zeros_like(x))
    return 0.5 * ((x - beta_x) ** 2 + (y - beta_y) ** 2) - psi


def days(distance: Array, fermat: Array) -> Array:
    """Arrival time D_dt / c times the Fermat potential [days].

    Args:
        distance: Time-delay distance [Mpc], see `giga.lensing.cosmology.Cosmology.time_delay_distance`.
        fermat: Fermat potential [arcsec^2].
    """
    return DAYS * ARCSEC**2 * distance * fermat


def arrival_times(mass: Sequence[MassProfile], planes: Planes, x: Array, y: Array, source: int = -1,
                  beta: Array | None = None) -> Array:
    """How much later light arrives than on a straight and empty way, shape of x [days].

    The sum over neighbouring planes i, j with mass, and the source, of D_dt,ij / c
    (|theta_i - theta_j|^2 / 2 - w_ij psi_i(theta_i)), with w_ij as in `giga.lensing.planes.rays`. Differences between
    images of one source are delays; of one lens plane they are those of the Fermat potential.

    By Fermat's principle a place that is a little off moves the time from a given `beta` in second order. The time from
    where its own ray ends moves in first order.

    Args:
        mass: Masses that have a potential.
        planes: The planes.
        x, y: Images of one source, any one shape [arcsec].
        source: Number of the source plane; -1 is the last.
        beta: Where the source is, shape (2,) [arcsec]; None is where each ray ends.

    Raises:
        NotImplementedError: A mass without a potential.

    References:
        Schneider, Ehlers & Falco (1992), Gravitational Lenses, chapter 9; McCully et al. (2014), arXiv:1401.0197.
    """
    crossed = rays(mass, planes, x, y)
    lenses = planes.lenses(mass, source)
    total = jnp.zeros_like(x)
    if not lenses:
        return total
    stops = [*lenses, source % len(planes.redshifts)]
    z = jnp.stack([jnp.asarray(planes.redshifts[k], float) for k in stops])
    distances, weights = planes.cosmology.time_delay_distance(z[:-1], z[1:]), planes.weights(list(lenses))
    for k, (here, there) in enumerate(zip(stops[:-1], stops[1:], strict=True)):
        (near_x, near_y), (far_x, far_y) = crossed[here], crossed[there]
        if beta is not None and there == stops[-1]:
            far_x, far_y = beta
        psi = sum((profile.potential(near_x, near_y) for profile in lenses[here]), jnp.zeros_like(x))
        fermat = 0.5 * ((near_x - far_x) ** 2 + (near_y - far_y) ** 2) - weights[k, there] * psi
        total = total + days(distances[k], fermat).astype(total.dtype)
    return total
