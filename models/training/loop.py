"""The compiled part of training: simulate, augment, forward, backward, update.

A chunk of steps is one program on an accelerator: a scan over steps, its state donated, spread over the devices of a
mesh, so that nothing crosses to the host between two looks at the metrics. On a CPU the program is one step, donated
and sharded likewise, and the steps of a chunk are dispatched without waiting: XLA runs a convolution inside a loop
without its fast kernels. Measured for a U-Net of six convolutions on 64 x 64 x 4 pixels, batch 16, on two cores that
other work shared: 92 images/s a step at a time and 8 in a scan on one device, 117 and 10 on two. An unrolled scan of
ten steps reaches 122 and 84, but its compile time grows with the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from giga.models.training.config import TrainConfig, averaged
from giga.models.training.feed import FED, Feed, held_out
from giga.models.training.source import places
from giga.models.training.state import Network, TrainState
from giga.models.training.task import BankedTask, FedTask, HeavyTask, ShiftedTask, Task
from giga.runtime.parallel import AXIS, batched, on_devices, one_by_one

LOSS_STREAM = 2**32 - 1  # of the fold that makes the key of a loss; no example has this number
BANK = PartitionSpec(None, None, AXIS)  # of arrays of shape (batches, micro-batches, images, ...)


def never() -> bool:
    """No reason to stop."""
    return False


@dataclass(frozen=True)
class Reuse:
    """Which scene each image of a training has.

    Steps come in chunks. A chunk of C steps has C / times batches of scenes of its own, all made before its first step,
    and goes through them `times` times. In its first pass the batches of scenes are those that the steps would have
    made. In pass p the scene of image i is taken p i batches further on: each scene is used once a pass, among others
    each time.

    Attributes:
        times: Images that each scene is used for; 1 is no reuse.
        chunk: Steps of a chunk.

    Raises:
        ValueError: A chunk that `times` does not divide.
    """

    times: int
    chunk: int

    def __post_init__(self) -> None:
        if self.times < 1 or self.chunk % self.times:
            raise ValueError(f"reuse: got {self.times}, expected a divisor of chunk, {self.chunk}")

    @property
    def batches(self) -> int:
        """Batches of scenes of one chunk."""
        return self.chunk // self.times

    def batch_of(self, step: Array, image: Array) -> Array:
        """Batch of the chunk, from zero, that the scene of an image is in.

        Args:
            step: Of the training, shape ().
            image: Its number in the batch of that step, shape (n,).
        """
        turn, place = (step % self.chunk) // self.batches, step % self.chunk % self.batches
        return (place + turn * image) % self.batches


@dataclass(frozen=True)
class Loop:
    """The compiled programs of one run.

    Attributes:
        task: What is learned.
        config: How.
        network: The network without its state.
        optimiser: Made of the config.
        over: The mesh.
    """

    task: Task
    config: TrainConfig
    network: Network
    optimiser: optax.GradientTransformation
    over: Mesh
    _programs: dict[Any, Any] = field(default_factory=dict, repr=False)

    def chunk(self, steps: int, simulated: bool = True) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
        """Compile `steps` steps.

        Args:
            steps: Updates.
            simulated: Whether each step simulates its examples; else every micro-batch is the one given.

        Returns:
            `run(state, given=None, stop=never) -> (state, metrics)`. What is given is what `scenes` has made for the
            chunk, or the micro-batch. The state is donated. Metrics have shape (steps,): loss, gradient norm
            and what the task reports, means over the batches of all devices. Where steps are dispatched one by one,
            none is after `stop()` is true; metrics then have as many entries as steps were made, at least one.
        """
        fed = self.fed and simulated  # whose examples come step by step from the host
        if not one_by_one(self.over) and not fed:
            program = self._program(steps, simulated)
            return lambda state, given=None, stop=never: program(self._arrays, state, given)
        program = self._program(1, simulated)

        def run(state, given: Any = None, stop=never):
            rows = []
            while not rows or len(rows) < steps and not stop():
                state, metrics = program(self._arrays, state, next(given) if fed else given)
                rows.append(metrics)
            return state, jax.tree.map(lambda *values: jnp.concatenate(values), *rows)

        return run

    def _program(self, steps: int, simulated: bool) -> Callable[..., Any]:
        """Steps as one program; made once."""
        def local(arrays, state, given):
            own = self._holding(arrays)
            draw = partial(own._drawn if simulated else lambda batch, step, micro: batch, given)
            if steps == 1:  # a scan of one would do, but for the note on loops above
                state, metrics = own._step(state, draw)
                return state, jax.tree.map(lambda a: a[None], metrics)
            return jax.lax.scan(lambda state, _: own._step(state, draw), state, length=steps)

        if (steps, simulated) not in self._programs:
            whole = PartitionSpec()
            spread = jax.shard_map(local, mesh=self.over, check_vma=False, out_specs=whole,
                                   in_specs=(whole, whole, self._given if simulated else PartitionSpec(AXIS)))
            self._programs[steps, simulated] = jax.jit(spread, donate_argnums=1)
        return self._programs[steps, simulated]

    def examples(self, shifted: bool = False) -> Callable[[int, int, int], Any]:
        """Compile the simulation of one micro-batch by each device its share.

        Args:
            shifted: Whether examples are those of `ShiftedTask.shifted_example`.

        Returns:
            `draw(seed, step, micro)`, a batch of `config.micro` examples, laid out over the mesh.
        """
        def local(arrays, seed, step, micro):
            task = self._holding(arrays).task
            function = cast(ShiftedTask, task).shifted_example if shifted else task.example
            return self._simulate(lambda i, key: function(key), seed, step, micro)

        spec = PartitionSpec()
        program = jax.jit(jax.shard_map(local, mesh=self.over, in_specs=(spec, spec, spec, spec),
                                        out_specs=PartitionSpec(AXIS), check_vma=False))
        return lambda seed, step, micro: program(self._arrays, jnp.uint32(seed), jnp.int32(step), jnp.int32(micro))

    def evaluation(self) -> Callable[[Any, Any, Any], dict[str, Array]]:
        """Compile `evaluate(params, stats, batch)`: loss and metrics of a batch, the network in evaluation mode."""
        def local(arrays, params, stats, batch):
            key = jax.random.fold_in(jax.random.key(self.config.validation_seed), jax.lax.axis_index(AXIS))
            loss, metrics = self._holding(arrays).task.loss(self.network.model(params, stats), batch, key)
            return jax.lax.pmean({"loss": loss, **metrics}, AXIS)

        spec = PartitionSpec()
        program = jax.jit(jax.shard_map(local, mesh=self.over, check_vma=False, out_specs=spec,
                                        in_specs=(spec, spec, spec, PartitionSpec(AXIS))))
        return lambda params, stats, batch: program(self._arrays, params, stats, batch)

    def __post_init__(self) -> None:
        if "fed" not in self._programs:  # not of a task that holds a program's arguments, whose identity has no value
            self._programs["fed"] = isinstance(self.task, FedTask)

    @property
    def fed(self) -> bool:
        """Whether examples are stored, all or some of them."""
        return self._programs["fed"]

    def feed(self, step: int) -> Feed:
        """Stored examples from a step on."""
        return Feed.of(self._fed, self.config, self.over, step)

    def held_out(self, part: str) -> Iterator[Any]:
        """Examples of a part of the source as micro-batches, not augmented, weighted so that their mean is the part's.
        """
        if "held out" not in self._programs:
            def local(arrays, rows):
                task = cast(FedTask, self._holding(arrays).task)
                return batched(lambda row: task.shown(None, row), self.over, shared=0)(rows)

            spread = PartitionSpec(AXIS)
            self._programs["held out"] = jax.jit(jax.shard_map(
                local, mesh=self.over, in_specs=(PartitionSpec(), spread), out_specs=spread, check_vma=False))
        for rows in held_out(self._fed, self.config, self.over, part):
            yield self._programs["held out"](self._arrays, rows)

    def scenes(self, step: int) -> Any:
        """What the chunk that a step is in is made of: the bank of scenes that its images share, None without reuse.

        Of stored examples it is those of the steps that follow; they go on from chunk to chunk.
        """
        config = self.config
        if self.fed:
            feed = self._programs.get("feed")
            if feed is None or feed.at != step:
                feed = self._programs["feed"] = self.feed(step)
            return feed
        if config.reuse == 1:
            return None
        if "scenes" not in self._programs:
            micros = jnp.arange(config.accumulate)

            def local(arrays, first):
                task = self._holding(arrays)._banked

                def batch(step):
                    return jax.lax.map(lambda micro: self._simulate(lambda i, key: task.geometry(key), config.seed,
                                                                    step, micro), micros)

                return jax.lax.map(batch, first + jnp.arange(self._reuse.batches))

            whole = PartitionSpec()
            self._programs["scenes"] = jax.jit(jax.shard_map(local, mesh=self.over, in_specs=(whole, whole),
                                                             out_specs=BANK, check_vma=False))
        return self._programs["scenes"](self._arrays, jnp.int32(step - step % config.chunk))

    def drawn(self) -> Callable[[Any, int, int], Any]:
        """Compile `draw(bank, step, micro)`, the examples of one micro-batch of a step as the training has them."""
        def local(arrays, bank, step, micro):
            return self._holding(arrays)._drawn(bank, step, micro)

        whole = PartitionSpec()
        program = jax.jit(jax.shard_map(local, mesh=self.over, check_vma=False, out_specs=PartitionSpec(AXIS),
                                        in_specs=(whole, self._given, whole, whole)))
        return lambda bank, step, micro: program(self._arrays, bank, jnp.int32(step), jnp.int32(micro))

    @property
    def _arrays(self) -> Any:
        """Large arrays of the task, whole on every device; None if it has none."""
        if "arrays" not in self._programs and isinstance(self.task, HeavyTask):
            self._programs["arrays"] = on_devices(self.task.arrays, self.over)
        return self._programs.get("arrays")

    def _holding(self, arrays: Any) -> Loop:
        """The same loop whose task has these arrays."""
        return self if arrays is None else replace(self, task=cast(HeavyTask, self.task).holding(arrays))

    @property
    def _banked(self) -> BankedTask:
        return cast(BankedTask, self.task)  # else training does not begin

    @property
    def _fed(self) -> FedTask:
        return cast(FedTask, self.task)

    @property
    def _given(self) -> PartitionSpec:
        """How what `scenes` makes lies over the mesh."""
        return FED if self.fed else BANK

    @property
    def _reuse(self) -> Reuse:
        return Reuse(self.config.reuse, self.config.chunk)

    def _drawn(self, bank: Any, step: Array, micro: Any) -> Any:
        """This device's share of a micro-batch: of new scenes, of those of the bank, or of stored images."""
        if self.fed:
            return self._mixed(jax.tree.map(lambda a: a[micro], bank), step, micro)
        if self.config.reuse == 1:
            return self._simulate(lambda i, key: self.task.example(key), self.config.seed, step, micro)
        first, task, batch_of = self._first(micro), self._banked, self._reuse.batch_of

        def example(i, key):
            return task.finish(key, jax.tree.map(lambda a: a[batch_of(step, i), micro, i - first], bank))

        return self._simulate(example, self.config.seed, step, micro)

    def _mixed(self, rows: Any, step: Array, micro: Any) -> Any:
        """This device's share of a micro-batch of stored rows, with simulated examples where the task has them too."""
        task, stored = self._fed, places(self._fed.stored, self._share)
        key, first = jax.random.fold_in(jax.random.key(self.config.seed), step), self._first(micro)
        parts = [batched(lambda i, row: task.shown(jax.random.fold_in(key, i), row), self.over, shared=0)(
            first + np.flatnonzero(stored), rows)]
        if not stored.all():
            parts.append(batched(lambda i: task.example(jax.random.fold_in(key, i)), self.over, shared=0)(
                first + np.flatnonzero(~stored)))
        return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)

    def _simulate(self, function: Callable[[Array, Array], Any], seed: Any, step: Array, micro: Any) -> Any:
        """This device's share of a micro-batch: example i of step s has the key fold(fold(key(seed), s), i)."""
        key = jax.random.fold_in(jax.random.key(seed), step)
        return batched(lambda i: function(i, jax.random.fold_in(key, i)), self.over, shared=0)(
            self._first(micro) + jnp.arange(self._share))

    @property
    def _share(self) -> int:
        """Examples of a micro-batch that each device has."""
        return self.config.micro // self.over.devices.size

    def _first(self, micro: Any) -> Array:
        """Number of this device's first example of a micro-batch."""
        return micro * self.config.micro + jax.lax.axis_index(AXIS) * self._share

    def _step(self, state: TrainState, draw: Callable[[Array, int], Any]) -> tuple[TrainState, dict[str, Array]]:
        """One update, on one device of the mesh; `draw(step, micro)` gives its examples."""
        config = self.config
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), state.step), LOSS_STREAM)
        key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        stats, gradient, metrics = state.stats, None, None
        for micro in range(config.accumulate):  # unrolled: see the note on loops above
            examples = draw(state.step, micro)
            stats, new = self._gradient(state.params, stats, examples, jax.random.fold_in(key, micro))
            gradient, metrics = new if gradient is None else jax.tree.map(jnp.add, (gradient, metrics), new)
        gradient, metrics = jax.tree.map(lambda a: a / config.accumulate, (gradient, metrics))
        gradient, metrics = jax.lax.pmean((gradient, metrics), AXIS)
        moves, moments = self.optimiser.update(gradient, state.moments, state.params)
        params = optax.apply_updates(state.params, moves)
        ema = averaged(state.ema, params, state.step, config.ema)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradient)}
        return TrainState(step=state.step + 1, params=params, stats=stats, ema=ema, moments=moments), metrics

    def _gradient(self, params: Any, stats: Any, examples: Any, key: Array) -> tuple[Any, tuple[Any, dict[str, Array]]]:
        """Batch statistics after a micro-batch, and this device's gradient and metrics."""
        def loss_of(params):
            model = self.network.model(params, stats, key, train=True)
            loss, metrics = self.task.loss(model, examples, key)
            return loss, ({"loss": loss, **metrics}, self.network.stats_of(model))

        gradient, (metrics, stats) = jax.grad(loss_of, has_aux=True)(params)
        return stats, (gradient, metrics)
