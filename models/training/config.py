"""What a user may set about training, and the optimiser and the learning rate that follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array
from optax import contrib

RUNNING = ("checkpoint_every", "keep", "measure_rates")
"""Fields that say how a run is kept and watched, not what it computes; they may change when it goes on."""

Optimiser = Literal["adamw", "adadelta", "sgd"]
RULES: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adamw": optax.scale_by_adam, "adadelta": optax.scale_by_adadelta,
    "sgd": lambda: optax.trace(0.9, nesterov=True)}
Schedule = Literal["cosine", "constant", "step", "plateau"]
BY_SCHEDULE = {"schedule": ("constant", "step", "plateau"), "final": ("cosine",), "decay": ("step", "plateau"),
               "decay_every": ("step",), "plateau": ("plateau",)}
"""Fields that matter for some schedules only; that of cosines is not named, for it is what runs once had."""


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained; every field enters the identity of the run but those of `RUNNING`.

    Precision is the network's own setting: its `dtype` is that of the activations, its weights are float32.
    """

    steps: int = 10_000  # updates of the weights; a run goes on with more, see `schedule`
    batch_size: int = 32  # images an update, over all devices and micro-batches
    chunk: int = 100  # updates from one look at the metrics to the next
    optimiser: Optimiser = "adamw"  # or "adadelta", or "sgd" with a Nesterov momentum of 0.9
    learning_rate: float = 1e-3  # highest, reached after the warm-up; 1 is Adadelta's own
    schedule: Schedule = "cosine"  # after the warm-up: or "constant", "step" or "plateau"
    final: float = 0.01  # learning rate at the end, relative to the highest (cosine)
    decay: float = 0.5  # what the learning rate is multiplied by at each step or plateau
    decay_every: int = 1_000  # updates from one step to the next, after the warm-up
    plateau: int = 5  # validations without a better loss that are a plateau
    warmup: int = 500  # updates in which the learning rate rises from zero; 0 starts at the highest
    weight_decay: float = 1e-4  # on weights with two axes or more, times the learning rate
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
        positive = ("steps", "batch_size", "chunk", "learning_rate", "decay_every", "plateau", "accumulate", "reuse",
                    "validate_every", "checkpoint_every", "keep")
        for name in positive:
            self._check(name, getattr(self, name) > 0, "a number above 0")
        for name in ("warmup", "weight_decay", "clip", "seed", "validation_size", "validation_seed", "patience"):
            self._check(name, getattr(self, name) >= 0, "a number of at least 0")
        for name in ("seed", "validation_seed"):
            self._check(name, getattr(self, name) < 2**32, "an integer below 2**32")
        for name, allowed in (("optimiser", Optimiser), ("schedule", Schedule)):
            self._check(name, getattr(self, name) in get_args(allowed), f"one of {', '.join(get_args(allowed))}")
        self._check("decay", 0.0 < self.decay < 1.0, "a number between 0 and 1")
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
        self._check("schedule", self.schedule != "plateau" or self.validation_size > 0,
                    "another one, since validation_size is 0 and nothing tells what a plateau is")
        self._check("patience", not self.patience or self.validation_size > 0,
                    "0, since validation_size is 0 and nothing tells when to stop")

    @property
    def micro(self) -> int:
        """Images that go through the network together, over all devices."""
        return self.batch_size // self.accumulate

    @property
    def what(self) -> dict[str, int | float | str]:
        """The fields that a run's numbers depend on, but `steps`, which may grow, and without those of no effect."""
        left_out = {*RUNNING, "steps"}
        left_out |= {"reuse"} if self.reuse == 1 else set()
        left_out |= {"optimiser"} if self.optimiser == "adamw" else set()
        for name, schedules in BY_SCHEDULE.items():
            left_out |= set() if self.schedule in schedules else {name}
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in left_out}

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
    """Learning rate by step: linear warm-up from zero, then what `config.schedule` says.

    "cosine" is half a cosine down to `final` of the highest; "constant" stays; "step" is multiplied by `decay` every
    `decay_every` updates; "plateau" is constant here, and `at_validation` lowers it.

    Where a run goes on with more steps than before, the steps that were made keep the rate that they had. Those that
    follow have the rate that a run of so many steps has there from the beginning: a cosine's jumps up, and falls again.

    Args:
        config: Settings.
        earlier: What the run was before, in order.
    """
    rate = _rate(config, config.steps)
    for until, steps in reversed(earlier):
        rate = _before(until, _rate(config, steps), rate)
    return rate


def _before(until: int, first: optax.Schedule, then: optax.Schedule) -> optax.Schedule:
    return lambda step: jnp.where(jnp.asarray(step) < until, first(step), then(step))


def _rate(config: TrainConfig, steps: int) -> optax.Schedule:
    top = config.learning_rate
    if config.schedule == "cosine":
        if not config.warmup:
            return optax.cosine_decay_schedule(top, steps, config.final)
        return optax.warmup_cosine_decay_schedule(0.0, top, config.warmup, steps, config.final * top)
    after = optax.exponential_decay(top, config.decay_every, config.decay, staircase=True) \
        if config.schedule == "step" else optax.constant_schedule(top)
    if not config.warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, top, config.warmup), after], [config.warmup])


def optimiser(config: TrainConfig, earlier: Earlier = ()) -> optax.GradientTransformation:
    """Gradients clipped by their global norm, then the optimiser, then the factor of plateaus.

    AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), Adadelta (Zeiler 2012, arXiv:1212.5701), or Nesterov's
    momentum. Biases and scales of norms, which have one axis, do not decay.
    """
    update = optax.chain(RULES[config.optimiser](), optax.add_decayed_weights(config.weight_decay, _decays),
                         optax.scale_by_learning_rate(schedule(config, earlier)))
    update = optax.chain(optax.clip_by_global_norm(config.clip), update) if config.clip else update
    return optax.chain(update, _factor(_plateau(config))) if config.schedule == "plateau" else update


def _plateau(config: TrainConfig) -> optax.GradientTransformationExtraArgs:
    return contrib.reduce_on_plateau(config.decay, config.plateau)


def _factor(plateau: optax.GradientTransformationExtraArgs) -> optax.GradientTransformation:
    """Updates times the factor that plateaus have left so far; it changes in `at_validation` alone."""
    def update(updates, state, params=None):
        return jax.tree.map(lambda one: state.scale * one, updates), state

    return optax.GradientTransformation(plateau.init, update)


def at_validation(config: TrainConfig, moments: Any, loss: float) -> Any:
    """The state of an optimiser after a validation of some loss; only that of schedule "plateau" changes."""
    def after(state: Any) -> Any:
        if not _is_plateau(state):
            return state
        return _plateau(config).update((), state, value=jnp.float32(loss))[1]

    return jax.tree.map(after, moments, is_leaf=_is_plateau)


def plateaus(moments: Any) -> float:
    """What the learning rate of a schedule is multiplied by: the factor of its plateaus, 1 for other schedules."""
    states = [state for state in jax.tree.leaves(moments, is_leaf=_is_plateau) if _is_plateau(state)]
    return float(states[0].scale) if states else 1.0


def _is_plateau(state: Any) -> bool:
    return isinstance(state, contrib.ReduceLROnPlateauState)


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
