"""The modular pipeline on LSST-like images: four networks trained apart, chained, then trained jointly.

    python examples/modular/run.py --out runs/modular-example
    python examples/modular/run.py --trained runs/modular --out runs/modular-example

Denoising, deblending, finding and measuring learn on the fly, and so do the baselines that are shown noisy blends. The
end is Table 1 of the paper (Madireddy et al. 2019, arXiv:1911.03867) beside what came out here, and a picture of what
the chain makes of lenses that it has not seen. The configurations beside this file train the same networks for longer;
--trained takes what `giga train` made of them in the place of training here.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from giga.models import zoo
from giga.models.networks.chain import STAGES, Chain, ModularConfig, Stage
from giga.models.systems.modular import ModularTask, examples_of, make_simulator
from giga.models.systems.modular_table import evaluate, table
from giga.models.training.train import TrainConfig, train
from giga.runtime import parallel
from giga.show.plot import png
from giga.show.terminal import TrainingProgress

BASELINES = ("find", "measure")
SMOKE = ModularConfig(pixels=18, features=4, blocks=1, width=4)
SHOWN = 4  # lenses in the picture
TOGETHER = 8  # images simulated at a time in --smoke; one program makes them all


def steps_of(stage: str, smoke: bool) -> TrainConfig:
    """How long a network learns."""
    if smoke:
        return TrainConfig(steps=1, batch_size=4, chunk=1, warmup=0, validate_every=1, validation_size=0,
                           checkpoint_every=1, measure_rates=False)
    steps, batch, rate = {"find": (3000, 32, 1e-3), "measure": (4000, 32, 1e-3), "joint": (1000, 16, 3e-4)}.get(
        stage, (2000, 16, 1e-3))
    return TrainConfig(steps=steps, batch_size=batch, learning_rate=rate, warmup=100, validate_every=500,
                       checkpoint_every=500, validation_size=64)


def picture(chain: Stage | Chain, config: ModularConfig) -> Figure:
    """Lenses as they are seen, without noise, and the source alone: true and found."""
    batch = make_simulator(config, lensed=1.0).simulate(jax.random.key(11), TOGETHER)
    true = examples_of(config, batch)
    found = nnx.jit(lambda chain, image: chain.through(image))(chain, true["noisy"])
    columns = {"seen": true["noisy"], "without noise": true["blend"], "found": found.denoised,
               "source": true["source"], "source found": found.source}
    figure = Figure(figsize=(2.0 * len(columns), 2.0 * SHOWN), layout="constrained")
    axes = figure.subplots(SHOWN, len(columns), squeeze=False)
    red = config.bands.index("r")
    for row in range(SHOWN):
        for axis, (name, images) in zip(axes[row], columns.items(), strict=True):
            axis.imshow(np.asarray(images)[row, ..., red], origin="lower", vmin=-1.0, vmax=6.0, cmap="magma")
            axis.set(xticks=[], yticks=[], title=name if row == 0 else "")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/modular-example"), help="folder of the trainings")
    parser.add_argument("--trained", type=Path, help="folder of trainings: denoise, ..., joint, find-noisy, ...")
    parser.add_argument("--images", type=int, default=1000, help="images that the table is measured on")
    parser.add_argument("--smoke", action="store_true", help="one step of the first network and of the chain")
    options = parser.parse_args()
    devices = parallel.start(n_devices=1)
    base = SMOKE if options.smoke else ModularConfig()
    images = TOGETHER if options.smoke else options.images
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)

    def learned(name: str, config: ModularConfig, stages: dict[str, Stage] | None = None) -> Stage | Chain:
        print(name)
        if options.trained is not None:
            return zoo.load(options.trained / name.replace(", ", "-") / "model")[0]
        settings = steps_of(config.stage, options.smoke)
        with TrainingProgress(settings.steps) as report:
            return train(ModularTask(config, stages=stages), settings, options.out / name.replace(", ", "-"),
                         over=parallel.mesh(devices), report=report).model()

    configs = {stage: dataclasses.replace(base, stage=stage) for stage in STAGES}
    if not options.smoke:
        configs |= {f"{stage}, noisy": dataclasses.replace(base, stage=stage, input="noisy") for stage in BASELINES
                    if options.trained is None or (options.trained / f"{stage}-noisy" / "model.json").exists()}
    networks: dict[str, Stage | Chain] = {
        name: Stage(config, rngs=nnx.Rngs(0)) if options.smoke and name != "denoise" else learned(name, config)
        for name, config in configs.items()}
    stages = {name: network for name in STAGES if isinstance(network := networks[name], Stage)}
    configs |= {name: network.config for name, network in networks.items()}
    configs["chained"] = configs["joint"] = dataclasses.replace(stages["denoise"].config, stage="joint")
    networks["chained"] = Chain.of(configs["chained"], stages)
    networks["joint"] = chain = learned("joint", configs["joint"], stages)
    found = {name: evaluate(configs[name], network, images)["mock"].numbers for name, network in networks.items()
             if not options.smoke or name == "joint"}
    print(table(found))
    (options.out / "chain.png").write_bytes(png(picture(chain, configs["joint"])))
    print(options.out / "chain.png")


if __name__ == "__main__":
    main()
