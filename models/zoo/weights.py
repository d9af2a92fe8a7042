"""Weights and batch statistics of a network as safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx
from safetensors import SafetensorError

from giga.models.training.state import weight_name
from giga.models.zoo.card import ZooError

KEPT = nnx.Any(nnx.Param, nnx.BatchStat)
"""What is saved of a network; the keys of its random streams are not."""


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """The weights and batch statistics of a network by their place in it, as `down.0.conv.kernel`."""
    found, _ = jax.tree_util.tree_flatten_with_path(nnx.state(model, KEPT))
    return {weight_name(path): np.asarray(leaf) for path, leaf in found}


def pack_weights(model: Any, header: dict[str, str] | None = None) -> bytes:
    """The content of a file of weights, with strings in its header: the same bytes at every call.

    safetensors writes the strings in an order that changes from call to call, and the hash of a file must not.
    """
    content = safetensors.numpy.save(tensors_of(model), header)
    if not header or len(header) < 2:
        return content
    end = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:end])
    head["__metadata__"] = dict(sorted(header.items()))
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def sha256(content: bytes) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(content).hexdigest()


def fill(model: Any, content: bytes, path: Path) -> None:
    """Put weights into a network of their architecture.

    Args:
        model: The network, or its outline (`nnx.eval_shape`); its weights are replaced, its random streams begin anew.
        content: Of the file.
        path: Of the file, for messages.

    Raises:
        ZooError: The content is cut short, or of another architecture; names the first tensor that differs.
    """
    try:
        tensors = safetensors.numpy.load(content)
    except SafetensorError as error:
        raise ZooError(f"{path}: truncated or no safetensors file ({error})") from error
    state = nnx.state(model, KEPT)
    expected = {weight_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}
    for name in sorted(expected.keys() | tensors.keys()):
        has, wants = (_shown(table[name]) if name in table else "no such tensor" for table in (tensors, expected))
        if has != wants:
            raise ZooError(f"{path}: weights of another architecture: {name}: the file has {has}, the network {wants}")
    found, structure = jax.tree_util.tree_flatten_with_path(state)
    nnx.update(model, jax.tree.unflatten(structure, [jnp.asarray(tensors[weight_name(path)]) for path, _ in found]))
    streams = nnx.state(model, nnx.RngState)
    nnx.update(model, jax.tree.map(_begun, streams))


def renewed(make: Callable[[], Any], found: Any, path: str | Path) -> Any:
    """A network of other settings with the weights of one that was found; its random streams begin anew.

    Args:
        make: Makes the network; only its outline is taken.
        found: Whose weights are taken.
        path: Of what was found, for messages.

    Raises:
        ZooError: Another architecture; names the first tensor that differs.
    """
    model = nnx.eval_shape(make)
    fill(model, pack_weights(found), Path(path))
    return model


def _begun(leaf: Any) -> jax.Array:
    """A random stream at its beginning, in the place of one that was only outlined."""
    return jax.random.key(0) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros(leaf.shape, leaf.dtype)


def _shown(tensor: Any) -> str:
    return f"{tensor.dtype} {tensor.shape}"
