"""Write exchange.npz: what other codes give for random parameters in their own conventions.

Run by hand, `python tests/reference/make_exchange.py`, where the codes are installed; those that are not keep what the
file has. Names of the functions below, as arguments, leave the others as they are. JAX in double precision:
`JAX_ENABLE_X64=1`. Versions: lenstronomy 1.14.2, coolest 0.1.11, GIGA-Lens 0.1.8, Herculens 0.3.0, caustics 1.7.1,
PyAutoGalaxy 2026.7.29.1; GIGA-Lens's TNFW, which does not run in JAX, by TensorFlow in single precision.

For a profile NAME of a CODE, CODE/KIND/NAME/PARAMETER has its parameters, shape (n_sets, ...), KIND being mass or
light; CODE/KIND/NAME/x and y the positions, shape (n_points,) [arcsec]; and of mass alpha_x and alpha_y, of light
brightness, shape (n_sets, n_points). All float64. CODE/KIND/NAME/SETTING has what goes with the parameters: `distances`
of a mass in suns, and names of arguments that a case was made with, after a semicolon in NAME.
"""

import importlib
import os
import sys
from pathlib import Path

import numpy as np

OUT = Path(__file__).with_name("exchange.npz")
N_SETS, N_POINTS = 3, 12


def positions(rng):
    r, phi = 10.0 ** rng.uniform(-0.7, 0.7, N_POINTS), rng.uniform(0.0, 2.0 * np.pi, N_POINTS)
    return r * np.cos(phi), r * np.sin(phi)


def ellipticity(rng):
    e, angle = rng.uniform(0.05, 0.45, N_SETS), rng.uniform(0.0, 2.0 * np.pi, N_SETS)
    return dict(e1=e * np.cos(angle), e2=e * np.sin(angle))


def polar(rng, low, high):
    """Axis ratio, and an angle in a range."""
    return rng.uniform(0.4, 0.95, N_SETS), rng.uniform(low, high, N_SETS)


def center(rng, x="center_x", y="center_y"):
    return {x: rng.normal(0.0, 0.1, N_SETS), y: rng.normal(0.0, 0.1, N_SETS)}


def sets(kwargs):
    """The parameters of each set; the same for all where they are integers."""
    return [{key: value[k].item() if value[k].ndim == 0 else value[k] for key, value in kwargs.items()}
            for k in range(N_SETS)]


def each(value):
    return np.broadcast_to(value, (N_SETS, *np.shape(value)))


def lenstronomy(rng):
    lens = importlib.import_module("lenstronomy.LensModel.lens_model").LensModel
    lights = importlib.import_module("lenstronomy.LightModel.light_model").LightModel
    u = rng.uniform
    size = dict(R_sersic=u(0.3, 2.0, N_SETS), n_sersic=u(0.6, 5.0, N_SETS))
    amp, theta = dict(amp=u(0.5, 9.0, N_SETS)), dict(theta_E=u(0.5, 2.0, N_SETS))
    q, phi = polar(rng, -1.5, 1.5)
    masses = {
        "SIS": theta | center(rng), "SIE": theta | ellipticity(rng) | center(rng),
        "NIE": theta | dict(s_scale=u(0.05, 0.5, N_SETS)) | ellipticity(rng) | center(rng),
        "EPL": theta | dict(gamma=u(1.5, 2.5, N_SETS)) | ellipticity(rng) | center(rng),
        "EPL_Q_PHI": theta | dict(gamma=u(1.5, 2.5, N_SETS), q=q, phi=phi) | center(rng),
        "EPL_MULTIPOLE_M1M3M4": theta | dict(gamma=u(1.5, 2.5, N_SETS)) | ellipticity(rng) | center(rng)
        | {f"a{m}_a": u(-0.1, 0.1, N_SETS) for m in (1, 3, 4)} | {f"delta_phi_m{m}": u(-1.0, 1.0, N_SETS)
                                                               for m in (1, 3, 4)},
        "NFW": dict(Rs=u(1.0, 5.0, N_SETS), alpha_Rs=u(0.5, 2.0, N_SETS)) | center(rng),
        "NFW_ELLIPSE_POTENTIAL": dict(Rs=u(1.0, 5.0, N_SETS), alpha_Rs=u(0.5, 2.0, N_SETS)) | ellipticity(rng)
        | center(rng),
        "NFW_ELLIPSE_CSE": dict(Rs=u(1.0, 5.0, N_SETS), alpha_Rs=u(0.5, 2.0, N_SETS)) | ellipticity(rng) | center(rng),
        "TNFW": dict(Rs=u(1.0, 5.0, N_SETS), alpha_Rs=u(0.5, 2.0, N_SETS), r_trunc=u(2.0, 20.0, N_SETS)) | center(rng),
        "GNFW": dict(Rs=u(1.0, 5.0, N_SETS), alpha_Rs=u(0.5, 2.0, N_SETS), gamma_in=u(0.5, 1.8, N_SETS)) | center(rng),
        "HERNQUIST": dict(sigma0=u(0.2, 2.0, N_SETS), Rs=u(0.3, 3.0, N_SETS)) | center(rng),
        "PJAFFE": dict(sigma0=u(0.2, 2.0, N_SETS), Ra=u(0.02, 0.3, N_SETS), Rs=u(0.6, 8.0, N_SETS)) | center(rng),
        "PJAFFE_ELLIPSE_POTENTIAL": dict(sigma0=u(0.2, 2.0, N_SETS), Ra=u(0.02, 0.3, N_SETS), Rs=u(0.6, 8.0, N_SETS))
        | {key: 0.5 * value for key, value in ellipticity(rng).items()} | center(rng),
        "SERSIC": dict(k_eff=u(0.1, 0.6, N_SETS)) | size | center(rng),
        "SERSIC_ELLIPSE_GAUSS_DEC": dict(k_eff=u(0.1, 0.6, N_SETS)) | size | ellipticity(rng) | center(rng),
        "GAUSSIAN": amp | dict(sigma=u(0.2, 2.0, N_SETS)) | center(rng),
        "MULTI_GAUSSIAN": dict(amp=u(0.5, 2.0, (N_SETS, 3)), sigma=u(0.2, 2.0, (N_SETS, 3)),
                               scale_factor=u(0.5, 1.5, N_SETS)) | center(rng),
        "POINT_MASS": theta | center(rng),
        "SHEAR": dict(gamma1=u(-0.1, 0.1, N_SETS), gamma2=u(-0.1, 0.1, N_SETS)),
        "SHEAR_GAMMA_PSI": dict(gamma_ext=u(0.01, 0.1, N_SETS), psi_ext=u(-1.5, 1.5, N_SETS)),
        "CONVERGENCE": dict(kappa=u(-0.1, 0.1, N_SETS)) | center(rng, "ra_0", "dec_0"),
        "FLEXION": {f"g{k}": u(-0.05, 0.05, N_SETS) for k in (1, 2, 3, 4)} | center(rng, "ra_0", "dec_0"),
    }
    shapes = {
        "SERSIC": amp | size | center(rng), "SERSIC_ELLIPSE": amp | size | ellipticity(rng) | center(rng),
        "SERSIC_ELLIPSE_Q_PHI": amp | size | dict(q=q, phi=phi) | center(rng),
        "CORE_SERSIC": amp | size | dict(Rb=u(0.05, 0.2, N_SETS), gamma=u(0.0, 0.5, N_SETS)) | ellipticity(rng)
        | center(rng),
        "GAUSSIAN": amp | dict(sigma=u(0.2, 2.0, N_SETS)) | center(rng),
        "GAUSSIAN_ELLIPSE": amp | dict(sigma=u(0.2, 2.0, N_SETS)) | ellipticity(rng) | center(rng),
        "MULTI_GAUSSIAN": dict(amp=u(0.5, 2.0, (N_SETS, 4)), sigma=each(0.1 * 2.0 ** np.arange(4))) | center(rng),
        "MULTI_GAUSSIAN_ELLIPSE": dict(amp=u(0.5, 2.0, (N_SETS, 4)), sigma=each(0.1 * 2.0 ** np.arange(4)))
        | ellipticity(rng) | center(rng),
        "SHAPELETS": dict(amp=rng.normal(size=(N_SETS, 15)), n_max=each(4), beta=u(0.3, 1.0, N_SETS)) | center(rng),
        "UNIFORM": dict(amp=rng.normal(size=N_SETS)),
        "INTERPOL": dict(image=u(0.0, 1.0, (N_SETS, 8, 9)), scale=u(0.4, 0.8, N_SETS), phi_G=u(-1.0, 1.0, N_SETS))
        | amp | center(rng),
    }
    for name, kwargs in masses.items():
        yield "mass", name, kwargs, lambda x, y, k, name=name: lens([name]).alpha(x, y, [k])
    for name, kwargs in shapes.items():
        yield "light", name, kwargs, lambda x, y, k, name=name: lights([name]).surface_brightness(x, y, [k])


def coolest(rng):
    mass = importlib.import_module("coolest.api.profiles.mass")
    light = importlib.import_module("coolest.api.profiles.light")
    u = rng.uniform
    q, phi = polar(rng, -89.0, 89.0)
    yield "mass", "PEMD", dict(theta_E=u(0.5, 2.0, N_SETS), gamma=u(1.5, 2.5, N_SETS), q=q, phi=phi) | center(rng), \
        lambda x, y, k: mass.PEMD().deflection(x, y, **k)
    yield "mass", "ExternalShear", dict(gamma_ext=u(0.01, 0.1, N_SETS), phi_ext=u(-89.0, 89.0, N_SETS)), \
        lambda x, y, k: mass.ExternalShear().deflection(x, y, **k)
    yield "mass", "ConvergenceSheet", dict(kappa_s=u(-0.1, 0.1, N_SETS)), \
        lambda x, y, k: mass.ConvergenceSheet().deflection(x, y, **k)
    q, phi = polar(rng, -89.0, 89.0)
    yield "light", "Sersic", dict(I_eff=u(0.5, 9.0, N_SETS), theta_eff=u(0.3, 2.0, N_SETS), n=u(0.6, 5.0, N_SETS), q=q,
                                  phi=phi) | center(rng), \
        lambda x, y, k: light.Sersic().evaluate_surface_brightness(x, y, **k)
    yield "light", "Shapelets", dict(amps=rng.normal(size=(N_SETS, 10)), n_max=each(3), beta=u(0.3, 1.0, N_SETS)) \
        | center(rng), lambda x, y, k: light.Shapelets().evaluate_surface_brightness(x, y, **k)


def gigalens(rng):
    modules = {name: importlib.import_module(f"gigalens.jax.profiles.{name}")
               for name in ("mass.epl", "mass.sie", "mass.shear", "light.sersic")}
    u = rng.uniform
    size = dict(R_sersic=u(0.3, 2.0, N_SETS), n_sersic=u(0.6, 5.0, N_SETS), Ie=u(0.5, 9.0, N_SETS))
    theta = dict(theta_E=u(0.5, 2.0, N_SETS))
    yield "mass", "EPL", theta | dict(gamma=u(1.5, 2.5, N_SETS)) | ellipticity(rng) | center(rng), \
        lambda x, y, k: modules["mass.epl"].EPL(60).deriv(x, y, **k)
    yield "mass", "SIE", theta | ellipticity(rng) | center(rng), \
        lambda x, y, k: modules["mass.sie"].SIE().deriv(x, y, **k)
    yield "mass", "Shear", dict(gamma1=u(-0.1, 0.1, N_SETS), gamma2=u(-0.1, 0.1, N_SETS)), \
        lambda x, y, k: modules["mass.shear"].Shear().deriv(x, y, **k)
    for name, kwargs in (("SersicEllipse", size | ellipticity(rng) | center(rng)), ("Sersic", size | center(rng))):
        # Of the round one its own light() fails without e1 and e2 of a type it can read, so arrays are given.
        yield "light", name, kwargs, lambda x, y, k, name=name: getattr(modules["light.sersic"], name)(
            use_lstsq=False).light(x, y, **{key: np.asarray(value) for key, value in k.items()})


def herculens(rng):
    modules = {name: importlib.import_module(f"herculens.{name}") for name in (
        "MassModel.Profiles.epl", "MassModel.Profiles.sie", "MassModel.Profiles.nie", "MassModel.Profiles.shear",
        "LightModel.Profiles.sersic", "LightModel.Profiles.gaussian")}
    u = rng.uniform
    theta, size = dict(theta_E=u(0.5, 2.0, N_SETS)), dict(R_sersic=u(0.3, 2.0, N_SETS), n_sersic=u(0.6, 5.0, N_SETS))
    amp = dict(amp=u(0.5, 9.0, N_SETS))
    masses = {
        "EPL": ("epl", theta | dict(gamma=u(1.7, 2.3, N_SETS)) | {k: 0.5 * v for k, v in ellipticity(rng).items()}
                | center(rng)),
        "SIE": ("sie", theta | ellipticity(rng) | center(rng)),
        "NIE": ("nie", theta | dict(r_core=u(0.05, 0.5, N_SETS)) | ellipticity(rng) | center(rng)),
        "SHEAR": ("shear", dict(gamma1=u(-0.1, 0.1, N_SETS), gamma2=u(-0.1, 0.1, N_SETS))),
    }
    for name, (file, kwargs) in masses.items():
        cls = getattr(modules[f"MassModel.Profiles.{file}"], "Shear" if name == "SHEAR" else name)
        yield "mass", name, kwargs, lambda x, y, k, cls=cls: cls().derivatives(x, y, **k)
    lights = {
        "SERSIC_ELLIPSE": ("sersic", "Sersic", amp | size | ellipticity(rng) | center(rng)),
        "CORE_SERSIC": ("sersic", "CoreSersic", amp | size | dict(R_break=u(0.05, 0.2, N_SETS),
                                                                  gamma_in=u(0.0, 0.5, N_SETS))
                        | ellipticity(rng) | center(rng)),
        "GAUSSIAN_ELLIPSE": ("gaussian", "GaussianEllipse", amp | dict(sigma=u(0.2, 2.0, N_SETS)) | ellipticity(rng)
                             | center(rng)),
    }
    for name, (file, cls, kwargs) in lights.items():
        made = getattr(modules[f"LightModel.Profiles.{file}"], cls)
        yield "light", name, kwargs, lambda x, y, k, made=made: made().function(x, y, **k)


def caustics(rng):
    os.environ["CASKADE_BACKEND"] = "jax"
    functions = {name: importlib.import_module(f"caustics.{name}") for name in (
        "lenses.func.epl", "lenses.func.sie", "lenses.func.external_shear", "light.func.sersic")}
    u = rng.uniform

    def ellipse():
        q, phi = polar(rng, 0.0, np.pi)
        return center(rng, "x0", "y0") | dict(q=q, phi=phi)

    rein = dict(Rein=u(0.5, 2.0, N_SETS))
    yield "mass", "EPL", ellipse() | rein | dict(t=u(0.6, 1.4, N_SETS)), \
        lambda x, y, k: functions["lenses.func.epl"].reduced_deflection_angle_epl(**k, x=x, y=y, n_iter=60)
    yield "mass", "SIE", ellipse() | rein | dict(s=u(0.05, 0.5, N_SETS)), \
        lambda x, y, k: functions["lenses.func.sie"].reduced_deflection_angle_sie(**k, x=x, y=y)
    yield "mass", "ExternalShear", dict(gamma_1=u(-0.1, 0.1, N_SETS), gamma_2=u(-0.1, 0.1, N_SETS)), lambda x, y, k: \
        functions["lenses.func.external_shear"].reduced_deflection_angle_external_shear(0.0, 0.0, **k, x=x, y=y)
    sersic = functions["light.func.sersic"]
    yield "light", "Sersic", ellipse() | dict(n=u(0.6, 5.0, N_SETS), Re=u(0.3, 2.0, N_SETS), Ie=u(0.5, 9.0, N_SETS)), \
        lambda x, y, k: sersic.brightness_sersic(**k, x=x, y=y, k=sersic.k_sersic(k["n"]), s=0.0)


def gigalens_more(rng):
    sersic = importlib.import_module("gigalens.jax.profiles.light.sersic")
    shapelets = importlib.import_module("gigalens.jax.profiles.light.shapelets")
    u = rng.uniform
    core = dict(R_sersic=u(0.3, 2.0, N_SETS), n_sersic=u(0.6, 5.0, N_SETS), Rb=u(0.05, 0.5, N_SETS),
                alpha=u(0.7, 3.0, N_SETS), gamma=u(0.0, 0.5, N_SETS), Ie=u(0.5, 9.0, N_SETS))
    yield "light", "CoreSersic", core | ellipticity(rng) | center(rng), \
        lambda x, y, k: sersic.CoreSersic(use_lstsq=False).light(x, y, **k)
    amps = {f"amp{k:02d}": rng.normal(size=N_SETS) for k in range(15)}
    yield "light", "Shapelets", dict(beta=u(0.3, 1.0, N_SETS)) | center(rng) | amps, lambda x, y, k: \
        shapelets.Shapelets(4, use_lstsq=False, interpolate=False).light(
            x, y, **{key: np.asarray([value]) if key in amps else value for key, value in k.items()})


def gigalens_tensorflow(rng):
    halo = importlib.import_module("gigalens.tf.profiles.mass.tnfw").TNFW()
    u = rng.uniform
    yield "mass", "TNFW", dict(Rs=u(1.0, 5.0, N_SETS), alpha_Rs=u(0.5, 2.0, N_SETS), r_trunc=u(2.0, 20.0, N_SETS)) \
        | center(rng), lambda x, y, k: [np.asarray(part) for part in halo.deriv(
            np.float32(x), np.float32(y), **{key: np.float32(value) for key, value in k.items()})]


def herculens_more(rng):
    modules = {name: importlib.import_module(f"herculens.{name}") for name in (
        "MassModel.Profiles.dpie", "MassModel.Profiles.piemd", "MassModel.Profiles.shear", "MassModel.Profiles.sis",
        "MassModel.Profiles.point_mass", "LightModel.Profiles.shapelets", "LightModel.Profiles.gaussian")}
    u = rng.uniform

    def turned():
        q, phi = polar(rng, -1.5, 1.5)
        return dict(q=q, phi=phi) | center(rng)

    theta, core = dict(theta_E=u(0.5, 2.0, N_SETS)), dict(r_core=u(0.02, 0.2, N_SETS))
    cut = dict(r_trunc=u(1.0, 9.0, N_SETS))
    masses = {
        "DPIE": ("dpie", "DPIE", {}, theta | core | cut | turned()),
        "DPIE;scale_flag": ("dpie", "DPIE", dict(scale_flag=False), theta | core | cut | turned()),
        "PIEMD": ("piemd", "PIEMD", {}, theta | core | turned()),
        "PIEMD;scale_flag": ("piemd", "PIEMD", dict(scale_flag=False), theta | core | turned()),
        "SHEAR_GAMMA_PSI": ("shear", "ShearGammaPsi", {}, dict(gamma_ext=u(0.01, 0.1, N_SETS),
                                                               psi_ext=u(-1.5, 1.5, N_SETS))),
        "SIS": ("sis", "SIS", {}, theta | center(rng)),
        "POINT_MASS": ("point_mass", "PointMass", {}, theta | center(rng)),
    }
    for name, (file, cls, settings, kwargs) in masses.items():
        made = getattr(modules[f"MassModel.Profiles.{file}"], cls)(**settings)
        yield "mass", name, kwargs, lambda x, y, k, made=made: made.derivatives(x, y, **k)
    yield "light", "SHAPELETS", dict(beta=u(0.3, 1.0, N_SETS), amps=rng.normal(size=(N_SETS, 15))) | center(rng), \
        lambda x, y, k: modules["LightModel.Profiles.shapelets"].Shapelets(4).function(x, y, **k)
    yield "light", "GAUSSIAN", dict(amp=u(0.5, 9.0, N_SETS), sigma=u(0.2, 2.0, N_SETS)) | center(rng), \
        lambda x, y, k: modules["LightModel.Profiles.gaussian"].Gaussian().function(x, y, **k)


def caustics_more(rng):
    os.environ["CASKADE_BACKEND"] = "jax"
    package = importlib.import_module("caustics")
    u, z_l, z_s = rng.uniform, 0.35, 1.4
    cosmo = package.FlatLambdaCDM(name="cosmo").to(dtype=package.backend.float64)  # its distances are single otherwise
    z = [package.backend.as_array(one, dtype=package.backend.float64) for one in (z_l, z_s)]
    distances = each([float(one) for one in (cosmo.angular_diameter_distance(z[0]), cosmo.critical_density(z[0]),
                                             cosmo.critical_surface_density(*z))])

    def bent(name, x, y, k, **settings):
        values = {key: value for key, value in k.items() if key != "distances"}
        lens = getattr(package, name)(cosmology=cosmo, z_l=z[0], z_s=z[1], **settings, **values)
        return lens.reduced_deflection_angle(*map(package.backend.as_array, (x, y)))

    where = center(rng, "x0", "y0")
    yield "mass", "NFW", where | dict(mass=10.0 ** u(12.5, 15.0, N_SETS), c=u(3.0, 12.0, N_SETS),
                                      distances=distances), lambda x, y, k: bent("NFW", x, y, k)
    for name, settings in (("TNFW", {}), ("TNFW;total_mass", dict(interpret_m_total_mass=False))):
        yield "mass", name, where | dict(mass=10.0 ** u(12.0, 14.0, N_SETS), Rs=u(2.0, 9.0, N_SETS),
                                         tau=u(1.5, 9.0, N_SETS), distances=distances), \
            lambda x, y, k, settings=settings: bent("TNFW", x, y, k, **settings)
    yield "mass", "PseudoJaffe", where | dict(mass=10.0 ** u(11.0, 12.5, N_SETS), Rc=u(0.05, 0.3, N_SETS),
                                              Rs=u(1.0, 5.0, N_SETS), distances=distances), \
        lambda x, y, k: bent("PseudoJaffe", x, y, k)
    for name in ("SIS", "Point"):
        yield "mass", name, where | dict(Rein=u(0.5, 2.0, N_SETS)), lambda x, y, k, name=name: bent(name, x, y, k)
    yield "mass", "MassSheet", where | dict(kappa=u(-0.1, 0.1, N_SETS)), lambda x, y, k: bent("MassSheet", x, y, k)

    def shine(x, y, k):
        values = k | dict(image=package.backend.as_array(k["image"]))
        return package.Pixelated(name=None, shape=k["image"].shape, **values).brightness(
            *map(package.backend.as_array, (x, y)))

    # Pixels wide enough for all positions to be between their centres: outside, giga's go to zero, caustics' do not.
    yield "light", "Pixelated", where | dict(image=u(0.0, 1.0, (N_SETS, 12, 13)), pixelscale=u(1.0, 1.3, N_SETS),
                                             scale=u(0.5, 9.0, N_SETS)), shine


def pyautolens(rng):
    package = importlib.import_module("autogalaxy")
    u = rng.uniform

    def placed(round_one=False):
        at = ellipticity(rng)
        return dict(centre=rng.normal(0.0, 0.1, (N_SETS, 2))) | (
            {} if round_one else dict(ell_comps=np.stack([at["e2"], at["e1"]], axis=-1)))

    def evaluate(cls, x, y, k):
        values = {key: tuple(value.tolist()) if np.ndim(value) else value for key, value in k.items()}
        grid, one = package.Grid2DIrregular(np.stack([y, x], axis=-1)), cls(**values)
        if cls.__module__.split(".")[2] == "light":
            return np.asarray(one.image_2d_from(grid=grid))
        return np.asarray(one.deflections_yx_2d_from(grid=grid))[:, ::-1].T

    radius, slope = dict(einstein_radius=u(0.5, 2.0, N_SETS)), dict(slope=u(1.6, 2.4, N_SETS))
    core = dict(core_radius=u(0.05, 0.4, N_SETS))
    halo = dict(kappa_s=u(0.05, 0.3, N_SETS), scale_radius=u(2.0, 9.0, N_SETS))
    dual = dict(ra=u(0.05, 0.3, N_SETS), rs=u(1.0, 9.0, N_SETS), b0=u(0.5, 2.0, N_SETS))
    lenstool = dict(sigma=u(150.0, 400.0, N_SETS), r_core=u(0.05, 0.3, N_SETS), r_cut=u(1.0, 9.0, N_SETS))
    stars = dict(intensity=u(0.1, 0.6, N_SETS), mass_to_light_ratio=u(0.5, 2.0, N_SETS))
    size, index = dict(effective_radius=u(0.3, 2.0, N_SETS)), dict(sersic_index=u(0.8, 4.5, N_SETS))
    two = stars | dict(core_radius_0=u(0.05, 0.3, N_SETS), core_radius_1=u(0.5, 2.0, N_SETS))
    masses = {
        "Isothermal": radius | placed(), "IsothermalSph": radius | placed(True), "PowerLaw": radius | slope | placed(),
        "PowerLawSph": radius | slope | placed(True), "PowerLawIntermediate": radius | slope | placed(),
        "IsothermalCore": radius | core | placed(), "IsothermalCoreSph": radius | core | placed(True),
        "PowerLawCore": radius | slope | core | placed(), "PowerLawCoreSph": radius | slope | core | placed(True),
        "PointMass": radius | placed(True), "PIEMass": dict(ra=dual["ra"], b0=dual["b0"]) | placed(),
        "NFW": halo | placed(), "NFWSph": halo | placed(True),
        "NFWTruncatedSph": halo | dict(truncation_radius=u(5.0, 20.0, N_SETS)) | placed(True),
        "gNFWSph": halo | dict(inner_slope=u(0.6, 1.6, N_SETS)) | placed(True),
        "dPIEMassB0": dual | placed(), "dPIEMassB0Sph": dual | placed(True),
        "dPIEPotential": dual | placed(), "dPIEPotentialSph": dual | placed(True),
        "Chameleon": two | placed(), "ChameleonSph": two | placed(True),
        "Sersic": stars | size | index | placed(), "SersicSph": stars | size | index | placed(True),
        "Exponential": stars | size | placed(), "ExponentialSph": stars | size | placed(True),
        "DevVaucouleurs": stars | size | placed(), "DevVaucouleursSph": stars | size | placed(True),
        "Gaussian": stars | dict(sigma=u(0.3, 2.0, N_SETS)) | placed(True),
        "ExternalShear": dict(gamma_1=u(-0.1, 0.1, N_SETS), gamma_2=u(-0.1, 0.1, N_SETS)),
        "MassSheet": dict(kappa=u(-0.1, 0.1, N_SETS)) | placed(True),
        "ExternalPotential": {f"{name}_{k}": u(-0.05, 0.05, N_SETS) for name in ("tau", "delta") for k in (1, 2)}
        | placed(True),
    }
    amp = dict(intensity=u(0.5, 9.0, N_SETS))
    cusp = dict(radius_break=u(0.05, 0.3, N_SETS), gamma=u(0.0, 0.5, N_SETS), alpha=u(1.5, 5.0, N_SETS))
    bell, falling = dict(sigma=u(0.3, 2.0, N_SETS)), dict(alpha=u(0.3, 2.0, N_SETS), beta=u(1.5, 4.0, N_SETS))
    star, lights = dict(effective_radius=u(0.3, 2.0, N_SETS), eta=u(1.2, 3.0, N_SETS)), {}
    for end, round_one in (("", False), ("Sph", True)):
        for name, kwargs in {"Sersic": size | index, "Exponential": size, "DevVaucouleurs": size,
                             "SersicCore": size | index | cusp, "ExponentialCore": size | cusp, "Gaussian": bell,
                             "Moffat": falling, "ElsonFreeFall": star}.items():
            lights[name + end] = amp | kwargs | placed(round_one)
    lights["ShapeletCartesianSph"] = amp | dict(n_y=each(2), n_x=each(1), beta=u(0.3, 1.0, N_SETS)) | placed(True)
    for name, kwargs in masses.items():
        yield "mass", name, kwargs, lambda x, y, k, name=name: evaluate(getattr(package.mp, name), x, y, k)
    for name, kwargs in lights.items():
        yield "light", name, kwargs, lambda x, y, k, name=name: evaluate(getattr(package.lp, name), x, y, k)
    angles = dict(ellipticity=u(0.1, 0.6, N_SETS), angle_pos=u(-85.0, 85.0, N_SETS))
    far = dict(redshift_object=each(0.3), redshift_source=each(1.2))
    for name, kwargs in (("dPIEMass", lenstool | angles), ("dPIEMassSph", lenstool)):
        # Over D_ls / D_s, which giga's planes have: a dispersion of 1 km / s is bent by that times 6 (648000'') / c^2.
        unit = package.mp.dPIEMassSph(sigma=1.0, redshift_object=0.3, redshift_source=1.2).b0
        ratio = unit * 299792.458**2 / (6.0 * 648000.0)
        yield "mass", name, kwargs | far | placed(True), lambda x, y, k, name=name, ratio=ratio: evaluate(
            getattr(package.mp, name), x, y, k) / ratio


CODES = (lenstronomy, coolest, gigalens, herculens, caustics, gigalens_more, gigalens_tensorflow, herculens_more,
         caustics_more, pyautolens)


def main():
    values = {}
    if OUT.exists():
        with np.load(OUT, allow_pickle=False) as file:
            values |= dict(file)
    for seed, code in enumerate(CODES):
        if sys.argv[1:] and code.__name__ not in sys.argv[1:]:
            continue
        rng = np.random.default_rng(seed)
        try:
            cases = list(code(rng))
        except ImportError as error:
            print(f"{code.__name__}: {error}; kept as it is")
            continue
        for kind, name, kwargs, evaluate in cases:
            at, (x, y) = f"{code.__name__.split('_')[0]}/{kind}/{name}", positions(rng)
            rows = sets({key: np.asarray(value) for key, value in kwargs.items()})
            found = np.array([evaluate(x, y, row) for row in rows], float)
            results = {"alpha_x": found[:, 0], "alpha_y": found[:, 1]} if kind == "mass" else {"brightness": found}
            assert np.isfinite(found).all(), at
            values |= {f"{at}/{key}": value for key, value in (kwargs | results | {"x": x, "y": y}).items()}
        print(f"{code.__name__}: {len(cases)} profiles")
    np.savez_compressed(OUT, **values)


if __name__ == "__main__":
    main()
