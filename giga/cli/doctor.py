"""`giga doctor`: devices, memory, precision and versions, and what is amiss."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import jax
from rich.markup import escape
from rich.table import Table

from giga.cli.base import app, console, edge
from giga.runtime import parallel
from giga.runtime.cache import kept
from giga.runtime.environment import versions


@app.command()
@edge
def doctor() -> None:
    """Say which devices JAX really uses, their memory, precision and versions, and what is amiss."""
    devices = parallel.start("auto")
    table = Table("what", "value", title="giga doctor")
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for name, version in versions().items():
        table.add_row(name, version)
    for device in devices:
        stats = device.memory_stats() or {}
        memory = f", {stats['bytes_limit'] / 2**30:.1f} GiB for JAX" if "bytes_limit" in stats else ""
        table.add_row(f"device {device.id}", f"{device.platform}: {device.device_kind}{memory}")
    table.add_row("precision", "float32 by default; [run] precision = \"float64\" asks for more")
    table.add_row("GPU build", escape(_gpu_build(devices)))
    table.add_row("processes",
                  f"{jax.process_count()} (this is {jax.process_index()}), {parallel.cores()} CPU cores here")
    table.add_row("compiled programs", escape(_compiled()))
    console.print(table)


def _compiled() -> str:
    """Where compiled programs are kept, and how many."""
    cache = kept()
    if cache.folder is None:
        return "not kept between runs"
    limit = "" if cache.limit is None else f" of {cache.limit / 1e6:.0f}"
    return f"{cache.programs} in {cache.folder}, {cache.size / 1e6:.1f}{limit} MB"


def _gpu_build(devices: list[Any]) -> str:
    """Whether JAX's GPU build is installed, and whether it is in use."""
    plugins = sorted(d.metadata["Name"] for d in importlib.metadata.distributions()
                     if (d.metadata["Name"] or "").startswith(("jax-cuda", "jax_cuda")))
    used = devices[0].platform == "gpu"
    if used:
        return f"installed ({', '.join(plugins)}) and in use"
    if plugins:
        return f"installed ({', '.join(plugins)}), but JAX finds no GPU: look at nvidia-smi and the driver"
    return "not installed; pip install 'giga[gpu]' on a machine with an NVIDIA GPU"
