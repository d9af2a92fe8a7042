"""Train a network on examples that are simulated as it learns, stored, or both."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from giga.models.training.config import Earlier, at_validation, optimiser, plateaus, schedule
from giga.models.training.config import TrainConfig as TrainConfig
from giga.models.training.feed import check_fed
from giga.models.training.loop import Loop, never
from giga.models.training.metrics_log import MetricsLog
from giga.models.training.rates import measure_rates
from giga.models.training.state import Best, Network, TrainState, nothing_yet, start
from giga.models.training.task import BankedTask as BankedTask
from giga.models.training.task import FedTask as FedTask
from giga.models.training.task import ShiftedTask as ShiftedTask
from giga.models.training.task import Task as Task
from giga.models.training.tuning import tuned
from giga.models.training.validation import ValidationSet, draw_sets, validate
from giga.runtime.checkpoint import CheckpointError, ForeignCheckpoint, Store
from giga.runtime.environment import rate
from giga.runtime.identity import identity_of
from giga.runtime.interrupt import held
from giga.runtime.parallel import is_first, mesh, on_devices, on_host, process_count

Report = Callable[[dict[str, Any]], object]
"""Takes each row of metrics as it is written; a row of kind `note` has a text."""


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Attributes:
        network: The network without its state.
        state: After the last update, on the host.
        best: The best validation and its weights, on the host.
        sets: SHA-256 of the validation sets by name.
        rates: Images a second at the start, see `giga.models.training.rates`; empty if not measured.
        stopped_early: Whether validation ended it.
    """

    network: Network
    state: TrainState
    best: Best
    sets: dict[str, str]
    rates: dict[str, float]
    stopped_early: bool

    def model(self) -> Any:
        """The module in evaluation mode, with the mean weights of the best validation, or else the last ones."""
        chosen = self.best if np.isfinite(self.best.loss) else self.state
        return self.network.model(*jax.tree.map(jnp.asarray, (chosen.ema, chosen.stats)))


def train(task: Task, config: TrainConfig, folder: str | Path, *, over: Mesh | None = None, resume: bool = False,
          tensorboard: bool = False, wandb: bool = False, report: Report | None = None) -> Trained:
    """Train a network; writes `metrics.jsonl` and `checkpoint/` as it goes.

    Args:
        task: Network, examples and loss.
        config: Settings.
        folder: Of the run; made when missing.
        over: The devices; None is all.
        resume: Go on from the last checkpoint in the folder, if there is one. `config.steps` may be more than before;
            what changes the steps that were made is refused.
        tensorboard: Also write TensorBoard events to `tensorboard/`.
        wandb: Also write a run of Weights & Biases, see `giga.models.training.metrics_log`.
        report: Called with each row of metrics.

    Raises:
        ValueError: The folder holds a run and `resume` is not set, or a setting does not suit the devices.
        CheckpointError: No checkpoint can be used: of another task or configuration, or damaged.
        FloatingPointError: A loss or gradient is not finite; the state before that chunk of steps is saved.
        KeyboardInterrupt: Ctrl-C; the state of the step that was reached is saved. A second one does not wait for that.
    """
    over = mesh() if over is None else over
    config.check_devices(over.devices.size)
    if config.reuse > 1 and not isinstance(task, BankedTask):
        raise ValueError(f"reuse: got {config.reuse}, expected 1: the task does not part scenes from their noise")
    check_fed(task, config, over.devices.size)
    folder = Path(folder)
    log_file = folder / "metrics.jsonl"
    if log_file.exists() and not resume:
        raise ValueError(f"{folder}: holds a run; go on with resume, or choose another folder")
    network, state = start(task, config, tuned(optimiser(config), task))
    store = Store(folder / "checkpoint", run_identity(task, config), facts=_facts(task, config))
    checkpoints = Checkpoints(store, config)
    run = Run(state, nothing_yet(state))
    notes: list[str] = []
    if resume:
        run = checkpoints.last(run, notes.append) or run
    tell = report or (lambda row: None)
    for text in notes:
        tell({"kind": "note", "step": int(run.state.step), "text": text})
    loop = Loop(task, config, network, tuned(optimiser(config, run.earlier), task), over)
    if is_first():
        with MetricsLog(log_file, int(run.state.step), tensorboard, wandb) as log:
            return _run(loop, run, checkpoints, lambda *row: tell(log.write(*row)))
    return _run(loop, run, checkpoints, lambda *row: None)


def run_identity(task: Task, config: TrainConfig) -> str:
    """Hash of what a run's numbers depend on; a checkpoint belongs to one."""
    return identity_of(_facts(task, config))


def _facts(task: Task, config: TrainConfig) -> dict[str, Any]:
    return {"task": task.identity, **{f"train.{name}": value for name, value in config.what.items()}}


@dataclass(frozen=True)
class Run:
    """Everything that a checkpoint holds."""

    state: TrainState
    best: Best
    earlier: Earlier = ()  # what the run was before it went on with more steps


class Checkpoints:
    """The last few states of a run, by step.

    Args:
        store: Where they are.
        config: How many are kept, and the steps of the run.
    """

    def __init__(self, store: Store, config: TrainConfig):
        self._store, self._keep, self._steps = store, config.keep, config.steps

    def save(self, run: Run) -> str:
        """Save a state and drop the oldest; only the first process writes. Returns the name."""
        name = f"step-{int(run.state.step):09d}"
        tree = on_host((run.state, run.best))  # all processes take part
        if is_first():
            self._store.save(name, tree, {"step": int(run.state.step), "steps": self._steps,
                                          "earlier": [list(part) for part in run.earlier]})
            for old in self._store.names("step-")[:-self._keep]:
                self._store.remove(old)
        return name

    def last(self, like: Run, note: Callable[[str], object]) -> Run | None:
        """The last state that is whole, or None if there was never one.

        Raises:
            CheckpointError: All are damaged, or they belong to another run, or to one of more steps.
        """
        names = self._store.names("step-")
        for name in reversed(names):
            try:
                (state, best), meta = self._store.load(name, (like.state, like.best))
            except ForeignCheckpoint:
                raise
            except CheckpointError as error:
                note(f"{error}; going on from the one before")
                continue
            return self._gone_on(Run(state, best, tuple((at, steps) for at, steps in meta["earlier"])), meta["steps"],
                                 note)
        if names:
            raise CheckpointError(f"{self._store.folder}: all {len(names)} checkpoints are damaged; start anew in "
                                  "another folder")
        return None


    def _gone_on(self, run: Run, steps: int, note: Callable[[str], object]) -> Run:
        """A run that was one of some steps, as one of those of now."""
        if self._steps < steps:
            raise ForeignCheckpoint(f"{self._store.folder}: train.steps: got {self._steps}, expected at least the "
                                    f"{steps} that the run has been made for, or another folder",
                                    [f"train.steps: {steps} -> {self._steps}"])
        if self._steps == steps:
            return run
        at = int(run.state.step)
        note(f"the run of {steps} steps goes on after step {at} with the learning rate of one of {self._steps}")
        return Run(run.state, run.best.replace(waited=np.int32(0)), (*run.earlier, (at, steps)))


def _run(loop: Loop, run: Run, checkpoints: Checkpoints, write: Callable[..., object]) -> Trained:
    """From the state given to the last step, or to the end of the patience."""
    config = loop.config
    state, best = on_devices(run.state, loop.over), run.best
    at = int(run.state.step)
    sets = draw_sets(loop)
    write("start", at, {"config": dataclasses.asdict(config), "task": loop.task.identity,
                        "devices": loop.over.devices.size,
                        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
                        "validation": {each.name: each.sha256 for each in sets}})
    rates = measure_rates(loop, state) if config.measure_rates else {}
    if rates:
        write("rates", at, rates)
    evaluate, rate_at = loop.evaluation(), schedule(config, run.earlier)

    def impatient() -> bool:
        return bool(config.patience and best.waited >= config.patience)

    # Several processes would not all stop at one step.
    with held(1) if process_count() == 1 else nullcontext(never) as interrupted:
        while at < config.steps and not impatient():
            steps = min(config.chunk - at % config.chunk, config.steps - at)  # the rest of a chunk that was cut short
            before = jax.tree.map(jnp.copy, state)
            started = time.perf_counter()
            state, metrics = loop.chunk(steps)(state, loop.scenes(at), interrupted)
            metrics = on_host(metrics)
            seconds, made = time.perf_counter() - started, len(metrics["loss"])
            if broken := _nonfinite(metrics, at):
                name = checkpoints.save(Run(before, best, run.earlier))
                raise FloatingPointError(f"{broken}; the state after step {at} is saved as {name}")
            at += made
            write("train", at, {name: float(np.mean(values, dtype=np.float64)) for name, values in metrics.items()}
                  | {"learning_rate": float(np.asarray(rate_at(at - 1))) * plateaus(state.moments),
                     "images_per_s": rate(made * config.batch_size, seconds)})
            if sets and (at % config.validate_every == 0 or at == config.steps):
                best, loss = _validated(evaluate, state, best, sets, at, write)
                state = state.replace(moments=at_validation(config, state.moments, loss))
            last = at == config.steps or impatient()
            if at % config.checkpoint_every == 0 or last or interrupted():
                name = checkpoints.save(Run(state, best, run.earlier))
                if interrupted() and not last:
                    raise KeyboardInterrupt(f"the state after step {at} is saved as {name}")
    return Trained(loop.network, on_host(state), best, {each.name: each.sha256 for each in sets}, rates, impatient())


def _validated(evaluate: Any, state: TrainState, best: Best, sets: tuple[ValidationSet, ...], at: int,
               write: Callable[..., object]) -> tuple[Best, float]:
    """Validate on every set, and compare with the best by the loss on the first, the fixed one, which comes too."""
    found = {each.name: validate(evaluate, state.ema, state.stats, each.batches) for each in sets}
    loss = found[sets[0].name]["loss"]
    better = loss < float(best.loss)
    if better:
        ema, stats = on_host((state.ema, state.stats))
        best = Best(loss=np.float32(loss), step=np.int32(at), ema=ema, stats=stats, waited=np.int32(0))
    else:
        best = best.replace(waited=np.int32(best.waited + 1))
    write("validation", at, {f"{name}_{key}": value for name, row in found.items() for key, value in row.items()}
          | {"best_loss": float(best.loss), "best_step": int(best.step)})
    return best, loss


def _nonfinite(metrics: dict[str, np.ndarray], at: int) -> str:
    """Say at which step loss or gradient are not finite first; empty if they all are."""
    finite = np.isfinite(metrics["loss"]) & np.isfinite(metrics["gradient_norm"])
    if finite.all():
        return ""
    k = int(np.argmin(finite))
    return f"step {at + k + 1}: not finite ({', '.join(f'{name} {row[k]:g}' for name, row in metrics.items())})"
