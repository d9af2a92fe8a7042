"""Write lenstronomy.npz: what lenstronomy (1.14.2) gives for random profiles and for one whole image.

Run by hand, `python tests/reference/make_lenstronomy.py`, when a profile joins; needs lenstronomy.

Every profile NAME has NAME/x and NAME/y, shape (n_points,) [arcsec], to 10 arcsec from the origin;
NAME/PARAMETER, shape (n_sets,); and, shape (n_sets, n_points), NAME/alpha_x, alpha_y, psi and the
Hessian xx, xy, yy for a mass (not for NFW_ELLIPSE_POTENTIAL, where lenstronomy takes a finite
difference), NAME/brightness for a light. All float64.

psf/native is a lopsided 9 x 9 kernel, psf/fine2 and fine3 what subgrid_kernel makes of it.

image: 128 x 128 pixels of 0.065 arcsec with the brightness on 2 x 2 subpixels, convolved on the fine
grid with a 53 x 53 Gaussian of FWHM 0.2 arcsec (27 x 27 pixels), float64 [counts / s]; its scene is
`SCENE` below, with image/shapelet_amp for the amplitudes.
"""

import os
from pathlib import Path

import numpy as np
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.LightModel.Profiles.moffat import Moffat
from lenstronomy.Util.kernel_util import subgrid_kernel

OUT = Path(__file__).with_name("lenstronomy.npz")
N_SETS, N_POINTS, N_MAX, N_GAUSSIANS = 12, 32, 6, 12
NPIX, PIXEL_SCALE, SUPERSAMPLING, FWHM = 128, 0.065, 2, 0.2
SCENE = {
    "EPL": dict(theta_E=2.65, gamma=1.9, e1=0.11, e2=-0.13, center_x=0.01, center_y=-0.02),
    "SHEAR": dict(gamma1=0.03, gamma2=-0.02),
    "lens_light": [dict(amp=20.0, R_sersic=1.0, n_sersic=3.5, e1=0.08, e2=-0.09, center_x=0.01, center_y=-0.02),
                   dict(amp=10.0, R_sersic=2.5, n_sersic=1.2, e1=0.1, e2=-0.1, center_x=0.02, center_y=-0.01)],
    "source": dict(amp=30.0, R_sersic=0.25, n_sersic=1.5, e1=0.1, e2=0.05, center_x=0.1, center_y=-0.15),
    "shapelets": dict(n_max=N_MAX, beta=0.12, center_x=0.1, center_y=-0.15),
}


def positions(rng):
    """Points spread evenly in the logarithm of the radius, 0.01 to 10 arcsec."""
    r, phi = 10.0 ** rng.uniform(-2.0, 1.0, N_POINTS), rng.uniform(0.0, 2.0 * np.pi, N_POINTS)
    return r * np.cos(phi), r * np.sin(phi)


def ellipticity(rng, largest):
    e, angle = rng.uniform(0.0, largest, N_SETS), rng.uniform(0.0, 2.0 * np.pi, N_SETS)
    return dict(e1=e * np.cos(angle), e2=e * np.sin(angle))


def center(rng):
    return dict(center_x=rng.normal(0.0, 0.1, N_SETS), center_y=rng.normal(0.0, 0.1, N_SETS))


def parameters(rng):
    """Random parameters of each mass profile, under lenstronomy's names."""
    theta_E = rng.uniform(0.3, 3.0, N_SETS)
    halo = dict(Rs=rng.uniform(0.5, 8.0, N_SETS), alpha_Rs=rng.uniform(0.3, 3.0, N_SETS))
    return {
        "EPL": dict(theta_E=theta_E, gamma=rng.uniform(1.2, 2.8, N_SETS), **ellipticity(rng, 0.6), **center(rng)),
        "SIE": dict(theta_E=theta_E, **ellipticity(rng, 0.6), **center(rng)),
        "NFW": dict(**halo, **center(rng)),
        "NFW_ELLIPSE_POTENTIAL": dict(**halo, **ellipticity(rng, 0.2), **center(rng)),
        "SHEAR": dict(gamma1=rng.normal(0.0, 0.1, N_SETS), gamma2=rng.normal(0.0, 0.1, N_SETS)),
    }


def more_lights(rng):
    """Random parameters of light profiles that came later, with a generator of their own."""
    def flux():
        return rng.uniform(1.0, 9.0, N_SETS)

    def radius(low, high):
        return rng.uniform(low, high, N_SETS)

    return {
        "CORE_SERSIC": dict(amp=flux(), R_sersic=radius(0.3, 3.0), Rb=radius(0.02, 0.3), n_sersic=radius(0.8, 8.0),
                            gamma=radius(0.0, 0.8), alpha=radius(1.0, 5.0), **ellipticity(rng, 0.6), **center(rng)),
        "GAUSSIAN_ELLIPSE": dict(amp=flux(), sigma=radius(0.3, 3.0), **ellipticity(rng, 0.6), **center(rng)),
        "MULTI_GAUSSIAN_ELLIPSE": dict(amp=rng.uniform(0.0, 2.0, (N_SETS, N_GAUSSIANS)), sigma_min=radius(0.02, 0.1),
                                       sigma_max=radius(1.0, 5.0), **ellipticity(rng, 0.6), **center(rng)),
        "MOFFAT": dict(amp=flux(), alpha=radius(0.1, 2.0), beta=radius(1.5, 5.0), **center(rng)),
        "UNIFORM": dict(amp=flux()),
        "INTERPOL": dict(amp=flux(), image=rng.normal(size=(N_SETS, 9, 7)), scale=radius(0.1, 1.0),
                         phi_G=radius(-3.0, 3.0), **center(rng)),
    }


def one(kwargs, k):
    return {name: float(values[k]) for name, values in kwargs.items()}


def mass(name, kwargs, x, y):
    # "SIE" is by default a NIE with a small core, good to 1e-7; the power law at gamma = 2 is exact.
    model, extra = (LensModel(["EPL"]), dict(gamma=2.0)) if name == "SIE" else (LensModel([name]), {})
    rows = []
    for k in range(N_SETS):
        args = x, y, [one(kwargs, k) | extra]
        xx, xy, _, yy = model.hessian(*args)
        rows.append([*model.alpha(*args), model.potential(*args), xx, xy, yy])
    if name == "NFW_ELLIPSE_POTENTIAL":
        rows = [row[:3] for row in rows]
    keys = ("alpha_x", "alpha_y", "psi", "xx", "xy", "yy")[:len(rows[0])]
    return dict(zip(keys, np.moveaxis(np.array(rows), 1, 0), strict=True))


def light(name, kwargs, x, y):
    fixed = dict(n_max=N_MAX) if name == "SHAPELETS" else {}
    arrays = {n: v for n, v in kwargs.items() if n in ("amp", "image")}
    widths = ("sigma_min", "sigma_max")
    rows = []
    for k in range(N_SETS):
        values = one({n: v for n, v in kwargs.items() if n not in (*arrays, *widths)}, k)
        values |= {n: v[k] for n, v in arrays.items()} | fixed
        if name == "MULTI_GAUSSIAN_ELLIPSE":
            values["sigma"] = np.geomspace(*(kwargs[n][k] for n in widths), N_GAUSSIANS)
        # A new model each time: INTERPOL keeps the first image it is given. MOFFAT is in no LightModel.
        rows.append(Moffat().function(x, y, **values) if name == "MOFFAT"
                    else LightModel([name]).surface_brightness(x, y, [values]))
    return np.array(rows)


def image(amplitudes):
    axis = (np.arange(53) - 26) * PIXEL_SCALE / SUPERSAMPLING
    line = np.exp(-0.5 * (axis / (FWHM / 2.3548200450309493)) ** 2)
    kernel = np.outer(line, line) / np.sum(line) ** 2
    corner = -0.5 * (NPIX - 1) * PIXEL_SCALE
    data = ImageData(image_data=np.zeros((NPIX, NPIX)), background_rms=1.0, exposure_time=1.0, ra_at_xy_0=corner,
                     dec_at_xy_0=corner, transform_pix2angle=np.eye(2) * PIXEL_SCALE)
    psf = PSF("PIXEL", kernel_point_source=kernel, kernel_point_source_normalisation=True,
              point_source_supersampling_factor=SUPERSAMPLING)
    model = ImageModel(data, psf, LensModel(["EPL", "SHEAR"]), LightModel(["SERSIC_ELLIPSE", "SHAPELETS"]),
                       LightModel(["SERSIC_ELLIPSE", "SERSIC_ELLIPSE"]),
                       kwargs_numerics=dict(supersampling_factor=SUPERSAMPLING, supersampling_convolution=True,
                                            convolution_type="fft_static", supersampling_kernel_size=None))
    return model.image([SCENE["EPL"], SCENE["SHEAR"]], [SCENE["source"], SCENE["shapelets"] | dict(amp=amplitudes)],
                       SCENE["lens_light"])


def main():
    rng = np.random.default_rng(1)
    out = {}
    for name, kwargs in parameters(rng).items():
        x, y = positions(rng)
        for key, value in (kwargs | dict(x=x, y=y) | mass(name, kwargs, x, y)).items():
            out[f"{name}/{key}"] = value
    lights = {
        "SERSIC_ELLIPSE": dict(amp=rng.uniform(1.0, 9.0, N_SETS), R_sersic=rng.uniform(0.1, 3.0, N_SETS),
                               n_sersic=rng.uniform(0.5, 8.0, N_SETS), **ellipticity(rng, 0.6), **center(rng)),
        "SHAPELETS": dict(amp=rng.normal(size=(N_SETS, (N_MAX + 1) * (N_MAX + 2) // 2)),
                          beta=rng.uniform(0.1, 2.0, N_SETS), **center(rng)),
    }
    for name, kwargs in lights.items():
        x, y = positions(rng)
        for key, value in (kwargs | dict(x=x, y=y, brightness=light(name, kwargs, x, y))).items():
            out[f"{name}/{key}"] = value
    out["image/shapelet_amp"] = 3.0 * rng.normal(size=(N_MAX + 1) * (N_MAX + 2) // 2)
    out["image/pixels"] = image(out["image/shapelet_amp"])
    for name, kwargs in more_lights(np.random.default_rng(2)).items():
        x, y = positions(np.random.default_rng(3))
        for key, value in (kwargs | dict(x=x, y=y, brightness=light(name, kwargs, x, y))).items():
            out[f"{name}/{key}"] = value
    axis = np.arange(9) - 4.0
    kernel = np.exp(-0.5 * ((axis[:, None] - 0.2) ** 2 + (axis[None, :] + 0.3) ** 2 / 2.0))
    out["psf/native"] = kernel / kernel.sum()
    for factor in (2, 3):
        out[f"psf/fine{factor}"] = subgrid_kernel(out["psf/native"], factor, odd=True)
    temporary = OUT.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **out)
    os.replace(temporary, OUT)
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} KB, {len(out)} arrays")


if __name__ == "__main__":
    main()
