"""A task that a tiny network learns in a minute: find the flux of a round spot in noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx

from giga.models.systems.measured import Measured
from giga.models.training.train import TrainConfig
from giga.runtime.checkpoint import identity_of

CONFIG = TrainConfig(steps=12, batch_size=16, chunk=4, learning_rate=0.01, warmup=2, validate_every=8,
                     validation_size=32, checkpoint_every=4, ema=0.9, measure_rates=False)
SIZE = 8


@dataclass(frozen=True)
class ToyConfig:
    """Channels of the hidden layer, and whether there is a batch norm."""

    channels: int = 4
    norm: bool = True
    sides: tuple[int, ...] = (3, 3)


class Toy(nnx.Module):
    """A convolution, a batch norm, and a mean over pixels."""

    def __init__(self, config: ToyConfig, *, rngs: nnx.Rngs):
        self.config = config
        # Before a batch norm a bias has a gradient of rounding errors alone, which AdamW makes steps of.
        self.conv = nnx.Conv(1, config.channels, config.sides, use_bias=not config.norm, rngs=rngs)
        self.norm = nnx.BatchNorm(config.channels, momentum=0.9, rngs=rngs) if config.norm else None
        self.dropout = nnx.Dropout(0.0, rngs=rngs)
        self.out = nnx.Linear(config.channels, 1, rngs=rngs)

    def __call__(self, x):
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x)
        return self.out(self.dropout(jax.nn.relu(x)).mean((1, 2)))[:, 0]


@dataclass(frozen=True)
class ToyTask:
    """Flux of a spot in noise; a shifted spot is wider. A flux, from 0 to 1, above `poison` is NaN."""

    config: ToyConfig = ToyConfig()
    poison: float = 2.0

    @property
    def identity(self) -> str:
        return identity_of(repr(self))

    def network(self, rngs):
        return Toy(self.config, rngs=rngs)

    def example(self, key):
        return self.finish(key, self.geometry(key))

    def geometry(self, key, width=1.5):
        flux = jax.random.uniform(jax.random.split(key)[0])
        y, x = jnp.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
        return flux, flux * jnp.exp(-(x**2 + y**2) / (2 * width**2))

    def finish(self, key, geometry):
        flux, spot = geometry
        image = spot + 0.1 * jax.random.normal(jax.random.split(key)[1], (SIZE, SIZE))
        return {"image": image[..., None], "flux": jnp.where(flux > self.poison, jnp.nan, flux)}

    def shifted_example(self, key):
        return self.finish(key, self.geometry(key, 2.0))

    def loss(self, model, batch, key):
        error = model(batch["image"]) - batch["flux"]
        return jnp.mean(error**2), {"bias": jnp.mean(error)}


def toy_config(**changes) -> TrainConfig:
    return replace(CONFIG, **changes)


def toy_evaluate(config: ToyConfig, model, images: int, seed: int) -> dict[str, Measured]:
    """Error of the flux on a test set."""
    task = ToyTask(config)
    batch = jax.vmap(task.example)(jax.random.split(jax.random.key(seed), images))
    return {"mock": Measured({"bias": float(jnp.mean(model(batch["image"]) - batch["flux"])), "images": images})}
