"""A small U-Net learns on the fly to separate KiDS-like images into deflector and source, in minutes on a CPU.

    python examples/ggsl_unet/run.py --out runs/ggsl-example

The picture shows images that no training step has seen, before and after: the deflector and the source as they are, as
the network finds them, and what is left over in units of the noise. `giga train examples/ggsl_unet/config.toml`
trains the same network for longer.
"""

import argparse
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from giga import parallel
from giga.models.ggsl import GGSLConfig, GGSLTask, separate
from giga.models.separation_metrics import measure, summary
from giga.models.train import TrainConfig, train
from giga.plot import png
from giga.separation_plot import separation_figure
from giga.training_progress import TrainingProgress

SHOWN = 5  # images in the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ggsl-example"), help="folder of the training")
    parser.add_argument("--smoke", action="store_true", help="a few seconds: too short to learn anything")
    options = parser.parse_args()
    devices = parallel.start(n_devices=1)
    task = GGSLTask(GGSLConfig(channels=(4, 8), companions=1) if options.smoke else GGSLConfig())
    steps = dict(steps=2, batch_size=4, chunk=1, warmup=1, validate_every=2, validation_size=4, checkpoint_every=2) \
        if options.smoke else dict(steps=1000, batch_size=32, chunk=50, warmup=100, validate_every=250,
                                   validation_size=64, checkpoint_every=250)
    config = TrainConfig(learning_rate=2e-3, measure_rates=not options.smoke, **steps)
    shutil.rmtree(options.out, ignore_errors=True)
    with TrainingProgress(config.steps) as report:
        trained = train(task, config, options.out, over=parallel.mesh(devices), report=report)
    test = task.simulator.simulate(jax.random.key(7), 4 if options.smoke else 64)
    models = task.network(nnx.Rngs(config.seed)), trained.model()
    before, after = (separate(model, test.image, task.background_rms) for model in models)
    bands = [band.name for band in task.config.observed.bands]
    for name, parts in (("before", before), ("after", after)):
        rows = {key: np.asarray(value) for key, value in measure(test, parts).items()}
        numbers = summary(rows, bands)
        print(f"{name}: chi2 below 2 in {100 * numbers['chi2_2_expected_below_2']:.0f}% of images, r magnitude of the "
              f"source off by {numbers['magnitude_source_r_median']:+.2f} +- "
              f"{numbers['magnitude_source_r_robust_scatter']:.2f}")
        shown = jnp.arange(min(SHOWN, len(test.label)))
        figure = separation_figure(np.asarray(test.image)[shown], {key: np.asarray(part)[shown] for key, part in
                                                                   parts.items()},
                                   np.asarray(test.sigma)[shown],
                                   {key: np.asarray(part)[shown] for key, part in test.parts.items()},
                                   colours=[bands.index(band) for band in "irg"])
        (options.out / f"{name}.png").write_bytes(png(figure))
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
