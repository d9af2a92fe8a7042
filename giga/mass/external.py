"""External fields: shear, convergence and flexion."""

from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile


class Shear(MassProfile):
    """External shear about the origin: alpha = (gamma1 x + gamma2 y, gamma2 x - gamma1 y).

    Attributes:
        gamma1, gamma2: Shear components, dimensionless.
    """

    gamma1: Param
    gamma2: Param

    def potential(self, x: Array, y: Array) -> Array:
        return 0.5 * self.gamma1 * (x**2 - y**2) + self.gamma2 * x * y

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        return self.gamma1 * x + self.gamma2 * y, self.gamma2 * x - self.gamma1 * y


class Convergence(MassProfile):
    """A sheet of mass, psi = kappa r^2 / 2: the external convergence.

    Attributes:
        kappa: Convergence, dimensionless.
        ra_0, dec_0: Point that is not deflected [arcsec].
    """

    kappa: Param
    ra_0: Param = 0.0
    dec_0: Param = 0.0

    def potential(self, x: Array, y: Array) -> Array:
        return 0.5 * self.kappa * ((x - self.ra_0) ** 2 + (y - self.dec_0) ** 2)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        return self.kappa * (x - self.ra_0), self.kappa * (y - self.dec_0)


class Flexion(MassProfile):
    """Flexion, psi = (g1 x^3 + 3 g2 x^2 y + 3 g3 x y^2 + g4 y^3) / 6.

    Attributes:
        g1, g2, g3, g4: Third derivatives psi_xxx, psi_xxy, psi_xyy, psi_yyy [1 / arcsec].
        ra_0, dec_0: Point that is not deflected [arcsec].

    References:
        Bacon et al. (2006), MNRAS 365, 414, eq. 12.
    """

    g1: Param
    g2: Param
    g3: Param
    g4: Param
    ra_0: Param = 0.0
    dec_0: Param = 0.0

    def potential(self, x: Array, y: Array) -> Array:
        x, y = x - self.ra_0, y - self.dec_0
        return (x**2 * (self.g1 * x + 3.0 * self.g2 * y) + y**2 * (3.0 * self.g3 * x + self.g4 * y)) / 6.0

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.ra_0, y - self.dec_0
        return (0.5 * self.g1 * x**2 + self.g2 * x * y + 0.5 * self.g3 * y**2,
                0.5 * self.g2 * x**2 + self.g3 * x * y + 0.5 * self.g4 * y**2)
