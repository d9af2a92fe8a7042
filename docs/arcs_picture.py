"""The pictures of docs/arcs.md and their numbers: clusters with an arc and without of what `giga simulate` has written,
and mimics of arcs, alone and among such clusters.

    giga simulate examples/legacy_search/mocks.toml --out runs/arc-mocks -n 64
    giga simulate examples/legacy_search/mocks.toml --out runs/arcs-among-mimics -n 64 --set population.mimics=0.6
    python docs/arcs_picture.py runs/arc-mocks runs/arcs-among-mimics
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from giga.io.results.shards import read_shard
from giga.models.networks.finder import FinderConfig
from giga.models.systems.arcs import make_mimics, make_simulator
from giga.runtime.atomic import write_bytes
from giga.show.finders import sheet
from giga.show.plot import png
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.cluster_arcs import cluster_arcs
from giga.simulate.systems.cluster_mimics import KINDS

COLUMNS, LENSES, OTHERS = 5, 10, 5
MIDDLE = slice(41, 182)  # rows and columns that are shown, 38 arcsec
DRAWS = 4000
SHOWN, MIMICS = 4, 96  # mimics of a kind that are shown, of so many that are drawn
TESTED = 512
PERCENT = [5, 16, 50, 84, 95]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("mocks", type=Path, help="folder of giga simulate")
    arguments.add_argument("among", type=Path, help="another, whose clusters without an arc have mimics")
    folders = arguments.parse_args()
    batch = read_shard(sorted(folders.mocks.glob("*.h5"))[0])
    truth, label = batch.truth, np.asarray(batch.label)
    wide = np.argsort(truth["theta_E"])
    lenses = wide[label[wide] == 1]
    chosen = np.concatenate([lenses[np.linspace(0, len(lenses) - 1, LENSES).astype(int)],
                             wide[label[wide] == 0][:OTHERS]])
    labels = [f"{truth['theta_E'][k]:.1f}″  z {truth['z_lens'][k]:.2f}, {truth['z'][k]:.1f}" if label[k] else "no arc"
              for k in chosen]
    write_sheet("cluster_arcs.png", batch.image, chosen, labels)
    population = cluster_arcs(SURVEYS["legacy-clusters"])
    _, drawn = jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(0), DRAWS))
    theta_E = np.asarray(drawn["theta_E"])
    print("theta_E [arcsec]: least, 5, 50 and 95%, most:", np.quantile(theta_E, [0.0, 0.05, 0.5, 0.95, 1.0]).round(2))
    print(f"below 5 arcsec: {np.mean(theta_E < 5.0):.2%}; of {np.bincount(np.asarray(drawn['kind'], int)) / DRAWS} the "
          "classes 0, 1, 2")
    among(folders.among)
    mimics()
    magnitudes()


def write_sheet(name: str, images: np.ndarray, chosen: np.ndarray, labels: Sequence[str]) -> None:
    """Draw some of the images of a simulation into docs/images, in the noise of all."""
    # The sky's scatter by the pixels below the median, which no galaxy has.
    images = np.asarray(images)[:, MIDDLE, MIDDLE]
    below = np.median(images, (0, 1, 2)) - np.quantile(images, 0.1587, (0, 1, 2))
    write_bytes(Path(__file__).parent / "images" / name,
                png(sheet(images[chosen], below, labels, COLUMNS), dpi=95))


def among(folder: Path) -> None:
    """Draw docs/images/arcs_among_mimics.png: a row of arcs, one of mimics and one of neither."""
    batch = read_shard(sorted(folder.glob("*.h5"))[0])
    kind, label, truth = batch.truth["mimic"], np.asarray(batch.label), batch.truth
    lenses = np.flatnonzero(label == 1)[np.argsort(truth["theta_E"][label == 1])]
    bright = [np.flatnonzero(kind == k)[np.argsort(truth["mimic_mag"][kind == k, 1])] for k in range(len(KINDS))]
    rows = np.concatenate([lenses[np.linspace(0, len(lenses) - 1, COLUMNS).astype(int)],
                           [found[len(found) // 4] for found in bright if len(found)][:COLUMNS],
                           np.flatnonzero((label == 0) & (kind < 0))[:COLUMNS]])
    write_sheet("arcs_among_mimics.png", batch.image, rows, [
        f"arc, {truth['theta_E'][k]:.1f}″" if label[k] else f"{KINDS[kind[k]]}, r = {truth['mimic_mag'][k, 1]:.1f}"
        if kind[k] >= 0 else "neither" for k in rows])


def mimics() -> None:
    """Draw docs/images/arc_mimics.png: some of each kind, among the brighter ones."""
    config = FinderConfig(network="resnet18", size="paper", survey="legacy-clusters")
    made = make_mimics(config)
    rows = [jax.device_get(made.simulate(jax.random.key(k), 24)) for k in range(MIMICS // 24)]
    kind, mag = (np.concatenate([batch.truth[name] for batch in rows]) for name in ("mimic", "mimic_mag"))
    images = np.concatenate([batch.image[:, MIDDLE, MIDDLE] for batch in rows])
    chosen = []
    for k in range(len(KINDS)):
        bright = np.flatnonzero(kind == k)[np.argsort(mag[kind == k, 1])]
        chosen += list(bright[np.linspace(0, 0.4 * (len(bright) - 1), SHOWN).astype(int)])
    labels = [f"{KINDS[kind[k]]}, r = {mag[k, 1]:.1f}" for k in chosen]
    write_bytes(Path(__file__).parent / "images" / "arc_mimics.png",
                png(sheet(images[chosen], config.observed.background_rms, labels, SHOWN), dpi=72))


def magnitudes() -> None:
    """Print how bright and how large arcs are, and how bright mimics, in pixels of 0.54 arcsec."""
    config = FinderConfig(network="resnet18", size="small", survey="legacy-clusters-540mas", pixels=64)
    sets = {}
    for name, made in (("arcs", make_simulator(config)), ("mimics", make_mimics(config))):
        sets[name] = [jax.device_get(made.simulate(jax.random.key(k), 64)) for k in range(TESTED // 64)]
    arcs = np.concatenate([batch.parts["source"][batch.label == 1] for batch in sets["arcs"]])
    source = np.concatenate([batch.truth["mag"][batch.label == 1] for batch in sets["arcs"]])
    r = config.observed.zero_points[1] - 2.5 * np.log10(np.maximum(arcs[..., 1].sum((1, 2)), 1e-9))
    light = np.sort(arcs[..., 1].reshape(len(arcs), -1), 1)[:, ::-1]
    half = np.sum(np.cumsum(light, 1) < 0.5 * light.sum(1, keepdims=True), 1) * config.observed.pixel_scale**2
    print(f"{len(arcs)} arcs, r at {PERCENT}%: {np.percentile(r, PERCENT).round(1)}; brighter than the source by "
          f"{np.mean(source - r):.2f} +- {np.std(source - r):.2f}; radius of half the light "
          f"{np.sqrt(np.median(half) / np.pi):.2f} arcsec")
    kind, mag = (np.concatenate([batch.truth[name] for batch in sets["mimics"]]) for name in ("mimic", "mimic_mag"))
    for k, name in enumerate(KINDS):
        print(f"{name}: r at {PERCENT}%: {np.percentile(mag[kind == k, 1], PERCENT).round(1)}")


if __name__ == "__main__":
    main()
