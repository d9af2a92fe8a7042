"""Data as the likelihood of a fit has them: parameters of its prior, images of its observations, its noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from giga.bayes.posterior import variance
from giga.bayes.prior import Prior
from giga.imaging.observation import Data
from giga.imaging.render import render_data
from giga.lensing.near import located
from giga.lensing.scene import Scene
from giga.simulate.surveys import draws

BOUND = 12.0
"""Where a draw goes that rounds to the bound of its support and so has no place on the real line, in prior standard
deviations; no other draw of a bounded prior comes that far."""


def draw_observed(key: Array, prior: Prior, data: tuple[Data, ...], amplitude_sd: Array) -> tuple[Array, list[Array]]:
    """Draw parameters from a prior and one image an observation, with the likelihood's noise; pure.

    Args:
        key: Random key.
        prior: Of the scene.
        data: Templates, untrimmed; their images are not looked at.
        amplitude_sd: Standard deviation of the Gaussian that amplitudes left to be solved are drawn from.

    Returns:
        The unconstrained vector, shape (n,), and the images, each (ny, nx) [counts / s].
    """
    z, models = draw_models(key, prior, data, amplitude_sd)
    return z, add_noise(key, z, models, prior, data)


def draw_models(key: Array, prior: Prior, data: tuple[Data, ...], amplitude_sd: Array) -> tuple[Array, list[Array]]:
    """What `draw_observed` draws, with the same arguments, before its noise and in the units of the templates."""
    key_truth, key_amplitudes, *_ = jax.random.split(key, 2 + len(data))
    z = prior.sample(key_truth)
    z = jnp.where(jnp.isinf(z), jnp.sign(z) * BOUND, z)
    scene, models = located(prior.scene(z)), []
    for k, one in enumerate(data):
        seen = scene.in_band(one.band)
        if seen.is_linear:
            seen = _with_drawn_amplitudes(jax.random.fold_in(key_amplitudes, k), seen, amplitude_sd)
        models.append(render_data(seen, one))
    return z, models


def add_noise(key: Array, z: Array, models: list[Array], prior: Prior, data: tuple[Data, ...]) -> list[Array]:
    """Add the likelihood's noise at z to models, [counts / s] then; of the key it takes what `draw_models` leaves."""
    keys, scene = jax.random.split(key, 2 + len(data))[2:], prior.scene(z)
    seen = [one.with_noise_of(scene, k) for k, one in enumerate(data)]
    return [one.physical(model + jnp.sqrt(variance(model, one))
                         * one.unit_noise(lambda shape, sub=sub, dtype=model.dtype: draws.normal(sub, shape, dtype)))
            for model, one, sub in zip(models, seen, keys, strict=True)]


def _with_drawn_amplitudes(key: Array, scene: Scene, sd: Array) -> Scene:
    """Linear amplitudes drawn from their Gaussian prior, that of their profile or the one given."""
    linear = [profile for profile in scene.light if profile.is_linear]
    shapes = [() if profile.scalar_amp else (profile.n_amp,) for profile in linear]
    keys = jax.random.split(key, len(linear))
    return scene.with_amplitudes([(profile.prior_sd() if profile.has_own_prior else sd)
                                  * jax.random.normal(k, shape, sd.dtype)
                                  for profile, k, shape in zip(linear, keys, shapes, strict=True)])
