"""External convergence."""

from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile


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
