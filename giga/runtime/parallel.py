"""Devices, meshes and multi-node start; the only file that names devices."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from giga.runtime.memory import Fitting, group_size
from giga.runtime.nodes import Launch, NodeError, find_launch, meet, neighbours, share_of
from giga.runtime.nodes import everywhere as everywhere
from giga.runtime.nodes import from_first as from_first
from giga.runtime.nodes import is_first as is_first
from giga.runtime.nodes import process_count as process_count

AXIS = "batch"
# How programs on vectors are compiled that run a few times in a fit: optimising them takes far longer than they run.
ON_VECTORS = {"xla_backend_optimization_level": 0}
_LIMIT: dict[str, int | None] = {"bytes": None}  # of a device's memory, as the user set it


class DeviceError(RuntimeError):
    """A device was asked for that is not there."""


def start(platform: str = "auto", cpu_devices: int | None = None, n_devices: int | None = None) -> list[Any]:
    """Choose the devices of this process; call before the first computation, and after `start_nodes`.

    On a CPU each core becomes one device, since one evaluation is too small to share.

    Args:
        platform: "auto" takes what JAX finds first; "cpu" or "gpu" insist.
        cpu_devices: Number of CPU devices; None is one a core, unless XLA_FLAGS says otherwise.
        n_devices: Number of devices to use, of all processes together; None is all.

    Returns:
        The devices of all processes.

    Raises:
        DeviceError: A GPU was asked for and JAX sees none, or more devices than there are; says what it does see.
    """
    if platform not in ("auto", "cpu", "gpu"):
        raise DeviceError(f"devices: expected auto, cpu or gpu, got {platform!r}")
    try:
        if cpu_devices or "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
            jax.config.update("jax_num_cpu_devices", cpu_devices or _own_cores())
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
    return _first_of(found, n_devices)


class Devices(NamedTuple):
    """Devices that have been started.

    Attributes:
        over: The mesh over them.
        first: Whether this process is the first of several, or the only one.
        where: In words, with the number of processes when they are several.
    """

    over: Mesh
    first: bool
    where: str


def start_devices(platform: str = "auto", precision: str = "float32", n_devices: int | None = None,
                  memory_gb: float | None = None) -> Devices:
    """Start the devices of all processes for programs of a precision.

    Args:
        platform, n_devices: See `start`.
        precision: "float32", or "float64", which JAX has to be told of.
        memory_gb: See `limit_memory`.

    Raises:
        DeviceError: See `start`.
    """
    limit_memory(memory_gb)
    devices, count = start(platform, n_devices=n_devices), process_count()
    if precision == "float64":
        jax.config.update("jax_enable_x64", True)
    return Devices(mesh(devices), is_first(), describe(devices) + (f", {count} processes" if count > 1 else ""))


def _own_cores() -> int:
    """Cores of this process: those it is bound to, or its share of the node's."""
    return cores() if cores() < (os.cpu_count() or 1) else max(1, cores() // neighbours(os.environ))


def _first_of(found: list[Any], wanted: int | None) -> list[Any]:
    """The first devices of each process, as many from each."""
    processes = jax.process_count()
    counts = [sum(device.process_index == k for device in found) for k in range(processes)]
    if len(set(counts)) > 1:
        raise DeviceError(f"devices: the processes have {', '.join(map(str, counts))}; expected as many in each")
    if not wanted:
        return found
    if wanted > len(found):
        raise DeviceError(f"n_devices: {wanted} were asked for, but JAX sees only {describe(found)}")
    if wanted % processes:
        raise DeviceError(f"n_devices: {wanted} were asked for, which {processes} processes cannot share evenly")
    each = wanted // processes
    return [d for k in range(processes) for d in [d for d in found if d.process_index == k][:each]]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(devices: list[Any] | None = None) -> str:
    """Spell devices for people: `2 x cpu`."""
    kinds: dict[str, int] = {}
    for device in jax.devices() if devices is None else devices:
        kinds[device.device_kind] = kinds.get(device.device_kind, 0) + 1
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def start_nodes(coordinator: str | None = None, processes: int | None = None, process: int | None = None,
                timeout_s: float = 60.0) -> Launch | None:
    """Join the processes of a run of several; call before the first computation.

    With no arguments, as srun or mpirun set them up; without these, there is one process and nothing to do.

    Args:
        coordinator: HOST:PORT of process 0.
        processes: Number of processes.
        process: Number of this one, from zero.
        timeout_s: Longest time to wait for the others [s].

    Returns:
        The place of this process; None if there is only one.

    Raises:
        NodeError: The settings are wrong, or the processes do not all find each other.
    """
    launch = find_launch(os.environ, coordinator, processes, process)
    if launch is None or launch.processes == 1:
        return None
    own = share_of(_visible_gpus(), launch)
    meet(launch, timeout_s)
    try:
        jax.distributed.initialize(launch.coordinator, launch.processes, launch.process, local_device_ids=own,
                                   cluster_detection_method="deactivate", initialization_timeout=math.ceil(timeout_s))
    except RuntimeError as error:
        raise NodeError(f"coordinator {launch.coordinator}: process {launch.process}: {error}") from error
    return launch


def _visible_gpus() -> int:
    """Number of NVIDIA GPUs that this process may use, before JAX has started."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([part for part in named.split(",") if part.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def mesh(devices: list[Any] | None = None) -> Mesh:
    """A one-dimensional mesh over all devices, or those given."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def sharded(function: Callable[..., Any], over: Mesh, shared: int = 1) -> Callable[..., Any]:
    """Spread a batched function over a mesh.

    The leading axis of every later argument and of every output is dealt out to the devices in
    turn, so that their shares are even to one entry. It is padded by repeats of its first entry to a
    multiple of their number, and cut again: no entry is dropped, and none depends on the number
    of devices. What comes back lies whole on every device, so that sums over it are taken in
    one order whatever their number.

    Args:
        function: `function(*shared_arguments, *batched_arguments)`, batched over leading axes.
        over: The mesh.
        shared: Number of leading arguments that every device sees whole.
    """
    count = over.devices.size

    def wrapped(*arguments):
        whole, entries = arguments[:shared], arguments[shared:]
        size = jax.tree.leaves(entries)[0].shape[0]
        extra = -size % count

        def deal(a):
            padded = jnp.concatenate([a, jnp.repeat(a[:1], extra, 0)]) if extra else a
            return padded.reshape((size + extra) // count, count, *a.shape[1:])

        def local(*arguments):
            whole, entries = arguments[:shared], arguments[shared:]
            out = function(*whole, *jax.tree.map(lambda a: a[:, 0], entries))
            return jax.tree.map(lambda a: a[:, None], out)

        def collect(a):
            whole = jax.lax.with_sharding_constraint(a, NamedSharding(over, PartitionSpec()))
            return whole.reshape(size + extra, *a.shape[2:])[:size]

        specs = (*(PartitionSpec() for _ in whole), *(PartitionSpec(None, AXIS) for _ in entries))
        spread = jax.shard_map(local, mesh=over, in_specs=specs, out_specs=PartitionSpec(None, AXIS), check_vma=False)
        return jax.tree.map(collect, spread(*whole, *jax.tree.map(deal, entries)))

    return wrapped


def partitioned(function: Callable[..., Any], over: Mesh, shared: int = 1) -> Callable[..., Any]:
    """Spread a batched function over a mesh as `sharded` does, and leave each device what it made.

    For what is large and not summed, such as images: laid whole on every device, they are copied more than once. Each
    device has one block of the entries, padded likewise. With several processes none holds all of what comes back, see
    `on_host`.

    Args:
        function: `function(*shared_arguments, *batched_arguments)`, batched over leading axes.
        over: The mesh.
        shared: Number of leading arguments that every device sees whole.
    """
    def wrapped(*arguments):
        whole, entries = arguments[:shared], arguments[shared:]
        size = jax.tree.leaves(entries)[0].shape[0]
        extra = -size % over.devices.size
        if extra:
            entries = jax.tree.map(lambda a: jnp.concatenate([a, jnp.repeat(a[:1], extra, 0)]), entries)
        specs = (*(PartitionSpec() for _ in whole), *(PartitionSpec(AXIS) for _ in entries))
        spread = jax.shard_map(function, mesh=over, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)
        return jax.tree.map(lambda a: a[:size] if extra else a, spread(*whole, *entries))

    return wrapped


def batched(function: Callable[..., Any], over: Mesh, shared: int = 1) -> Callable[..., Any]:
    """Turn a function of one entry into one of a batch, in the way that is fast on the mesh's devices.

    On a CPU entries go through one by one, so that an image stays in the cache; on an accelerator
    they go together, as many as fit its memory.
    """
    def wrapped(*arguments):
        whole, entries = arguments[:shared], arguments[shared:]
        if one_by_one(over):
            return jax.lax.map(lambda entry: function(*whole, *entry), entries)
        return _in_groups(jax.vmap(lambda *entry: function(*whole, *entry)), entries)

    return wrapped


def _in_groups(function: Callable[..., Any], entries: tuple[Any, ...]) -> Any:
    """Call a batched function for as many entries at a time as the memory is to take."""
    size = jax.tree.leaves(entries)[0].shape[0]
    together = group_size(size)
    if together == size:
        return function(*entries)
    groups = -(-size // together)
    missing = groups * together - size

    def part(a):
        padded = jnp.concatenate([a, jnp.repeat(a[:1], missing, 0)]) if missing else a
        return padded.reshape(groups, together, *a.shape[1:])

    out = jax.lax.map(lambda group: function(*group), jax.tree.map(part, entries))
    return jax.tree.map(lambda a: a.reshape(groups * together, *a.shape[2:])[:size], out)


def compiled(function: Callable[..., Any], over: Mesh) -> Callable[..., Any]:
    """Jit a function whose batches are to fit the memory of the mesh's devices, see `giga.runtime.memory.Fitting`."""
    return jax.jit(function) if one_by_one(over) else Fitting(function, lambda: memory_limit(over))


def limit_memory(gigabytes: float | None) -> None:
    """Let programs that are compiled from now on take no more of a device's memory than this [GB]; None is all."""
    _LIMIT["bytes"] = None if gigabytes is None else int(1e9 * gigabytes)


def memory_limit(over: Mesh) -> int | None:
    """Bytes that a program may take on a device: what the user allows, or nine tenths of what there is, if known."""
    if _LIMIT["bytes"] is not None:
        return _LIMIT["bytes"]
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in over.local_devices]
    known = [limit for limit in limits if limit]
    return int(0.9 * min(known)) if known else None


def one_by_one(over: Mesh) -> bool:
    """Whether the entries of a batch go through one by one: on a CPU."""
    return over.devices.flat[0].platform == "cpu"


def rounded_up(entries: int) -> int:
    """The next of few sizes of a batch, at most a quarter larger, so that not every size needs a program of its own.

    >>> [rounded_up(n) for n in (1, 7, 9, 31, 1000)]
    [1, 7, 10, 32, 1024]
    """
    step = 1 << max(0, entries.bit_length() - 3)
    return -(-entries // step) * step


def spread(function: Callable[..., Any], over: Mesh) -> Callable[..., Any]:
    """Spread many problems, each with many lanes, over a mesh.

    Args:
        function: `function(problem, own, *lane)`, of one lane of one problem.
        over: The mesh.

    Returns:
        `run(problems, slots, active, own, *lanes)`. `problems` is a pytree stacked over its leading
        axis; entry w of the other arguments belongs to the problem `slots[w]`. `own` has one entry a
        problem, shape (w, ...), the lanes have several, (w, lanes, ...), as has what comes
        back. Where `active[w]` is false the result means nothing; on a CPU it costs nothing either.
    """

    def one(problems, slots, active, own, w, *lane):
        def work():
            return function(_entry(problems, slots[w]), _entry(own, w), *lane)

        if not one_by_one(over):
            return work()
        blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(work))
        return jax.lax.cond(active[w], work, lambda: blank)

    run = sharded(batched(one, over, 4), over, 4)

    def wrapped(problems, slots, active, own, *lanes):
        wide, deep = jax.tree.leaves(lanes)[0].shape[:2]
        flat = jax.tree.map(lambda a: a.reshape(wide * deep, *a.shape[2:]), lanes)
        out = run(problems, slots, active, own, jnp.repeat(jnp.arange(wide), deep), *flat)
        return jax.tree.map(lambda a: a.reshape(wide, deep, *a.shape[1:]), out)

    return wrapped


def _entry(stack: Any, k: Array) -> Any:
    """Entry k of a stacked pytree; a stack of one is not searched."""
    return jax.tree.map(lambda a: a[0] if a.shape[0] == 1 else a[k], stack)


def on_devices(tree: Any, over: Mesh) -> Any:
    """Lay a pytree whole on every device of a mesh."""
    return jax.device_put(tree, NamedSharding(over, PartitionSpec()))


def laid_out(tree: Any, over: Mesh, spec: PartitionSpec) -> Any:
    """Lay arrays of the host out over a mesh; each of several processes has all of them, and sends its devices' part.
    """
    sharding = NamedSharding(over, spec)
    return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, sharding, a.__getitem__), tree)


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
