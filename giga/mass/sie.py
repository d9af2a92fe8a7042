"""Singular isothermal ellipsoid."""

from jax import Array

from giga.component import Param, static
from giga.mass.base import MassProfile
from giga.mass.epl import DEFAULT_TERMS, EPL


class SIE(MassProfile):
    """Singular isothermal ellipsoid, the EPL at gamma = 2.

    Attributes:
        theta_E: Einstein radius on the intermediate axis [arcsec].
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        terms: Terms of the angular series, see `giga.mass.epl.terms_for`.
    """

    theta_E: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    terms: int = static(default=DEFAULT_TERMS)

    def _epl(self) -> EPL:
        return EPL(theta_E=self.theta_E, gamma=2.0, e1=self.e1, e2=self.e2,
                   center_x=self.center_x, center_y=self.center_y, terms=self.terms)

    def potential(self, x: Array, y: Array) -> Array:
        return self._epl().potential(x, y)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        return self._epl().deflection(x, y)

    def convergence(self, x: Array, y: Array) -> Array:
        return self._epl().convergence(x, y)
