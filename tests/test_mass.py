"""Mass profiles: closed forms against derivatives, limits, and the values of lenstronomy and of quadrature.

A new profile joins with one line in PROFILES (and in REFERENCES, when there are reference values).
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from giga import mass
from giga.bayes.prior import Prior, largest_ellipticity
from giga.light import Sersic
from giga.mass.epl import SERIES, enough_terms, levels_for, terms_for
from giga.mass.members import SCALE, Catalogue

AXIS = np.linspace(-3.0, 3.0, 13)
FIELD = np.meshgrid(AXIS, AXIS)
# A smooth field that is the gradient of psi = sin(x / 2) cos(y / 3).
GRIDDED = mass.DeflectionMap.of(0.5 * np.cos(FIELD[0] / 2) * np.cos(FIELD[1] / 3),
                                -np.sin(FIELD[0] / 2) * np.sin(FIELD[1] / 3) / 3.0, pixel_scale=0.5, rotation=0.3,
                                center_x=0.1, scale=0.8)

# One round, one flat; in the middle and off it.
HALOS = mass.DPIE(sigma=np.array([250.0, 180.0]), core=np.array([0.2, 0.1]), cut=np.array([1.0, 3.0]),
                  e1=np.array([0.0, 0.3]), e2=np.array([0.0, -0.2]), center_x=np.array([0.0, 0.4]),
                  center_y=np.array([0.0, -0.3]))
CATALOGUE = Catalogue.of([0.0, 0.3], [0.0, 0.5], [0.0, 0.2], [0.0, 0.1], [19.0, 20.0])

PROFILES = [
    pytest.param(mass.EPL(theta_E=1.2, gamma=1.7, e1=0.2, e2=-0.1, center_x=0.1, center_y=-0.2, terms=18), id="EPL"),
    pytest.param(mass.EPL(theta_E=0.8, gamma=2.6, e1=-0.3, e2=0.4), id="EPL-steep"),
    pytest.param(mass.SIE(theta_E=1.1, e1=-0.15, e2=0.2, center_x=-0.1), id="SIE"),
    pytest.param(mass.NFW(Rs=1.0, alpha_Rs=0.9, center_x=0.05), id="NFW"),
    pytest.param(mass.NFW(Rs=1.0, alpha_Rs=1.4, e1=0.1, e2=-0.12, center_y=0.1), id="NFW-elliptical"),
    pytest.param(mass.Shear(gamma1=0.05, gamma2=-0.08), id="Shear"),
    pytest.param(mass.SIS(theta_E=1.3, center_x=0.1), id="SIS"),
    pytest.param(mass.PointMass(theta_E=0.9, center_y=-0.1), id="PointMass"),
    pytest.param(mass.Convergence(kappa=0.1, ra_0=0.2), id="Convergence"),
    pytest.param(mass.Flexion(g1=0.03, g2=-0.02, g3=0.05, g4=0.01, ra_0=0.1, dec_0=-0.2), id="Flexion"),
    pytest.param(mass.NIE(theta_E=1.2, s_scale=0.3, e1=0.2, e2=-0.15, center_x=0.05), id="NIE"),
    pytest.param(mass.Hernquist(sigma0=0.8, Rs=1.0, center_x=0.1), id="Hernquist"),
    pytest.param(mass.Gaussian(amp=1.5, sigma=0.6, center_y=0.1), id="Gaussian"),
    pytest.param(mass.MultiGaussian(amp=np.array([1.0, 0.5]), sigma=np.array([0.2, 1.5])), id="MultiGaussian"),
    pytest.param(mass.PJaffe(sigma0=0.9, Ra=0.2, Rs=1.0, e1=0.1, e2=0.05), id="PJaffe"),
    pytest.param(mass.PJaffeEllipse(sigma0=0.9, Ra=0.2, Rs=1.0, e1=0.1, e2=0.25), id="PJaffeEllipse"),
    pytest.param(mass.NFWEllipse(Rs=1.0, alpha_Rs=1.1, e1=-0.2, e2=0.1, center_x=0.1), id="NFWEllipse"),
    pytest.param(mass.TNFW(Rs=1.0, alpha_Rs=1.1, r_trunc=2.0, center_x=0.1), id="TNFW"),
    pytest.param(mass.GNFW(Rs=1.0, alpha_Rs=1.1, gamma_in=1.4, center_y=0.1), id="GNFW"),
    pytest.param(mass.Sersic(k_eff=0.4, R_sersic=0.9, n_sersic=3.0, e1=0.2, e2=0.1, center_x=0.1), id="Sersic"),
    pytest.param(mass.SPEMD(theta_E=1.1, gamma=2.2, s_scale=0.1, e1=0.2, e2=-0.3), id="SPEMD"),
    pytest.param(mass.EPLMultipole(theta_E=1.2, gamma=1.9, e1=0.2, e2=-0.1, a1_a=0.02, delta_phi_m1=0.3, a3_a=-0.03,
                                   delta_phi_m3=0.5, a4_a=0.05, delta_phi_m4=0.1), id="EPLMultipole"),
    pytest.param(GRIDDED, id="DeflectionMap"),
    pytest.param(mass.DPIE(sigma=250.0, core=0.2, cut=1.0, e1=0.1, e2=0.25), id="DPIE"),
    pytest.param(mass.Halos(each=HALOS), id="Halos"),
    pytest.param(mass.Members(catalogue=CATALOGUE, sigma=220.0, core=0.1, cut=2.0, mag0=19.0), id="Members"),
]
profiles = pytest.mark.parametrize("profile", PROFILES)



def dual(sigma0, Ra, Rs, e1, e2, **center):
    """The `PJaffeEllipse` of these parameters by its velocity dispersion, its radii on the major axis."""
    axis = np.sqrt(1.0 - e1**2 - e2**2)
    return mass.DPIE(sigma=np.sqrt(2.0 * sigma0 * Ra / (SCALE * axis)), core=Ra / axis, cut=Rs / axis, e1=e1, e2=e2,
                     **center)


def two_halos(**parameters):
    """The same as two halves at one place."""
    half = dual(**parameters)
    return mass.Halos(each=jax.tree.map(lambda leaf: np.full(2, leaf), half.replace(sigma=half.sigma / np.sqrt(2.0))))


def one_member(**parameters):
    """The same as a member, a magnitude fainter than what the relation is anchored at."""
    one = dual(**parameters)
    catalogue = Catalogue.of([one.center_x], [one.center_y], [one.e1], [one.e2], [20.0])
    return mass.Members(catalogue=catalogue, sigma=one.sigma * 10.0**0.1, core=one.core * 10.0**0.2,
                        cut=one.cut * 10.0**0.2, mag0=19.0)


REFERENCES = [
    pytest.param("EPL", mass.EPL, id="EPL"),
    pytest.param("SIE", mass.SIE, id="SIE"),
    pytest.param("NFW", mass.NFW, id="NFW"),
    pytest.param("NFW_ELLIPSE_POTENTIAL", mass.NFW, id="NFW-elliptical"),
    pytest.param("SHEAR", mass.Shear, id="Shear"),
    *[pytest.param(name, getattr(mass, name.partition("_")[0]), id=name) for name in (
        "SIS", "PointMass", "Convergence", "Flexion", "NIE", "Hernquist", "Gaussian", "PJaffe", "PJaffe_elliptical",
        "PJaffeEllipse", "NFWEllipse", "TNFW", "GNFW", "Sersic", "SPEMD", "EPLMultipole")],
    pytest.param("PJaffeEllipse", dual, id="DPIE"),
    pytest.param("PJaffeEllipse", two_halos, id="Halos"),
    pytest.param("PJaffeEllipse", one_member, id="Members"),
]

# Values at the edges of the physical ranges, one at a time; a profile takes those that it has.
EDGES = {
    "e1": (0.0, 0.004, 0.06, 0.9), "gamma": (2.0, 1.05, 2.95), "s_scale": (1e-3, 5.0), "Rs": (0.2, 0.21, 30.0),
    "n_sersic": (0.5, 10.0), "gamma_in": (0.05, 1.0, 2.0, 2.5), "r_trunc": (0.05, 1.0, 100.0), "sigma": (0.01, 10.0),
    "core": (1e-3, 0.999, 1.0, 5.0),
}
# (x, y): the centre, Rs, one step from either, the axes, far out
PLACES = np.array([(0, 0), (1e-6, 0), (0.01, 0.02), (0, 0.02), (1, 0), (0, 1), (-0.6, 0.8), (0.97, 0), (1.03, 0),
                   (0.4, -0.3), (-20, 15)])


POINTS = 32  # of every test that needs no other number, so that a profile's programs are compiled once


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def points(rng, dtype, n=POINTS):
    """Positions from 0.03 to 10 arcsec from the origin."""
    r, phi = 10.0 ** rng.uniform(-1.5, 1.0, n), rng.uniform(0.0, 2.0 * np.pi, n)
    return jnp.asarray(r * np.cos(phi), dtype), jnp.asarray(r * np.sin(phi), dtype)


def outputs(profile, x, y):
    """Deflection, convergence and, where there is one, potential, one row each."""
    rows = [*profile.deflection(x, y), profile.convergence(x, y)]
    return jnp.stack([*rows, profile.potential(x, y)] if profile.has_potential else rows)


# Each is compiled once for all profiles of one structure and precision.
jitted = jax.jit(outputs)
deflected = jax.jit(lambda profile, x, y: jnp.stack(profile.deflection(x, y)))
mapped = jax.jit(jax.vmap(jax.vmap(outputs, (None, 0, 0), 1), (0, None, None)))


@jax.jit
def fields(profile, x, y):
    """Everything that a profile gives."""
    xx, xy, yx, yy = profile.jacobian(x, y)
    values = dict(xx=xx, xy=xy, yx=yx, yy=yy, kappa=profile.convergence(x, y))
    values["alpha_x"], values["alpha_y"] = profile.deflection(x, y)
    values["gamma1"], values["gamma2"] = profile.shear(x, y)
    values["mu"] = profile.magnification(x, y)
    if profile.has_potential:
        psi, pullback = jax.vjp(profile.potential, x, y)
        values |= dict(zip(("psi_x", "psi_y"), pullback(jnp.ones_like(psi)), strict=True), psi=psi)
    return values


@jax.jit
def bent(profile, direction, x, y, dx, dy):
    """Deflection, with first and second derivative along a direction of parameters and position."""

    def rows(p, x, y):
        return jnp.stack(p.deflection(x, y))

    def first(p, x, y):
        return jax.jvp(rows, (p, x, y), (direction, dx, dy))

    (value, slope), (_, bend) = jax.jvp(first, (profile, x, y), (direction, dx, dy))
    return value, slope, bend


@jax.jit
def reverse(profile, x, y):
    """Reverse-mode derivatives by parameters and position of the deflection and the potential, all points in one."""
    def total(p, x, y):
        fields = p.deflection(x, y) + ((p.potential(x, y),) if p.has_potential else ())
        return jnp.sum(jnp.stack(fields), axis=range(1, 1 + x.ndim))

    return jax.jacrev(total, (0, 1, 2))(profile, x, y)


def relative(value, expected):
    """Largest difference relative to the largest value."""
    expected = np.asarray(expected, float)
    return np.abs(np.asarray(value, float) - expected).max() / np.abs(expected).max()


def test_every_profile_is_in_the_list():
    """A new one joins with its line there."""
    assert {type(p.values[0]) for p in PROFILES} == set(mass.PROFILES.values())


@profiles
def test_fields_agree(profile, x64, rng):
    """The deflection is the gradient of the potential, and the convergence half its divergence; no curl."""
    x, y = points(rng, x64)
    if profile is GRIDDED:
        x, y = 0.15 * x, 0.15 * y  # well inside the field
    found = fields(cast(profile, x64), x, y)
    if profile.has_potential:
        assert relative(found["psi_x"], found["alpha_x"]) < 1e-9
        assert relative(found["psi_y"], found["alpha_y"]) < 1e-9
    else:
        with pytest.raises(NotImplementedError, match=type(profile).__name__):
            profile.potential(x, y)
    curl = 1e-8 if profile is not GRIDDED else 1e-3  # two splines that know nothing of each other
    np.testing.assert_allclose(found["xy"], found["yx"], rtol=curl, atol=curl)
    np.testing.assert_allclose(found["kappa"], 0.5 * (found["xx"] + found["yy"]), rtol=1e-8, atol=1e-9)
    xx, xy, yx, yy = (found[key] for key in ("xx", "xy", "yx", "yy"))
    np.testing.assert_allclose(found["gamma1"], 0.5 * (xx - yy), atol=1e-9)
    np.testing.assert_allclose(found["gamma2"], xy, atol=1e-9)
    np.testing.assert_allclose(1.0 / found["mu"], (1.0 - xx) * (1.0 - yy) - xy * yx, atol=1e-9)


def versions(profile):
    """The profile as it is, round, with the edges of each of its ranges, and round at each of those."""
    yield profile
    shape = {"e1": 0.0, "e2": 0.0} if hasattr(profile, "e1") else {}
    if shape:
        yield profile.replace(**shape)
    for name, values in EDGES.items():
        if not hasattr(profile, name) or np.ndim(getattr(profile, name)):
            continue
        for value in values:
            turned = {"e2": 0.3 * value} if name == "e1" else {}
            yield profile.replace(**{name: value}, **turned)


def sweep(profile, dtype):
    """Each version with each direction of its parameters and of the position, and the step of a difference."""
    for version in versions(profile):
        version = cast(version, dtype)
        leaves, tree = jax.tree.flatten(version)
        still = [jnp.zeros_like(leaf) for leaf in leaves]
        for k, leaf in enumerate(leaves):
            if isinstance(version, mass.EPLMultipole) and not version.e1 and (leaf is version.e1 or leaf is version.e2):
                continue  # the angle that multipoles turn with is not defined
            direction = [*still[:k], jnp.ones_like(leaf), *still[k + 1:]]
            step = 3e-5 * float(np.clip(np.max(np.abs(leaf)), 0.1, 1.0))
            yield version, jax.tree.unflatten(tree, direction), (0.0, 0.0), step
        yield version, jax.tree.unflatten(tree, still), (0.6, 0.8), None


def at_places(profile, dtype):
    x0, y0 = (getattr(profile, name, 0.0) for name in ("center_x", "center_y"))
    return jnp.asarray(x0 + PLACES[:, 0], dtype), jnp.asarray(y0 + PLACES[:, 1], dtype)


@profiles
def test_value_and_derivatives_are_finite(profile, dtype):
    """Over the physical ranges, in value, first and second derivative, and in reverse mode."""
    x, y = at_places(profile, dtype)
    for version, direction, (dx, dy), _ in sweep(profile, dtype):
        for part in bent(version, direction, x, y, jnp.full_like(x, dx), jnp.full_like(y, dy)):
            assert np.isfinite(part).all(), (version, direction, part)
    if dtype == np.float32:  # reverse mode has the same operations, and this precision the smaller range
        for version in versions(profile):
            for leaf in jax.tree.leaves(reverse(cast(version, dtype), x, y)):
                assert np.isfinite(leaf).all(), version


@profiles
def test_derivatives_are_right(profile, x64):
    """First and second derivatives against central differences of the value and of the first derivative.

    Away from the singular centre, with steps that follow the radius.
    """
    x, y = at_places(profile, x64)
    radius = np.maximum(np.hypot(*PLACES.T), 1e-6)
    for version, direction, (dx, dy), step in sweep(profile, x64):
        wrong = np.inf
        for finer in (1.0, 0.1):  # what one step's truncation spoils, or the other's rounding, the other has
            wrong = np.minimum(wrong, errors(version, direction, x, y, dx, dy, radius, step, finer))
        wrong = wrong[..., 2:]
        assert np.max(wrong) < 1e-5, (version, direction, dx, float(np.max(wrong)))


def errors(version, direction, x, y, dx, dy, radius, step, finer):
    """Of first and second derivatives against differences, relative, shape (2, components, points)."""
    step = None if step is None else finer * step
    h = jnp.asarray(finer * np.minimum(3e-5 * radius, 3e-5) if step is None else np.full(len(x), step))

    def moved(sign):
        there = version if step is None else jax.tree.map(lambda a, b: a + sign * step * b, version, direction)
        return bent(there, direction, x + sign * h * dx, y + sign * h * dy, jnp.full_like(x, dx), jnp.full_like(y, dy))

    (value, slope, bend), far = moved(0.0), [moved(sign) for sign in (2.0, 1.0, -1.0, -2.0)]
    out = []
    for k, (found, scale) in enumerate(((slope, value), (bend, slope))):
        more, plus, minus, less = (rows[k] for rows in far)
        difference = (8.0 * (plus - minus) - (more - less)) / (12.0 * h)  # of fourth order
        # The last term is for rounding: along a ray an isothermal slope is zero, but it rounds as value / radius does.
        size = np.abs(found) + np.abs(scale) + 1e-3 + 0.01 * np.abs(value) / radius
        out.append(np.abs(found - difference) / size)
    return np.stack(out)


@profiles
def test_jit_and_vmap_equal_the_plain_call(profile, x64, rng):
    profile = cast(profile, x64)
    x, y = points(rng, x64)
    found = fields(profile, x, y)
    expected = np.stack([found[key] for key in ("alpha_x", "alpha_y", "kappa", "psi") if key in found])
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), profile)
    one_by_one = mapped(batch, x, y)  # over profiles, and over points
    assert one_by_one.shape == (2, *expected.shape)
    assert np.all(np.abs(one_by_one - expected) <= 1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name, kind", REFERENCES)
def test_reference(name, kind, dtype, reference):
    """Relative to the largest value; float32 rounds at the smallest radii of the steepest slopes."""
    known = {key.split("/")[1]: value for key, value in reference.items() if key.startswith(f"{name}/")}
    x, y = (jnp.asarray(np.resize(known.pop(axis), POINTS), dtype) for axis in ("x", "y"))
    expected = {key: known.pop(key) for key in ("alpha_x", "alpha_y", "psi", "xx", "xy", "yy") if key in known}
    tolerance = {"float32": 2e-5, "float64": 1e-8}[dtype.name]
    for k in range(len(next(iter(known.values())))):
        result = fields(cast(kind(**{key: float(value[k]) for key, value in known.items()}), dtype), x, y)
        for key, value in expected.items():
            scale = np.abs([expected[other][k] for other in expected if other[0] == key[0]]).max()
            found = np.asarray(result[key], float)
            assert np.abs(found - np.resize(value[k], POINTS)).max() < tolerance * scale, (key, k)


@pytest.mark.parametrize("gamma", [1.2, 1.6, 2.0, 2.5, 2.8])
def test_epl_spherical_limit(gamma, x64, rng):
    x, y = points(rng, x64)
    r = jnp.hypot(x, y)
    alpha_x, alpha_y = mass.EPL(theta_E=1.3, gamma=gamma).deflection(x, y)
    expected = 1.3 * (1.3 / r) ** (gamma - 2.0)
    np.testing.assert_allclose(alpha_x, expected * x / r, rtol=1e-12)
    np.testing.assert_allclose(alpha_y, expected * y / r, rtol=1e-12)


def test_sie_is_the_epl_at_gamma_2_and_matches_its_closed_form(x64, rng):
    """Kormann, Schneider & Bartelmann (1994), A&A 284, 285, eq. 27a, on the intermediate axis."""
    x, y = points(rng, x64)
    q, theta_E = 0.55, 1.4
    e1 = (1.0 - q) / (1.0 + q)
    f = np.sqrt(1.0 - q**2)
    psi = jnp.sqrt(q**2 * x**2 + y**2)
    expected_x = theta_E * np.sqrt(q) / f * jnp.arctan(f * x / psi)
    expected_y = theta_E * np.sqrt(q) / f * jnp.arctanh(f * y / psi)
    for profile in (mass.SIE(theta_E=theta_E, e1=e1), mass.EPL(theta_E=theta_E, gamma=2.0, e1=e1)):
        alpha_x, alpha_y = profile.deflection(x, y)
        np.testing.assert_allclose(alpha_x, expected_x, atol=1e-12)
        np.testing.assert_allclose(alpha_y, expected_y, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.5, 2.0, 2.6])
def test_epl_mass_inside_its_einstein_ellipse(gamma, x64):
    """kappa integrates to pi theta_E^2 inside the ellipse of intermediate-axis radius theta_E.

    By Gauss's theorem, the flux of the deflection through that ellipse is twice the mass.
    """
    q, phi, theta_E = 0.6, 0.7, 1.3
    e = (1.0 - q) / (1.0 + q)
    lens = mass.EPL(theta_E=theta_E, gamma=gamma, e1=e * np.cos(2 * phi), e2=e * np.sin(2 * phi))
    t = np.arange(400) * 2.0 * np.pi / 400
    a, b = theta_E / np.sqrt(q), theta_E * np.sqrt(q)
    u, v, du, dv = a * np.cos(t), b * np.sin(t), -a * np.sin(t), b * np.cos(t)
    turn = np.array([[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]])
    (x, y), (dx, dy) = turn @ [u, v], turn @ [du, dv]
    alpha_x, alpha_y = lens.deflection(jnp.asarray(x), jnp.asarray(y))
    inside = 0.5 * np.mean(alpha_x * dy - alpha_y * dx) * 2.0 * np.pi
    np.testing.assert_allclose(inside, np.pi * theta_E**2, rtol=1e-10)


def test_isothermal_critical_curve_is_that_ellipse(x64):
    """For gamma = 2 the critical curve is kappa = 1/2, so it holds pi theta_E^2."""
    lens = mass.SIE(theta_E=1.3, e1=0.2, e2=0.1)
    t = jnp.arange(40) * 2.0 * jnp.pi / 40
    along = 1.0 / (2.0 * lens.convergence(jnp.cos(t), jnp.sin(t)))  # kappa falls as 1/r
    radius = 1.0 / along  # where kappa = 1/2
    np.testing.assert_allclose(1.0 / lens.magnification(jnp.cos(t) / along, jnp.sin(t) / along), 0.0, atol=1e-9)
    np.testing.assert_allclose(jnp.mean(radius**2) * jnp.pi, np.pi * 1.3**2, rtol=1e-10)


@pytest.mark.parametrize("q, accuracy", [(0.9, 1e-6), (0.7, 1e-7), (0.4, 1e-7), (0.25, 1e-7), (0.25, 1e-10)])
@pytest.mark.parametrize("gamma", [1.2, 2.0, 2.8])
def test_terms_for_keeps_its_promise(q, accuracy, gamma, x64):
    e = (1.0 - q) / (1.0 + q)
    phi = jnp.linspace(0.0, 2.0 * jnp.pi, 181)
    lens = cast(mass.EPL(theta_E=1.0, gamma=gamma, e1=e * np.cos(0.4), e2=e * np.sin(0.4)), x64)
    short, exact = (deflected(lens.replace(terms=terms), jnp.cos(phi), jnp.sin(phi))
                    for terms in (terms_for(q, accuracy), 200))
    error = jnp.hypot(*(short - exact)) / jnp.hypot(*exact)
    assert error.max() < accuracy


def test_terms_for_documented_counts():
    assert [terms_for(q) for q in (0.9, 0.4, 0.2)] == [5, 18, 40]
    assert terms_for(0.4) <= SERIES
    assert terms_for(1.0) == 1


def test_shear_is_traceless(x64, rng):
    x, y = points(rng, x64)
    shear = mass.Shear(gamma1=0.1, gamma2=-0.05)
    np.testing.assert_allclose(shear.convergence(x, y), 0.0, atol=1e-15)
    np.testing.assert_allclose(jnp.stack(shear.shear(x, y)), np.array([[0.1], [-0.05]]) * np.ones(len(x)), atol=1e-15)


def test_nfw_spherical_limit(x64):
    """Closed forms inside, at and outside Rs: alpha(Rs) = alpha_Rs; alpha ~ g(x)/x, kappa ~ (1 - F)/(x^2 - 1)."""
    lens = mass.NFW(Rs=2.0, alpha_Rs=1.1)
    r = jnp.asarray([0.02, 0.5, 1.5, 2.0, 3.0, 20.0])
    u = np.asarray(r) / 2.0
    with np.errstate(all="ignore"):
        inner = np.arctanh(np.sqrt(1 - u**2)) / np.sqrt(1 - u**2)
        outer = np.arctan(np.sqrt(u**2 - 1)) / np.sqrt(u**2 - 1)
    f = np.where(u < 1, inner, np.where(u > 1, outer, 1.0))
    unit = 1.1 / (1.0 + np.log(0.5))
    alpha, _, convergence, _ = jitted(lens, r, 0.0 * r)
    np.testing.assert_allclose(alpha, unit * (np.log(u / 2) + f) / u, rtol=1e-9)
    np.testing.assert_allclose(alpha[3], 1.1, rtol=1e-12)
    away = np.array([0, 1, 2, 4, 5])
    kappa = (1.0 - f[away]) / (u[away] ** 2 - 1.0) * unit / (2.0 * 2.0)
    np.testing.assert_allclose(convergence[away], kappa, rtol=1e-8)
    np.testing.assert_allclose(convergence[3], unit / (2.0 * 2.0) / 3.0, rtol=1e-9)


def test_nfw_is_smooth_across_the_scale_radius(dtype):
    """Value and derivatives change from step to step as a smooth function does, seams included.

    In float32 the second derivative beside the seam carries 1e-5.
    """
    lens = cast(mass.NFW(Rs=1.0, alpha_Rs=1.0), dtype)
    r = jnp.linspace(0.9, 1.1, 2001, dtype=dtype)
    noise = {"float32": 3e-5, "float64": 1e-10}[dtype.name]
    alpha, _, convergence, potential = jitted(lens, r, 0 * r)
    for values in (potential, alpha, convergence):
        smooth = np.polynomial.Chebyshev.fit(np.asarray(r), np.asarray(values, float), 12)(np.asarray(r))
        assert np.abs(values - smooth).max() < noise


@pytest.mark.parametrize("e1", [0.0, 1e-4, 0.04, 0.3])
@pytest.mark.parametrize("s_scale", [1e-6, 0.0])
def test_a_core_smaller_than_any_pixel(s_scale, e1, dtype):
    """An isothermal lens whose core is nothing, at its centre too: powers of the core leave single precision."""
    x, y = jnp.asarray([0.0, 1e-8, 1e-6, 0.01, 1.0, 1e4], dtype), jnp.zeros(6, dtype)
    profile = cast(mass.NIE(theta_E=1.3, s_scale=s_scale, e1=e1, e2=0.01), dtype)
    for leaf in jax.tree.leaves((profile.deflection(x, y), profile.jacobian(x, y), reverse(profile, x, y))):
        assert np.isfinite(leaf).all()
    alike = cast(mass.SIE(theta_E=1.3, e1=e1, e2=0.01), dtype)
    np.testing.assert_allclose(np.stack(profile.deflection(x, y))[:, 3:], np.stack(alike.deflection(x, y))[:, 3:],
                               rtol=3e-4, atol=1e-6)


def test_numbers_of_python_are_positions(x64):
    """A single position as Python's numbers, of every profile."""
    for parameter in PROFILES:
        profile = parameter.values[0]
        expected = np.stack(profile.deflection(jnp.asarray(1.0), jnp.asarray(0.5)))
        np.testing.assert_allclose(np.stack(profile.deflection(1.0, 0.5)), expected, rtol=1e-6)


def test_outputs_follow_the_precision_of_the_positions(dtype):
    """Python numbers as parameters do not raise float32 positions to float64."""
    x = jnp.linspace(0.1, 1.0, 5, dtype=dtype)
    for parameter in PROFILES:
        assert jax.eval_shape(parameter.values[0].deflection, x, x)[0].dtype == dtype


@pytest.mark.parametrize("e", [0.3, 0.59, 0.8, 0.95])
@pytest.mark.parametrize("gamma", [1.2, 2.0, 2.78])
def test_the_epl_is_right_for_any_ellipticity(e, gamma, x64):
    """With no number of terms given: against a series of 1500 terms, in deflection and Jacobian."""
    phi = jnp.linspace(0.0, 2.0 * jnp.pi, 37)
    lens = mass.EPL(theta_E=1.0, gamma=gamma, e1=0.6 * e, e2=0.8 * e)
    w = e * np.exp(1j * np.linspace(0.0, np.pi, 37))
    n, t = np.arange(1, 1500), gamma - 1.0
    exact = np.polynomial.polynomial.polyval(w, np.cumprod(np.append(1.0, (2 * n - 2 + t) / (2 * n + 2 - t))))
    terms = enough_terms(e, np.dtype("float64"))
    found = mass.epl.angular_series(terms, jnp.asarray(t), jnp.asarray(w.real), jnp.asarray(w.imag))
    np.testing.assert_allclose(found[0] + 1j * found[1], exact, atol=1e-9 * np.abs(exact).max())
    found = fields(cast(lens, x64).replace(terms=terms), jnp.cos(phi), jnp.sin(phi))
    assert relative(0.5 * (found["xx"] + found["yy"]), found["kappa"]) < 1e-8
    concrete = jnp.stack(lens.deflection(jnp.cos(phi), jnp.sin(phi)))
    assert relative(concrete, np.stack([found["alpha_x"], found["alpha_y"]])) < 1e-10


def test_the_number_of_terms_follows_from_the_prior():
    def of(e1, e2, **settings):
        lens = mass.EPL(theta_E=dist.LogNormal(0.0, 0.1), e1=e1, e2=e2, **settings)
        return Prior.of([lens]).treedef.unflatten(Prior.of([lens]).slots)[0].terms

    normal, wide = dist.Normal(0.0, 0.1), dist.Normal(0.0, 0.3)
    assert largest_ellipticity(normal, dist.Normal(0.0, 0.1)) == pytest.approx(0.43, abs=0.01)  # of Rayleigh's 1e-4
    assert largest_ellipticity(dist.Uniform(-0.3, 0.3), 0.4) == pytest.approx(0.5)
    assert of(normal, dist.Normal(0.0, 0.1)) == of(0.1, 0.2) == SERIES
    assert of(wide, dist.Normal(0.0, 0.3)) > of(dist.Uniform(-0.4, 0.4), dist.Uniform(-0.4, 0.4)) > SERIES
    assert of(wide, wide, terms=7) == 7
    assert levels_for(SERIES) == 0 and levels_for(40) < 10


def test_dual_pseudo_isothermal_profiles_agree_when_round(x64, rng):
    """And in LensTool's factor b0 s / (s - a) of the deflection."""
    x, y = points(rng, x64)
    one = fields(cast(mass.PJaffe(sigma0=0.7, Ra=0.2, Rs=1.5), x64), x, y)
    other = fields(cast(mass.PJaffeEllipse(sigma0=0.7, Ra=0.2, Rs=1.5), x64), x, y)
    for key, value in one.items():
        assert relative(other[key], value) < 1e-10, key
    a, s, b0, r = 0.2, 1.5, 2.0 * 0.7 * 0.2, np.hypot(x, y)
    expected = b0 * s / (s - a) * (np.sqrt(a**2 + r**2) - a - np.sqrt(s**2 + r**2) + s) / r
    np.testing.assert_allclose(np.hypot(one["alpha_x"], one["alpha_y"]), expected, rtol=1e-10)


def test_limits_of_halos(x64, rng):
    """A generalised NFW of slope 1, a truncation far out and a sum of ellipsoids are the NFW halo."""
    x, y = points(rng, x64)
    expected = fields(cast(mass.NFW(Rs=2.0, alpha_Rs=1.1), x64), x, y)
    for lens, tolerance in ((mass.GNFW(Rs=2.0, alpha_Rs=1.1, gamma_in=1.0), 1e-8),
                            (mass.TNFW(Rs=2.0, alpha_Rs=1.1, r_trunc=1e6), 1e-8),
                            (mass.NFWEllipse(Rs=2.0, alpha_Rs=1.1), 1e-4)):  # Oguri's sum
        found = fields(cast(lens, x64), x, y)
        for key in ("alpha_x", "alpha_y", "kappa", "psi"):
            assert relative(found[key], expected[key]) < tolerance, (lens, key)


def test_the_sum_of_ellipsoids_is_the_halo_down_to_small_radii(dtype):
    """To 1e-4 in the convergence from 1e-4 to 100 Rs, in float32 too: its smallest cores count there."""
    r = jnp.asarray(np.logspace(-4.0, 2.0, 200), dtype)
    found, exact = (kind(Rs=1.0, alpha_Rs=1.1).convergence(r, 0.0 * r) for kind in (mass.NFWEllipse, mass.NFW))
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_a_sum_of_gaussians(x64, rng):
    x, y = points(rng, x64)
    one = [fields(cast(mass.Gaussian(amp=a, sigma=s), x64), x, y) for a, s in ((1.0, 0.2), (0.5, 1.5))]
    both = fields(cast(mass.MultiGaussian(amp=np.array([0.5, 0.25]), sigma=np.array([0.2, 1.5]), scale_factor=2.0),
                       x64), x, y)
    for key in both.keys() - {"mu"}:
        value = both[key]
        np.testing.assert_allclose(value, one[0][key] + one[1][key], atol=1e-12)


def test_mass_follows_light(x64, rng):
    """The convergence is the light's brightness times the mass-to-light ratio."""
    x, y = points(rng, x64)
    shape = dict(R_sersic=0.8, n_sersic=2.5, e1=0.2, e2=-0.1, center_x=0.1)
    kappa = mass.Sersic(k_eff=3.0, mass_to_light=0.2, **shape).convergence(x, y)
    np.testing.assert_allclose(kappa, 0.2 * Sersic(amp=3.0, b_n="linear", **shape).brightness(x, y), rtol=1e-9)


def test_gridded_field(x64, rng):
    """Through its pixels, near the field between them, continuous at the edge; with a potential where one is given."""
    x, y = np.meshgrid(np.linspace(-2.0, 2.0, 41), np.linspace(-1.5, 1.5, 31))
    psi = np.sin(x / 2) * np.cos(y / 3)
    alpha_x, alpha_y = 0.5 * np.cos(x / 2) * np.cos(y / 3), -np.sin(x / 2) * np.sin(y / 3) / 3.0
    lens = mass.DeflectionMap.of(alpha_x, alpha_y, 0.1, psi)
    u, v = rng.uniform(-0.8, 0.8, (2, 30))  # the spline is mirrored at the edge, which is felt some pixels inside
    edge = np.array([[2.0, 2.0 + 1e-7], [0.3, 0.3]])
    # all in one: to compile the spline takes longer than all else
    every = fields(lens, *(jnp.asarray(np.concatenate([a.ravel(), b, c]))
                           for a, b, c in zip((x, y), (u, v), edge, strict=True)))
    pixels, found, edge = ({key: value[part] for key, value in every.items()}
                           for part in (slice(x.size), slice(x.size, x.size + 30), slice(x.size + 30, None)))
    for key, value in (("alpha_x", alpha_x), ("alpha_y", alpha_y), ("psi", psi)):
        np.testing.assert_allclose(pixels[key], value.ravel(), atol=1e-12)
    np.testing.assert_allclose(found["alpha_x"], 0.5 * np.cos(u / 2) * np.cos(v / 3), atol=1e-6)
    np.testing.assert_allclose(found["xx"], -0.25 * np.sin(u / 2) * np.cos(v / 3), atol=1e-4)
    np.testing.assert_allclose(found["psi_x"], found["alpha_x"], atol=1e-4)
    for key in ("alpha_x", "alpha_y"):
        np.testing.assert_allclose(*edge[key], atol=1e-6)
    with pytest.raises(ValueError, match=r"psi: its gradient is .* off alpha_x"):
        mass.DeflectionMap.of(alpha_x, alpha_y, 0.1, 2.0 * psi)
    with pytest.raises(ValueError, match=r"alpha_y: got shape \(3, 41\); expected \(31, 41\)"):
        mass.DeflectionMap.of(alpha_x, alpha_y[:3], 0.1)
    with pytest.raises(ValueError, match="alpha_x: 1 pixels are NaN"):
        mass.DeflectionMap.of(np.where(x == x[0, 0], np.where(y == y[0, 0], np.nan, alpha_x), alpha_x), alpha_y, 0.1)
