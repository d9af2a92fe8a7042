"""The pictures of docs/arcs.md: clusters with giant arcs and without, and what a finder makes of two test sets.

    python docs/arcs_picture.py [--model runs/arcs/model --images 1000 --numbers numbers.json]
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from giga.models.networks.finder import FinderConfig
from giga.models.systems.arcs import BINS, make_simulator
from giga.models.systems.finder import measured, scored
from giga.models.systems.measured import flattened
from giga.models.zoo import load
from giga.runtime import parallel
from giga.runtime.atomic import write_bytes, write_text
from giga.show.finders import sheet
from giga.show.plot import png

IMAGES = Path(__file__).parent / "images"
EACH, DRAWN, FAINTEST = 12, 64, 24.6  # r magnitude of the sources that are shown


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model")
    arguments.add_argument("--numbers", type=Path, help="JSON file for the numbers of both sets")
    arguments.add_argument("--images", type=int, default=1000)
    options = arguments.parse_args()
    parallel.start(n_devices=1)
    config = FinderConfig(network="resnet18", survey="legacy-clusters-540mas")
    batch = jax.tree.map(np.asarray, make_simulator(config).simulate(jax.random.key(4), DRAWN))
    arcs = np.flatnonzero((batch.label == 1) & (batch.truth["mag"] < FAINTEST))[:EACH]
    shown = np.concatenate([arcs, np.flatnonzero(batch.label == 0)[:EACH]])
    truth = batch.truth
    labels = [f"{truth['theta_E'][k]:.1f}″  z {truth['z_lens'][k]:.2f}  {truth['mag'][k]:.1f}" if batch.label[k] else
              f"z {truth['z_lens'][k]:.2f}" for k in shown]
    write_bytes(IMAGES / "cluster_arcs.png", png(sheet(batch.image[shown], config.observed.background_rms, labels, 6)))
    if not options.model:
        return
    model, _ = load(options.model)
    rows = {name: scored(model.config, model, make_simulator(model.config, shifted), options.images,
                         jax.random.fold_in(jax.random.key(11), shifted))
            for name, shifted in (("as trained", False), ("shifted", True))}
    found = flattened({name: measured(one, bins=BINS) for name, one in rows.items()})
    if options.numbers:
        write_text(options.numbers, json.dumps({"images": options.images, "sets": found}, indent=1) + "\n")
    for name, numbers in found.items():
        print(name, {key: round(value, 3) for key, value in numbers.items()})


if __name__ == "__main__":
    main()
