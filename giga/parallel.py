"""Devices, meshes and multi-node start; the only file that names devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec

AXIS = "batch"


class DeviceError(RuntimeError):
    """A device was asked for that is not there."""


def start(platform: str = "auto", cpu_devices: int | None = None) -> list[Any]:
    """Choose the devices of this process; call before the first computation.

    On a CPU each core becomes one device, since one evaluation is too small to share.

    Args:
        platform: "auto" takes what JAX finds first; "cpu" or "gpu" insist.
        cpu_devices: Number of CPU devices; None is one a core, unless XLA_FLAGS says otherwise.

    Raises:
        DeviceError: A GPU was asked for and JAX sees none; says what it does see.
    """
    if platform not in ("auto", "cpu", "gpu"):
        raise DeviceError(f"devices: expected auto, cpu or gpu, got {platform!r}")
    try:
        if cpu_devices or "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
            jax.config.update("jax_num_cpu_devices", cpu_devices or cores())
        if platform == "cpu":
            jax.config.update("jax_platforms", "cpu")
    except RuntimeError as error:  # the backend runs already
        if cpu_devices is not None and len(jax.devices("cpu")) != cpu_devices:
            raise DeviceError(f"devices: {cpu_devices} CPU devices were asked for after JAX had started with "
                              f"{len(jax.devices('cpu'))}; choose before the first computation") from error
    found = jax.devices()
    if platform != "auto" and found[0].platform != platform:
        raise DeviceError(f"devices: {platform} was asked for, but JAX sees only {describe(found)}; "
                          f"install giga[gpu] on a machine with an NVIDIA driver, or ask for cpu")
    return found


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(devices: list[Any] | None = None) -> str:
    """Spell devices for people: `2 x cpu`."""
    kinds: dict[str, int] = {}
    for device in jax.devices() if devices is None else devices:
        kinds[device.device_kind] = kinds.get(device.device_kind, 0) + 1
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def start_nodes(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Join the processes of a multi-node run; with no arguments, as SLURM or Open MPI set them up."""
    jax.distributed.initialize(coordinator, processes, process)


def process_count() -> int:
    """Number of processes that work as one."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks to the user."""
    return jax.process_index() == 0


def from_first(content: bytes) -> bytes:
    """What the first process has, in every process; all must call."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    mine = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(mine)).astype(np.uint8).tobytes()


def mesh(devices: list[Any] | None = None) -> Mesh:
    """A one-dimensional mesh over all devices, or those given."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def sharded(function: Callable[..., Any], over: Mesh, shared: int = 1) -> Callable[..., Any]:
    """Spread a batched function over a mesh.

    The leading axis of every later argument and of every output is split over the devices. It is
    padded by repeats of its first entry to a multiple of their number, and cut again: no entry is
    dropped, and none depends on the number of devices.

    Args:
        function: `function(*shared_arguments, *batched_arguments)`, batched over leading axes.
        over: The mesh.
        shared: Number of leading arguments that every device sees whole.
    """
    count = over.devices.size

    def wrapped(*arguments):
        whole, batched = arguments[:shared], arguments[shared:]
        size = jax.tree.leaves(batched)[0].shape[0]
        extra = -size % count
        if extra:
            batched = jax.tree.map(lambda a: jnp.concatenate([a, jnp.repeat(a[:1], extra, 0)]), batched)
        specs = (*(PartitionSpec() for _ in whole), *(PartitionSpec(AXIS) for _ in batched))
        spread = jax.shard_map(function, mesh=over, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)
        out = spread(*whole, *batched)
        return jax.tree.map(lambda a: a[:size], out) if extra else out

    return wrapped


def batched(function: Callable[..., Any], over: Mesh, shared: int = 1) -> Callable[..., Any]:
    """Turn a function of one entry into one of a batch, in the way that is fast on the mesh's devices.

    On a CPU entries go through one by one, so that an image stays in the cache; on an accelerator
    they go together.
    """
    on_cpu = over.devices.flat[0].platform == "cpu"

    def wrapped(*arguments):
        whole, entries = arguments[:shared], arguments[shared:]
        if on_cpu:
            return jax.lax.map(lambda entry: function(*whole, *entry), entries)
        return jax.vmap(lambda *entry: function(*whole, *entry))(*entries)

    return wrapped


def on_host(tree: Any) -> Any:
    """Bring a small pytree to the host, so that the next call finds arguments of one kind.

    What a sharded program returns is laid out over the mesh; given back to another program as it
    is, it would be compiled for once more.
    """
    def fetch(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:  # shared with other processes
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(fetch, tree)
