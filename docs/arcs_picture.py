"""The picture of docs/arcs.md, clusters with an arc and without of what `giga simulate` has written, and its numbers.

    giga simulate examples/legacy_search/mocks.toml --out runs/arc-mocks -n 64
    python docs/arcs_picture.py runs/arc-mocks
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from giga.io.results.shards import read_shard
from giga.runtime.atomic import write_bytes
from giga.show.finders import sheet
from giga.show.plot import png
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.cluster_arcs import cluster_arcs

COLUMNS, LENSES, OTHERS = 5, 10, 5
MIDDLE = slice(41, 182)  # rows and columns that are shown, 38 arcsec
DRAWS = 4000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("mocks", type=Path, help="folder of giga simulate")
    batch = read_shard(sorted(arguments.parse_args().mocks.glob("*.h5"))[0])
    truth, label = batch.truth, np.asarray(batch.label)
    wide = np.argsort(truth["theta_E"])
    lenses = wide[label[wide] == 1]
    chosen = np.concatenate([lenses[np.linspace(0, len(lenses) - 1, LENSES).astype(int)],
                             wide[label[wide] == 0][:OTHERS]])
    labels = [f"{truth['theta_E'][k]:.1f}″  z {truth['z_lens'][k]:.2f}, {truth['z'][k]:.1f}" if label[k] else "no arc"
              for k in chosen]
    # The sky's scatter by the pixels below the median, which no galaxy has.
    images = np.asarray(batch.image)[:, MIDDLE, MIDDLE]
    below = np.median(images, (0, 1, 2)) - np.quantile(images, 0.1587, (0, 1, 2))
    write_bytes(Path(__file__).parent / "images" / "cluster_arcs.png",
                png(sheet(images[chosen], below, labels, COLUMNS), dpi=95))
    population = cluster_arcs(SURVEYS["legacy-clusters"])
    _, drawn = jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(0), DRAWS))
    theta_E = np.asarray(drawn["theta_E"])
    print("theta_E [arcsec]: least, 5, 50 and 95%, most:", np.quantile(theta_E, [0.0, 0.05, 0.5, 0.95, 1.0]).round(2))
    print(f"below 5 arcsec: {np.mean(theta_E < 5.0):.2%}; of {np.bincount(np.asarray(drawn['kind'], int)) / DRAWS} the "
          "classes 0, 1, 2")


if __name__ == "__main__":
    main()
