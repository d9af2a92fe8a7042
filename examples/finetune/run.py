"""A network of the zoo goes on learning on 2,000 labelled cutouts, beside one that begins anew.

    python examples/finetune/run.py --out runs/finetune

The cutouts are simulated, by a population that the network has not seen: a PSF a quarter wider, noise that is
correlated between pixels, and sources with clumps. They are written to HDF5 with a table of labels beside them, as
yours are, and read back as the networks learn. The end is a table: the network as it is, after learning, one of new
weights, and what is reached without any, all on 1,600 other cutouts; and a picture of what the network is surest of.
"""

import argparse
import csv
import time
from pathlib import Path

import h5py
import jax
import numpy as np
from matplotlib.figure import Figure

from giga.io.stored.labels import open_cutouts
from giga.models.networks.chain import ModularConfig
from giga.models.systems.finetune import begin, finetune
from giga.models.systems.labelled import Labelled
from giga.models.systems.labelled_table import measure
from giga.models.systems.modular import make_simulator
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.show.plot import png
from giga.show.terminal import TrainingProgress

CLASSES = ("no lens", "lens")
TOGETHER = 500  # images simulated at a time
ROWS = (("images", "images"), ("accuracy", "accuracy"), ("area under the ROC curve", "auc"),
        ("cross-entropy", "cross_entropy"))


def cutouts(folder: Path, name: str, images: int, seed: int, together: int) -> tuple[Path, Path]:
    """Simulate cutouts into a file, with a table of their labels beside it."""
    made = make_simulator(ModularConfig(), shifted=True)
    paths = folder / f"{name}.h5", folder / f"{name}.csv"
    names = [f"{name}-{k:05d}" for k in range(images)]
    with h5py.File(paths[0], "w") as file, open(paths[1], "w", newline="") as table:
        stack = file.create_dataset("image", (images, 64, 64, 3), "f4")
        stack.attrs["unit"], stack.attrs["bands"] = "count / s", ["g", "r", "i"]
        file["name"] = names
        rows = csv.writer(table)
        rows.writerow(["name", "kind"])
        for first in range(0, images, together):
            batch = made.simulate(jax.random.fold_in(jax.random.key(seed), first), together)
            stack[first:first + together] = np.asarray(batch.image)
            rows.writerows(zip(names[first:first + together], (CLASSES[k] for k in np.asarray(batch.label)),
                               strict=True))
    return paths


def picture(model, data: Labelled) -> Figure:
    """Cutouts of a test that are surest to be lenses, and surest not to be, with what they are."""
    rows = data.source.part("test", 0, 200)
    logits = np.asarray(model(rows["image"]))
    score = logits[:, 1] - logits[:, 0]
    figure = Figure(figsize=(12.0, 3.4), layout="constrained")
    sigma = np.asarray(model.config.sigma)
    for axis, k in zip(figure.subplots(2, 8).ravel(), [*np.argsort(-score)[:8], *np.argsort(score)[:8]], strict=True):
        shown = np.arcsinh(rows["image"][k][..., ::-1] / sigma[::-1])
        axis.imshow(np.clip(shown / 5.0, 0.0, 1.0), origin="lower")
        axis.set_title(f"{CLASSES[rows['label'][k]]}, {score[k]:+.1f}", fontsize=8)
        axis.set_axis_off()
    return figure


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--out", type=Path, default=Path("runs/finetune"))
    parse.add_argument("--smoke", action="store_true", help="a minute: few cutouts, one pass")
    args = parse.parse_args()
    parallel.start()
    args.out.mkdir(parents=True, exist_ok=True)
    together = 64 if args.smoke else TOGETHER
    images, epochs, anew = (128, 0.25, 0.25) if args.smoke else (2000, 4, 16)
    learn = open_cutouts(*cutouts(args.out, "learn", images, 11, together), target="kind", classes=CLASSES,
                         shares=(0.9, 0.1, 0.0))
    test = open_cutouts(*cutouts(args.out, "test", images, 12, together), target="kind", classes=CLASSES,
                        shares=(0.1, 0.1, 0.8))
    found, taken = {}, {}
    before = begin("modular-lsst", learn)
    before.eval()
    first = measure(before, test)
    found["as it is"] = first.numbers
    best = before
    tuned = {"tune": "head" if args.smoke else "all", "decay": 1.0, "epochs": epochs}
    for name, network, settings in (("after learning", "modular-lsst", tuned),
                                    ("from new weights", "", {"epochs": anew})):
        started = time.process_time()
        with TrainingProgress(round(settings["epochs"] * images * 0.9 / 32)) as report:
            model, _ = finetune(network, learn, args.out / name.replace(" ", "-"), measure_rates=False, report=report,
                                **settings)
        found[name], taken[name] = measure(model, test).numbers, time.process_time() - started
        best = model if network else best
    found["no network"] = {"images": first.numbers["images"], **{
        name: value for numbers in first.baselines.values() for name, value in numbers.items()}}
    lines = [f"| on other cutouts | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    lines += [f"| {title} | {' | '.join(f'{numbers[key]:.4g}' for numbers in found.values())} |" for title, key in ROWS]
    lines.append(f"| CPU-seconds of learning | {' | '.join(f'{taken.get(name, 0.0):.0f}' for name in found)} |")
    text = "\n".join(lines) + "\n"
    write_text(args.out / "table.md", text)
    (args.out / "sure.png").write_bytes(png(picture(best, test)))
    print(text)


if __name__ == "__main__":
    main()
