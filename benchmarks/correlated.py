"""Correlated noise: whether 68% intervals hold 68% of the truths, with its likelihood and with the diagonal one.

Lenses of 32 x 32 pixels, an EPL and a Sersic source of eight free parameters drawn from their prior, in noise as
drizzling leaves it (drops of 0.8 on pixels of 0.6 input pixels) and in noise smoothed by a Gaussian of 1.5 pixels FWHM.
Each is fitted three times: with the diagonal likelihood, with the correlation given, and with that measured in a blank
sky of 120 x 120 pixels of its own. Intervals of most lenses are those of the Gaussian of the curvature at the mode
(linearised); some are fitted in full, by search, variational inference and HMC. Then the cost of a gradient, diagonal
and correlated in turn.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from _common import parser, write
from scipy.special import ndtr

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

SIZE, SCALE, RMS, SKY = 32, 0.1, 0.05, 120
STEPS = 12  # damped steps from the truth to the mode
SHORT = FitConfig(n_screen=64, n_starts=16, n_finalists=4, target_ess=400.0, target_tail_ess=200.0, n_predictive=0)
LIKELIHOODS = ("diagonal", "given", "measured")


def smoothed(fwhm: float, reach: int = 4) -> np.ndarray:
    """Correlation of white noise that is convolved with a Gaussian [pixels]."""
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (4.0 * (fwhm / 2.3548) ** 2))
    return np.outer(line, line)


KINDS = {"drizzled": drizzled(0.8, 0.6), "smoothed": smoothed(1.5)}


def prior() -> Scene:
    return Scene(
        mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.1), gamma=dist.TruncatedNormal(2.0, 0.1, low=1.5, high=2.5),
                  e1=dist.Normal(0.0, 0.1), e2=dist.Normal(0.0, 0.1))],
        source_light=[Sersic(amp=dist.LogNormal(3.0, 0.2), R_sersic=dist.LogNormal(-1.4, 0.2), n_sersic=1.0,
                             center_x=dist.Normal(0.0, 0.1), center_y=dist.Normal(0.0, 0.1))])


def template(correlation: np.ndarray, size: int = SIZE, scale: float = SCALE) -> Observation:
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
def linearised(posterior: Posterior, truth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mode next to the truth, and the standard deviations there."""
    frozen = jnp.zeros(truth.shape, bool)
    lane, _ = jax.lax.scan(lambda lane, _: (damped_step(posterior, lane, frozen)[0], None),
                           evaluated(posterior, truth), None, length=STEPS)
    return lane.z, jnp.sqrt(jnp.diag(jnp.linalg.inv(quadratic(posterior, lane.z).precision)))


def of_curvature(kind: str, count: int) -> dict:
    """Coverage of linearised intervals, by likelihood."""
    correlation, below = KINDS[kind], {name: [] for name in LIKELIHOODS}
    study = Calibration(prior(), [template(correlation)], seed=11)
    for number in range(count):
        lens = study.lens(number)
        for name, shares in below.items():
            posterior = Posterior.of(lens.prior, [seen(lens.observations[0], name, correlation, number)])
            truth = posterior.prior.vector(lens.truth)
            mode, sd = linearised(posterior, truth)
            shares.append(ndtr((np.asarray(truth, float) - np.asarray(mode)) / np.asarray(sd)))
    return {name: _told(np.array(shares), posterior.prior.names) for name, shares in below.items()}


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
    arguments.add_argument("--lenses", type=int, default=300, help="of each kind of noise, linearised")
    arguments.add_argument("--fits", type=int, default=32, help="in full, in drizzled noise")
    options = arguments.parse_args()
    lenses, fits, rounds = (4, 2, 5) if options.smoke else (options.lenses, options.fits, 101)
    found: dict = dict(cost=[cost(size, rounds) for size in ((32,) if options.smoke else (64, 128))])
    for kind in KINDS:
        found[f"linearised, {kind}"] = of_curvature(kind, lenses)
        write(options.out, found)
    found["fits, drizzled"] = of_fits("drizzled", fits, SHORT)
    write(options.out, found)


if __name__ == "__main__":
    main()
