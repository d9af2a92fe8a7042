"""The pictures of docs/finders.md: 25 lenses drawn in a cluster, and what a finder makes of two test sets.

    python docs/finders_picture.py CLUSTER.npz --other OTHER.npz --model MODEL --images 4000

CLUSTER and OTHER are prepared by `giga prepare`; MODEL is a name of the zoo or a path of weights. Without --model the
first picture alone is drawn.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from giga.io.clusters.fields import load_field
from giga.models.networks.finder import FinderConfig
from giga.models.systems.finder import make_simulator, measured, scored
from giga.models.systems.measured import flattened
from giga.models.zoo import load
from giga.runtime import parallel
from giga.runtime.atomic import write_bytes, write_text
from giga.show.finders import performance, sheet
from giga.show.plot import png

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("cluster", type=Path)
    arguments.add_argument("--other", type=Path)
    arguments.add_argument("--model")
    arguments.add_argument("--numbers", type=Path, help="JSON file for the numbers of both sets")
    arguments.add_argument("--images", type=int, default=4000)
    options = arguments.parse_args()
    parallel.start()
    field, config = load_field(options.cluster), FinderConfig()
    batch = jax.tree.map(np.asarray, make_simulator(config, field, lensed=1.0).simulate(jax.random.key(4), 128))
    # By Einstein radius along the rows and magnitude down the columns, as Fig. 5 of Angora et al. (2023).
    faint = np.argsort(batch.truth["mag"])[:125].reshape(5, 25)
    chosen = np.concatenate([row[np.argsort(batch.truth["theta_E"][row])][2::5] for row in faint])
    labels = [f"{batch.truth['theta_E'][k]:.1f}″  z {batch.truth['z'][k]:.1f}  {batch.truth['mag'][k]:.1f}"
              for k in chosen]
    write_bytes(IMAGES / "cluster_lenses.png", png(sheet(batch.image[chosen], config.observed.background_rms, labels)))
    if not options.model:
        return
    model, _ = load(options.model)
    sets = {"as trained": (field, False), "shifted": (load_field(options.other or options.cluster), True)}
    rows = {name: scored(model.config, model, make_simulator(model.config, one, shifted), options.images,
                         jax.random.fold_in(jax.random.key(11), k))
            for k, (name, (one, shifted)) in enumerate(sets.items())}
    write_bytes(IMAGES / "finders.png", png(performance(rows)))
    if options.numbers:
        found = flattened({name: measured(one) for name, one in rows.items()})
        write_text(options.numbers, json.dumps({"images": options.images, "sets": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
