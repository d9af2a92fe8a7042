"""Lenses in clusters of galaxies: from a population to a list of scored cutouts.

    python examples/cluster_search/run.py --smoke --out runs/cluster-search
    python examples/cluster_search/run.py --par best.par --out runs/cluster-search

A cluster is prepared: a made one, or a model of LensTool. Sources behind the secondary caustics of its galaxies are
drawn as Angora et al. (2023) do, a finder learns from them as they are drawn, and cutouts that it has not seen are
scored. Left are a sheet of 25 of the lenses (lenses.png), the scores with the truth (scores.ecsv), highest first, and
what the finder is worth (metrics.json).
"""

import argparse
import json
import shutil
from pathlib import Path

import jax
import numpy as np
from astropy.table import Table

from giga.io.clusters.fields import load_field, save_field
from giga.io.clusters.models import read_cluster
from giga.io.results.separation import write_table
from giga.mass.members import DPIE, Halos
from giga.models.networks.finder import FinderConfig
from giga.models.systems.finder import FinderTask, make_simulator, measured, scored
from giga.models.systems.measured import flattened
from giga.models.training.train import TrainConfig, train
from giga.models.zoo import load
from giga.runtime import parallel
from giga.runtime.atomic import write_bytes, write_text
from giga.show.finders import sheet
from giga.show.plot import png
from giga.show.terminal import TrainingProgress
from giga.simulate.systems.cluster_fields import ClusterField, ClusterLens, Galaxies, prepare

SMOKE = TrainConfig(steps=6, batch_size=8, chunk=2, reuse=2, warmup=0, validate_every=6, validation_size=8,
                    checkpoint_every=6, measure_rates=False)
WHOLE = TrainConfig(steps=2000, batch_size=64, chunk=50, reuse=5, warmup=100, ema=0.99, validate_every=250,
                    validation_size=512, checkpoint_every=500, measure_rates=False)


def made_cluster(members: int) -> ClusterLens:
    """A halo and galaxies about it, on scaling relations."""
    random = np.random.default_rng(5)
    radius, turn = 25.0 * random.uniform(size=members) ** 0.7 + 4.0, random.uniform(0.0, 2.0 * np.pi, members)
    x, y, mag = radius * np.cos(turn), radius * np.sin(turn), random.uniform(18.5, 21.0, members)
    light = 10.0 ** (-0.4 * (mag - 18.5))
    e = random.uniform(0.0, 0.3, members)
    e1, e2 = e * np.cos(turn), e * np.sin(turn)
    galaxies = Halos(each=DPIE(sigma=260.0 * light**0.25, core=0.03 * light**0.5, cut=6.0 * light**0.5, e1=e1, e2=e2,
                               center_x=x, center_y=y))
    halo = DPIE(sigma=900.0, core=8.0, cut=200.0, e1=0.1)
    return ClusterLens(mass=[halo, galaxies], smooth=[halo], z=0.4, galaxies=Galaxies(x=x, y=y, mag=mag, e1=e1, e2=e2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/cluster-search"), help="folder, emptied first")
    parser.add_argument("--par", type=Path, help="model of LensTool; without, a cluster is made")
    parser.add_argument("--field", type=Path, help="a cluster that was prepared before, in the place of --par")
    parser.add_argument("--trained", help="weights, a name of the zoo or a path, in the place of a training here")
    parser.add_argument("--images", type=int, default=2000, help="cutouts that are scored")
    parser.add_argument("--smoke", action="store_true", help="a small cluster, six steps, 32 cutouts")
    options = parser.parse_args()
    devices = parallel.start(n_devices=1)
    config = FinderConfig(network="vgg", pixels=32 if options.smoke else 0)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    field = prepared(options, config)
    print(f"{len(field.center)} galaxies, {len(field.lenses)} of which act as lenses; {len(field.lens)} critical lines")
    lenses = make_simulator(config, field, lensed=1.0).simulate(jax.random.key(1), 25)
    write_bytes(options.out / "lenses.png", png(sheet(np.asarray(lenses.image), config.observed.background_rms)))
    if options.trained:
        model, card = load(options.trained)
        print(f"{options.trained}: {card.parameters} weights")
    else:
        settings = SMOKE if options.smoke else WHOLE
        with TrainingProgress(settings.steps) as report:
            model = train(FinderTask(config, field), settings, options.out / "training", over=parallel.mesh(devices),
                          report=report).model()
    rows = scored(config, model, make_simulator(config, field), 32 if options.smoke else options.images,
                  jax.random.key(2), together=16 if options.smoke else 64)
    order = np.argsort(-rows["score"], kind="stable")
    write_table(options.out / "scores.ecsv", Table({"image": order, **{name: rows[name][order] for name in (
        "score", "label", "galaxy", "theta_E", "z", "mag", "r_e", "mag_lens", "colour_lens", "flux", "colour")}}))
    found = flattened({"scored": measured(rows)})
    write_text(options.out / "metrics.json", json.dumps(found, indent=1) + "\n")
    print("\n".join(f"{name}, {key}: {numbers[key]:.3f}" for name, numbers in found.items()
                    for key in ("auc", "purity", "completeness", "purity_at_1_percent") if key in numbers))
    print(options.out / "scores.ecsv")


def prepared(options: argparse.Namespace, config: FinderConfig) -> ClusterField:
    """The cluster that is asked for, kept in the folder."""
    if options.field:
        return load_field(options.field)
    lens = read_cluster(options.par) if options.par else made_cluster(8 if options.smoke else 60)
    field = prepare(lens, config.observed.grid, 40.0 if options.par is None else 60.0, nodes=2 if options.smoke else 8)
    save_field(options.out / "cluster.npz", field)
    return field


if __name__ == "__main__":
    main()
