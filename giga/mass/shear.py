"""External shear."""

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
