"""Parameters of other codes: their own values, round trips, closed forms, and what they cannot say."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from giga.io.errors import InputError
from giga.io.exchange import caustics, coolest_profiles, gigalens, herculens, lenstronomy, pyautolens
from giga.io.exchange.conventions import UNIT, components, exact, linear, polar, reshaped, series, within
from giga.io.exchange.pairs import read, written
from giga.light import PROFILES as LIGHTS
from giga.light import Sersic
from giga.light.base import LightProfile
from giga.light.core_sersic import CoreSersic
from giga.light.gaussian import Gaussian, MultiGaussian
from giga.light.moffat import Moffat
from giga.light.pixel_image import PixelImage
from giga.light.shapelets import Shapelets
from giga.light.uniform_sky import UniformSky
from giga.mass import EPL, NFW, SIE, Shear
from giga.mass import PROFILES as MASSES
from giga.mass.deflection_map import DeflectionMap
from giga.mass.epl_multipole import EPLMultipole
from giga.mass.external import Convergence, Flexion
from giga.mass.gaussian import Gaussian as GaussianMass
from giga.mass.gnfw import GNFW
from giga.mass.members import DPIE
from giga.mass.nfw_ellipse import NFWEllipse
from giga.mass.nie import NIE
from giga.mass.pjaffe import PJaffe, PJaffeEllipse
from giga.mass.point_mass import PointMass
from giga.mass.sersic import Sersic as SersicMass
from giga.mass.sis import SIS
from giga.mass.spemd import SPEMD
from giga.mass.tnfw import TNFW

PIXEL = 0.07
PAIRS = {
    ("lenstronomy", "mass"): lenstronomy.LENSES, ("lenstronomy", "light"): lenstronomy.LIGHTS,
    ("coolest", "mass"): coolest_profiles.MASSES, ("coolest", "light"): coolest_profiles.LIGHTS,
    ("gigalens", "mass"): gigalens.PAIRS, ("gigalens", "light"): gigalens.PAIRS,
    ("herculens", "mass"): herculens.pairs(), ("herculens", "light"): herculens.pairs(),
    ("caustics", "mass"): caustics.pairs(1.0), ("caustics", "light"): caustics.pairs(1.0),
    ("pyautolens", "mass"): pyautolens.pairs(1.0), ("pyautolens", "light"): pyautolens.pairs(1.0),
}
FILE = Path(__file__).parent / "reference" / "exchange.npz"
with np.load(FILE, allow_pickle=False) as file:
    VALUES = dict(file)
CASES = sorted({tuple(key.split("/")[:3]) for key in VALUES})
RESULTS = ("x", "y", "alpha_x", "alpha_y", "brightness")
# What the other code only approximates, relative to the largest value; all else is rounding.
LOOSE = {
    "SERSIC_ELLIPSE_GAUSS_DEC": 7e-2,  # a sum of Gaussians, whose narrowest ones are wide
    "NFW_ELLIPSE_CSE": 1e-8, "GNFW": 1e-5, "TNFW": 1e-6,  # see make_mass.py
    "SIE": 1e-5,  # a core of 1e-10, and an axis ratio clipped at 1e-6 below one
    "SERSIC": 1e-4,  # radii are softened by 1e-5 arcsec
    "INTERPOL": 1e-6, "EPL": 1e-7,
    "caustics/mass/TNFW": 2e-6, "caustics/mass/TNFW;total_mass": 2e-6,  # a series near the scale radius
    "gigalens/light/Shapelets": 2e-6, "herculens/light/SHAPELETS": 2e-6,  # factors in single precision
    "gigalens/mass/TNFW": 2e-3,  # single precision, of terms that cancel
    "herculens/mass/SIS": 1e-7,  # ellipticities of 1e-8
    "pyautolens/mass/Gaussian": 2e-4, "pyautolens/mass/ChameleonSph": 2e-5,  # axis ratios below 0.9999 and 0.99999
    "pyautolens/mass/gNFWSph": 3e-4,  # thirty Gaussians
    "pyautolens/mass/NFW": 2e-5,  # giga's 44 ellipsoids
    "pyautolens/mass/dPIEPotential": 0.3,  # see test_a_deflection_that_is_no_gradient
} | {f"pyautolens/mass/{name}{end}": 3e-4 for name in ("Sersic", "Exponential", "DevVaucouleurs")  # fifty ellipsoids
     for end in ("", "Sph")}


def case(code, kind, name):
    """Parameters of a case, one dict a set, positions, and results."""
    root = f"{code}/{kind}/{name}/"
    values = {key.removeprefix(root): value for key, value in VALUES.items() if key.startswith(root)}
    kwargs = {key: value for key, value in values.items() if key not in RESULTS}
    count = len(next(iter(kwargs.values())))
    rows = [{key: value[k].item() if value[k].ndim == 0 else value[k] for key, value in kwargs.items()}
            for k in range(count)]
    return rows, values


def key_of(code, name, row):
    """Which pair reads a case."""
    name = name.split(";")[0]
    if code == "gigalens" and name == "Shapelets":
        return name
    if code == "pyautolens" and pyautolens.RATIO in row:
        return name + pyautolens.MASS
    return f"SIE{caustics.CORED}" if code == "caustics" and name == "SIE" and "s" in row else name


def pairs_of(code, kind, name, row):
    """The pairs of a case, and its parameters: without what pairs are made with, shapelets' amplitudes as an array."""
    setting = name.split(";")[1:]
    if "distances" in row:
        row = dict(row)
        at = caustics.Distances(*row.pop("distances"))
        return caustics.pairs(1.0, at=at, total_mass=not setting), row
    if code == "gigalens" and name == "Shapelets":
        rest = {key: value for key, value in row.items() if not key.startswith("amp")}
        return gigalens.PAIRS, rest | {"amp": np.array([row[f"amp{k:02d}"] for k in range(len(row) - len(rest))])}
    return herculens.pairs(scale_flag=False) if setting else PAIRS[code, kind], row


def tolerance_of(code, kind, name):
    sersic = LOOSE["SERSIC"] if "Sersic" in name or "SERSIC" in name else 1e-9
    return LOOSE.get(f"{code}/{kind}/{name}", LOOSE.get(name, sersic))


@jax.jit
def bent(profile, x, y):
    return jnp.stack(profile.deflection(x, y))


@jax.jit
def bright(profile, x, y):
    return profile.brightness(x, y)


@jax.jit
def dense(profile, x, y):
    return profile.convergence(x, y)


@pytest.mark.parametrize("one", CASES, ids="/".join)
def test_values_are_those_of_the_code(one, x64):
    code, kind, name = one
    rows, values = case(*one)
    tolerance = tolerance_of(*one)
    for k, row in enumerate(rows):
        pairs, row = pairs_of(code, kind, name, row)
        profile = jax.tree.map(np.asarray, read(pairs, code, key_of(code, name, row), row, name))
        found = np.asarray((bent if kind == "mass" else bright)(profile, values["x"], values["y"]))
        expected = np.stack([values["alpha_x"][k], values["alpha_y"][k]]) if kind == "mass" else values["brightness"][k]
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("one", CASES, ids="/".join)
def test_parameters_come_back(one):
    """To giga and back to the code; a name that is read alone comes back as the profile that is written."""
    code, kind, name = one
    for row in case(*one)[0]:
        pairs, row = pairs_of(code, kind, name, row)
        profile = read(pairs, code, key_of(code, name, row), row, name)
        if not any(pair.profile is type(profile) and not pair.reads for pair in pairs):
            continue  # it can be read, not written
        back, values = written(pairs, code, profile, name)
        again = read(pairs, code, back, values, name)
        pair = next(pair for pair in pairs if pair.name == key_of(code, name, row))
        if not pair.reads and pair.profile is not GaussianMass:  # of which a ratio and an intensity are one number
            for key, value in row.items():
                if key not in pyautolens.PLANES:
                    np.testing.assert_allclose(values[key], value, rtol=1e-12, atol=1e-14)
        for first, second in zip(jax.tree.leaves(profile), jax.tree.leaves(again), strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-14)


E1, E2 = 0.21, -0.13
PLACED = dict(e1=E1, e2=E2, center_x=0.05, center_y=-0.08)
PROFILES = [
    EPL(theta_E=1.3, gamma=2.2, **PLACED), SIE(theta_E=1.1, **PLACED), NIE(theta_E=1.2, s_scale=0.2, **PLACED),
    Shear(gamma1=0.03, gamma2=-0.05), SPEMD(theta_E=1.2, gamma=1.8, s_scale=0.15, **PLACED),
    Convergence(kappa=0.04), NFW(Rs=3.0, alpha_Rs=1.2, center_x=0.1),
    Sersic(amp=3.0, R_sersic=0.8, n_sersic=2.7, **PLACED),
    Sersic(amp=3.0, R_sersic=0.8, n_sersic=0.7, b_n="linear", **PLACED),
    Sersic(R_sersic=0.8, n_sersic=2.7, **PLACED),
    SIS(theta_E=1.2, center_x=0.1), PointMass(theta_E=1.2, center_y=0.1),
    Flexion(g1=0.02, g2=-0.01, g3=0.03, g4=0.01, ra_0=0.1, dec_0=-0.2), NFWEllipse(Rs=3.0, alpha_Rs=1.2, **PLACED),
    TNFW(Rs=3.0, alpha_Rs=1.2, r_trunc=8.0, center_x=0.1), GNFW(Rs=3.0, alpha_Rs=1.2, gamma_in=1.3, center_x=0.1),
    PJaffe(sigma0=2.0, Ra=0.2, Rs=2.0, center_x=0.1), PJaffeEllipse(sigma0=2.0, Ra=0.2, Rs=2.0, **PLACED),
    PJaffeEllipse(sigma0=2.0, Ra=2.0, Rs=0.2, **PLACED), DPIE(sigma=250.0, core=0.2, cut=4.0, **PLACED),
    SersicMass(k_eff=0.4, R_sersic=0.8, n_sersic=2.7, mass_to_light=1.3, **PLACED),
    CoreSersic(amp=3.0, R_sersic=0.8, Rb=0.1, n_sersic=2.7, gamma=0.3, alpha=2.0, **PLACED),
    Gaussian(amp=3.0, sigma=0.6, **PLACED), Moffat(amp=3.0, alpha=0.6, beta=2.2, **PLACED),
    Shapelets(amp=np.arange(1.0, 11.0), beta=0.7, center_x=0.1, n_max=3), Shapelets(beta=0.7, n_max=3),
    PixelImage(amp=2.0, image=np.arange(30.0).reshape(5, 6) % 7, scale=0.9, center_x=0.1, interpolation="bilinear"),
    UniformSky(amp=0.3),
]
AT = caustics.Distances(1000.0, 2e11, 2e15)
CODES = {
    "gigalens": (gigalens.to_gigalens, gigalens.from_gigalens, gigalens.PAIRS),
    "herculens": (herculens.to_herculens, herculens.from_herculens, herculens.pairs()),
    "herculens, intermediate, not scaled": (
        lambda p: herculens.to_herculens(p, False, False),
        lambda n, k: herculens.from_herculens(n, k, False, False), herculens.pairs()),
    "caustics": (lambda p: caustics.to_caustics(p, PIXEL, at=AT),
                 lambda n, k: caustics.from_caustics(n, k, PIXEL, at=AT), caustics.pairs(PIXEL)),
    "caustics, lenstronomy's k, mass at its overdensity": (
        lambda p: caustics.to_caustics(p, PIXEL, True, AT, False),
        lambda n, k: caustics.from_caustics(n, k, PIXEL, True, AT, False), caustics.pairs(PIXEL)),
    "pyautolens": (lambda p: pyautolens.to_pyautolens(p, PIXEL), lambda n, k: pyautolens.from_pyautolens(n, k, PIXEL),
                   pyautolens.pairs(PIXEL)),
    "lenstronomy": (lambda p: written(lenstronomy.LENSES + lenstronomy.LIGHTS, "lenstronomy", p, ""),
                    lambda n, k: read(lenstronomy.LENSES + lenstronomy.LIGHTS, "lenstronomy", n, k, ""),
                    lenstronomy.LENSES + lenstronomy.LIGHTS),
}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("code", CODES)
def test_profiles_come_back(code, profile, x64):
    """The same field or brightness, whatever form b_n has in between."""
    out, back, pairs = CODES[code]
    if type(profile) not in {pair.profile for pair in pairs if not pair.reads}:
        with pytest.raises(InputError, match=f"{type(profile).__name__}, which .* does not have"):
            out(profile)
        return
    again = back(*out(profile))
    assert type(again) is type(profile)
    if getattr(profile, "amp", 1.0) is None:
        assert again.amp is None
        return
    x, y = jnp.array([0.4, -1.1, 2.0]), jnp.array([0.9, 0.3, -1.2])
    values = [(bright if isinstance(p, LightProfile) else bent)(jax.tree.map(np.asarray, p), x, y)
              for p in (profile, again)]
    np.testing.assert_allclose(values[1], values[0], rtol=2e-8)  # b_n is good to 2e-9


def test_draws_go_through_as_one_lens_does(rng):
    e1, e2 = rng.uniform(-0.3, 0.3, (2, 5))
    many = EPL(theta_E=rng.uniform(1.0, 2.0, 5), gamma=rng.uniform(1.8, 2.2, 5), e1=e1, e2=e2)
    for code in ("caustics", "pyautolens", "herculens"):
        _, all_of_them = CODES[code][0](many)
        for k in range(5):
            _, one = CODES[code][0](jax.tree.map(lambda leaf, k=k: leaf[k] if np.ndim(leaf) else leaf, many))
            for key, value in one.items():
                np.testing.assert_allclose(all_of_them[key] if np.ndim(all_of_them[key]) == np.ndim(value)
                                           else all_of_them[key][k], value, rtol=1e-13)


@pytest.mark.parametrize("code", CODES)
def test_draws_of_every_profile_go_through(code):
    """Arrays on the leaves give arrays, and come back."""
    out, back, pairs = CODES[code]
    for profile in PROFILES:
        if type(profile) not in {pair.profile for pair in pairs if not pair.reads} or profile.from_numbers is False:
            continue
        if isinstance(profile, Shapelets | PixelImage) or getattr(profile, "amp", 1.0) is None:
            continue
        many = jax.tree.map(lambda leaf: leaf * (1.0 + 0.01 * np.arange(3.0)), profile)
        name, values = out(many)
        again = back(name, values)
        for k in range(3):
            one = back(*out(jax.tree.map(lambda leaf, k=k: leaf[k], many)))
            for first, second in zip(jax.tree.leaves(again), jax.tree.leaves(one), strict=True):
                np.testing.assert_allclose(first[k] if np.ndim(first) else first, second, rtol=1e-12, atol=1e-15)


def rotated(x, y, q, phi, centre):
    dx, dy = x - centre[0], y - centre[1]
    return np.cos(phi) * dx + np.sin(phi) * dy, np.cos(phi) * dy - np.sin(phi) * dx


def test_closed_forms_of_pyautolens(x64):
    """Convergence and brightness of its documentation, in its own parameters; the package is not needed."""
    x, y = np.array([0.4, -1.1, 2.0]), np.array([0.9, 0.3, -1.2])
    q, phi = polar(E1, E2)
    fac = (1.0 - q) / (1.0 + q)
    where = dict(centre=(-0.08, 0.05), ell_comps=(fac * np.sin(2.0 * phi), fac * np.cos(2.0 * phi)))
    u, v = rotated(x, y, q, phi, (0.05, -0.08))
    xi = np.hypot(u, v / q)
    for name, slope, core in (("PowerLaw", 2.3, 0.0), ("Isothermal", 2.0, 0.0), ("PowerLawCore", 1.8, 0.2),
                              ("IsothermalCore", 2.0, 0.2)):
        values = where | {"einstein_radius": 1.4}
        values |= {"slope": slope} if "Power" in name else {}
        values |= {"core_radius": core} if "Core" in name else {}
        expected = (3.0 - slope) / (1.0 + q) * 1.4 ** (slope - 1.0) * (core**2 + xi**2) ** (-0.5 * (slope - 1.0))
        found = dense(jax.tree.map(np.asarray, pyautolens.from_pyautolens(name, values, PIXEL)), x, y)
        np.testing.assert_allclose(found, expected, rtol=1e-8)
    light = pyautolens.from_pyautolens("Sersic", where | dict(intensity=0.3, effective_radius=0.7, sersic_index=1.7),
                                       PIXEL)
    expected = 0.3 * np.exp(-series(1.7) * ((np.sqrt(q) * xi / 0.7) ** (1.0 / 1.7) - 1.0))
    np.testing.assert_allclose(PIXEL**2 * light.brightness(x, y), expected, rtol=1e-8)
    halo = pyautolens.from_pyautolens("NFWSph", dict(centre=(0.0, 0.0), kappa_s=0.2, scale_radius=2.0), PIXEL)
    r = np.array([0.5, 1.1])  # kappa = 2 kappa_s (1 - arccosh(1/r) / sqrt(1 - r^2)) / (r^2 - 1), r below one
    expected = 0.4 * (1.0 - np.arccosh(1.0 / r[:1]) / np.sqrt(1.0 - r[:1] ** 2)) / (r[:1] ** 2 - 1.0)
    np.testing.assert_allclose(dense(halo, 2.0 * r[:1], np.zeros(1)), expected, rtol=1e-8)


def test_a_deflection_that_is_no_gradient(x64):
    """PyAutoLens's dPIEPotential lacks the axes' factors (1 -+ e)^(1/2); with them it is the pair's, to rounding."""
    rows, values = case("pyautolens", "mass", "dPIEPotential")
    for k, row in enumerate(rows):
        e2, e1 = row["ell_comps"]
        angle, e = 0.5 * np.arctan2(e2, e1), np.hypot(e1, e2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        theirs = np.stack([values["alpha_x"][k], values["alpha_y"][k]])
        mended = turn.T @ (np.sqrt([[1.0 - e], [1.0 + e]]) * (turn @ theirs))
        profile = jax.tree.map(np.asarray, pyautolens.from_pyautolens("dPIEPotential", row, 1.0))
        np.testing.assert_allclose(bent(profile, values["x"], values["y"]), mended, rtol=1e-12, atol=1e-13)
        assert np.abs(theirs - mended).max() > 0.01 * np.abs(mended).max()


def test_the_fork_of_gigalens_for_clusters(x64):
    """Convergences by the formulas of its source; it is no package that could be installed."""
    x, y = np.array([0.4, -1.1, 2.0]), np.array([0.9, 0.3, -1.2])
    q, phi = polar(E1, E2)
    e = np.hypot(E1, E2)
    u, v = rotated(x, y, q, phi, (PLACED["center_x"], PLACED["center_y"]))
    b0, core, cut = 1.4, 0.2, 3.0

    def kappa(squared):
        return 0.5 * b0 * cut / (cut - core) * (1.0 / np.sqrt(core**2 + squared) - 1.0 / np.sqrt(cut**2 + squared))

    place = {key: PLACED[key] for key in ("center_x", "center_y")}
    for name, given, squared in (
            ("DPIE", dict(r_core=core, r_cut=cut) | PLACED, (u / (1.0 + e)) ** 2 + (v / (1.0 - e)) ** 2),
            ("DPIS", dict(r_core=core, r_cut=cut) | place, u**2 + v**2),
            ("DPIEP", dict(Ra=core, Rs=cut, e1=0.0, e2=0.0) | place, u**2 + v**2)):
        profile = gigalens.from_gigalens(name, dict(theta_E=b0) | given)
        np.testing.assert_allclose(dense(jax.tree.map(np.asarray, profile), x, y), kappa(squared), rtol=1e-9)
    # Of the potential: ellipses x^2 (1 - t) + y^2 (1 + t), t = (1 - q^2) / (1 + q^2)
    profile = gigalens.from_gigalens("DPIEP", dict(theta_E=b0, Ra=core, Rs=cut) | PLACED)
    t = (1.0 - q**2) / (1.0 + q**2)
    radius = np.sqrt(u**2 * (1.0 - t) + v**2 * (1.0 + t))
    slope = b0 * cut / (cut - core) * (np.hypot(core, radius) - core - np.hypot(cut, radius) + cut) / radius**2
    along, across = slope * (1.0 - t) * u, slope * (1.0 + t) * v
    expected = np.cos(phi) * along - np.sin(phi) * across, np.sin(phi) * along + np.cos(phi) * across
    np.testing.assert_allclose(bent(jax.tree.map(np.asarray, profile), x, y), expected, rtol=1e-10)


@pytest.mark.parametrize("slope", [0.3, 1.0, 1.7, 2.6])
def test_the_deflection_of_a_halo_at_its_scale_radius(slope):
    """By quadrature of its density: in the sphere, and before and behind it."""
    def density(r):
        return r ** (2.0 - slope) * (1.0 + r) ** (slope - 3.0)

    inside = quad(lambda t: density(t**4) * 4.0 * t**3, 0.0, 1.0, epsabs=1e-13)[0]
    around = quad(lambda r: density(r) / (r**2 * (1.0 + np.sqrt(1.0 - r**-2))), 1.0, np.inf, epsabs=1e-13)[0]
    assert pyautolens.gnfw_unit(slope) == pytest.approx(4.0 * (inside + around), rel=1e-9)
    assert pyautolens.gnfw_unit(1.0) == pytest.approx(UNIT, rel=1e-14)


def test_einstein_radii_of_dual_profiles_are_found_again():
    theta, core, cut = np.array([1e-3, 0.5, 3.0, 1e3]), 0.1, 2.0
    np.testing.assert_allclose(herculens.dual_radius(herculens.dual_strength(theta, core, cut), core, cut), theta,
                               rtol=1e-10)
    strength = herculens.dual_strength(0.7, core, cut)
    assert strength * (np.hypot(0.7, core) - core - np.hypot(0.7, cut) + cut) / 0.7 == pytest.approx(0.7)
    with pytest.raises(InputError, match="PJaffeEllipse.sigma0: got 0.9; expected above 1, for there to be an Einst"):
        herculens.to_herculens(PJaffeEllipse(sigma0=0.9, Ra=0.1, Rs=1.0))
    assert herculens.to_herculens(PJaffeEllipse(sigma0=0.9, Ra=0.1, Rs=1.0), scale_flag=False)[0] == "DPIE"


def test_radii_that_a_formula_cannot_have():
    values = dict(theta_E=1.0, r_core=0.0, r_trunc=2.0, q=0.8, phi=0.3)
    assert herculens.from_herculens("DPIE", values).Ra == pytest.approx(1e-8, rel=0.1)  # as Herculens takes it
    with pytest.raises(InputError, match=r"dPIEMassB0 with Ra = \[0.\]; expected Ra above 0"):
        pyautolens.from_pyautolens("dPIEMassB0", dict(ra=0.0, rs=2.0, b0=1.0), PIXEL)
    with pytest.raises(InputError, match=r"PJaffeEllipse.Rs: got 1.0, as Ra; expected another radius than Ra"):
        herculens.to_herculens(PJaffeEllipse(sigma0=2.0, Ra=1.0, Rs=1.0))
    with pytest.raises(InputError, match=r"caustics's NFW with mass = \[nan\]; expected a finite number"):
        caustics.to_caustics(NFW(Rs=1.0, alpha_Rs=-1.0), PIXEL, at=AT)
    with pytest.raises(InputError, match=r"PseudoJaffe with Ra = \[0.\]; expected Ra above 0"):
        caustics.from_caustics("PseudoJaffe", dict(x0=0.0, y0=0.0, mass=1e11, Rc=0.0, Rs=1.0), PIXEL, at=AT)


def test_concentrations_are_those_of_their_density():
    c = np.array([0.1, 1.0, 5.0, 40.0])
    density = 200.0 / 3.0 * c**3 / (np.log1p(c) - c / (1.0 + c))
    np.testing.assert_allclose(caustics.concentration(density), c, rtol=1e-11)


def test_a_mass_in_suns_needs_distances():
    for profile in (NFW(Rs=3.0, alpha_Rs=1.0), PJaffe(sigma0=1.0, Ra=0.1, Rs=1.0)):
        with pytest.raises(InputError, match=r"mass: no distances; expected at=Distances\(\.\.\.\)"):
            caustics.to_caustics(profile, PIXEL)
    with pytest.raises(InputError, match=r"NFW.mass: no distances"):
        caustics.from_caustics("NFW", dict(x0=0.0, y0=0.0, mass=1e13, c=5.0), PIXEL)


def test_shapelets_of_gigalens_and_herculens():
    amps = np.arange(1.0, 7.0)
    light = Shapelets(amp=amps, beta=0.4, n_max=2)
    name, values = gigalens.to_gigalens(light)
    assert name == "Shapelets" and values["amp3"] == 4.0 and values["n_max"] == 2
    values.pop("n_max")  # an argument of its class, which its parameters do not have
    np.testing.assert_array_equal(gigalens.from_gigalens(name, values).amp, amps)
    assert "amp14" in gigalens.to_gigalens(light.replace(n_max=4, amp=np.ones(15)))[1]
    assert "amp000" in gigalens.to_gigalens(light.replace(n_max=13, amp=np.ones(105)))[1]
    values.pop("amp2")
    with pytest.raises(InputError, match="Shapelets.amp5: 5 amplitudes; expected all of them"):
        gigalens.from_gigalens(name, values)
    assert herculens.from_herculens("SHAPELETS", dict(beta=0.4, amps=amps)).n_max == 2
    with pytest.raises(InputError, match="SHAPELETS.amps: 5 of them; expected 1, 3, 6, 10"):
        herculens.from_herculens("SHAPELETS", dict(beta=0.4, amps=amps[:5]))
    with pytest.raises(InputError, match="SHAPELETS.n_max: missing"):
        herculens.from_herculens("SHAPELETS", dict(beta=0.4))


def test_names_that_light_and_mass_have():
    size = dict(intensity=0.3, effective_radius=0.7, sersic_index=1.7)
    assert type(pyautolens.from_pyautolens("Sersic", size, PIXEL)) is Sersic
    assert type(pyautolens.from_pyautolens("Sersic", size | dict(mass_to_light_ratio=1.0), PIXEL)) is SersicMass
    assert pyautolens.to_pyautolens(GaussianMass(amp=1.0, sigma=1.0), PIXEL)[0] == "Gaussian"
    with pytest.raises(InputError, match="profile 'Chameleon'; expected one of .*'Chameleon, a mass'"):
        pyautolens.from_pyautolens("Chameleon", dict(intensity=1.0), PIXEL)
    with pytest.raises(InputError, match="ell_comps: got .*; expected 0: giga's Gaussian mass is round"):
        pyautolens.from_pyautolens("Gaussian", dict(intensity=1.0, sigma=1.0, ell_comps=(0.1, 0.0),
                                                    mass_to_light_ratio=1.0), PIXEL)
    with pytest.raises(InputError, match="ExternalPotential.gamma_1: got 0.1; expected 0: its shear is an ExternalSh"):
        pyautolens.from_pyautolens("ExternalPotential", dict(gamma_1=0.1, tau_1=0.02), PIXEL)


def test_lights_per_pixel_and_per_arcsec():
    light = Sersic(amp=3.0, R_sersic=0.8, n_sersic=2.7, b_n="linear", **PLACED)
    assert caustics.to_caustics(light, PIXEL, True)[1]["Ie"] == pytest.approx(3.0 * PIXEL**2)
    assert gigalens.to_gigalens(light)[1]["Ie"] == pytest.approx(3.0)
    assert gigalens.from_gigalens("Sersic", dict(R_sersic=0.8, n_sersic=2.7, center_x=0.0, center_y=0.0, Ie=3.0)).amp \
        == pytest.approx(9.0)  # it multiplies twice
    assert gigalens.solved_amplitude(3.0 * PIXEL**2, PIXEL) == pytest.approx(3.0)


def test_radii_are_on_the_axis_that_each_code_has():
    q = polar(E1, E2)[0]
    light = Sersic(amp=3.0, R_sersic=0.8, n_sersic=2.7, b_n="linear", **PLACED)
    assert herculens.to_herculens(light)[1]["R_sersic"] == pytest.approx(0.8 / np.sqrt(q))
    assert herculens.to_herculens(light, False)[1]["R_sersic"] == pytest.approx(0.8)
    assert caustics.to_caustics(light, PIXEL, True)[1]["Re"] == pytest.approx(0.8 / np.sqrt(q))
    name, values = pyautolens.to_pyautolens(SIE(theta_E=1.0, **PLACED), PIXEL)
    assert name == "Isothermal" and values["einstein_radius"] == pytest.approx((1.0 + q) / (2.0 * np.sqrt(q)))
    assert written(lenstronomy.LENSES, "lenstronomy", SPEMD(theta_E=1.0, gamma=2.0, s_scale=0.2, **PLACED), "")[1][
        "s_scale"] == pytest.approx(0.2 / q)


def test_angles_and_components():
    q, phi = np.array([0.3, 0.9]), np.array([0.4, -1.2])
    np.testing.assert_allclose(polar(*components(q, phi)), (q, phi), rtol=1e-12)
    assert within(0.6 * np.pi) == pytest.approx(-0.4 * np.pi) and within(-0.5 * np.pi) == pytest.approx(0.5 * np.pi)
    assert within(3.0, 3.2) == 3.0 and within(170.0, -10.0, 180.0) == pytest.approx(-10.0)


@pytest.mark.parametrize("before", [exact, linear, series])
@pytest.mark.parametrize("after", [exact, linear, series])
def test_a_sersic_written_with_another_constant_is_the_same(before, after):
    n, r = 1.3, np.array([0.1, 0.8, 3.0])
    amp, radius = reshaped(2.0, 0.7, n, before(n), after(n))
    shine = [a * np.exp(-b * ((r / R) ** (1.0 / n) - 1.0))
             for a, R, b in ((2.0, 0.7, before(n)), (amp, radius, after(n)))]
    np.testing.assert_allclose(*shine, rtol=1e-12)
    assert reshaped(None, 0.7, n, before(n), after(n))[0] is None


def test_every_profile_that_lenstronomy_has_is_written():
    """All but those that it does not have: a new profile must join one side or the other."""
    masses = {pair.profile.__name__ for pair in lenstronomy.LENSES}
    lights = {pair.profile.__name__ for pair in lenstronomy.LIGHTS}
    assert set(MASSES) - masses == {"PJaffeEllipse", "DPIE", "Halos", "Members"}
    assert set(LIGHTS) - lights == {"Moffat", "PixelSource", "Point", "LensedPoint", "MicrolensedPoint", "Ring",
                                                        "Spiral"}


def test_every_pair_is_in_the_table():
    page = (Path(__file__).parent.parent / "docs" / "exchange.md").read_text(encoding="utf-8")
    table = page[page.index("| giga | GIGA-Lens 0.1.8"):page.index("The other `Sph` are read alone")].splitlines()
    for column, code in ((2, "gigalens"), (3, "herculens"), (4, "caustics"), (5, "pyautolens")):
        for pair in PAIRS[code, "mass"] + PAIRS[code, "light"]:
            name = pair.name.removesuffix(pyautolens.MASS).removesuffix(caustics.CORED)
            plain = name.removesuffix("Sph")
            rows = [row.split("|")[column] for row in table if row.startswith(f"| `{pair.profile.__name__}`")]
            assert any(f"`{one}`" in row for row in rows for one in (name, plain)), (code, name)


def test_a_deflection_map_is_a_grid_of_lenstronomy(x64):
    x, y = np.meshgrid(0.2 * (np.arange(9) - 4.0) + 0.1, 0.2 * (np.arange(7) - 3.0) - 0.05)
    field = DeflectionMap.of(x + 0.1 * y**2, 0.2 * x * y, 0.2, center_x=0.1, center_y=-0.05)
    name, values = written(lenstronomy.LENSES, "lenstronomy", field.replace(scale=0.5), "")
    assert name == "INTERPOL" and values["f_x"].shape == (7, 9)
    np.testing.assert_allclose(values["f_x"], 0.5 * (x + 0.1 * y**2), atol=1e-12)
    np.testing.assert_allclose(values["f_xx"][3, 4], 0.5, rtol=0.02)  # the spline is flat at the edge
    np.testing.assert_allclose((values["grid_interp_x"][0], values["grid_interp_y"][-1]), (x[0, 0], y[-1, 0]))
    again = read(lenstronomy.LENSES, "lenstronomy", name, values, "")
    np.testing.assert_allclose(bent(again, x, y), 0.5 * np.asarray(bent(field, x, y)), atol=1e-12)
    with pytest.raises(InputError, match="lens.rotation: got 0.1 of DeflectionMap; expected 0.0"):
        written(lenstronomy.LENSES, "lenstronomy", field.replace(rotation=0.1), "lens")


@pytest.mark.parametrize(("profile", "words"), [
    (PJaffeEllipse(sigma0=1.0, Ra=0.1, Rs=1.0), ["mass.0: PJaffeEllipse, which lenstronomy does not have"]),
    (EPL(theta_E=np.nan), ["mass.0.theta_E: got nan", "a finite number"]),
])
def test_what_cannot_be_written_is_named(profile, words):
    with pytest.raises(InputError) as error:
        written(lenstronomy.LENSES, "lenstronomy", profile, "mass.0")
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_a_field_that_a_code_lacks_is_named():
    with pytest.raises(InputError, match=r"NFW.e1: got 0.1 of NFW; expected 0: giga's is elliptical in the potential"):
        pyautolens.to_pyautolens(NFW(Rs=1.0, alpha_Rs=1.0, e1=0.1), PIXEL)
    with pytest.raises(InputError, match="light: Moffat, which lenstronomy does not have"):
        written(lenstronomy.LIGHTS, "lenstronomy", Moffat(amp=1.0, alpha=0.3, beta=2.0), "light")


@pytest.mark.parametrize(("name", "values", "words"), [
    ("EPLL", {}, "lens: lenstronomy's profile 'EPLL'; expected one of"),
    ("EPL", dict(theta_E=1.0, gama=2.0), "lens.gama: no parameter of lenstronomy's EPL; expected one of"),
    ("EPL", dict(theta_E=1.0, e1=0.0, e2=0.0), "lens.gamma: missing; expected a number"),
    ("EPL", dict(theta_E=1.0, gamma=3.2, e1=0.0, e2=0.0), "gamma = [3.2]; expected gamma above 1 and below 3"),
    ("EPL", dict(theta_E=1.0, gamma=2.0, e1=0.9, e2=0.6), "lens.e1: |e| = 1.08167; expected e1^2 + e2^2 below 1"),
    ("EPL", dict(theta_E="wide", gamma=2.0, e1=0.0, e2=0.0), "lens.theta_E: got 'wide'; expected a number"),
    ("EPL", dict(theta_E=np.inf, gamma=2.0, e1=0.0, e2=0.0), "lens.theta_E: got inf; expected a finite number"),
    ("EPL_Q_PHI", dict(theta_E=1.0, gamma=2.0, q=1.2, phi=0.0), "lens.q: got 1.2; expected an axis ratio above 0"),
    ("NFW", dict(Rs=-1.0, alpha_Rs=1.0), "Rs = [-1.]; expected Rs above 0"),
    ("SHEAR", dict(gamma1=0.1, gamma2=0.0, ra_0=1.0), "lens.ra_0: got 1.0; expected 0"),
    ("INTERPOL", dict(grid_interp_x=[0.0, 1.0, 3.0], grid_interp_y=[0.0, 1.0], f_x=np.zeros((2, 3)),
                      f_y=np.zeros((2, 3))), "lens.grid_interp_x: steps from 1 to 2; expected one pixel scale"),
])
def test_bad_parameters_are_one_line(name, values, words):
    with pytest.raises(InputError) as error:
        read(lenstronomy.LENSES, "lenstronomy", name, values, "lens")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_series_of_widths_that_are_none():
    with pytest.raises(InputError, match=r"light.sigma: got .*; expected two widths or more, in a geometric series"):
        read(lenstronomy.LIGHTS, "lenstronomy", "MULTI_GAUSSIAN", dict(amp=np.ones(3), sigma=[0.1, 0.2, 0.5]), "light")
    with pytest.raises(InputError, match=r"light.amp: shape \(5,\); expected \(6,\), of n_max = 2"):
        read(lenstronomy.LIGHTS, "lenstronomy", "SHAPELETS", dict(amp=np.ones(5), beta=0.3, n_max=2), "light")


def test_settings_that_tell_a_profile_go_with_it(x64):
    light = MultiGaussian(amp=np.array([1.0, 2.0, 0.5]), sigma_min=0.1, sigma_max=0.9, n_gaussians=3, e1=0.1)
    name, values = written(lenstronomy.LIGHTS, "lenstronomy", light, "")
    assert name == "MULTI_GAUSSIAN_ELLIPSE"
    np.testing.assert_allclose(values["sigma"], [0.1, 0.3, 0.9])
    assert written(lenstronomy.LIGHTS, "lenstronomy", Gaussian(amp=1.0, sigma=1.0), "")[0] == "GAUSSIAN"
    assert written(lenstronomy.LENSES, "lenstronomy", PJaffe(sigma0=1.0, Ra=0.1, Rs=1.0, e1=0.1), "")[0] \
        == "PJAFFE_ELLIPSE_POTENTIAL"
    mass = SersicMass(k_eff=0.3, R_sersic=1.0, n_sersic=3.0, mass_to_light=2.0)
    assert written(lenstronomy.LENSES, "lenstronomy", mass, "") == ("SERSIC", dict(
        k_eff=0.6, R_sersic=1.0, n_sersic=3.0, center_x=0.0, center_y=0.0))
    core = CoreSersic(amp=1.0, R_sersic=1.0, Rb=0.1, n_sersic=3.0, gamma=0.2, alpha=5.0)
    assert written(lenstronomy.LIGHTS, "lenstronomy", core, "")[1]["alpha"] == 5.0
    assert written(lenstronomy.LENSES, "lenstronomy", EPLMultipole(theta_E=1.0, a4_a=0.02), "")[1]["a4_a"] == 0.02
