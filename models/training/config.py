"""What a user may set about training, and the optimiser that follows: AdamW with clipping, warm-up and cosine, or
Adadelta."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax import Array

RUNNING = ("checkpoint_every", "keep", "measure_rates")
"""Fields that say how a run is kept and watched, not what it computes; they may change when it goes on."""

UNUSED = {"reuse": 1, "optimiser": "adamw", "plateau": 0}
"""Values of fields that came later, with which a run is what it was before."""

OPTIMISERS = ("adamw", "adadelta")


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained; every field enters the identity of the run but those of `RUNNING`.

    Precision is the network's own setting: its `dtype` is that of the activations, its weights are float32.
    """

    steps: int = 10_000  # updates of the weights; a run goes on with more, see `schedule`
    batch_size: int = 32  # images an update, over all devices and micro-batches
    chunk: int = 100  # updates from one look at the metrics to the next
    learning_rate: float = 1e-3  # highest, reached after the warm-up
    final: float = 0.01  # learning rate at the end, relative to the highest (cosine)
    warmup: int = 500  # updates in which the learning rate rises from zero; 0 starts at the highest
    optimiser: str = "adamw"  # or "adadelta"
    weight_decay: float = 1e-4  # of AdamW or Adadelta, on weights with two axes or more
    plateau: int = 0  # chunks without a lower mean loss after which the learning rate halves; 0 does not watch
    clip: float = 1.0  # largest norm of a gradient; 0 does not clip
    ema: float = 0.999  # memory of the mean of the weights over updates; 0 is the weights themselves
    accumulate: int = 1  # micro-batches an update
    reuse: int = 1  # images of each simulated scene, with noise of their own; 1 simulates every scene anew
    seed: int = 0  # of the weights and of all examples
    validate_every: int = 1_000  # updates between validations
    validation_size: int = 256  # examples in each validation set; 0 has none
    validation_seed: int = 1  # of the validation sets, which no training step draws
    patience: int = 0  # validations without a better loss before training ends; 0 goes on to the last update
    checkpoint_every: int = 1_000  # updates between checkpoints
    keep: int = 2  # checkpoints kept
    measure_rates: bool = True  # time simulator and network apart at the start

    def __post_init__(self) -> None:
        positive = ("steps", "batch_size", "chunk", "learning_rate", "accumulate", "reuse", "validate_every",
                    "checkpoint_every", "keep")
        for name in positive:
            self._check(name, getattr(self, name) > 0, "a number above 0")
        self._check("optimiser", self.optimiser in OPTIMISERS, f"one of {', '.join(OPTIMISERS)}")
        for name in ("warmup", "weight_decay", "plateau", "clip", "seed", "validation_size", "validation_seed",
                     "patience"):
            self._check(name, getattr(self, name) >= 0, "a number of at least 0")
        for name in ("seed", "validation_seed"):
            self._check(name, getattr(self, name) < 2**32, "an integer below 2**32")
        self._check("final", 0.0 <= self.final <= 1.0, "a number from 0 to 1")
        self._check("ema", 0.0 <= self.ema < 1.0, "a number from 0 to below 1")
        self._check("warmup", self.warmup < self.steps, f"less than the {self.steps} steps")
        self._check("batch_size", self.batch_size % self.accumulate == 0,
                    f"a multiple of accumulate, {self.accumulate}")
        self._check("validation_size", self.validation_size % self.micro == 0,
                    f"a multiple of the micro-batch, {self.micro}")
        self._check("reuse", self.chunk % self.reuse == 0, f"a divisor of chunk, {self.chunk}")
        for name in ("validate_every", "checkpoint_every"):
            self._check(name, getattr(self, name) % self.chunk == 0 or getattr(self, name) >= self.steps,
                        f"a multiple of chunk, {self.chunk}")
        self._check("patience", not self.patience or self.validation_size > 0,
                    "0, since validation_size is 0 and nothing tells when to stop")

    @property
    def micro(self) -> int:
        """Images that go through the network together, over all devices."""
        return self.batch_size // self.accumulate

    @property
    def what(self) -> dict[str, int | float]:
        """The fields that a run's numbers depend on, but `steps`, which may grow, and what is not used."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in (*RUNNING, "steps")
                and value != UNUSED.get(name)}

    def check_devices(self, devices: int) -> None:
        """Refuse a micro-batch that the devices cannot share evenly. Raises ValueError."""
        self._check("batch_size", self.micro % devices == 0,
                    f"a micro-batch (batch_size / accumulate, here {self.micro}) that {devices} devices share evenly")

    def _check(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise ValueError(f"{name}: got {getattr(self, name)}, expected {expected}")


Earlier = tuple[tuple[int, int], ...]
"""What a run that goes on with more steps was before: (step, steps), that up to `step` it was one of `steps`."""


def schedule(config: TrainConfig, earlier: Earlier = ()) -> optax.Schedule:
    """Learning rate by step: linear warm-up from zero, then half a cosine down to `final` of the highest.

    Where a run goes on with more steps than before, the steps that were made keep the rate that they had. Those that
    follow have the rate that a run of so many steps has there from the beginning: it jumps up, and falls again.

    Args:
        config: Settings.
        earlier: What the run was before, in order.
    """
    rate = _cosine(config, config.steps)
    for until, steps in reversed(earlier):
        rate = _before(until, _cosine(config, steps), rate)
    return rate


def _before(until: int, first: optax.Schedule, then: optax.Schedule) -> optax.Schedule:
    return lambda step: jnp.where(jnp.asarray(step) < until, first(step), then(step))


def _cosine(config: TrainConfig, steps: int) -> optax.Schedule:
    top = config.learning_rate
    if not config.warmup:
        return optax.cosine_decay_schedule(top, steps, config.final)
    return optax.warmup_cosine_decay_schedule(0.0, top, config.warmup, steps, config.final * top)


def optimiser(config: TrainConfig, earlier: Earlier = ()) -> optax.GradientTransformationExtraArgs:
    """Gradients clipped by their global norm, then AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) or Adadelta.

    Biases and scales of norms, which have one axis, do not decay. A plateau is told by `value`, the loss of each update
    (Zeiler 2012, arXiv:1212.5701, and Bengio 2012, arXiv:1206.5533, as Angora et al. 2023 use them).
    """
    rate, decay = schedule(config, earlier), config.weight_decay
    steps: list[optax.GradientTransformation] = [
        optax.adamw(rate, weight_decay=decay, mask=_decays) if config.optimiser == "adamw" else
        optax.adadelta(rate, weight_decay=decay, weight_decay_mask=_decays)]
    if config.clip:
        steps.insert(0, optax.clip_by_global_norm(config.clip))
    if config.plateau:
        steps.append(optax.contrib.reduce_on_plateau(0.5, config.plateau, accumulation_size=config.chunk))
    return optax.with_extra_args_support(optax.chain(*steps) if len(steps) > 1 else steps[0])


def _decays(params: Any) -> Any:
    return jax.tree.map(lambda a: a.ndim > 1, params)


def averaged(ema: Any, params: Any, step: Array, memory: float) -> Any:
    """The running mean of the weights after one more update.

    The memory grows as (1 + step) / (10 + step) up to its value, so that the first weights are soon forgotten.

    Args:
        ema: The mean so far.
        params: The new weights.
        step: Updates before this one, shape ().
        memory: Weight of the mean so far, in the long run.
    """
    if not memory:
        return params
    keep = jnp.minimum(memory, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda mean, new: keep * mean + (1.0 - keep) * new, ema, params)
