"""Small problems for the tests of inference: simulated lenses, and posteriors known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from giga.bayes.posterior import variance
from giga.bayes.prior import Prior
from giga.component import Component, static
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF
from giga.imaging.render import render_data
from giga.inference.search.lanes import Lanes
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL, Shear


def blank(size: int = 22, pixel_scale: float = 0.13, rms: float = 0.02, exposure: float | None = None, ss: int = 2,
          **changes) -> Observation:
    """An observation without an image, with a small PSF."""
    fields = dict(image=np.zeros((size, size)), grid=Grid(shape=(size, size), pixel_scale=pixel_scale),
                  psf=PSF.gaussian(0.15, pixel_scale, 5, supersampling=ss), background_rms=rms, exposure_time=exposure)
    return Observation(**{**fields, **changes})


def observe(scene: Scene, observation: Observation, seed: int | None = 1) -> Observation:
    """Put the image of a scene into an observation, with noise unless the seed is None."""
    data = observation.data(jnp.result_type(float), trim=False)
    model = jax.jit(render_data)(scene, data)
    rng = np.random.default_rng(seed)
    noise = 0.0 if seed is None else np.asarray(data.unit_noise(lambda shape: rng.normal(size=shape)))
    return observation.replace(image=np.asarray(model + np.sqrt(variance(model, data)) * noise, float))


def lens(amp: tuple | None = (4.0, 20.0)) -> Scene:
    """A lens with numbers on its leaves; amp None leaves both amplitudes to be solved."""
    a, b = (None, None) if amp is None else amp
    return Scene(
        mass=[EPL(theta_E=0.9, gamma=2.05, e1=0.08, e2=-0.05), Shear(gamma1=0.02, gamma2=-0.03)],
        lens_light=[Sersic(amp=a, R_sersic=0.5, n_sersic=2.5, e1=0.1, e2=0.03)],
        source_light=[Sersic(amp=b, R_sersic=0.2, n_sersic=1.2, e1=0.1, e2=0.1, center_x=0.05, center_y=-0.04)])


def lens_prior(amp: tuple | None = ()) -> Scene:
    """A prior around `lens`, with eleven shape parameters (one tied) and sampled or solved amplitudes."""
    x = dist.Normal(0.0, 0.05)  # one parameter on two leaves: mass and light share their centre
    a, b = (None, None) if amp is None else (dist.LogNormal(1.4, 0.6), dist.LogNormal(2.8, 0.6))
    return Scene(
        mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.2), gamma=dist.TruncatedNormal(2.0, 0.2, low=1.2, high=2.8),
                  e1=dist.Normal(0.0, 0.1), e2=dist.Normal(0.0, 0.1), center_x=x),
              Shear(gamma1=dist.Normal(0.0, 0.05), gamma2=dist.Normal(0.0, 0.05))],
        lens_light=[Sersic(amp=a, R_sersic=dist.LogNormal(-0.7, 0.3), n_sersic=2.5, e1=0.1, e2=0.03, center_x=x)],
        source_light=[Sersic(amp=b, R_sersic=dist.LogNormal(-1.6, 0.3), n_sersic=dist.Uniform(0.6, 4.0), e1=0.1, e2=0.1,
                             center_x=dist.Normal(0.0, 0.1), center_y=dist.Normal(0.0, 0.1))])


PLACES = ((0.08, 0.05), (-0.1, -0.06))  # of the two sources of `exchangeable`


def exchangeable(alike: bool = True) -> tuple[Scene, Scene]:
    """A lens with two sources of one shape, and its prior, which holds one order of them more likely.

    Only their places and the lens's radius are free. Alike, the priors differ in numbers alone; else in their
    supports as well, though the density hardly does.
    """
    def scene(theta_E, places) -> Scene:
        return Scene(mass=[EPL(theta_E=theta_E, gamma=2.0, e1=0.1, e2=-0.05)],
                     source_light=[Sersic(amp=15.0, R_sersic=0.12, n_sersic=1.0, e1=0.0, e2=0.0, center_x=x, center_y=y)
                                   for x, y in places])

    priors = [(dist.Normal(x, 0.15), dist.Normal(0.0, 0.15)) for x in (0.03, -0.03)]
    if not alike:
        priors[1] = (priors[1][0], dist.TruncatedNormal(0.0, 0.15, low=-2.0, high=2.0))
    return scene(0.9, PLACES), scene(dist.LogNormal(-0.1, 0.1), priors)


def odds_of_the_order() -> float:
    """Weight of the true order: the likelihood does not know it, so that the priors' ratio decides."""
    odds = np.exp(0.06 * (PLACES[0][0] - PLACES[1][0]) / 0.15**2)
    return float(odds / (1.0 + odds))


# Compiled once for all tests that evaluate posteriors of one structure.
log_prob = jax.jit(lambda posterior, z: posterior.log_prob(z))
log_likelihood = jax.jit(lambda posterior, z: posterior.log_likelihood(z))
value_and_gradient = jax.jit(lambda posterior, z: jax.value_and_grad(posterior.log_prob)(z))
models = jax.jit(lambda posterior, z: posterior.models(z))
scenes = jax.jit(lambda posterior, z: posterior.scenes(z))


def draw(posterior, seed: int = 7, scale: float = 0.3) -> Array:
    """A draw from the prior, drawn in towards its middle."""
    return scale * jax.jit(Prior.sample)(posterior.prior, jax.random.key(seed))


def finite_differences(posterior, z: Array, h: float = 1e-5) -> np.ndarray:
    """Gradient of the log-posterior by central differences."""
    steps = h * np.eye(len(z))
    return np.array([float(log_prob(posterior, z + s) - log_prob(posterior, z - s)) / (2.0 * h) for s in steps])


class Toy(Component):
    """A posterior known in closed form: a Gaussian of v, where z = v with a parabola added.

    z[1] = v[1] + bend (v[0]^2 - var[0]) has unit Jacobian, so that the mass stays `exp(log_mass)`.
    With `hole`, the density is NaN where z[0] is above it.

    Attributes:
        prior: A prior of the right size; only its names, size and precision are used.
        mean, precision: Of the Gaussian.
        log_mass: Logarithm of the integral.
        bend: Strength of the parabola.
        hole: Where the density ends.
    """

    prior: Prior
    mean: Array
    precision: Array
    log_mass: Array
    bend: Array
    hole: Array
    names: tuple[str, ...] = static(default=())

    @staticmethod
    def of(mean, covariance, log_mass: float = 0.0, bend: float = 0.0, hole: float = np.inf, dtype=np.float64) -> "Toy":
        prior = Prior.of([dist.Normal(0.0, 1.0) for _ in mean], dtype)
        return Toy(prior=prior, mean=np.asarray(mean, dtype), precision=np.linalg.inv(covariance).astype(dtype),
                   log_mass=np.asarray(log_mass, dtype), bend=np.asarray(bend, dtype), hole=np.asarray(hole, dtype))

    def log_prob(self, z: Array) -> Array:
        v = z.at[1].add(-self.bend * (z[0] ** 2 - 1.0)) - self.mean
        norm = 0.5 * jnp.linalg.slogdet(self.precision)[1] - 0.5 * len(self.mean) * jnp.log(2.0 * jnp.pi)
        value = self.log_mass + norm - 0.5 * v @ self.precision @ v
        return jnp.where(z[0] > self.hole, jnp.nan, value)


class Mixture(Component):
    """A mixture of Gaussians, bent by a parabola: z[1] = v[1] + bend v[0]^2, of unit Jacobian.

    Attributes:
        prior: A prior of the right size; only its names, size and precision are used.
        means, precisions: Of the components, shapes (k, n) and (k, n, n).
        log_masses: Logarithms of their integrals.
        bend: Strength of the parabola.
        log_norm: What a posterior's log-density leaves out.
    """

    prior: Prior
    means: Array
    precisions: Array
    log_masses: Array
    bend: Array
    names: tuple[str, ...] = static(default=())
    log_norm: float = static(default=0.0)

    @staticmethod
    def of(means, covariances, masses, bend: float = 0.0) -> "Mixture":
        means = np.asarray(means, float)
        prior = Prior.of([dist.Normal(0.0, 1.0) for _ in means[0]], np.float64)
        return Mixture(prior=prior, means=means, precisions=np.linalg.inv(np.asarray(covariances, float)),
                       log_masses=np.log(np.asarray(masses, float)), bend=np.asarray(bend, float))

    def parts(self, z: Array) -> Array:
        """Log-density of each component."""
        v = z.at[1].add(-self.bend * z[0] ** 2)
        step = v - self.means
        half = 0.5 * jnp.linalg.slogdet(self.precisions)[1] - 0.5 * len(z) * jnp.log(2.0 * jnp.pi)
        return self.log_masses + half - 0.5 * jnp.einsum("ki,kij,kj->k", step, self.precisions, step)

    def log_prob(self, z: Array) -> Array:
        return jax.scipy.special.logsumexp(self.parts(z))


@jax.jit
def newton(posterior: Toy, lanes: Lanes, frozen: Array) -> tuple[Lanes, Array]:
    """A round of damped Newton steps on a toy, in the place of Levenberg-Marquardt."""

    def one(z):
        def step(_, z):
            gradient = jnp.where(frozen, 0.0, jax.grad(posterior.log_prob)(z))
            hessian = -jax.hessian(posterior.log_prob)(z)
            held = jnp.where(frozen[:, None] | frozen[None, :], jnp.eye(len(z)), hessian)
            return z + jnp.linalg.solve(held, gradient)

        z = jax.lax.fori_loop(0, 20, step, z)
        return z, posterior.log_prob(z), -jax.hessian(posterior.log_prob)(z)

    z, value, precision = jax.vmap(one)(jnp.asarray(lanes.z))
    return Lanes(z, value, jnp.asarray(lanes.damping), jnp.asarray(lanes.chi2)), precision


def random_covariance(rng, n: int, condition: float) -> np.ndarray:
    """A covariance matrix of a given condition number, turned at random."""
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return turn * np.geomspace(1.0 / condition, 1.0, n) @ turn.T
