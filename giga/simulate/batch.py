"""What a simulator hands to a network, and its flips and quarter turns with the truth that turns along."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from giga.component import AnyArray, Component

PAIRS = (("e1", "e2"), ("gamma1", "gamma2"))  # spin 2
POSITIONS = (("center_x", "center_y"), ("image_x", "image_y"))


class Batch(Component):
    """Simulated images with all that they are made of. Channels last; one example has no leading axis.

    Attributes:
        image: The sum of the parts, shape (n, ny, nx, bands) [counts / s].
        parts: "lens", "source" and "noise", each of the shape of `image`. Light of companions belongs to the noise.
        companions: That light alone, of the shape of `image`.
        truth: Parameters of the scenes by name, shape (n,) or (n, bands) each.
        label: 1 where a source is lensed, shape (n,), int32.
        sigma: Standard deviation of the noise, shape of `image` [counts / s].
        psf: The PSFs at the pixel scale, shape (n, bands, k, k).
    """

    image: AnyArray
    parts: dict[str, AnyArray]
    companions: AnyArray
    truth: dict[str, AnyArray]
    label: AnyArray
    sigma: AnyArray
    psf: AnyArray


def dihedral(key: Array, batch: Batch) -> Batch:
    """Flip and turn one example by a random element of the square's symmetries.

    The truth follows: ellipticities, shears, positions and the arms of a `Spiral`, found by the last part of their
    names. Other quantities are taken to have no direction. A population whose orientations are drawn at random gains
    nothing by this; real cutouts and banked geometries do.

    Args:
        key: Random key.
        batch: One example, without a leading axis; its image must be square.

    Raises:
        ValueError: The image is not square.
    """
    ny, nx = batch.image.shape[:2]
    if ny != nx:
        raise ValueError(f"augmentation by quarter turns: expected a square image, got {ny} x {nx}")
    return turned_batch(jax.random.randint(key, (), 0, 8), batch)


def turned_batch(element: Array, batch: Batch) -> Batch:
    """Turn one example, its truth too, by an element of the symmetries, see `turned` and `dihedral`."""
    def turn(image: Array) -> Array:
        return turned(element, image)

    return batch.replace(image=turn(batch.image), parts=jax.tree.map(turn, batch.parts),
                         companions=turn(batch.companions),
                         sigma=turn(batch.sigma), truth=turned_truth(element, batch.truth),
                         psf=jnp.moveaxis(turn(jnp.moveaxis(batch.psf, 0, -1)), -1, 0))


def turned(element: Array, image: Array) -> Array:
    """Turn a square image (ny, nx, ...) by an element of the symmetries, 0 to 7: counter-clockwise by `element % 4`
    quarters, y up, after a flip of x from 4 on."""
    image = jnp.where(element >= 4, image[:, ::-1], image)
    swapped = jnp.swapaxes(image, 0, 1)
    quarters = [image, swapped[:, ::-1], image[::-1, ::-1], swapped[::-1]]
    return jax.lax.select_n(element % 4, *quarters)


def turned_truth(element: Array, truth: dict[str, Array]) -> dict[str, Array]:
    """What becomes of parameters when their image is turned, see `dihedral`."""
    flip = jnp.where(element >= 4, -1.0, 1.0)
    angle = 0.5 * jnp.pi * (element % 4)
    out = dict(truth)
    for names, spin in ((PAIRS, 2), (POSITIONS, 1)):
        cos, sin = jnp.round(jnp.cos(spin * angle)), jnp.round(jnp.sin(spin * angle))
        for first, second in names:
            for name in truth:
                stem, _, last = name.rpartition(".")
                other = f"{stem}.{second}" if stem else second
                if last != first or other not in truth:
                    continue
                a, b = truth[name], truth[other]
                # A flip of x changes the sign of a position's x, and of the second component of a spin-2 pair.
                a, b = (flip * a, b) if spin == 1 else (a, flip * b)
                out[name], out[other] = cos * a - sin * b, sin * a + cos * b
    for name, value in truth.items():
        last = name.rpartition(".")[2]
        if last == "pitch":  # seen in a mirror arms wind the other way
            out[name] = jnp.where(element >= 4, jnp.pi - value, value)
        elif last == "phi0":
            out[name] = angle + jnp.where(element >= 4, jnp.pi - value, value)
    return out
