"""Write planes.npz: what lenstronomy (1.14.2) gives for rays through several planes, delays and images.

Run by hand, `python tests/reference/make_planes.py`; needs lenstronomy.

CASE/x and CASE/y, shape (n_points,) [arcsec], are positions on the sky; CASE/beta_x, beta_y [arcsec], xx, xy, yx, yy
(derivatives of the total deflection) and time [days] are those of the source plane; the cases are `CASES`, in flat
universes, for lenstronomy's recursion holds in those alone. Its Hessian through several planes is a finite difference
with a step of 1e-5 arcsec, good to about 1e-8.

single/beta_x, beta_y is a source behind the mass SINGLE; single/x, y, magnification and fermat are its images, sorted
by arrival time, moved onto the solution of the lens equation by Newton steps.
"""

import os
from pathlib import Path

import numpy as np
from astropy.cosmology import FlatLambdaCDM, FlatwCDM
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver

OUT = Path(__file__).with_name("planes.npz")
N_POINTS = 24
EPL = dict(theta_E=1.3, gamma=2.0, e1=0.12, e2=-0.07, center_x=0.03, center_y=-0.02)
SHEAR = dict(gamma1=0.04, gamma2=-0.03, ra_0=0.0, dec_0=0.0)
SIS = dict(theta_E=0.25, center_x=0.9, center_y=-0.4)
NFW = dict(Rs=3.0, alpha_Rs=0.3, center_x=-0.7, center_y=0.8)
# Profiles, redshifts of the masses, redshift of the source, redshift that deflections are scaled to, cosmology
CASES = {
    "one": (["EPL", "SHEAR"], [EPL, SHEAR], [0.5, 0.5], 2.0, 2.0, FlatLambdaCDM(70.0, 0.3)),
    "near_source": (["EPL", "SHEAR"], [EPL, SHEAR], [0.5, 0.5], 0.8, 2.0, FlatLambdaCDM(70.0, 0.3)),
    "two": (["EPL", "SHEAR", "SIS"], [EPL, SHEAR, SIS], [0.5, 0.5, 0.9], 2.0, 2.0, FlatLambdaCDM(67.0, 0.32)),
    "three": (["SIS", "EPL", "SHEAR", "NFW"], [SIS, EPL, SHEAR, NFW], [0.2, 0.5, 0.5, 1.1], 2.5, 3.0,
              FlatwCDM(73.0, 0.28, w0=-0.85)),
}
SINGLE = (["EPL", "SHEAR"], [EPL, SHEAR])
SOURCE = (0.05, 0.0)


def planes(rng):
    out = {}
    for name, (profiles, kwargs, redshifts, z_source, z_reference, cosmology) in CASES.items():
        model = LensModel(profiles, lens_redshift_list=redshifts, z_source=z_source, multi_plane=True,
                          z_source_convention=z_reference, cosmo=cosmology)
        r, phi = rng.uniform(0.3, 3.0, N_POINTS), rng.uniform(0.0, 2.0 * np.pi, N_POINTS)
        x, y = r * np.cos(phi), r * np.sin(phi)
        beta_x, beta_y = model.ray_shooting(x, y, kwargs)
        xx, xy, yx, yy = model.hessian(x, y, kwargs, diff=1e-5, diff_method="cross")
        time = model.arrival_time(x, y, kwargs)
        out |= {f"{name}/{key}": value for key, value in dict(x=x, y=y, beta_x=beta_x, beta_y=beta_y, xx=xx, xy=xy,
                                                              yx=yx, yy=yy, time=time).items()}
    return out


def single():
    profiles, kwargs = SINGLE
    model = LensModel(profiles)
    x, y = LensEquationSolver(model).image_position_from_source(*SOURCE, kwargs, min_distance=0.02, search_window=6.0,
                                                                precision_limit=1e-12, num_iter_max=200)
    for _ in range(3):
        xx, xy, yx, yy = model.hessian(x, y, kwargs)
        beta_x, beta_y = model.ray_shooting(x, y, kwargs)
        d_x, d_y = SOURCE[0] - beta_x, SOURCE[1] - beta_y
        det = (1.0 - xx) * (1.0 - yy) - xy * yx
        x, y = x + ((1.0 - yy) * d_x + xy * d_y) / det, y + (yx * d_x + (1.0 - xx) * d_y) / det
    fermat = model.fermat_potential(x, y, kwargs, *SOURCE)
    order = np.argsort(fermat)
    return dict(beta_x=SOURCE[0], beta_y=SOURCE[1], x=x[order], y=y[order], fermat=fermat[order],
                magnification=model.magnification(x, y, kwargs)[order])


def main():
    out = planes(np.random.default_rng(4)) | {f"single/{key}": value for key, value in single().items()}
    temporary = OUT.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **out)
    os.replace(temporary, OUT)
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} KB, {len(out)} arrays")


if __name__ == "__main__":
    main()
