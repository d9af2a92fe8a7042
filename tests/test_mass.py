"""Mass profiles: closed forms against derivatives, limits, and lenstronomy's values.

A new profile joins with one line in PROFILES (and in REFERENCES, when lenstronomy has it).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga import mass
from giga.mass.epl import DEFAULT_TERMS, terms_for

TERMS = terms_for(0.25, 1e-11)  # |e| = 0.6

PROFILES = [
    pytest.param(mass.EPL(theta_E=1.2, gamma=1.7, e1=0.2, e2=-0.1, center_x=0.1, center_y=-0.2, terms=20), id="EPL"),
    pytest.param(mass.EPL(theta_E=0.8, gamma=2.6, e1=-0.3, e2=0.4, terms=36), id="EPL-steep"),
    pytest.param(mass.SIE(theta_E=1.1, e1=-0.15, e2=0.2, center_x=-0.1, terms=20), id="SIE"),
    pytest.param(mass.NFW(Rs=1.0, alpha_Rs=0.9, center_x=0.05), id="NFW"),
    pytest.param(mass.NFW(Rs=1.0, alpha_Rs=1.4, e1=0.1, e2=-0.12, center_y=0.1), id="NFW-elliptical"),
    pytest.param(mass.Shear(gamma1=0.05, gamma2=-0.08), id="Shear"),
]
profiles = pytest.mark.parametrize("profile", PROFILES)

REFERENCES = [
    pytest.param("EPL", mass.EPL, {"terms": TERMS}, id="EPL"),
    pytest.param("SIE", mass.SIE, {"terms": TERMS}, id="SIE"),
    pytest.param("NFW", mass.NFW, {}, id="NFW"),
    pytest.param("NFW_ELLIPSE_POTENTIAL", mass.NFW, {}, id="NFW-elliptical"),
    pytest.param("SHEAR", mass.Shear, {}, id="Shear"),
]


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def points(rng, dtype, n=40):
    """Positions from 0.03 to 10 arcsec from the origin."""
    r, phi = 10.0 ** rng.uniform(-1.5, 1.0, n), rng.uniform(0.0, 2.0 * np.pi, n)
    return jnp.asarray(r * np.cos(phi), dtype), jnp.asarray(r * np.sin(phi), dtype)


def outputs(profile, x, y):
    """Deflection, convergence and, where there is one, potential, one row each."""
    rows = [*profile.deflection(x, y), profile.convergence(x, y)]
    return jnp.stack([*rows, profile.potential(x, y)] if has_potential(profile) else rows)


def has_potential(profile):
    return type(profile).potential is not mass.MassProfile.potential


# Compiled once for all profiles of one structure and precision.
jitted = jax.jit(outputs)
mapped = jax.jit(jax.vmap(jax.vmap(outputs, (None, 0, 0), 1), (0, None, None)))
potential_gradient = jax.jit(lambda p, x, y: jax.vmap(jax.grad(p.potential, (0, 1)))(x, y))


@jax.jit
def weighted_deflection(profile, x, y, weights):
    """A scalar of all the deflections, with its gradient by the parameters."""
    return jax.value_and_grad(lambda p: jnp.sum(weights * jnp.stack(p.deflection(x, y))))(profile)


@jax.jit
def gradients(profile, x, y):
    """Derivatives by parameters and position, point by point, of the deflection and of the convergence."""
    functions = (lambda p, a, b: jnp.stack(p.deflection(a, b)).sum(), lambda p, a, b: p.convergence(a, b))
    return [jax.vmap(jax.grad(function, (0, 1, 2)), (None, 0, 0))(profile, x, y) for function in functions]


def relative(value, expected):
    """Largest difference relative to the largest value."""
    expected = np.asarray(expected, float)
    return np.abs(np.asarray(value, float) - expected).max() / np.abs(expected).max()


@profiles
def test_deflection_is_the_gradient_of_the_potential(profile, x64, rng):
    x, y = points(rng, x64)
    alpha = profile.deflection(x, y)
    if not has_potential(profile):
        with pytest.raises(NotImplementedError, match=type(profile).__name__):
            profile.potential(x, y)
    else:
        gradient = potential_gradient(cast(profile, x64), x, y)
        assert relative(gradient, alpha) < 1e-9  # the truncated series
    _, xy, yx, _ = profile.jacobian(x, y)
    np.testing.assert_allclose(xy, yx, rtol=1e-8, atol=1e-8)  # a gradient has no curl


@profiles
def test_convergence_is_half_the_divergence(profile, x64, rng):
    x, y = points(rng, x64)
    xx, _, _, yy = profile.jacobian(x, y)
    kappa = profile.convergence(x, y)
    np.testing.assert_allclose(kappa, 0.5 * (xx + yy), rtol=1e-8, atol=1e-9)
    assert kappa.shape == x.shape


@profiles
def test_jacobian_against_finite_differences(profile, x64, rng):
    x, y = points(rng, x64)
    h = 1e-5
    along = [(p - m) / (2 * h) for p, m in zip(profile.deflection(x + h, y), profile.deflection(x - h, y), strict=True)]
    up = [(p - m) / (2 * h) for p, m in zip(profile.deflection(x, y + h), profile.deflection(x, y - h), strict=True)]
    xx, xy, yx, yy = profile.jacobian(x, y)
    for value, expected in ((xx, along[0]), (yx, along[1]), (xy, up[0]), (yy, up[1])):
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    gamma1, gamma2 = profile.shear(x, y)
    np.testing.assert_allclose(gamma1, 0.5 * (xx - yy), atol=1e-12)
    np.testing.assert_allclose(gamma2, xy, atol=1e-12)
    mu = profile.magnification(x, y)
    np.testing.assert_allclose(1.0 / mu, (1.0 - xx) * (1.0 - yy) - xy * yx, rtol=1e-9)


@profiles
def test_parameter_gradient_against_finite_differences(profile, x64, rng):
    x, y = points(rng, x64)
    weights = jnp.asarray(rng.normal(size=(2, len(x))))
    profile = cast(profile, x64)
    leaves, tree = jax.tree.flatten(profile)
    gradient = jax.tree.leaves(weighted_deflection(profile, x, y, weights)[1])
    for k, leaf in enumerate(leaves):
        h = 1e-6
        high, low = (weighted_deflection(jax.tree.unflatten(tree, [*leaves[:k], leaf + d, *leaves[k + 1:]]),
                                         x, y, weights)[0] for d in (h, -h))
        np.testing.assert_allclose(gradient[k], (high - low) / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("round_", [False, True], ids=["as-given", "round"])
@profiles
def test_finite_value_and_gradient_at_the_edges(profile, round_, dtype):
    """At e = 0 and gamma = 2, at the centre, and at x = Rs; in the value and in every derivative."""
    edges = {"e1": 0.0, "e2": 0.0, "gamma": 2.0}
    if round_:
        profile = profile.replace(**{name: value for name, value in edges.items() if hasattr(profile, name)})
    profile = cast(profile, dtype)
    x0, y0 = getattr(profile, "center_x", 0.0), getattr(profile, "center_y", 0.0)
    offsets = jnp.asarray([(0, 0), (1, 0), (0, 1), (-1, 0), (1e-30, 0), (0, 1e-7), (0.6, 0.8), (1e3, 0)], dtype)
    x, y = (x0 + offsets[:, 0], y0 + offsets[:, 1])
    assert np.isfinite(jitted(profile, x, y)).all()
    for gradient in gradients(profile, x, y):
        for leaf in jax.tree.leaves(gradient):
            assert np.isfinite(leaf).all(), gradient


@profiles
def test_gradient_by_ellipticity_is_right_for_a_circle(profile, x64, rng):
    """A guard for a circle that returned zero would be finite and wrong."""
    if not hasattr(profile, "e1"):
        pytest.skip("has no ellipticity")
    x, y = points(rng, x64)
    profile = cast(profile.replace(e1=0.0, e2=0.0), x64)
    for name in ("e1", "e2"):
        def along(e, name=name):
            return jnp.stack(profile.replace(**{name: e}).deflection(x, y))

        _, slope = jax.jvp(along, (jnp.zeros(()),), (jnp.ones(()),))
        np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-6)
        assert np.abs(slope).max() > 0.01


@profiles
def test_jit_and_vmap_equal_the_plain_call(profile, dtype, rng):
    profile = cast(profile, dtype)
    x, y = points(rng, dtype)
    plain = outputs(profile, x, y)
    tolerance = {"float32": 1e-5, "float64": 1e-11}[dtype.name]
    scale = np.abs(plain).max(axis=1, keepdims=True)
    assert np.all(np.abs(jitted(profile, x, y) - plain) <= tolerance * scale)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), profile)
    one_by_one = mapped(batch, x, y)  # over profiles, and over points
    assert one_by_one.shape == (2, *plain.shape)
    assert np.all(np.abs(one_by_one - plain) <= tolerance * scale)


@pytest.mark.parametrize("name, kind, settings", REFERENCES)
def test_reference(name, kind, settings, dtype, reference):
    """Relative to the largest value; float32 rounds at the smallest radii of the steepest slopes."""
    known = {key.split("/")[1]: value for key, value in reference.items() if key.startswith(f"{name}/")}
    x, y = jnp.asarray(known.pop("x"), dtype), jnp.asarray(known.pop("y"), dtype)
    expected = {key: known.pop(key) for key in ("alpha_x", "alpha_y", "psi", "xx", "xy", "yy") if key in known}

    @jax.jit
    @jax.vmap
    def values(parameters):
        profile = kind(**parameters, **settings)
        alpha_x, alpha_y = profile.deflection(x, y)
        xx, xy, _, yy = profile.jacobian(x, y)
        return dict(alpha_x=alpha_x, alpha_y=alpha_y, psi=profile.potential(x, y), xx=xx, xy=xy, yy=yy)

    result = values({key: jnp.asarray(value, dtype) for key, value in known.items()})
    tolerance = {"float32": 1e-5, "float64": 1e-8}[dtype.name]
    for key, value in expected.items():
        for k in range(len(value)):
            assert relative(result[key][k], value[k]) < tolerance, (key, k)


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
    for profile in (mass.SIE(theta_E=theta_E, e1=e1, terms=60), mass.EPL(theta_E=theta_E, gamma=2.0, e1=e1, terms=60)):
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
    lens = mass.EPL(theta_E=theta_E, gamma=gamma, e1=e * np.cos(2 * phi), e2=e * np.sin(2 * phi), terms=60)
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
    lens = mass.SIE(theta_E=1.3, e1=0.2, e2=0.1, terms=60)
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
    lens = mass.EPL(theta_E=1.0, gamma=gamma, e1=e * np.cos(0.4), e2=e * np.sin(0.4))
    short = jnp.stack(lens.replace(terms=terms_for(q, accuracy)).deflection(jnp.cos(phi), jnp.sin(phi)))
    exact = jnp.stack(lens.replace(terms=200).deflection(jnp.cos(phi), jnp.sin(phi)))
    error = jnp.hypot(*(short - exact)) / jnp.hypot(*exact)
    assert error.max() < accuracy


def test_terms_for_documented_counts():
    assert [terms_for(q) for q in (0.9, 0.4, 0.2)] == [5, 18, 40]
    assert terms_for(0.4) <= DEFAULT_TERMS
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


def test_outputs_follow_the_precision_of_the_positions(dtype):
    """Python numbers as parameters do not raise float32 positions to float64."""
    x = jnp.linspace(0.1, 1.0, 5, dtype=dtype)
    for parameter in PROFILES:
        assert jax.eval_shape(parameter.values[0].deflection, x, x)[0].dtype == dtype
