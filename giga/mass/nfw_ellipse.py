"""Navarro-Frenk-White halo, elliptical in the mass, as a sum of cored steep ellipsoids."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Param
from giga.ellipse import radius_squared
from giga.mass.base import MassProfile

# Oguri (2021), table 1: core radius in scale radii, and amplitude
CORES = np.array([
    (1.082411e-06, 1.648988e-18), (8.786566e-06, 6.274458e-16), (3.292868e-06, 3.646620e-17),
    (1.860019e-05, 3.459206e-15), (3.274231e-05, 2.457389e-14), (6.232485e-05, 1.059319e-13),
    (9.256333e-05, 4.211597e-13), (1.546762e-04, 1.142832e-12), (2.097321e-04, 4.391215e-12),
    (3.391140e-04, 1.556500e-11), (5.178790e-04, 6.951271e-11), (8.636736e-04, 3.147466e-10),
    (1.405152e-03, 1.379109e-09), (2.193855e-03, 3.829778e-09), (3.179572e-03, 1.384858e-08),
    (4.970987e-03, 5.370951e-08), (7.631970e-03, 1.804384e-07), (1.119413e-02, 5.788608e-07),
    (1.827267e-02, 3.205256e-06), (2.945251e-02, 1.102422e-05), (4.562723e-02, 4.093971e-05),
    (6.782509e-02, 1.282206e-04), (1.596987e-01, 4.575541e-04), (1.127751e-01, 7.995270e-04),
    (2.169469e-01, 5.013701e-03), (3.423835e-01, 1.403508e-02), (5.194527e-01, 5.230727e-02),
    (8.623185e-01, 1.898907e-01), (1.382737e+00, 3.643448e-01), (2.034929e+00, 7.203734e-01),
    (3.402979e+00, 1.717667e+00), (5.594276e+00, 2.217566e+00), (8.052345e+00, 3.187447e+00),
    (1.349045e+01, 8.194898e+00), (2.603825e+01, 1.765210e+01), (4.736823e+01, 1.974319e+01),
    (6.559320e+01, 2.783688e+01), (1.087932e+02, 4.482311e+01), (1.477673e+02, 5.598897e+01),
    (2.495341e+02, 1.426485e+02), (4.305999e+02, 2.279833e+02), (7.760206e+02, 5.401335e+02),
    (2.143057e+03, 9.743682e+02), (1.935749e+03, 1.775124e+03)])


class NFWEllipse(MassProfile):
    """NFW halo whose mass (not its potential) is constant on ellipses, q x^2 + y^2 / q, lenstronomy's NFW_ELLIPSE_CSE.

    A sum of 44 cored steep ellipsoids, kappa ~ (s^2 + R^2)^(-3/2), of which each is in closed form and smooth at
    e1 = e2 = 0. The convergence is that of an NFW halo to 1e-4 from 1e-4 to 100 Rs.

    Attributes:
        Rs: Scale radius on the intermediate axis [arcsec].
        alpha_Rs: Deflection of the spherical halo at Rs [arcsec].
        e1, e2: Ellipticity components of the mass, (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        Oguri (2021), PASP 133, 074504, arXiv:2106.11464, eqs. 11-20 and table 1.
    """

    Rs: Param
    alpha_Rs: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"Rs": (0.0, math.inf), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def potential(self, x: Array, y: Array) -> Array:
        x, y, s, amplitude, squared, cored, unit = self._parts(x, y)
        # ln(Phi / Phi(0)), for the potential to be zero at the centre; Phi as in `giga.mass.nie.core_log`
        rise = (x**2 + y**2)[..., None] + 2.0 * s * squared / (cored + s)
        total = jnp.sum(0.5 * amplitude / s * jnp.log1p(rise / (4.0 * s**2 * unit)), axis=-1)
        return self._scale() * self.Rs**2 * total

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y, s, amplitude, squared, cored, unit = self._parts(x, y)
        phi = (x**2 + y**2)[..., None] + 2.0 * s * squared / (cored + s) + 4.0 * s**2 * unit
        radial = self._scale() * self.Rs * jnp.sum(amplitude / s / phi, axis=-1)  # one by one, for float32
        along = self._scale() * self.Rs * jnp.sum(amplitude / phi / cored, axis=-1)
        e_squared = self.e1**2 + self.e2**2
        half_x = ((1.0 + e_squared) * x - 2.0 * (self.e1 * x + self.e2 * y)) * unit
        half_y = ((1.0 + e_squared) * y - 2.0 * (self.e2 * x - self.e1 * y)) * unit
        return radial * x + along * half_x, radial * y + along * half_y

    def convergence(self, x: Array, y: Array) -> Array:
        *_, amplitude, _, cored, _ = self._parts(x, y)
        return 0.5 * self._scale() * jnp.sum(amplitude / cored**3, axis=-1)

    def _scale(self) -> Array:
        return self.alpha_Rs / self.Rs / (1.0 - jnp.log(2.0))

    def _parts(self, x: Array, y: Array):
        """Offsets in Rs, cores, amplitudes, and with an axis over them R^2 and sqrt(s^2 + R^2); 1 / (1 - |e|^2)."""
        x, y = jnp.broadcast_arrays((x - self.center_x) / self.Rs, (y - self.center_y) / self.Rs)
        cores = jnp.asarray(CORES, jnp.result_type(x))
        s, amplitude = cores[:, 0], cores[:, 1]
        squared = radius_squared(x, y, self.e1, self.e2)[..., None]
        return x, y, s, amplitude, squared, jnp.sqrt(s**2 + squared), 1.0 / (1.0 - self.e1**2 - self.e2**2)
