"""Elliptical power law with multipoles of order 1, 3 and 4."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from giga.component import Param, static
from giga.mass.base import MassProfile
from giga.mass.epl import EPL, enough_terms
from giga.mass.forms.functions import pick, softening


class EPLMultipole(MassProfile):
    """EPL and circular multipoles m = 1, 3, 4, lenstronomy's EPL_MULTIPOLE_M1M3M4.

    For m > 1 psi_m = a_m r cos(m (phi - phi_m)) / (1 - m^2), for m = 1 psi_1 = a_1 r ln(r / theta_E)
    cos(phi - phi_1) / 2, with a_m = am_a theta_E / sqrt(q) and phi_m = delta_phi_m + phi_EPL: angles turn with the
    ellipse. That of a round lens is not defined: it is zero there, and so are its derivatives by e1 and e2.

    Attributes:
        theta_E: Einstein radius on the intermediate axis [arcsec].
        gamma: Slope of the three-dimensional density, 1 < gamma < 3; 2 is isothermal.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        a1_a, a3_a, a4_a: Relative amplitudes of the multipoles; a4_a > 0 is discy for delta_phi_m4 = 0.
        delta_phi_m1, delta_phi_m3, delta_phi_m4: Their angles from the major axis [rad].
        center_x, center_y: Centre [arcsec].
        terms: As in `EPL`.

    References:
        Xu et al. (2013), arXiv:1307.4220, eq. B12; Van de Vyvere et al. (2022), A&A 659, A127.
    """

    theta_E: Param
    gamma: Param = 2.0
    e1: Param = 0.0
    e2: Param = 0.0
    a1_a: Param = 0.0
    delta_phi_m1: Param = 0.0
    a3_a: Param = 0.0
    delta_phi_m3: Param = 0.0
    a4_a: Param = 0.0
    delta_phi_m4: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    terms: int | None = static(default=None)

    ranges = {"theta_E": (0.0, math.inf), "gamma": (1.0, 3.0), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def reaching(self, ellipticity: float, dtype: Any) -> "EPLMultipole":
        return self if self.terms is not None else self.replace(terms=enough_terms(ellipticity, dtype))

    def potential(self, x: Array, y: Array) -> Array:
        r, cos, sin, log, (one, three, four) = self._parts(x, y)
        c1, _ = _turned(cos, sin, 1, one)
        c3, _ = _turned(cos, sin, 3, three)
        c4, _ = _turned(cos, sin, 4, four)
        return self._epl().potential(x, y) + r * (0.5 * log * c1 - c3 / 8.0 - c4 / 15.0)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        _, cos, sin, log, (one, three, four) = self._parts(x, y)
        c1, s1 = _turned(cos, sin, 1, one)
        c3, s3 = _turned(cos, sin, 3, three)
        c4, s4 = _turned(cos, sin, 4, four)
        # Of psi = r f(phi): f along the radius and f' across it; the logarithm adds its own derivative.
        along = 0.5 * (log + 1.0) * c1 - c3 / 8.0 - c4 / 15.0
        across = -0.5 * log * s1 + 3.0 * s3 / 8.0 + 4.0 * s4 / 15.0
        alpha_x, alpha_y = self._epl().deflection(x, y)
        return alpha_x + along * cos - across * sin, alpha_y + along * sin + across * cos

    def _epl(self) -> EPL:
        return EPL(theta_E=self.theta_E, gamma=self.gamma, e1=self.e1, e2=self.e2, center_x=self.center_x,
                   center_y=self.center_y, terms=self.terms)

    def _parts(self, x: Array, y: Array):
        """Radius, its direction, ln(r / theta_E), and a_m (cos m phi_m, sin m phi_m) of the three."""
        x, y = x - self.center_x, y - self.center_y
        r = jnp.sqrt(x**2 + y**2 + softening(x))
        squared = self.e1**2 + self.e2**2
        flat = squared > pick(x, 1e-12, 1e-24)
        e = jnp.sqrt(jnp.where(flat, squared, 0.25))
        angle = 0.5 * jnp.arctan2(jnp.where(flat, self.e2, 0.0), jnp.where(flat, self.e1, 0.5))
        scale = self.theta_E * jnp.where(flat, jnp.sqrt((1.0 + e) / (1.0 - e)), 1.0)
        multipoles = [(scale * a * jnp.cos(m * (angle + delta)), scale * a * jnp.sin(m * (angle + delta)))
                      for m, a, delta in ((1, self.a1_a, self.delta_phi_m1), (3, self.a3_a, self.delta_phi_m3),
                                          (4, self.a4_a, self.delta_phi_m4))]
        return r, x / r, y / r, jnp.log(r / self.theta_E), multipoles


def _turned(cos: Array, sin: Array, m: int, amplitude: tuple[Array, Array]) -> tuple[Array, Array]:
    """a_m cos(m (phi - phi_m)) and a_m sin(m (phi - phi_m)) of a direction (cos phi, sin phi)."""
    real, imag = cos, sin
    for _ in range(m - 1):
        real, imag = real * cos - imag * sin, real * sin + imag * cos
    return amplitude[0] * real + amplitude[1] * imag, amplitude[0] * imag - amplitude[1] * real
