"""Write mass.npz: what lenstronomy (1.14.2), or mpmath where it approximates, gives for random mass profiles.

Run by hand, `python tests/reference/make_mass.py`, when a profile joins; needs lenstronomy and mpmath.

Every profile NAME of giga has NAME/x and NAME/y, shape (n_points,) [arcsec]; NAME/PARAMETER, shape (n_sets,); and,
shape (n_sets, n_points), NAME/alpha_x, alpha_y, psi and the Hessian xx, xy, yy. All float64.

lenstronomy approximates, so that mpmath's quadrature of the convergence to 20 digits stands in for it, with
- SPEMD, which it has from a compiled package to that one's accuracy;
- Sersic of elliptical mass: a trial quadrature, of another ellipse, without a potential;
- GNFW: an interpolated normalisation, and a potential with the deflection constant inside 1e-3 Rs;
- PJaffeEllipse: it has none.
Its Hessians of NIE, Hernquist, NFW and dual pseudo-isothermal potentials on ellipses are finite differences, and
are left out; so is the potential of TNFW, which has lost up to six digits near the centre.
"""

import os
from pathlib import Path

import mpmath as mp
import numpy as np
from lenstronomy.LensModel.lens_model import LensModel

OUT = Path(__file__).with_name("mass.npz")
N_SETS, N_POINTS = 8, 24
QUADRATURE_SETS, QUADRATURE_POINTS = 3, 6
KEYS = ("alpha_x", "alpha_y", "psi", "xx", "xy", "yy")


def positions(rng, n, largest=1.0):
    """Points spread evenly in the logarithm of the radius, 0.02 to 10 arcsec."""
    r, phi = 10.0 ** rng.uniform(-1.7, largest, n), rng.uniform(0.0, 2.0 * np.pi, n)
    return r * np.cos(phi), r * np.sin(phi)


def draws(rng, n):
    """Random parameters of each profile under lenstronomy's name, with what is left out of its results."""
    u = rng.uniform

    def ellipticity(largest):
        e, angle = u(0.0, largest, n), u(0.0, 2.0 * np.pi, n)
        return dict(e1=e * np.cos(angle), e2=e * np.sin(angle))

    def center():
        return dict(center_x=rng.normal(0.0, 0.1, n), center_y=rng.normal(0.0, 0.1, n))

    def zero():
        return dict(ra_0=rng.normal(0.0, 0.1, n), dec_0=rng.normal(0.0, 0.1, n))

    def angle():
        return u(-np.pi, np.pi, n)

    hessian, potential = ("xx", "xy", "yy"), ("psi",)
    return {
        "SIS": ("SIS", dict(theta_E=u(0.3, 3.0, n), **center()), ()),
        "PointMass": ("POINT_MASS", dict(theta_E=u(0.3, 3.0, n), **center()), ()),
        "Convergence": ("CONVERGENCE", dict(kappa=u(-0.2, 0.2, n), **zero()), ()),
        "Flexion": ("FLEXION", dict(g1=u(-0.1, 0.1, n), g2=u(-0.1, 0.1, n), g3=u(-0.1, 0.1, n), g4=u(-0.1, 0.1, n),
                                    **zero()), ()),
        "NIE": ("NIE", dict(theta_E=u(0.3, 3.0, n), s_scale=u(0.02, 1.0, n), **ellipticity(0.6), **center()), hessian),
        "Hernquist": ("HERNQUIST", dict(sigma0=u(0.1, 2.0, n), Rs=u(0.3, 5.0, n), **center()), hessian),
        "Gaussian": ("GAUSSIAN", dict(amp=u(0.3, 3.0, n), sigma=u(0.05, 3.0, n), **center()), ()),
        "PJaffe": ("PJAFFE", dict(sigma0=u(0.1, 2.0, n), Ra=u(0.02, 0.5, n), Rs=u(0.6, 8.0, n), **center()), ()),
        "PJaffe_elliptical": ("PJAFFE_ELLIPSE_POTENTIAL",
                              dict(sigma0=u(0.1, 2.0, n), Ra=u(0.02, 0.5, n), Rs=u(0.6, 8.0, n), **ellipticity(0.3),
                                   **center()), hessian),
        "NFWEllipse": ("NFW_ELLIPSE_CSE", dict(Rs=u(0.5, 8.0, n), alpha_Rs=u(0.3, 3.0, n), **ellipticity(0.6),
                                               **center()), ()),
        "TNFW": ("TNFW", dict(Rs=u(0.5, 6.0, n), alpha_Rs=u(0.3, 3.0, n), r_trunc=u(0.5, 30.0, n), **center()),
                 potential),
        "EPLMultipole": ("EPL_MULTIPOLE_M1M3M4",
                         dict(theta_E=u(0.3, 3.0, n), gamma=u(1.4, 2.6, n), **ellipticity(0.5), a1_a=u(-0.1, 0.1, n),
                              delta_phi_m1=angle(), a3_a=u(-0.1, 0.1, n), delta_phi_m3=angle(),
                              a4_a=u(-0.1, 0.1, n), delta_phi_m4=angle(), **center()), ()),
    }


def of_lenstronomy(name, kwargs, x, y, left_out):
    model, rows = LensModel([name]), []
    for k in range(N_SETS):
        args = x.copy(), y.copy(), [{key: float(value[k]) for key, value in kwargs.items()}]
        xx, xy, _, yy = model.hessian(*args)
        rows.append([*model.alpha(*args), model.potential(*args), xx, xy, yy])
    found = dict(zip(KEYS, np.moveaxis(np.array(rows), 1, 0), strict=True))
    return {key: value for key, value in found.items() if key not in left_out}


class Elliptical:
    """Potential and deflection of kappa(R), R^2 = q x^2 + y^2 / q, from Bourassa & Kantowski's rings."""

    def __init__(self, kappa, e1, e2, breaks):
        self.kappa, self.e, self.breaks = kappa, mp.mpc(e1, e2), breaks

    def _ellipse(self, x, y):
        z, e = mp.mpc(x, y), self.e
        squared = abs(z - e * mp.conj(z)) ** 2 / (1 - abs(e) ** 2)
        return z, mp.sqrt(squared), 4 * e / (1 - abs(e) ** 2) * squared / z**2

    def _over(self, function, radius):
        """Over 0 < s < 1, split where the convergence has its scales."""
        points = sorted({mp.mpf(0), mp.mpf(1), *(b / radius for b in self.breaks if b < radius), mp.mpf("0.5"),
                         mp.mpf("0.9")})
        return mp.quad(function, points)

    def alpha(self, x, y):
        z, radius, t = self._ellipse(x, y)
        ring = self._over(lambda s: self.kappa(radius * s) * s / mp.sqrt(1 - t * s * s), radius)
        return mp.conj(2 * radius**2 / z * ring)

    def psi(self, x, y):
        z, radius, t = self._ellipse(x, y)
        edge = 1 + mp.sqrt(1 - t)

        def shell(s):
            return 0 if s == 0 else self.kappa(radius * s) * s * (mp.log(abs((1 + mp.sqrt(1 - t * s * s)) / edge))
                                                                 - mp.log(s))

        return 2 * radius**2 * self._over(shell, radius)


class Round:
    """Potential and deflection of a slope M(x), for the GNFW."""

    def __init__(self, Rs, alpha_Rs, gamma_in):
        self.Rs, self.a, self.one = mp.mpf(Rs), 3 - mp.mpf(gamma_in), None
        self.scale = alpha_Rs / self.mass(mp.mpf(1))

    def mass(self, x):
        sphere = x**self.a / self.a * mp.hyp2f1(self.a, self.a, self.a + 1, -x)
        inner = min(x, mp.mpf("0.5"))
        return sphere + x**self.a * mp.quad(lambda t: (t + x) ** -self.a * t / (1 + mp.sqrt(1 - t * t)),
                                            [0, inner, (1 + inner) / 2, 1])

    def alpha(self, x, y):
        z = mp.mpc(x, y)
        radius = abs(z) / self.Rs
        return self.scale * self.mass(radius) / radius * z / abs(z)

    def psi(self, x, y):
        """Of spherical shells: 1 - ln 2 + ln(x / r) outside, 1 - c - ln(2 / (1 + c)) inside, c^2 = 1 - x^2 / r^2."""
        radius = abs(mp.mpc(x, y)) / self.Rs

        def mass(r):
            return r ** (self.a - 1) * (1 + r) ** -self.a

        def outer(y):  # r = radius / y
            c = mp.sqrt(1 - y * y)
            return mass(radius / y) * radius / y**2 * (1 - c - mp.log(2 / (1 + c))) if y else 0

        inner = mp.quad(lambda r: mass(r) * (1 - mp.log(2) + mp.log(radius / r)) if r else 0, [0, radius / 2, radius])
        return self.scale * self.Rs * (inner + mp.quad(outer, [0, min(radius, mp.mpf("0.5")) / 2, 1]))


def sersic(k_eff, R_sersic, n_sersic, e1, e2, mass_to_light):
    b = mp.mpf(1.9992) * n_sersic - mp.mpf(0.3271)

    def kappa(radius):
        return mass_to_light * k_eff * mp.exp(-b * ((radius / R_sersic) ** (1 / mp.mpf(n_sersic)) - 1))

    return Elliptical(kappa, e1, e2, [R_sersic * mp.mpf(10) ** -k for k in range(-1, 4)])


def spemd(theta_E, gamma, s_scale, e1, e2):
    def kappa(radius):
        return (3 - mp.mpf(gamma)) / 2 * (mp.mpf(theta_E) ** 2 / (radius**2 + mp.mpf(s_scale) ** 2)) ** (
            (mp.mpf(gamma) - 1) / 2)

    return Elliptical(kappa, e1, e2, [s_scale * mp.mpf(3) ** k for k in range(6)])


def pjaffe(sigma0, Ra, Rs, e1, e2):
    def kappa(radius):
        core, cut = mp.sqrt(mp.mpf(Ra) ** 2 + radius**2), mp.sqrt(mp.mpf(Rs) ** 2 + radius**2)
        return sigma0 * mp.mpf(Ra) * Rs * (mp.mpf(Ra) + Rs) / (core * cut * (core + cut))

    lens = Elliptical(kappa, e1, e2, [Ra, 3 * Ra, Rs])
    # The potential's constant: giga's has, of equal shape, 2 sigma0 Ra Rs ln Phi(0) / 2 averaged over the radii
    constant = mp.quad(lambda s: mp.log(4 * s**2 / (1 - mp.mpf(e1) ** 2 - mp.mpf(e2) ** 2)) / 2, [Ra, Rs]) / (
        mp.mpf(Rs) - Ra)
    return lens, 2 * sigma0 * mp.mpf(Ra) * Rs * constant


def of_mpmath(make, kwargs, x, y):
    mp.mp.dps = 20
    h = mp.mpf(10) ** -6
    center = {key: kwargs[key] for key in ("center_x", "center_y")}
    rows = []
    for k in range(QUADRATURE_SETS):
        lens, constant = make(**{key: float(value[k]) for key, value in kwargs.items() if key not in center}), 0
        if isinstance(lens, tuple):
            lens, constant = lens
        row = []
        for a, b in zip(x - center["center_x"][k], y - center["center_y"][k], strict=True):
            a, b = mp.mpf(a), mp.mpf(b)
            alpha = lens.alpha(a, b)
            dx = (lens.alpha(a + h, b) - lens.alpha(a - h, b)) / (2 * h)
            dy = (lens.alpha(a, b + h) - lens.alpha(a, b - h)) / (2 * h)
            row.append([float(v) for v in (alpha.real, alpha.imag, lens.psi(a, b) + constant, dx.real, dx.imag,
                                           dy.imag)])
        rows.append(np.array(row).T)
    return dict(zip(KEYS, np.moveaxis(np.array(rows), 1, 0), strict=True))


def quadratures(rng, n):
    u = rng.uniform

    def shape(largest):
        e, angle = u(0.05, largest, n), u(0.0, 2.0 * np.pi, n)
        return dict(e1=e * np.cos(angle), e2=e * np.sin(angle), center_x=rng.normal(0.0, 0.1, n),
                    center_y=rng.normal(0.0, 0.1, n))

    return {
        "Sersic": (sersic, dict(k_eff=u(0.1, 1.0, n), R_sersic=u(0.2, 3.0, n), n_sersic=u(0.6, 7.0, n), **shape(0.7),
                                mass_to_light=u(0.5, 2.0, n))),
        "SPEMD": (spemd, dict(theta_E=u(0.3, 3.0, n), gamma=u(1.3, 2.7, n), s_scale=u(0.02, 0.5, n), **shape(0.7))),
        "PJaffeEllipse": (pjaffe, dict(sigma0=u(0.1, 2.0, n), Ra=u(0.05, 0.5, n), Rs=u(0.55, 5.0, n), **shape(0.7))),
        "GNFW": (Round, dict(Rs=u(0.5, 5.0, n), alpha_Rs=u(0.3, 3.0, n), gamma_in=u(0.3, 2.3, n),
                             center_x=rng.normal(0.0, 0.1, n), center_y=rng.normal(0.0, 0.1, n))),
    }


def main():
    rng = np.random.default_rng(2)
    out = {}
    for name, (theirs, kwargs, left_out) in draws(rng, N_SETS).items():
        x, y = positions(rng, N_POINTS)
        for key, value in (kwargs | dict(x=x, y=y) | of_lenstronomy(theirs, kwargs, x, y, left_out)).items():
            out[f"{name}/{key}"] = value
        print(name, flush=True)
    for name, (make, kwargs) in quadratures(rng, QUADRATURE_SETS).items():
        x, y = positions(rng, QUADRATURE_POINTS, 0.9)
        for key, value in (kwargs | dict(x=x, y=y) | of_mpmath(make, kwargs, x, y)).items():
            out[f"{name}/{key}"] = value
        print(name, flush=True)
        write(out)


def write(out):
    temporary = OUT.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **out)
    os.replace(temporary, OUT)
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} KB, {len(out)} arrays", flush=True)


if __name__ == "__main__":
    main()
