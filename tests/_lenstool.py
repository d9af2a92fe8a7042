"""LensTool's type 81 by another form than giga's, from LensTool's own numbers."""

import numpy as np

C = 299792.458


def kovner(x, y, sigma, a, s, ellipticity, angle):
    """Deflection of type 81 by the complex logarithm of Kassiola & Kovner (1993), eq. 4.1.2, for D_ls / D_s = 1."""
    eps = (1.0 - np.sqrt(1.0 - ellipticity**2)) / ellipticity
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x

    def one(core):
        root, q = np.sqrt(eps), (1.0 - eps) / (1.0 + eps)
        r = np.sqrt(core**2 + u**2 / (1.0 + eps) ** 2 + v**2 / (1.0 - eps) ** 2)
        quotient = (q * u + 1j * (2.0 * root * r - v / q)) / (u + 1j * (2.0 * core * root - v))
        return -0.5j * (1.0 - eps**2) / root * np.log(quotient)

    alpha = 6.0 * np.pi * (sigma / C) ** 2 * 648000.0 / np.pi * s / (s - a) * (one(a) - one(s)) * np.exp(1j * angle)
    return alpha.real, alpha.imag
