"""Solved amplitudes of a fit, with their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax import Array

from giga.bayes.posterior import Posterior
from giga.imaging.observation import Observation
from giga.inference.digits import rounded
from giga.lensing.scene import Scene
from giga.light.base import LightProfile
from giga.runtime.parallel import on_host
from giga.runtime.random import split_data

DRAWS = 1000  # most draws of the posterior whose amplitudes are drawn


@dataclass(frozen=True, eq=False)
class Solved:
    """Amplitudes that were solved, by path name, `lens_light.0.amp`; of several observations `lens_light.0.amp.g`, with
    the band or, where bands do not tell them apart, the number of the observation.

    Attributes:
        draws: Shape (chains, m), or (chains, m, n) of a profile with n amplitudes: what the posterior and the noise
            leave open together. None before there are draws of the posterior.
        best: At the best fit, shape () or (n,).
        units: Unit of each, empty for none.
        of: Which draws of each chain, shape (m,).
        roots: Of those with a prior of their profile's own, roots of their covariance at the best fit given all else,
            shape (n, n) each; only in memory.
        effective: How many of these the data determine there, the others being left to the prior (Suyu et al. 2006,
            MNRAS 371, 983, sec. 3.2).
    """

    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    best: Mapping[str, np.ndarray] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    of: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    roots: Mapping[str, np.ndarray] = field(default_factory=dict)
    effective: Mapping[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many numbers were solved, of those with a prior of their own as many as the data determine."""
        return round(sum(self.effective.get(name, np.size(value)) for name, value in self.best.items()))

    def rows(self) -> dict[str, dict[str, Any]]:
        """Best value of each and, once there are draws, mean, standard deviation and quantiles; numbers or lists."""
        out = {}
        for name, best in self.best.items():
            row = {"best": best}
            if name in self.draws:
                flat = np.asarray(self.draws[name], float).reshape(-1, *self.draws[name].shape[2:])
                q16, q50, q84 = np.quantile(flat, [0.16, 0.5, 0.84], axis=0)
                row |= {"mean": flat.mean(0), "sd": flat.std(0, ddof=1), "q16": q16, "q50": q50, "q84": q84}
            out[name] = {key: np.asarray(value, float).tolist() for key, value in row.items()}
        return out


def best_amplitudes(scenes: Sequence[Scene], prior: Scene, observations: Sequence[Observation],
                    roots: Sequence[Any] | None = None) -> Solved:
    """The amplitudes of the best fit, without draws.

    Args:
        scenes: Best fit of each observation, amplitudes filled in.
        prior: The scene that was fitted.
        observations: The observations.
        roots: Of each observation, from `Posterior.own_roots`.
    """
    best, units, spread, effective = {}, {}, {}, {}
    for k, scene in enumerate(scenes):
        first = 0
        for name, profile, place in linear_profiles(prior, k, observations):
            light = scene.light[place]
            best[name], units[name] = np.asarray(light.amp, float), profile.amp_unit
            if profile.has_own_prior and roots is not None:
                root = np.asarray(roots[k], float)[first:first + profile.n_amp]
                spread[name] = np.asarray(light.prior_sd(), float)[:, None] * root
                effective[name], first = profile.n_amp - float(np.sum(root**2)), first + profile.n_amp
    return Solved(best=best, units=units, roots=spread, effective=effective)


def solved_amplitudes(key: Array, posterior: Posterior, z: np.ndarray, best: Solved, prior: Scene,
                      observations: Sequence[Observation]) -> Solved:
    """Draw the amplitudes that go with some draws of the posterior.

    Args:
        key: Random key.
        posterior: The posterior.
        z: Its draws, shape (chains, draws, n).
        best: Those of the best fit.
        prior: The scene that was fitted.
        observations: The observations.
    """
    if not best.best:
        return best
    chains, length, size = z.shape
    of = np.unique(np.linspace(0, length - 1, min(length, max(DRAWS // chains, 2))).round().astype(int))
    flat = z[:, of].reshape(-1, size)
    table = on_host(_draws(posterior, split_data(key, len(flat)), flat))
    draws = {}
    for k, values in enumerate(table):
        for (name, _, _), value in zip(linear_profiles(prior, k, observations), values, strict=True):
            draws[name] = np.asarray(value, float).reshape(chains, len(of), *value.shape[1:])
    return replace(best, draws=draws, of=of)


def linear_profiles(prior: Scene, k: int, observations: Sequence[Observation]) -> list[tuple[str, LightProfile, int]]:
    """Name, profile and place among the lights it sees, of each linear profile of observation k."""
    bands = [observation.band for observation in observations]
    band = bands[k]
    suffix = "" if len(bands) == 1 else f".{band if band is not None and bands.count(band) == 1 else k}"
    lights = [(f"{part}.{i}", profile) for part in ("lens_light", "source_light")
              for i, profile in enumerate(getattr(prior, part)) if profile.bands is None or band in profile.bands]
    return [(f"{path}.amp{suffix}", profile, place) for place, (path, profile) in enumerate(lights)
            if profile.is_linear]


def notes(solved: Solved, prior: Scene, observations: Sequence[Observation]) -> list[str]:
    """What of the solved amplitudes a user should know: light that is negative, or held at zero."""
    out, rows = [], solved.rows()
    for k in range(len(observations)):
        for name, profile, _ in linear_profiles(prior, k, observations):
            if name not in solved.best:
                continue
            best, row, unit = solved.best[name], rows[name], solved.units[name]
            kind = type(profile).__name__
            if profile.positive and np.any(best < 0.0):
                worst = int(np.argmin(best))
                sd = float(np.ravel(row["sd"])[worst]) if "sd" in row else np.nan  # a search has no draws
                error = f" +- {rounded(sd, sd)}" if np.isfinite(sd) else ""
                value = f"{rounded(float(np.ravel(best)[worst]), sd)}{error} {unit}"
                out.append(f"{name}: the best fit has a negative {kind}, {value}; "
                           "amplitudes = \"nonnegative\" keeps it at or above zero")
            elif profile.positive and profile.scalar_amp and best == 0.0:
                out.append(f"{name}: the best fit has no {kind}: its amplitude is held at zero")
    return out


@jax.jit
def _draws(posterior: Posterior, keys: Array, z: Array) -> tuple[list[Array], ...]:
    return jax.lax.map(lambda one: posterior.amplitude_draw(jax.random.wrap_key_data(one[0]), one[1]), (keys, z))
