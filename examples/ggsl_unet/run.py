"""A small U-Net learns on the fly to separate KiDS-like images into deflector and source, in minutes on a CPU.

    python examples/ggsl_unet/run.py --out runs/ggsl-example

The picture shows images that no training step has seen, before and after: the deflector and the source as they are, as
the network finds them, and what is left over in units of the noise. `giga train examples/ggsl_unet/config.toml`
trains the same network for longer. With --trained NAME a network of the zoo, or of a path, is shown as it is.
"""

import argparse
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from giga.models import zoo
from giga.models.networks.separator import GGSLConfig, Separator, separate
from giga.models.systems.ggsl import GGSLTask
from giga.models.systems.separation_metrics import measure, summary
from giga.models.training.train import TrainConfig, train
from giga.runtime import parallel
from giga.show.plot import png
from giga.show.separation import separation_figure
from giga.show.terminal import TrainingProgress

SHOWN = 5  # images in the picture


def trained(task: GGSLTask, out: Path, smoke: bool, devices: list) -> dict[str, Separator]:
    """The network before and after its training."""
    steps = dict(steps=2, batch_size=4, chunk=1, warmup=1, validate_every=2, validation_size=4, checkpoint_every=2) \
        if smoke else dict(steps=1000, batch_size=32, chunk=50, warmup=100, validate_every=250, validation_size=64,
                           checkpoint_every=250)
    config = TrainConfig(learning_rate=2e-3, measure_rates=not smoke, **steps)
    shutil.rmtree(out, ignore_errors=True)
    with TrainingProgress(config.steps) as report:
        done = train(task, config, out, over=parallel.mesh(devices), report=report)
    return {"before": task.network(nnx.Rngs(config.seed)), "after": done.model()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ggsl-example"), help="folder of the training")
    parser.add_argument("--trained", help="a trained network to show, by name or path")
    parser.add_argument("--smoke", action="store_true", help="a few seconds: too short to learn anything")
    options = parser.parse_args()
    devices = parallel.start(n_devices=1)
    if options.trained is not None:
        models = {"trained": zoo.load(options.trained)[0]}
        task = GGSLTask(models["trained"].config)
    else:
        task = GGSLTask(GGSLConfig(channels=(4, 8), companions=1) if options.smoke else GGSLConfig())
        models = trained(task, options.out, options.smoke, devices)
    test = task.simulator.simulate(jax.random.key(7), 4 if options.smoke else 64)
    bands = [band.name for band in task.config.observed.bands]
    first = "r" if "r" in bands else bands[0]
    colours = [bands.index(band) for band in "irg"] if set("gri") <= set(bands) else (0, 0, 0)
    shown = jnp.arange(min(SHOWN, len(test.label)))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        parts = separate(model, test.image, task.background_rms)
        rows = {key: np.asarray(value) for key, value in measure(test, parts, task.background_rms).items()}
        numbers = summary(rows, bands)
        print(f"{name}: chi2 below 2 in {100 * numbers['chi2_2_expected_below_2']:.0f}% of images, {first} magnitude "
              f"of the source off by {numbers[f'magnitude_source_{first}_median']:+.2f} +- "
              f"{numbers[f'magnitude_source_{first}_robust_scatter']:.2f}")
        figure = separation_figure(np.asarray(test.image)[shown], {key: np.asarray(part)[shown] for key, part in
                                                                   parts.items()},
                                   np.asarray(test.sigma)[shown],
                                   {key: np.asarray(part)[shown] for key, part in test.parts.items()}, colours=colours)
        (options.out / f"{name}.png").write_bytes(png(figure))
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
