"""Correlated noise: whether 68% intervals hold 68% of the truths, with its likelihood and with the diagonal one.

Lenses of 32 x 32 pixels, an EPL and a Sersic source of eight free parameters drawn from their prior, in noise as
drizzling leaves it (drops of 0.8 on pixels of 0.6 input pixels) and in noise smoothed by a Gaussian of 1.5 pixels FWHM.
Each is fitted three times: with the diagonal likelihood, with the correlation given, and with that measured in a blank
sky of 120 x 120 pixels of its own. Independent noise with the diagonal likelihood is the control. Posteriors of most
lenses are sampled by importance, from a Student distribution about the mode next to the truth; some are fitted in full,
by search, variational inference and HMC. Then the cost of a gradient, diagonal and correlated in turn.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from _common import parser, write

from giga.bayes.posterior import Posterior
from giga.imaging.background import measure
from giga.imaging.correlation import drizzled, spectrum
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF
from giga.inference.checks.calibration import coverage
from giga.inference.fleet import Lens, fit_many
from giga.inference.search.curvature import quadratic
from giga.inference.search.lanes import damped_step, evaluated
from giga.inference.settings import FitConfig
from giga.jobs.calibrate import Calibration, row_of
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL
from giga.runtime.products import matmul

SIZE, SCALE, RMS, SKY = 32, 0.1, 0.01, 120
STEPS = 12  # damped steps from the truth to the mode
DRAWS = 400
FREEDOM, WIDER = 8.0, 1.1  # of the Student distribution: degrees of freedom, width over that of the curvature
SHORT = FitConfig(n_screen=64, n_starts=16, n_finalists=4, target_ess=400.0, target_tail_ess=200.0, n_predictive=0)
LIKELIHOODS = ("diagonal", "given", "measured")


def smoothed(fwhm: float, reach: int = 4) -> np.ndarray:
    """Correlation of white noise that is convolved with a Gaussian [pixels]."""
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (4.0 * (fwhm / 2.3548) ** 2))
    return np.outer(line, line)


KINDS = {"independent": None, "drizzled": drizzled(0.8, 0.6), "smoothed": smoothed(1.5)}


def prior() -> Scene:
    return Scene(
        mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.1), gamma=dist.TruncatedNormal(2.0, 0.1, low=1.5, high=2.5),
                  e1=dist.Normal(0.0, 0.1), e2=dist.Normal(0.0, 0.1))],
        source_light=[Sersic(amp=dist.LogNormal(3.0, 0.2), R_sersic=dist.LogNormal(-1.4, 0.2), n_sersic=1.0,
                             center_x=dist.Normal(0.0, 0.1), center_y=dist.Normal(0.0, 0.1))])


def template(correlation: np.ndarray | None, size: int = SIZE, scale: float = SCALE) -> Observation:
    shape = (size, size)
    return Observation(image=np.zeros(shape), grid=Grid(shape=shape, pixel_scale=scale), noise_map=np.full(shape, RMS),
                       psf=PSF.gaussian(0.15, scale, 5, 1), correlation=correlation)


def measured(correlation: np.ndarray, seed: int) -> np.ndarray:
    """What a blank sky tells of a correlation."""
    shape = (SKY, SKY)
    white = np.random.default_rng([seed, 1]).normal(size=shape)
    sky = RMS * np.fft.ifft2(np.fft.fft2(white) * np.sqrt(spectrum(correlation, shape))).real
    return measure(sky, np.full(shape, RMS), np.ones(shape, bool)).correlation


def seen(observation: Observation, likelihood: str, correlation: np.ndarray, seed: int) -> Observation:
    if likelihood == "given":
        return observation
    return observation.replace(correlation=None if likelihood == "diagonal" else measured(correlation, seed))


@jax.jit
def below_truth(posterior: Posterior, truth: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share of the posterior below the truth, by parameter, and how many draws the weighted ones are worth."""
    frozen, size = jnp.zeros(truth.shape, bool), truth.size
    lane, _ = jax.lax.scan(lambda lane, _: (damped_step(posterior, lane, frozen)[0], None),
                           evaluated(posterior, truth), None, length=STEPS)
    factor = WIDER * jnp.linalg.cholesky(jnp.linalg.inv(quadratic(posterior, lane.z).precision))
    for_normal, for_gamma = jax.random.split(key)
    mixed = jax.random.gamma(for_gamma, 0.5 * FREEDOM, (DRAWS, 1)) / (0.5 * FREEDOM)
    t = jax.random.normal(for_normal, (DRAWS, size)) / jnp.sqrt(mixed)
    z = lane.z + matmul(t, factor.T)
    log_proposal = -0.5 * (FREEDOM + size) * jnp.log1p(jnp.sum(t**2, 1) / FREEDOM)
    weight = jax.nn.softmax(jax.lax.map(posterior.log_prob, z) - log_proposal)
    return weight @ (z < truth), 1.0 / jnp.sum(weight**2)


def by_importance(kind: str, count: int) -> dict:
    """Coverage of the intervals of many posteriors, by likelihood."""
    correlation = KINDS[kind]
    below = {name: [] for name in (LIKELIHOODS if correlation is not None else LIKELIHOODS[:1])}
    study = Calibration(prior(), [template(correlation)], seed=11)
    fitted = Posterior.of(study.prior, study.observations)
    for number in range(count):
        lens = study.lens(number)
        truth = fitted.prior.vector(lens.truth)
        for name, shares in below.items():
            observation = seen(lens.observations[0], name, correlation, number)
            posterior = fitted.replace(data=(observation.data(scaled=True),))
            share, worth = below_truth(posterior, truth, jax.random.key(number))
            shares.append(np.append(np.asarray(share, float), float(worth)))
    return {name: _told(np.array(shares)[:, :-1], fitted.prior.names)
            | dict(draws=DRAWS, worth=round(float(np.median(np.array(shares)[:, -1])), 1))
            for name, shares in below.items()}


def of_fits(kind: str, count: int, config: FitConfig) -> dict:
    """Coverage of the intervals of full fits, by likelihood."""
    correlation, out = KINDS[kind], {}
    study = Calibration(prior(), [template(correlation)], config=config, seed=12)
    lenses = [study.lens(number) for number in range(count)]
    for name in LIKELIHOODS[:2]:
        rows: list[dict] = []

        def done(lens: Lens, result, rows=rows) -> None:
            if isinstance(result, Exception):
                raise result
            rows.append(dict(converged=bool(result.info["hmc"]["converged"]), reduced_chi2=result.reduced_chi2)
                        | row_of(lens.truth, result.samples, {}, 99, lens.seed))

        fit_many((Lens(name=one.name, prior=one.prior, truth=one.truth, seed=one.seed,
                       observations=[seen(one.observations[0], name, correlation, k)])
                  for k, one in enumerate(lenses)), config=config, done=done)
        names = list(rows[0]["below"])
        out[name] = _told(np.array([[row["below"][key] for key in names] for row in rows]), names) | dict(
            converged=sum(row["converged"] for row in rows),
            reduced_chi2=round(float(np.median([row["reduced_chi2"] for row in rows])), 4))
    return out


def _told(below: np.ndarray, names) -> dict:
    rows = {f"{level:.2f}": coverage(below, level) for level in (0.68, 0.95)}
    return dict(lenses=len(below), coverage={key: dict(share=round(row.share, 4), error=round(row.error, 4))
                                             for key, row in rows.items()},
                by_parameter={name: round(coverage(below[:, k], 0.68).share, 3) for k, name in enumerate(names)})


def cost(size: int, rounds: int) -> dict:
    """Milliseconds of a value and gradient, diagonal and correlated in turn."""
    observation = template(KINDS["drizzled"], size, SCALE * SIZE / size)
    posteriors = [Posterior.of(prior(), [one]) for one in (observation.replace(correlation=None), observation)]
    function, z = jax.jit(jax.value_and_grad(Posterior.log_prob, argnums=1)), jnp.zeros(8)
    times = np.zeros((rounds, 2))
    for k in range(-3, rounds):
        for i, posterior in enumerate(posteriors):
            begun = time.perf_counter()
            jax.block_until_ready(function(posterior, z))
            times[k, i] = time.perf_counter() - begun
    diagonal, correlated = 1e3 * np.median(times, 0)
    return dict(pixels=size, diagonal_ms=round(float(diagonal), 3), correlated_ms=round(float(correlated), 3),
                ratio=round(float(np.median(times[:, 1] / times[:, 0])), 3))


def main() -> None:
    arguments = parser(__doc__ or "", "correlated")
    arguments.add_argument("--lenses", type=int, default=300, help="of each kind of noise")
    arguments.add_argument("--fits", type=int, default=32, help="in full, in drizzled noise")
    options = arguments.parse_args()
    lenses, fits, rounds = (4, 2, 5) if options.smoke else (options.lenses, options.fits, 101)
    found: dict = dict(cost=[cost(size, rounds) for size in ((32,) if options.smoke else (64, 128))])
    for kind in KINDS:
        found[f"importance, {kind}"] = by_importance(kind, lenses)
        write(options.out, found)
    found["fits, drizzled"] = of_fits("drizzled", fits, SHORT)
    write(options.out, found)


if __name__ == "__main__":
    main()
