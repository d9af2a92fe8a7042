"""Light profiles: lenstronomy's values, closed-form fluxes, and safety at the edges.

A new profile joins with one line in PROFILES (and in REFERENCES, when lenstronomy has it).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gamma, gammaincinv

from giga import light
from giga.imaging.grid import Grid
from giga.light import (
    CoreSersic,
    Gaussian,
    Moffat,
    MultiGaussian,
    PixelImage,
    PixelSource,
    Ring,
    Sersic,
    Shapelets,
    Spiral,
    UniformSky,
)
from giga.light.sersic import N_SERSIC, b_n, unit_flux

pytestmark = pytest.mark.quick

AMPLITUDES = np.random.default_rng(5).normal(size=15)

PROFILES = [
    pytest.param(Sersic(amp=2.0, R_sersic=0.8, n_sersic=3.0, e1=0.2, e2=-0.1, center_x=0.1), id="Sersic"),
    pytest.param(Sersic(amp=2.0, R_sersic=0.8, n_sersic=0.5, e1=-0.4, e2=0.3), id="Sersic-Gaussian"),
    pytest.param(Sersic(amp=2.0, R_sersic=0.8, n_sersic=4.0, e1=0.2, e2=-0.1, center_x=0.1, softening=0.05),
                 id="Sersic-soft"),
    pytest.param(Shapelets(amp=AMPLITUDES, beta=0.5, center_y=-0.1, n_max=4), id="Shapelets"),
    pytest.param(Shapelets(amp=AMPLITUDES[:1], beta=0.5, n_max=0), id="Shapelets-0"),
    pytest.param(CoreSersic(amp=2.0, R_sersic=0.8, Rb=0.1, n_sersic=3.0, gamma=0.3, e1=0.2, e2=-0.1, center_x=0.1),
                 id="CoreSersic"),
    pytest.param(CoreSersic(amp=2.0, R_sersic=0.8, Rb=0.1, n_sersic=3.0, gamma=0.9, e1=0.2, softening=0.05),
                 id="CoreSersic-soft"),
    pytest.param(Gaussian(amp=2.0, sigma=0.5, e1=0.2, e2=-0.1, center_x=0.1), id="Gaussian"),
    pytest.param(MultiGaussian(amp=np.abs(AMPLITUDES), sigma_min=0.05, sigma_max=2.0, e1=0.2, e2=-0.1, center_y=0.1,
                               n_gaussians=15), id="MultiGaussian"),
    pytest.param(Moffat(amp=2.0, alpha=0.5, beta=2.5, e1=0.2, e2=-0.1, center_x=0.1), id="Moffat"),
    pytest.param(Ring(amp=2.0, radius=0.8, width=0.2, e1=0.2, e2=-0.1, center_x=0.1), id="Ring"),
    pytest.param(Ring(amp=2.0, radius=0.1, width=0.4, e1=0.2, e2=-0.1, center_x=0.1), id="Ring-disc"),
    pytest.param(Spiral(amp=2.0, Rs=0.5, contrast=0.6, pitch=0.35, phi0=0.4, e1=0.2, e2=-0.1, center_x=0.1),
                 id="Spiral"),
    pytest.param(Spiral(amp=2.0, Rs=0.5, contrast=0.6, pitch=2.7, phi0=-1.0, e1=-0.1, e2=0.3, arms=1), id="Spiral-1"),
    pytest.param(UniformSky(amp=-0.2), id="UniformSky"),
    pytest.param(PixelImage(amp=2.0, image=AMPLITUDES.reshape(3, 5), scale=0.7, center_x=0.1, phi_G=0.4),
                 id="PixelImage"),
    pytest.param(PixelImage(amp=2.0, image=AMPLITUDES.reshape(3, 5), scale=0.7, center_x=0.1, phi_G=0.4,
                            interpolation="bilinear"), id="PixelImage-bilinear"),
    pytest.param(PixelSource(amp=AMPLITUDES[:9], half_size=2.5, center_x=0.1, sd=1.0, length=0.3, n_pixels=3),
                 id="PixelSource"),
]
profiles = pytest.mark.parametrize("profile", PROFILES)

REFERENCES = [
    pytest.param("SERSIC_ELLIPSE", Sersic, {"b_n": "linear"}, id="Sersic"),
    pytest.param("CORE_SERSIC", CoreSersic, {"b_n": "linear"}, id="CoreSersic"),
    pytest.param("GAUSSIAN_ELLIPSE", Gaussian, {}, id="Gaussian"),
    pytest.param("MULTI_GAUSSIAN_ELLIPSE", MultiGaussian, {"n_gaussians": 12}, id="MultiGaussian"),
    pytest.param("MOFFAT", Moffat, {}, id="Moffat"),
    pytest.param("UNIFORM", UniformSky, {}, id="UniformSky"),
    pytest.param("INTERPOL", PixelImage, {"interpolation": "bilinear"}, id="PixelImage"),
    pytest.param("SHAPELETS", Shapelets, {"n_max": 6}, id="Shapelets"),
]


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def points(rng, dtype, n=30):
    return tuple(jnp.asarray(v, dtype) for v in rng.normal(size=(2, n)))


def brightness(profile, x, y):
    return profile.brightness(x, y)


# Each is compiled once for all profiles of one structure and precision.
@jax.jit
def mapped(profile, batch, x, y):
    """Brightness at all points, over profiles, and over points."""
    return (brightness(profile, x, y), jax.vmap(brightness, (0, None, None))(batch, x, y),
            jax.vmap(brightness, (None, 0, 0))(profile, x, y))


@jax.jit
def derivatives(profile, at):
    """Brightness at a place, its gradient, and its second derivatives by the place."""
    def value(profile, at):
        return brightness(profile, at[0], at[1])

    return value(profile, at), jax.grad(value, (0, 1))(profile, at), jax.hessian(value, 1)(profile, at)


@pytest.mark.parametrize("name, kind, settings", REFERENCES)
def test_reference(name, kind, settings, dtype, reference):
    known = {key.split("/")[1]: value for key, value in reference.items() if key.startswith(f"{name}/")}
    x, y = jnp.asarray(known.pop("x"), dtype), jnp.asarray(known.pop("y"), dtype)
    expected = known.pop("brightness")
    values = jax.jit(jax.vmap(lambda parameters: kind(**parameters, **settings).brightness(x, y)))
    result = np.asarray(values({key: jnp.asarray(value, dtype) for key, value in known.items()}), float)
    error = np.abs(result - expected).max(1) / np.abs(expected).max(1)
    assert error.max() < {"float32": 1e-5, "float64": 1e-8}[dtype.name]


@profiles
def test_brightness_is_the_amplitudes_times_the_basis(profile, dtype, rng):
    profile = cast(profile, dtype)
    x, y = points(rng, dtype)
    basis = profile.basis(x, y)
    assert basis.shape == (profile.n_amp, *x.shape)
    expected = np.tensordot(np.atleast_1d(profile.amp), np.asarray(basis), 1)
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype.name]
    np.testing.assert_allclose(profile.brightness(x, y), expected, atol=tolerance * np.abs(expected).max())
    twice = profile.replace(amp=2.0 * profile.amp).brightness(x, y)
    np.testing.assert_allclose(twice, 2.0 * profile.brightness(x, y), rtol=1e-6)
    assert profile.replace(amp=None).is_linear and not profile.is_linear
    np.testing.assert_array_equal(profile.replace(amp=None).basis(x, y), basis)


@profiles
def test_jit_and_vmap_equal_the_plain_call(profile, dtype, rng):
    profile = cast(profile, dtype)
    x, y = points(rng, dtype)
    plain = profile.brightness(x, y)
    assert plain.dtype == dtype
    tolerance = {"float32": 1e-5, "float64": 1e-13}[dtype.name] * np.abs(plain).max()
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), profile)
    at_once, over_profiles, over_points = mapped(profile, batch, x, y)
    for found in (at_once, over_profiles[1], over_points):
        np.testing.assert_allclose(found, plain, atol=tolerance)


@profiles
def test_gradient_against_finite_differences(profile, x64, rng):
    x, y = points(rng, x64)
    weights = jnp.asarray(rng.normal(size=len(x)))
    profile = cast(profile, x64)

    @jax.jit
    def scalar(p, dx):
        return jnp.sum(weights * p.brightness(x + dx, y))

    leaves, tree = jax.tree.flatten((profile, jnp.zeros(())))
    gradient = jax.tree.leaves(jax.grad(scalar, (0, 1))(profile, jnp.zeros(())))
    for k, leaf in enumerate(leaves):
        direction = jnp.ones_like(leaf)
        high, low = (scalar(*jax.tree.unflatten(tree, [*leaves[:k], leaf + h * direction, *leaves[k + 1:]]))
                     for h in (1e-6, -1e-6))
        np.testing.assert_allclose(jnp.sum(gradient[k]), (high - low) / 2e-6, rtol=1e-6, atol=1e-7)


@profiles
def test_second_derivatives_are_finite_at_the_centre(profile, dtype):
    """Where the radius is zero, and for a circle there."""
    profile = cast(profile, dtype)
    circle = {name: jnp.zeros((), dtype) for name in ("e1", "e2") if hasattr(profile, name)}
    for one in (profile, profile.replace(**circle)):
        center = jnp.stack([jnp.asarray(getattr(one, name, 0.0), dtype) for name in ("center_x", "center_y")])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(derivatives(one, center)))


@pytest.mark.parametrize("n_sersic", [0.17, 0.5, 1.0, 4.0, 8.0, 20.0])
@pytest.mark.parametrize("e", [0.0, 0.3])
def test_sersic_is_finite_at_the_centre(n_sersic, e, dtype):
    profile = cast(Sersic(amp=1.0, R_sersic=0.7, n_sersic=n_sersic, e1=e, e2=-e), dtype)
    x, y = jnp.asarray([0.0, 1e-30, 0.0, 1e3], dtype), jnp.asarray([0.0, 0.0, 1e-5, 0.0], dtype)
    value = profile.brightness(x, y)
    gradient = jax.jit(jax.vmap(jax.grad(brightness, (0, 1, 2)), (None, 0, 0)))(profile, x, y)
    for leaf in jax.tree.leaves((value, gradient)):
        assert np.isfinite(leaf).all()
    # no slope at the centre itself, of a brightness of e^b
    b = gammaincinv(2.0 * n_sersic, 0.5)
    np.testing.assert_allclose(gradient[1][0], 0.0, atol=1e-6 * np.exp(b))
    # The softened centre: sqrt(tiny) / R_sersic to the power 1/n is what the peak loses.
    loss = b * ((1e-6 if dtype == np.float32 else 1e-12) / 0.7) ** (1.0 / n_sersic)
    np.testing.assert_allclose(value[0], np.exp(b - loss), rtol=2e-5)


def test_b_n_solves_its_equation_over_the_whole_range(dtype):
    n = np.geomspace(*N_SERSIC, 500)
    expected = gammaincinv(2.0 * np.asarray(n, dtype).astype(float), 0.5)
    tolerance = {"float32": 1e-6, "float64": 3e-9}[dtype.name]  # in float32 half a unit in the last place of b = 16
    found = np.asarray(jax.jit(b_n)(jnp.asarray(n, dtype)), float)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * 0.05)
    slope = jax.vmap(jax.grad(b_n))(jnp.asarray(n, dtype))
    assert (np.asarray(slope) > 0.0).all()


@pytest.mark.parametrize("n_sersic", [0.2, 0.5, 0.7, 1.0, 2.0, 4.0, 8.0])
def test_sersic_flux_and_half_light_radius(n_sersic, x64):
    """Flux 2 pi n R^2 e^b b^(-2n) Gamma(2n), half of it inside R_sersic."""
    n, radius = n_sersic, 0.8
    edges = np.concatenate([[0.0], np.geomspace(1e-9, 1e7, 200001)]) * radius
    middle = 0.5 * (edges[1:] + edges[:-1])
    profile = Sersic(amp=1.5, R_sersic=radius, n_sersic=n)
    rings = np.asarray(profile.brightness(jnp.asarray(middle), 0.0)) * np.pi * np.diff(edges**2)
    b = float(b_n(n))
    expected = 1.5 * 2.0 * np.pi * n * radius**2 * np.exp(b) * b ** (-2.0 * n) * gamma(2.0 * n)
    np.testing.assert_allclose(rings.sum(), expected, rtol=1e-6)
    np.testing.assert_allclose(1.5 * unit_flux(radius, n), expected, rtol=1e-9)
    np.testing.assert_allclose(rings[edges[1:] <= radius].sum() / rings.sum(), 0.5, atol=1e-4)  # a ring on the edge


def test_core_sersic_without_a_core_is_sersic(x64, rng):
    shape = {"amp": 2.0, "R_sersic": 0.8, "n_sersic": 3.0, "e1": 0.2, "e2": -0.1}
    x, y = points(rng, x64)
    cored = CoreSersic(**shape, Rb=1e-6, gamma=0.2)
    np.testing.assert_allclose(cored.brightness(x, y), Sersic(**shape).brightness(x, y), rtol=1e-9)


@pytest.mark.parametrize("profile, flux", [
    (Gaussian(amp=3.0, sigma=0.4, e1=0.2, e2=0.1), 3.0),
    (Moffat(amp=3.0, alpha=0.4, beta=6.0, e1=0.2, e2=0.1), np.pi * 0.4**2 * 3.0 / 5.0),
    (MultiGaussian(amp=np.array([1.0, 2.0, 0.5]), sigma_min=0.1, sigma_max=0.6, e1=0.2, n_gaussians=3), 3.5),
    (Spiral(amp=3.0, Rs=0.3, contrast=0.7, pitch=0.3, e1=0.2, e2=0.1, arms=3), 2.0 * np.pi * 0.3**2 * 3.0),
    (PixelImage(amp=2.0, image=np.arange(12.0).reshape(3, 4), scale=0.5, phi_G=0.3), 2.0 * 66.0 * 0.25),
], ids=["Gaussian", "Moffat", "MultiGaussian", "Spiral", "PixelImage"])
def test_flux(profile, flux, x64):
    x = np.linspace(-6.0, 6.0, 1201)
    total = float(jnp.sum(profile.brightness(*map(jnp.asarray, np.meshgrid(x, x))))) * (x[1] - x[0]) ** 2
    np.testing.assert_allclose(total, flux, rtol=1e-5)  # of the Moffat 1e-6 is outside


def test_multi_gaussian_widths_are_a_series(x64):
    profile = MultiGaussian(sigma_min=0.02, sigma_max=2.0, n_gaussians=5)
    np.testing.assert_allclose(profile.sigmas(), np.geomspace(0.02, 2.0, 5))


@pytest.mark.parametrize("interpolation, accuracy", [("bilinear", 1.3e-2), ("bicubic", 1e-3)])
def test_pixel_image_is_the_light_it_was_made_of(interpolation, accuracy, x64, rng):
    """A sampled Gaussian of five pixels, exact at the pixels, and zero outside of the stamp.

    Between them bilinear interpolation is off by up to h^2 I'' / 8, the cubic one by an order in h less.
    """
    axis = 0.1 * (np.arange(61) - 30.0)
    image = np.exp(-0.5 * (axis[None, :] ** 2 + (axis[:, None] / 0.8) ** 2) / 0.25)
    profile = PixelImage(amp=1.0, image=image, scale=0.1, center_x=0.3, center_y=-0.2, interpolation=interpolation)
    np.testing.assert_allclose(profile.brightness(0.3 + axis[None, :], -0.2 + axis[:, None]), image, atol=1e-12)
    x, y = points(rng, x64)
    expected = np.exp(-0.5 * (np.asarray(x) ** 2 + (np.asarray(y) / 0.8) ** 2) / 0.25)
    np.testing.assert_allclose(profile.brightness(x + 0.3, y - 0.2), expected, atol=accuracy)
    far = jnp.array([3.6, -40.0, 0.0, 1e6])
    np.testing.assert_array_equal(profile.brightness(far, jnp.array([0.0, 0.0, 3.6, -1e6])), 0.0)


def test_every_profile_is_tested():
    extended = {kind for kind in light.PROFILES.values() if not kind.is_point}  # of points see test_point_light.py
    assert {type(p.values[0]) for p in PROFILES} == extended


@profiles
def test_ranges_are_of_parameters_and_hold_the_examples(profile):
    assert set(profile.ranges) <= set(vars(profile))
    for name, (low, high) in profile.ranges.items():
        assert low < getattr(profile, name) < high


def test_sersic_radius_is_on_the_intermediate_axis(x64):
    q, phi = 0.5, 0.4
    e = (1.0 - q) / (1.0 + q)
    profile = Sersic(amp=3.0, R_sersic=0.8, n_sersic=2.0, e1=e * np.cos(2 * phi), e2=e * np.sin(2 * phi))
    for axis, angle in ((0.8 / np.sqrt(q), phi), (0.8 * np.sqrt(q), phi + np.pi / 2)):
        np.testing.assert_allclose(profile.brightness(axis * jnp.cos(angle), axis * jnp.sin(angle)), 3.0, rtol=1e-12)


def test_shapelets_are_orthonormal(x64):
    """The integral of a product over (x / beta, y / beta) is one or zero."""
    t = jnp.linspace(-12.0, 12.0, 241)
    x, y = jnp.meshgrid(0.1 + 0.3 * t, 0.3 * t)
    basis = Shapelets(beta=0.3, center_x=0.1, n_max=6).basis(x, y).reshape(28, -1)
    np.testing.assert_allclose(basis @ basis.T * 0.1**2, np.eye(28), atol=1e-12)


def test_shapelets_order_is_by_total_degree(x64):
    """(0,0), (1,0), (0,1), (2,0), (1,1), (0,2): the parity in x and y tells the degrees."""
    profile = Shapelets(beta=1.0, n_max=2)
    right, left = (profile.basis(jnp.asarray(s * 0.7), jnp.asarray(0.4)) for s in (1.0, -1.0))
    up, down = (profile.basis(jnp.asarray(0.7), jnp.asarray(s * 0.4)) for s in (1.0, -1.0))
    np.testing.assert_allclose(right / left, [1, -1, 1, 1, -1, 1])
    np.testing.assert_allclose(up / down, [1, 1, -1, 1, -1, 1])
    np.testing.assert_allclose(profile.basis(jnp.zeros(()), jnp.zeros(()))[0], np.pi**-0.5)


@pytest.mark.parametrize("profile", [
    Sersic(amp=2.0, R_sersic=0.4, n_sersic=1.0, e1=0.2), Gaussian(amp=3.0, sigma=0.3, e2=0.1),
    MultiGaussian(amp=np.array([1.0, 2.0, 0.5]), sigma_min=0.1, sigma_max=0.4, n_gaussians=3),
    Moffat(amp=1.0, alpha=0.2, beta=5.0, e1=-0.1), Shapelets(amp=np.arange(1.0, 16.0), beta=0.3, n_max=4),
    CoreSersic(amp=1.0, R_sersic=0.4, Rb=0.2, n_sersic=1.0, gamma=0.1, e1=0.1),
    Ring(amp=1.0, radius=1.0, width=0.15, e1=0.2, e2=0.1), Ring(amp=1.0, radius=0.1, width=0.5, e1=-0.2),
    Spiral(amp=1.0, Rs=0.3, contrast=0.7, pitch=0.4, e1=0.2),
    PixelImage(amp=2.0, image=np.random.default_rng(1).uniform(size=(7, 9)), scale=0.1, phi_G=0.3)], ids=str)
def test_flux_of_a_profile_is_the_sum_of_its_pixels(profile, x64):
    x, y = Grid(shape=(800, 800), pixel_scale=0.0125).coordinates()
    total = float(jnp.sum(profile.brightness(x, y))) * 0.0125**2
    assert float(profile.flux()) == pytest.approx(total, rel=2e-4)  # the stamp's pixels; the others are below 1e-5
    assert np.isinf(UniformSky(amp=1.0).flux())


def test_ring_is_brightest_on_its_ellipse(x64):
    q, phi = 0.6, 0.3
    e = (1.0 - q) / (1.0 + q)
    ring = Ring(amp=2.0, radius=0.7, width=0.1, e1=e * np.cos(2 * phi), e2=e * np.sin(2 * phi))
    for axis, angle in ((0.7 / np.sqrt(q), phi), (0.7 * np.sqrt(q), phi + np.pi / 2)):
        x, y = axis * np.cos(angle), axis * np.sin(angle)
        np.testing.assert_allclose(ring.brightness(jnp.asarray([1.0, 0.9]) * x, jnp.asarray([1.0, 0.9]) * y),
                                   [2.0, 2.0 * np.exp(-0.5 * 0.7**2)], rtol=1e-9)


def test_arms_of_a_spiral_are_logarithmic(x64):
    """Expected: far out the brightness over the disc's is 1 + contrast on phi = phi0 + ln(R / Rs) / tan(pitch) and on
    its turns by 2 pi / arms, 1 - contrast between them, to (Rs / R)^2; an inclination squeezes all along one axis."""
    R, contrast, pitch = 40.0, 0.6, 0.4
    spiral = Spiral(amp=1.0, Rs=1.0, contrast=contrast, pitch=pitch, phi0=0.7, arms=3)
    turns = np.arange(6)
    phi = 0.7 + np.log(R) / np.tan(pitch) + np.pi / 3 * turns
    over = spiral.brightness(R * jnp.cos(phi), R * jnp.sin(phi)) / jnp.exp(-R)
    np.testing.assert_allclose(over, 1.0 + contrast * (-1.0) ** turns, atol=2.0 / R**2)
    np.testing.assert_allclose(spiral.replace(pitch=np.pi - pitch, phi0=-0.7).brightness(R * jnp.cos(-phi),
                                                                                      R * jnp.sin(-phi)),
                               spiral.brightness(R * jnp.cos(phi), R * jnp.sin(phi)), rtol=1e-9)
    q = 0.5
    tilted = spiral.replace(e1=(1.0 - q) / (1.0 + q))
    np.testing.assert_allclose(tilted.brightness(R * jnp.cos(phi) / np.sqrt(q), R * jnp.sin(phi) * np.sqrt(q)),
                               spiral.brightness(R * jnp.cos(phi), R * jnp.sin(phi)), rtol=1e-9)
    with pytest.raises(ValueError, match="arms: got 0; expected one or more"):
        spiral.replace(arms=0)
