"""Truncated Navarro-Frenk-White halo."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile
from giga.mass.forms.functions import log1p_ratio, projected, softening
from giga.mass.nfw import NFW


class TNFW(MassProfile):
    """NFW halo times r_trunc^2 / (r^2 + r_trunc^2), spherical.

    The published forms are differences of terms that do not vanish at the centre; here they are grouped into the
    NFW's own and others that each vanish there, so that float32 keeps its digits.

    Attributes:
        Rs: Scale radius [arcsec].
        alpha_Rs: Deflection at Rs of the halo that is not truncated [arcsec].
        r_trunc: Truncation radius [arcsec].
        center_x, center_y: Centre [arcsec].

    References:
        Baltz, Marshall & Oguri (2009), JCAP 01, 015, eqs. A3-A10.
    """

    Rs: Param
    alpha_Rs: Param
    r_trunc: Param
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"Rs": (0.0, math.inf), "r_trunc": (0.0, math.inf)}

    def potential(self, x: Array, y: Array) -> Array:
        x, y, u, tau, slope, drop, log_l, factor = self._parts(x, y)
        _, _, rest = projected(u)
        rise, log_half = u * slope, 0.5 * jnp.log(0.25 * u)  # rise = sqrt(tau^2 + u) - tau
        log_rise = rise * drop
        halo = self._halo().potential(x, y) / self._scale()
        more = (2.0 * rise * log_l / tau - log_rise * (2.0 + 2.0 * log_l + log_rise))
        return self._scale() * factor * ((tau**2 - 1.0) * (halo + more) + 2.0 * jnp.pi * (tau * log_rise - rise)
                                         + 2.0 * (u - 1.0) * rest - 4.0 * u * log_half)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y, u, tau, slope, drop, log_l, factor = self._parts(x, y)
        f, _, _ = projected(u)
        halo_x, halo_y = self._halo().deflection(x, y)
        rest = 2.0 * f - jnp.pi * slope + (tau**2 - 1.0) * slope * (log_l / tau - drop)
        scale = 2.0 * self._scale() / self.Rs**2 * rest
        return factor * ((tau**2 - 1.0) * halo_x + scale * x), factor * ((tau**2 - 1.0) * halo_y + scale * y)

    def _halo(self) -> NFW:
        return NFW(Rs=self.Rs, alpha_Rs=self.alpha_Rs)

    def _scale(self) -> Array:
        return 0.5 * self.alpha_Rs * self.Rs / (1.0 - jnp.log(2.0))

    def _parts(self, x: Array, y: Array):
        """Offsets [arcsec], u = X^2, tau, and what both fields are made of.

        slope = (sqrt(tau^2 + u) - tau) / u; drop = ln((sqrt(tau^2 + u) + tau) / (2 tau)) over u slope;
        log_l = ln(X / (sqrt(tau^2 + u) + tau)); factor = tau^2 / (tau^2 + 1)^2.
        """
        x, y = x - self.center_x, y - self.center_y
        tau = self.r_trunc / self.Rs
        u = (x**2 + y**2 + softening(x)) / self.Rs**2
        slope = 1.0 / (jnp.sqrt(tau**2 + u) + tau)
        drop = log1p_ratio(0.5 * u * slope / tau) / (2.0 * tau)
        log_l = 0.5 * jnp.log(u) + jnp.log(slope)
        return x, y, u, tau, slope, drop, log_l, (tau / (tau**2 + 1.0)) ** 2
