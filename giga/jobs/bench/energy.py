"""Energy of what runs meanwhile, where the device tells: NVIDIA's power draw, or the RAPL counters of a CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from giga.runtime.environment import rate

RAPL = Path("/sys/class/powercap")
SAMPLES_MS = 100


class EnergyMeter:
    """Measures energy inside a `with` block; `result` holds it afterwards.

    Args:
        devices: The JAX devices that work inside the block.

    Attributes:
        result: "joules", "watts" and "source"; or "joules" None and the "reason".
    """

    def __init__(self, devices: Sequence[Any], rapl: Path = RAPL):
        self.result: dict[str, Any] = {"joules": None, "reason": "not measured yet"}
        if devices[0].platform == "cpu":
            self._meter = _Rapl(rapl)
        elif devices[0].platform == "gpu":
            self._meter = _Nvidia([_index(device) for device in devices])
        else:
            self._meter = _None(f"no meter for {devices[0].platform}")

    def __enter__(self) -> EnergyMeter:
        self._meter.start()
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *_: Any) -> None:
        seconds = time.perf_counter() - self._begun
        joules, said = self._meter.stop(seconds)
        self.result = {"joules": None, "reason": said} if joules is None else {
            "joules": joules, "watts": rate(joules, seconds), "seconds": seconds, "source": said}


class _None:
    def __init__(self, reason: str):
        self._reason = reason

    def start(self) -> None:
        pass

    def stop(self, seconds: float) -> tuple[float | None, str]:
        return None, self._reason


class _Rapl:
    """The package counters, in microjoules; they wrap around."""

    def __init__(self, folder: Path):
        self._folder, self._before, self._reason = folder, {}, ""

    def start(self) -> None:
        self._before = self._read()

    def stop(self, seconds: float) -> tuple[float | None, str]:
        after = self._read()
        if not self._before or not after:
            return None, self._reason
        total = 0
        for zone, value in after.items():
            gone = value - self._before[zone]
            total += gone if gone >= 0 else gone + int((zone / "max_energy_range_uj").read_text())
        return 1e-6 * total, f"RAPL, {len(after)} packages, all that runs on them"

    def _read(self) -> dict[Path, int]:
        zones = [zone for zone in sorted(self._folder.glob("*-rapl:*")) if zone.name.count(":") == 1]
        try:
            values = {zone: int((zone / "energy_uj").read_text()) for zone in zones}
        except OSError as error:
            self._reason = f"{error.filename}: {error.strerror}"
            return {}
        if not values:
            self._reason = f"no RAPL counter in {self._folder}"
        return values


class _Nvidia:
    """Mean of the power that nvidia-smi samples, times the seconds."""

    def __init__(self, indices: Sequence[str]):
        self._indices, self._watts, self._process = indices, {index: [] for index in indices}, None

    def start(self) -> None:
        program = shutil.which("nvidia-smi")
        if program is None:
            return
        command = [program, f"--id={','.join(self._indices)}", "--query-gpu=power.draw",
                   "--format=csv,noheader,nounits", f"--loop-ms={SAMPLES_MS}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._said: list[str] = []
        self._thread = threading.Thread(target=self._collect, args=(self._process.stdout,), daemon=True)
        self._thread.start()

    def _collect(self, lines: Any) -> None:
        self._said.extend(line.strip() for line in lines)

    def stop(self, seconds: float) -> tuple[float | None, str]:
        if self._process is None:
            return None, "no nvidia-smi"
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        try:
            watts = [float(line) for line in self._said]
        except ValueError:
            return None, f"nvidia-smi: {self._said[-1]}"
        if len(watts) < len(self._indices):
            return None, "no sample of nvidia-smi: too short"
        per_device = sum(watts) / len(watts)  # the devices are listed in turn
        return per_device * len(self._indices) * seconds, f"nvidia-smi, {len(watts)} samples"


def _index(device: Any) -> str:
    """Number by which nvidia-smi knows a device of this process."""
    local = device.local_hardware_id if device.local_hardware_id is not None else device.id
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[local] if visible else str(local)
