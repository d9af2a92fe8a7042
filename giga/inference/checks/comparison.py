"""Checks of a fit against its data and its prior, and numbers by which models are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.posterior import Posterior, variance
from giga.bayes.systems import Term
from giga.imaging.observation import Observation, facts_of
from giga.inference.result import Result
from giga.runtime.identity import identity_of
from giga.runtime.parallel import on_host
from giga.runtime.random import split_data

DISCREPANCIES = ("chi2", "correlation")
PLACES = (0.025, 0.16, 0.5, 0.84, 0.975)  # quantiles of the posterior whose place in the prior is told


def data_hash(observations: Sequence[Observation], points: Sequence[Term] = ()) -> str:
    """Hash of what was fitted: images, masks, noise, pixels and where they lie, but for the place on the sky; points.

    The PSF is part of the model, not of the data; pixels that are masked were not fitted.
    """
    facts = facts_of(observations, without=("psf", "psf supersampling", "supersampling", "WCS"))
    for k, one in enumerate(observations):
        for name in ("image", "noise map"):
            if (values := facts[f"observation.{k}.{name}"]) is not None:
                facts[f"observation.{k}.{name}"] = np.where(one.mask, values, 0.0)
        if one.noise_map is not None:
            facts[f"observation.{k}.background_rms"] = None  # not looked at
    facts |= {f"points.{k}": one.data for k, one in enumerate(points)}
    return identity_of(facts)


def log_likelihood_of(result: Result) -> float:
    """Log-likelihood of the best fit, with its normalisation: of pixels and point images."""
    total = result.points.log_likelihood
    for o, model, sigma in zip(result.observations, result.model_images, result.sigma_images, strict=True):
        terms = o.independent(model, sigma) ** 2 + np.log(2.0 * np.pi * sigma**2)
        total += float(-0.5 * np.sum(terms[o.mask]))
        total += 0.0 if o.whitening is None else float(np.sum(np.log(o.whitening.weights[0])))
    return total


def bic(log_likelihood: float, n_free: int, n_data: int) -> float:
    """Bayesian information criterion, n_free ln(n_data) - 2 ln L.

    References:
        Schwarz (1978), Annals of Statistics 6, 461.
    """
    return n_free * float(np.log(n_data)) - 2.0 * log_likelihood


def predictive(key: Array, posterior: Posterior, z: np.ndarray, count: int) -> dict[str, dict[str, Any]]:
    """Compare the data with data replicated from the posterior.

    For each draw, a discrepancy of the observed image from that draw's model stands beside that of an
    image drawn from the model. "chi2" is the sum of squared normalised residuals; "correlation" the sum of
    products of residuals of neighbouring pixels over the root of the number of pairs, about zero and of
    unit spread for noise, large where the model lacks a structure. The p-value is the share of draws whose
    replica is at least as discrepant as the data; values near 0 tell a misfit, near 1 a noise that is too large.
    Where noise is correlated, replicas have its correlation, and the residuals of both are made independent first.

    Solved amplitudes are those of the data, in the replica too.

    Args:
        key: Random key.
        posterior: The posterior.
        z: Draws from it, shape (any, n); `count` of them are taken, evenly spaced.
        count: Number of draws.

    Returns:
        By discrepancy: "p_value", and "observed" and "replicated", one entry a draw.

    References:
        Gelman, Meng & Stern (1996), Statistica Sinica 6, 733, eq. 6.
    """
    take = np.linspace(0, len(z) - 1, count).round().astype(int)
    table = np.asarray(on_host(_discrepancies(posterior, split_data(key, count), z[take])), float)
    return {name: {"p_value": float(np.mean(table[:, 1, k] >= table[:, 0, k])),
                   "observed": table[:, 0, k].tolist(), "replicated": table[:, 1, k].tolist()}
            for k, name in enumerate(DISCREPANCIES)}


@jax.jit
def _discrepancies(posterior: Posterior, keys: Array, z: Array) -> Array:
    """Of data and replica, shape (count, 2, discrepancies)."""

    def one(entry: tuple[Array, Array]) -> Array:
        key, at = jax.random.wrap_key_data(entry[0]), entry[1]
        totals, pairs = jnp.zeros((2, 2), at.dtype), jnp.zeros((), at.dtype)
        keys = jax.random.split(key, len(posterior.data))
        for (model, data), sub in zip(posterior.seen(at), keys, strict=True):
            noise = jax.random.normal(sub, data.image.shape, at.dtype)
            observed = data.independent(data.image - model, variance(model, data))
            rows = [_of_residual(r) for r in (observed, data.mask * noise)]
            totals = totals + jnp.stack(rows)
            pairs = pairs + jnp.sum(data.mask[1:] * data.mask[:-1]) + jnp.sum(data.mask[:, 1:] * data.mask[:, :-1])
        return totals / jnp.stack([jnp.ones_like(pairs), jnp.sqrt(jnp.maximum(pairs, 1.0))])

    return jax.lax.map(one, (keys, z))


def _of_residual(residual: Array) -> Array:
    neighbours = jnp.sum(residual[1:] * residual[:-1]) + jnp.sum(residual[:, 1:] * residual[:, :-1])
    return jnp.stack([jnp.sum(residual**2), neighbours])


def pointwise(posterior: Posterior, z: np.ndarray, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Log-likelihood of each fitted pixel, with its normalisation, as `arviz.loo` and `arviz.waic` need it.

    Where noise is correlated it is that of each pixel given those fitted before it, row by row, whose sum is the
    likelihood of all. Solved amplitudes are those of the draw. What an amplitude's prior or the integral over
    amplitudes adds to the likelihood of all pixels belongs to none of them and is not in it.

    Args:
        posterior: The posterior.
        z: Draws from it, shape (chains, draws, n).
        count: Number of draws over all chains; as many of each are taken, evenly spaced.

    Returns:
        The numbers of the draws, and for each observation the values, shape (chains, draws taken, fitted pixels).
    """
    each = min(-(-count // z.shape[0]), z.shape[1])
    take = np.linspace(0, z.shape[1] - 1, each).round().astype(int)
    flat = z[:, take].reshape(-1, z.shape[-1])
    values = on_host(_of_pixels(posterior, flat))
    return take, [np.asarray(one)[:, np.asarray(data.mask) > 0.0].reshape(z.shape[0], each, -1)
                  for one, data in zip(values, posterior.data, strict=True)]


@jax.jit
def _of_pixels(posterior: Posterior, z: Array) -> tuple[Array, ...]:
    """Log-likelihood of all pixels, for each observation of shape (count, ny, nx)."""

    def one(at: Array) -> tuple[Array, ...]:
        values = []
        for model, data in posterior.seen(at):
            var = variance(model, data)
            unit = 1.0 if data.unit is None else data.unit  # of the data, in that of the image
            value = -0.5 * (data.squares(data.image - model, var) + jnp.log(2.0 * jnp.pi * var)) - jnp.log(unit)
            values.append(value if data.whitening is None else value + jnp.log(data.whitening.weights[0]))
        return tuple(values)

    return jax.lax.map(one, z)


def against_prior(samples: np.ndarray, prior: np.ndarray) -> dict[str, Any]:
    """How much of a parameter's prior is left in its posterior.

    Args:
        samples: Posterior draws, any shape.
        prior: Prior draws, shape (any,).

    Returns:
        "width_kept", the ratio of the 68% widths; "overlap", the integral of the smaller of the two
        densities (1 less Kuiper's distance of the two samples, which is exact where the posterior exceeds
        the prior on one interval, and an upper bound elsewhere); "places", the prior's cumulative
        probability at the posterior's 2.5, 16, 50, 84 and 97.5% quantiles: near 0 or 1 the posterior pushes
        against an end of the prior.
    """
    flat, prior = np.sort(np.ravel(samples)), np.sort(prior)
    at = np.concatenate([flat, prior])
    gap = np.searchsorted(flat, at, "right") / len(flat) - np.searchsorted(prior, at, "right") / len(prior)
    width = np.diff(np.quantile(flat, [0.16, 0.84]))[0] / np.diff(np.quantile(prior, [0.16, 0.84]))[0]
    below = np.searchsorted(prior, np.quantile(flat, PLACES), "right") / len(prior)
    return {"width_kept": float(width), "overlap": float(1.0 - max(gap.max(), 0.0) + min(gap.min(), 0.0)),
            "places": [float(p) for p in below]}


def checks(result: Result, amplitudes: str | None, predicted: Mapping[str, Any],
           points: Sequence[Term] = ()) -> dict[str, Any]:
    """All that a fit says about itself for comparison with others.

    Args:
        result: The fit.
        amplitudes: How linear amplitudes were treated; None when there are none.
        predicted: From `predictive`.
        points: Images of point sources that were fitted too.
    """
    best = log_likelihood_of(result)
    return {"data_hash": data_hash(result.observations, points), "log_likelihood": best,
            "bic": bic(best, result.n_free, result.n_data), "amplitudes": amplitudes, "predictive": dict(predicted),
            "prior": {name: against_prior(values, result.prior_samples[name])
                      for name, values in result.samples.items()}}
