"""Stored examples on their way from the host to the devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh, PartitionSpec

from giga.models.training.config import TrainConfig
from giga.models.training.source import Rows, filled, places, read_ahead
from giga.models.training.task import FedTask, Task
from giga.runtime.parallel import AXIS, laid_out

FED = PartitionSpec(None, AXIS)  # of stored examples, of shape (micro-batches, images, ...)
LAST = 2**31 - 1  # step that no training reaches


def check_fed(task: Task, config: TrainConfig, devices: int) -> int:
    """Stored examples of a step, over all devices and micro-batches; none if the task simulates them all.

    Raises:
        ValueError: Shares that do not give a whole number of images, the same on every device.
    """
    if not isinstance(task, FedTask):
        return 0
    count = int(places(task.stored, config.micro // devices).sum()) * devices * config.accumulate
    task.source.check(count)
    return count


@dataclass
class Feed:
    """Stored examples of one step after another, and the step whose turn it is.

    Attributes:
        batches: Of each step, shape (micro-batches, images, ...), laid out over the devices; without end.
        at: The step that is next.
    """

    batches: Iterator[Any]
    at: int

    @staticmethod
    def of(task: FedTask, config: TrainConfig, over: Mesh, step: int) -> Feed:
        """The stored examples of a training from a step on, read ahead."""
        source, count = task.source, check_fed(task, config, over.devices.size)

        def read(at: int) -> Rows:
            return {name: values.reshape(config.accumulate, count // config.accumulate, *values.shape[1:])
                    for name, values in source.batch(at, count).items()}

        return Feed((laid_out(rows, over, FED) for rows in read_ahead(read, step, LAST)), step)

    def __next__(self) -> Any:
        self.at += 1
        return next(self.batches)


def held_out(task: FedTask, config: TrainConfig, over: Mesh, part: str) -> Iterator[Any]:
    """Rows of a part of the source as micro-batches over the devices, the last one filled up, see `filled`."""
    source, size, total = task.source, config.micro, task.source.held_out(part)
    batches = -(-total // size)

    def read(k: int) -> Rows:
        return filled(source.part(part, k * size, size), size, batches * size, total)

    for rows in read_ahead(read, 0, batches):
        yield laid_out(rows, over, PartitionSpec(AXIS))
