"""The base class of mass profiles: give a potential or a deflection, the rest follows."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import DTypeLike

from giga.component import Component, static


class MassProfile(Component):
    """A thin lens. Positions and deflections are in arcsec, scaled to the source plane.

    A subclass defines `potential` or `deflection` (or both); whatever it leaves out follows by
    automatic differentiation. Coordinates are arrays of any one shape; all methods are elementwise.

    Attributes:
        plane: Number of the plane that it lies on, in a scene of several; None is the first.
        absolute: Whether its deflections are those of D_ls / D_s = 1, as those by a velocity dispersion are.
    """

    plane: int | None = static(default=None)
    absolute: ClassVar[bool] = False

    def reaching(self, ellipticity: float, dtype: DTypeLike) -> "MassProfile":
        """The profile set up for all |e| up to one, as a prior allows it, where its way of computing depends on it.

        Args:
            ellipticity: Largest |e| that must be right.
            dtype: Precision of the parameters.
        """
        return self

    @property
    def has_potential(self) -> bool:
        """Whether it has a potential, and so arrival times."""
        return type(self).potential is not MassProfile.potential

    def potential(self, x: Array, y: Array) -> Array:
        """Lensing potential psi, shape of x [arcsec^2].

        Raises:
            NotImplementedError: The profile has a deflection and no potential.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed-form potential")

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Deflection angle alpha = grad psi, two arrays of the shape of x [arcsec]."""
        x, y = jnp.broadcast_arrays(jnp.asarray(x, float), jnp.asarray(y, float))
        _, pullback = jax.vjp(self.potential, x, y)
        alpha_x, alpha_y = pullback(jnp.ones_like(x))
        return alpha_x, alpha_y

    def jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        """Derivatives of the deflection, (d alpha_x/dx, d alpha_x/dy, d alpha_y/dx, d alpha_y/dy)."""
        return deflection_jacobian(self.deflection, x, y)

    def convergence(self, x: Array, y: Array) -> Array:
        """Convergence kappa = (psi_xx + psi_yy) / 2, dimensionless."""
        xx, _, _, yy = self.jacobian(x, y)
        return 0.5 * (xx + yy)

    def shear(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Shear (gamma1, gamma2) = ((psi_xx - psi_yy) / 2, psi_xy), dimensionless."""
        xx, xy, _, yy = self.jacobian(x, y)
        return 0.5 * (xx - yy), xy

    def magnification(self, x: Array, y: Array) -> Array:
        """Signed magnification 1 / det(1 - d alpha / d theta)."""
        xx, xy, yx, yy = self.jacobian(x, y)
        return 1.0 / ((1.0 - xx) * (1.0 - yy) - xy * yx)


def deflection_jacobian(deflection, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Forward-mode Jacobian of an elementwise deflection field, four arrays of the shape of x."""
    x, y = jnp.broadcast_arrays(jnp.asarray(x, float), jnp.asarray(y, float))
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)
    _, (xx, yx) = jax.jvp(deflection, (x, y), (one, zero))
    _, (xy, yy) = jax.jvp(deflection, (x, y), (zero, one))
    return xx, xy, yx, yy
