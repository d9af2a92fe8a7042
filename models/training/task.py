"""What a network is to learn: the simulated examples and the loss, apart from how it is trained."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from flax import nnx
from jax import Array

from giga.models.training.source import Source


class Task(Protocol):
    """A network, its examples and its loss; what `giga.models.training.train.train` takes."""

    @property
    def identity(self) -> str:
        """Hash of everything that the examples, the network and the loss depend on, but the seed."""
        ...

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the network with new weights, float32."""
        ...

    def example(self, key: Array) -> Any:
        """One simulated and augmented example, a pytree of arrays without a batch axis; pure."""
        ...

    def loss(self, model: Any, batch: Any, key: Array) -> tuple[Array, dict[str, Array]]:
        """Mean loss of a batch and metrics that are means over it too, all of shape ().

        In training the model is in training mode, in validation in evaluation mode. The key differs from device to
        device, so what is drawn from it depends on their number; what must not is drawn in `example`.

        Args:
            model: The network.
            batch: Examples, stacked over a leading axis.
            key: Random key of this step on this device.
        """
        ...


@runtime_checkable
class ShiftedTask(Task, Protocol):
    """A task that also knows examples as the training does not have them: another PSF, noise and kind of source."""

    def shifted_example(self, key: Array) -> Any:
        """One example of the shifted set; same structure and shapes as `example`."""
        ...


@runtime_checkable
class HeavyTask(Task, Protocol):
    """A task with large arrays, such as cutouts of real sky, which compiled programs take as an argument.

    What a program closes over is a constant of it, which the compiler copies and every process of it holds again.
    """

    @property
    def arrays(self) -> Any:
        """The arrays, a pytree."""
        ...

    def holding(self, arrays: Any) -> Task:
        """The same task with these in the place of its arrays, for a program that takes them."""
        ...


@runtime_checkable
class BankedTask(Task, Protocol):
    """A task whose scenes can be used again: `example(key)` is `finish(key, geometry(key))`.

    The two draw from different parts of the key, so that `finish` of another key makes another image of the scene.
    """

    def geometry(self, key: Array) -> Any:
        """A scene, traced and convolved: all that costs much, a pytree of arrays; pure."""
        ...

    def finish(self, key: Array, geometry: Any) -> Any:
        """The example of a scene: its noise, and all else that may differ between two uses of it; pure."""
        ...


@runtime_checkable
class FedTask(Task, Protocol):
    """A task whose examples are stored, all or a share of them; the others are those of `example`.

    Stored examples are validated on the part of the source that is for it, and never on what training draws.
    """

    @property
    def source(self) -> Source:
        """The stored examples."""
        ...

    @property
    def stored(self) -> float:
        """Share of the examples that are stored, from above 0 to 1."""
        ...

    def shown(self, key: Array | None, row: Any) -> Any:
        """The example of a stored row, of the same structure and shapes as `example`; pure.

        Args:
            key: What it is augmented by; None leaves it as it is, for validation.
            row: An entry of what the source gives, a dict of arrays without a batch axis.
        """
        ...


@runtime_checkable
class TunedTask(Task, Protocol):
    """A task that begins with trained weights, and says how fast each of them may move."""

    def rates(self, params: Any) -> Any:
        """What the updates of each weight are multiplied by, of the structure of the weights; 0 keeps a weight."""
        ...
