"""Graders with confusion matrices: true grades and the skill of graders from their votes, with credible intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.infer import MCMC, NUTS, init_to_median

from giga.runtime.products import einsum

WARMUP, SAMPLES, CHAINS = 300, 400, 2
RIGHT, WRONG = 4.0, 1.0  # Dirichlet prior of a grader's answers: the right one, and each other one
NEVER = -1e9  # log-probability of what cannot be, whose gradient is zero and finite
NEIGHBOUR = 2.0  # a grade beside the right one


@dataclass(frozen=True)
class Aggregate:
    """What votes tell.

    Attributes:
        grades: Probability of each true grade, posterior draws, shape (draws, candidates, classes).
        prevalence: Share of each true grade, shape (draws, classes).
        confusion: Probability of each answer by true grade and grader, shape (draws, graders, true, answers).
        rhat: Largest R-hat of prevalence and confusion.
    """

    grades: np.ndarray
    prevalence: np.ndarray
    confusion: np.ndarray
    rhat: float

    def interval(self, values: np.ndarray, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Central credible interval of draws along their first axis."""
        low, high = np.quantile(values, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
        return low, high


def prior_of_answers(classes: int) -> np.ndarray:
    """Dirichlet concentrations by true class and answer, shape (classes, classes): the right ones are likelier.

    Graders that are better than chance are what tells the classes apart: without it their names could be exchanged.
    """
    apart = np.abs(np.arange(classes)[:, None] - np.arange(classes)[None])
    prior = np.where(apart == 0, RIGHT, np.where((apart == 1) & (classes > 2), NEIGHBOUR, WRONG))
    if classes > 2:  # the last class is no lens, which is no lower grade of one
        prior[-1, -2], prior[-2, -1] = WRONG, NEIGHBOUR
    return prior


def aggregate(votes: np.ndarray, allowed: np.ndarray, seed: int = 0, warmup: int = WARMUP, samples: int = SAMPLES,
              chains: int = CHAINS) -> Aggregate:
    """Sample what graders' votes tell of the candidates and of the graders.

    The true class of a candidate is drawn from the prevalence; each grader answers with a probability that depends on
    it alone, apart from the others. True classes are summed over, so that only prevalence and confusion matrices are
    sampled, by NUTS, and candidates with the same votes are one term. With two classes this is the model of Space Warps
    (Marshall et al. 2016), whose simulations and duds are the candidates of which the truth is known here.

    Args:
        votes: Number of the answer by candidate and grader, -1 where there is none, shape (candidates, graders).
        allowed: Classes that a candidate may have, shape (candidates, classes); one alone is a known truth.
        seed: Of the sampling.
        warmup, samples, chains: Of NUTS.

    Raises:
        ValueError: No votes, or one that is no class.

    References:
        Dawid & Skene (1979), Appl. Stat. 28, 20; Marshall et al. (2016), MNRAS 455, 1171.
    """
    votes, allowed = np.asarray(votes, int), np.asarray(allowed, bool)
    classes = allowed.shape[1]
    if not votes.size or votes.max() < 0:
        raise ValueError("votes: none, expected at least one")
    if votes.max() >= classes:
        raise ValueError(f"votes: got class {votes.max()}, expected below {classes}")
    patterns, inverse, counts = np.unique(np.concatenate([votes, allowed], 1), axis=0, return_inverse=True,
                                          return_counts=True)
    # A number of terms that is a power of two: those of no candidates make compiled programs serve many sets of votes.
    more = ((0, (1 << (len(patterns) - 1).bit_length()) - len(patterns)), (0, 0))
    patterns, graders = np.pad(patterns, more, mode="edge"), votes.shape[1]
    seen, may = jnp.asarray(patterns[:, :graders]), jnp.asarray(patterns[:, graders:] > 0)
    sampler = _sampler(warmup, samples, chains)
    sampler.run(jax.random.key(seed), seen, may, jnp.asarray(np.pad(counts, more[0]), jnp.float32))
    drawn = sampler.get_samples(group_by_chain=True)
    rhat = max(float(np.max(numpyro.diagnostics.split_gelman_rubin(np.asarray(drawn[name], float))))
               for name in ("prevalence", "confusion"))
    prevalence, confusion = (np.concatenate(np.asarray(drawn[name])) for name in ("prevalence", "confusion"))
    grades = np.asarray(_grades(jnp.asarray(prevalence), jnp.asarray(confusion), seen, may))
    return Aggregate(grades[:, inverse.reshape(-1)], prevalence, confusion, rhat)


@lru_cache(maxsize=4)
def _sampler(warmup: int, samples: int, chains: int) -> MCMC:
    # From the middle of the prior, where graders know their grades: far from it lie modes with grades exchanged.
    kernel = NUTS(_model, target_accept_prob=0.9, init_strategy=init_to_median(num_samples=50))
    return MCMC(kernel, num_warmup=warmup, num_samples=samples, num_chains=chains,
                chain_method="vectorized", progress_bar=False, jit_model_args=True)


def _model(seen: Array, may: Array, counts: Array) -> None:
    graders, classes = seen.shape[1], may.shape[1]
    concentration = jnp.broadcast_to(jnp.asarray(prior_of_answers(classes), jnp.float32), (graders, classes, classes))
    prevalence: Any = numpyro.sample("prevalence", dist.Dirichlet(jnp.ones(classes)))
    confusion: Any = numpyro.sample("confusion", dist.Dirichlet(concentration).to_event(2))
    numpyro.factor("votes", jnp.sum(counts * jax.nn.logsumexp(joint(prevalence, confusion, seen, may), axis=-1)))


@jax.jit
def _grades(prevalence: Array, confusion: Array, seen: Array, may: Array) -> Array:
    """Probabilities of the true classes in each draw, shape (draws, candidates, classes)."""
    return jax.lax.map(lambda one: jax.nn.softmax(joint(one[0], one[1], seen, may), axis=-1), (prevalence, confusion))


def joint(prevalence: Array, confusion: Array, votes: Array, allowed: Array) -> Array:
    """Log-probability of votes and each true class, shape (candidates, classes); `NEVER` for one that is not allowed.

    Args:
        prevalence: Shape (classes,).
        confusion: Shape (graders, true, answers).
        votes: Shape (candidates, graders), -1 where there is none.
        allowed: Shape (candidates, classes).
    """
    given = jax.nn.one_hot(votes, confusion.shape[-1])  # without a vote all are 0; a product is faster than a choice
    total = jnp.log(prevalence) + einsum("nga,gta->nt", given, jnp.log(confusion))
    return jnp.where(allowed, total, NEVER)
