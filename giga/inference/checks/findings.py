"""What a modeller must see of a fit before its numbers are used: one sentence each, with what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpyro.distributions as dist
from scipy.stats import chi2, norm

from giga.component import is_distribution, leaves_with_names
from giga.imaging.observation import Observation
from giga.imaging.steepness import share_left, steep_for
from giga.inference.amplitudes import notes
from giga.inference.result import Found, Result

EDGE = 0.05  # of the posterior's central 90%, next to a bound
PUSHED = 0.02  # share of the draws in there that a bound makes; of a Gaussian two widths off it is half as large
CLOSE = 0.01, 0.5  # of the prior's range, and the share of the draws in there that is said in any case
UNLIKELY = 1e-3  # p-value from which residuals are called structure
CORRELATED = 0.02  # correlation of neighbouring residuals that counts as one, however many pixels there are
DIVERGENT = 0.01  # share of divergences from which they bias what is found
DEAD = 0.1  # share of starts
FEW = 4  # finalists of which one alone says nothing
BLURRED = 0.75  # share of its flux that softening leaves, below which a profile is another than its numbers say
FAR = 4.0  # widths of a prior from its middle
WIDEST = 3  # side of the square of pixels whose residuals are added up


def findings(result: Found) -> list[dict[str, str]]:
    """All that is wrong with a fit or may be, the gravest first.

    Args:
        result: The fit, with the notes of its stages and checks; or what a search has found, without them.

    Returns:
        Rows of "kind" (a word to look for) and "text", plain and fit for JSON.
    """
    found = [*_not_converged(result), *_dead(result), *_alone(result)]
    if isinstance(result, Result):
        found += [*_divergences(result), *_rough(result), *_evidence(result), *_bounds(result)]
    found += [*_cusps(result), *_softened(result), *_against_priors(result), *_amplitudes(result), *_predictive(result)]
    found += [*_residuals(result), *_modes(result)]
    return [{"kind": kind, "text": text} for kind, text in found]


def p_text(p: float, count: int) -> str:
    """A p-value of so many replicas, which cannot tell less than one of them.

    >>> p_text(0.0, 200), p_text(1.0, 200), p_text(0.25, 200)
    ('< 1/200', '> 1 - 1/200', '0.250')
    """
    if p <= 0.0:
        return f"< 1/{count}"
    return f"> 1 - 1/{count}" if p >= 1.0 else f"{p:.3f}"


Rows = Iterator[tuple[str, str]]


def _not_converged(result: Found) -> Rows:
    hmc = result.info.get("hmc", {})
    if hmc.get("converged", True):
        return
    tails = f" and {hmc['smallest_ess_tail']:.0f} in the tails," if "smallest_ess_tail" in hmc else ""
    yield "not converged", (f"not converged: worst R-hat {hmc['worst_rhat']:.3f}, smallest ESS "
                            f"{hmc['smallest_ess_bulk']:.0f}{tails} after {hmc.get('iterations', 0)} iterations; do "
                            "not use the widths, and raise inference.max_iterations or simplify the model")


def _dead(result: Found) -> Rows:
    hmc, search = result.info.get("hmc", {}), result.info.get("map", {})
    if dead := hmc.get("dead_chains", 0):
        yield "dead chains", (f"{dead} of {hmc.get('chains', '?')} chains ended where the posterior is not a number; "
                              "narrow the priors that allow such models")
    starts = search.get("starts", 0)
    if starts and (dead := search.get("dead_lanes", 0)) > DEAD * starts:
        yield "dead lanes", (f"{dead} of {starts} starts of the search ended where the posterior is not a number; "
                             "narrow the priors that allow such models")


def _alone(result: Found) -> Rows:
    """A best fit that no other lane of the search came to, so that another search may find a better one."""
    search = result.info.get("map", {})
    if search.get("agreeing_finalists") == 1 and (count := search.get("finalists", 0)) >= FEW:
        yield "search", (f"one lane alone of {count} reached the best fit, in {search.get('rounds', '?')} rounds; "
                         "there may be a better one: search again with another run.seed or more inference.n_starts, "
                         "or simplify the model")


def _divergences(result: Result) -> Rows:
    draws = np.asarray(result.sample_stats.get("diverging", ()))
    if not draws.size or not (count := int(draws.sum())):
        return
    share = count / draws.size
    advice = "the posterior has corners that the chains miss: raise inference.target_accept, or change the prior" \
        if share > DIVERGENT else "few enough to go on, if they are not all in one corner of the posterior"
    yield "divergences", f"{count} of {draws.size} draws ({100.0 * share:.2g}%) diverged; {advice}"


def _rough(result: Result) -> Rows:
    if (scale := result.info.get("svi", {}).get("scale", 1.0)) < 1.0:
        yield "rough posterior", (f"the posterior is rough: draws came near the best fit at {scale:.2g} of the width "
                                  "that its curvature there tells; widths may be those of one place of it, and "
                                  "too small; where the model lacks something, look at the residuals, add to it, or "
                                  "say how wrong it is by observation.model_error")


def _evidence(result: Result) -> Rows:
    if "failed" in (evidence := result.info.get("evidence", {})):
        yield "evidence", f"there is no evidence ({evidence['failed']}); do not compare this fit by it"


def _bounds(result: Result) -> Rows:
    """Parameters whose posterior a bound of the prior cuts off."""
    priors = {name: leaf for name, leaf in leaves_with_names(result.prior) if is_distribution(leaf)}
    for name, draws in result.samples.items():
        if name not in priors:
            continue
        low, high = bounds_of(priors[name])
        share = {end: at_bound(draws, bound, other) for end, bound, other in (("lower", low, high),
                                                                              ("upper", high, low))}
        pushed = [end for end, value in share.items() if value > PUSHED]
        if len(pushed) == 2:
            yield "prior bound", (f"{name} fills its prior, which ends at {low:g} and {high:g}: the data say little of "
                                  "it; widen the prior if it is not knowledge")
        elif pushed:
            bound = low if pushed == ["lower"] else high
            yield "prior bound", (f"{name} is at the {pushed[0]} bound of its prior, {bound:g} (median "
                                  f"{np.median(draws):.4g}, {100.0 * share[pushed[0]]:.0f}% of the draws next to it); "
                                  "widen the prior, or the model lacks something")


def _cusps(result: Found) -> Rows:
    """Sources whose core at the best fit is steeper than its samples resolve: it may owe its place to them."""
    seen = zip(result.scenes, result.observations, strict=False)  # one scene where there are no observations
    for text in dict.fromkeys(text for scene, one in seen for text in steep_for(scene, [one], cusps=True)):
        yield "cusp", (f"{text}; where a sample falls on a cusp it is too bright, and the likelihood has a peak: the "
                       "best fit may be one of these, and its chi2 too good")


def _softened(result: Found) -> Rows:
    """Profiles at the best fit that are not much larger than their softening."""
    for scene in result.scenes[:1]:
        for section in ("lens_light", "source_light"):
            for k, profile in enumerate(getattr(scene, section)):
                if (left := share_left(profile)) < BLURRED:
                    yield "softened", (
                        f"{section}.{k}: with softening = {float(profile.softening):.3g} arcsec R_sersic = "
                        f"{float(profile.R_sersic):.3g} is not the half-light radius: {100.0 * left:.0f}% of the flux "
                        "of such a profile is left; raise supersampling, and take a softening of 0.4 of its samples")


def _against_priors(result: Found) -> Rows:
    """Parameters of the best fit that the data have driven far out of normal priors."""
    priors = {name: leaf for name, leaf in leaves_with_names(result.prior) if is_distribution(leaf)}
    off = {name: widths_off(priors[name], value) for name, value in result.best.items() if name in priors}
    far = sorted((name for name in off if off[name] > FAR), key=lambda name: -off[name])
    if far:
        listed = ", ".join(f"{name} = {result.best[name]:.3g} ({off[name]:.1f})" for name in far)
        yield "against the prior", (f"the best fit lies more than {FAR:g} widths of their priors from the middle in "
                                    f"{listed}: the data mean something that the model lacks, or the search has not "
                                    "reached the mode; look at the residuals, or widen the prior if it is wrong")


def widths_off(prior: Any, value: float) -> float:
    """How many widths a value lies from the middle of a normal or lognormal prior; 0 for all other priors."""
    if type(prior) is dist.LogNormal:
        value = math.log(value)
    elif type(prior) is not dist.Normal:
        return 0.0
    return float(np.abs(value - np.asarray(prior.loc, float)) / np.asarray(prior.scale, float))


def bounds_of(prior: Any) -> tuple[float, float]:
    """Lower and upper bound of a distribution's support, infinite where it has none."""
    support = prior.support
    ends = [np.asarray(getattr(support, name, default), float)
            for name, default in (("lower_bound", -math.inf), ("upper_bound", math.inf))]
    return float(ends[0].min()), float(ends[1].max())


def at_bound(draws: np.ndarray, bound: float, other: float = math.inf) -> float:
    """Share of draws next to a bound, as measured by their own width; 0 without a bound.

    Args:
        draws: Posterior draws, any shape.
        bound: The bound.
        other: The other one; where the range is finite, draws that are all next to one end of it count, too.
    """
    if not math.isfinite(bound):
        return 0.0
    distance = np.abs(np.ravel(draws) - bound)
    width = float(np.diff(np.quantile(np.ravel(draws), [0.05, 0.95]))[0])
    share = float(np.mean(distance <= EDGE * width))
    if math.isfinite(other):
        close = float(np.mean(distance <= CLOSE[0] * abs(other - bound)))
        share = max(share, close if close > CLOSE[1] else 0.0)
    return share


def _amplitudes(result: Found) -> Rows:
    for text in notes(result.amplitudes, result.prior, result.observations):
        yield "amplitudes", text


def _predictive(result: Found) -> Rows:
    predicted: Mapping[str, Any] = result.info.get("checks", {}).get("predictive", {})
    for name, row in predicted.items():
        p, count = row["p_value"], len(row["observed"])
        least = 1.0 / count
        if p < max(least, 0.005):
            reason = "unmodelled structure, or noise that is taken too small" if name == "chi2" \
                else "unmodelled structure, or noise that is correlated between pixels"
            yield "p-value", (f"posterior predictive p-value of {name} {p_text(p, count)}: the data are further from "
                              f"the model than replicas of it; {reason}: look at the residuals")
        elif p > 1.0 - max(least, 0.005):
            reason = "noise that is taken too large, or data that the model overfits" if name == "chi2" \
                else "smoothed or resampled noise"
            yield "p-value", (f"posterior predictive p-value of {name} {p_text(p, count)}: the data are nearer to the "
                              f"model than replicas of it; {reason}: check the noise")


def _residuals(result: Found) -> Rows:
    """Structure in the residuals of the best fit."""
    freedom = max(result.n_data - result.n_free, 1)
    above = float(chi2.sf(result.total_chi2, freedom))
    if above < UNLIKELY:
        yield "chi2", (f"reduced chi2 {result.reduced_chi2:.3f} for {freedom} degrees of freedom (p = {above:.1g}): "
                       "unmodelled structure, or noise that is taken too small")
    elif 1.0 - above < UNLIKELY:
        yield "chi2", (f"reduced chi2 {result.reduced_chi2:.3f} for {freedom} degrees of freedom (p = "
                       f"1 - {1.0 - above:.1g}): noise that is taken too large")
    several = len(result.observations) > 1
    for k, (observation, model, sigma) in enumerate(zip(result.observations, result.model_images, result.sigma_images,
                                                        strict=True)):
        where = f"observation {k}{f' ({observation.band})' if observation.band else ''}: " if several else ""
        residual = observation.independent(model, sigma)
        correlation, error = neighbours(residual, observation.mask)
        further = "between pixels, which observation.correlation = \"measure\" finds in the sky" \
            if observation.correlation is None else "further than observation.correlation says"
        if correlation > CORRELATED and correlation > norm.isf(UNLIKELY) * error:
            yield "structure", (f"{where}residuals of neighbouring pixels are correlated by {correlation:.3f} "
                                f"(± {error:.3f} without structure): the model lacks something, or the noise is "
                                f"correlated {further}")
        yield from _brightest(residual, observation, where)


def neighbours(residual: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Correlation of the normalised residuals of pixels that share a side, and its error if there is none.

    Args:
        residual: Shape (ny, nx), zero where it was not fitted.
        mask: True where it was.
    """
    pairs = int(np.sum(mask[1:] & mask[:-1]) + np.sum(mask[:, 1:] & mask[:, :-1]))
    total = float(np.sum(residual[1:] * residual[:-1]) + np.sum(residual[:, 1:] * residual[:, :-1]))
    square = float(np.sum(residual**2)) / max(int(mask.sum()), 1)
    return (total / pairs / square, 1.0 / math.sqrt(pairs)) if pairs and square > 0.0 else (0.0, math.inf)


def _brightest(residual: np.ndarray, observation: Observation, where: str) -> Rows:
    """The square of pixels whose residuals together are furthest from zero, if no noise makes them so."""
    sums, counts = _squares(residual), _squares(observation.mask.astype(float))
    together = np.where(counts >= WIDEST, sums / np.sqrt(np.maximum(counts, 1.0)), 0.0)
    row, column = (int(i) for i in np.unravel_index(np.argmax(np.abs(together)), together.shape))
    value, tries = float(together[row, column]), int(observation.mask.sum())
    if 2.0 * norm.sf(abs(value)) * tries > UNLIKELY:
        return
    x, y = (float(np.asarray(axis)[row, column]) for axis in observation.grid.coordinates())
    says = "brighter" if value > 0.0 else "fainter"
    yield "structure", (f"{where}around x = {x:.2f}, y = {y:.2f} arcsec (pixel [y={row}, x={column}]) {WIDEST} x "
                        f"{WIDEST} pixels are {abs(value):.1f} sigma {says} than the model: add what is there, or "
                        "mask it")


def _squares(values: np.ndarray) -> np.ndarray:
    """Sums over squares of pixels about each, of the same shape."""
    half = WIDEST // 2
    padded = np.pad(values, half)
    return np.lib.stride_tricks.sliding_window_view(padded, (WIDEST, WIDEST)).sum((-1, -2))


def _modes(result: Found) -> Rows:
    rows: Sequence[Mapping[str, Any]] = result.info.get("map", {}).get("modes", ())
    if sum(bool(row.get("sampled")) for row in rows) > 1:
        yield "modes", (f"the posterior has several modes ({result.info['map']['modes_sentence']}): means and widths "
                        "of all together describe none of them")
