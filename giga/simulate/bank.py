"""A bank of scenes: each is traced once and used again under new noise, strengths and turns."""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array


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
