"""Read stored cutouts in the order of a training: images a second by format, beside what the network learns.

Cutouts of 64 x 64 x 3 pixels in float32, noise and a blob each, are written in each format, and read in batches of 32
by the reader of a training: an epoch in random order, read ahead by Grain. A plain thread that reads the same batches
ahead is timed beside it. Then a small ResNet learns from them on all devices, as training measures it: source,
network, and both. Files were written a moment ago, so that the disk's own speed is not in the rates.
"""

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import zarr
from _common import parser, write
from astropy.io import fits

from giga.io.stored.labels import open_cutouts
from giga.models.systems.finetune import begin
from giga.models.systems.labelled import CutoutTask
from giga.models.training.config import TrainConfig, optimiser
from giga.models.training.loop import Loop
from giga.models.training.rates import measure_rates
from giga.models.training.source import AHEAD, Stored, read_ahead
from giga.models.training.state import start
from giga.runtime import parallel

SHAPE, BATCH, CHUNK = (64, 64, 3), 32, 64
HOLD = 64.0  # MB of blocks


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and in every second image a blob."""
    rng = np.random.default_rng(0)
    found, label = rng.normal(0.0, 1.0, (count, *SHAPE)).astype(np.float32), np.arange(count) % 2
    y, x = np.mgrid[:64, :64] - 31.5
    found[label == 1] += 2.0 * np.exp(-(x**2 + y**2) / 50.0).astype(np.float32)[..., None]
    return found, label


def write_formats(folder: Path, made: np.ndarray, label: np.ndarray, cutouts: int) -> dict[str, Path]:
    """The same images in each format; a file an image for fewer of them."""
    with h5py.File(folder / "plain.h5", "w") as file:
        file["image"], file["label"] = made, label
    with h5py.File(folder / "gzip.h5", "w") as file:
        file.create_dataset("image", data=made, chunks=(CHUNK, *SHAPE), compression="gzip", compression_opts=1)
        file["label"] = label
    group = zarr.open_group(str(folder / "one.zarr"), mode="w")
    group.create_array("image", shape=made.shape, dtype="f4", chunks=(CHUNK, *SHAPE))[:] = made
    group.create_array("label", shape=label.shape, dtype="i8")[:] = label
    table = fits.BinTableHDU.from_columns([fits.Column("label", "J", array=label)])
    fits.HDUList([fits.PrimaryHDU(np.moveaxis(made, -1, 1)), table]).writeto(folder / "cube.fits")
    (folder / "cutouts").mkdir()
    for k, image in enumerate(made[:cutouts]):
        fits.PrimaryHDU(np.moveaxis(image, -1, 0)).writeto(folder / "cutouts" / f"{k:06d}.fits")
    rows = [f"{k:06d},{one}" for k, one in enumerate(label[:cutouts])]
    (folder / "labels.csv").write_text("\n".join(["name,label", *rows]) + "\n")
    return {"HDF5": folder / "plain.h5", "HDF5, chunks of 64, gzip": folder / "gzip.h5",
            "Zarr, chunks of 64, zstd": folder / "one.zarr", "FITS, one cube": folder / "cube.fits",
            "FITS, a file an image": folder / "cutouts"}


def rates(source: Stored, rounds: int) -> dict[str, float]:
    """Images a second of an epoch by Grain and by a thread, the best of some rounds, and bytes read and held."""
    steps, counted = source.epoch // BATCH, source.images.counted
    best = {"grain": 0.0, "thread": 0.0}

    def read(step: int) -> object:
        return source.batch(step, BATCH)

    for turn in range(rounds):
        first, before = 2 * turn * steps, counted["read"]
        started = time.perf_counter()
        for _ in read_ahead(read, first, first + steps):
            pass
        best["grain"] = max(best["grain"], steps * BATCH / (time.perf_counter() - started))
        taken = counted["read"] - before
        with ThreadPoolExecutor(1) as pool:
            started = time.perf_counter()
            waiting = [pool.submit(read, first + steps + k) for k in range(AHEAD)]
            for k in range(AHEAD, steps + AHEAD):
                waiting.pop(0).result()
                if k < steps:
                    waiting.append(pool.submit(read, first + steps + k))
            best["thread"] = max(best["thread"], steps * BATCH / (time.perf_counter() - started))
    return best | {"read_over_size": taken / (steps * BATCH * 4 * np.prod(SHAPE)), "most_held_mb":
                   counted["most_held"] / 1e6, "images": steps * BATCH}


def main() -> None:
    args = parser(__doc__ or "", "stored").parse_args()
    count, cutouts, rounds = (640, 128, 1) if args.smoke else (2048, 512, 2)
    parallel.start("auto")
    folder = Path(tempfile.mkdtemp())
    try:
        made, label = images(count)
        paths = write_formats(folder, made, label, cutouts)
        del made
        found = {}
        for name, path in paths.items():
            data = open_cutouts(path, folder / "labels.csv" if path.name == "cutouts" else None, hold_mb=HOLD)
            found[name] = rates(data.source, rounds)
        data = open_cutouts(paths["HDF5"])
        net = begin("", data)
        config = TrainConfig(steps=40, chunk=40, warmup=0, batch_size=BATCH, validation_size=0)
        task = CutoutTask(net.config, data, net)
        network, state = start(task, config, optimiser(config))
        loop = Loop(task, config, network, optimiser(config), parallel.mesh())
        trained = measure_rates(loop, parallel.on_devices(state, loop.over), rounds)
    finally:
        shutil.rmtree(folder)
    write(args.out, {"shape": SHAPE, "batch": BATCH, "reading, images/s": found, "a small ResNet learns": trained})


if __name__ == "__main__":
    main()
