"""Time networks: one image through each, why a CPU trains step by step, and what simulating costs.

The U-Net of the GGSL-UNet paper and the small one, on one image of 64 x 64 x 4 pixels; weights are random, which costs
the same. The gradient of the small one, batch 16: alone, and ten of them in a scan. And for each kind of network the
images a second of its simulator, of its training on a fixed batch, and of both, as training measures them, on all
devices: the small ones with a scene for each image and with each scene used several times, larger ones, the papers'
but for the EDSR's, with a scene for each image. An accelerator takes larger batches, and the U-Net and the ResNet-50 of
the papers in bfloat16 besides.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write
from flax import nnx

from giga.jobs import amortised
from giga.jobs.bench.measure import measure
from giga.models.networks.chain import ModularConfig
from giga.models.networks.count import parameters
from giga.models.networks.heads import Classifier, Estimator
from giga.models.networks.separator import GGSLConfig
from giga.models.networks.unet import UNet, UNetConfig
from giga.models.networks.vgg import VGG, VGGConfig
from giga.models.systems.ggsl import GGSLTask
from giga.models.systems.modular import ModularTask
from giga.models.training.config import optimiser
from giga.models.training.loop import Loop
from giga.models.training.rates import measure_rates
from giga.models.training.state import start
from giga.models.training.train import Task, TrainConfig
from giga.runtime import parallel

SHAPE = (64, 64, 4)


TRAINING = TrainConfig(steps=40, chunk=40, warmup=0, validation_size=0)  # a CPU is timed for fewer steps


class VGGTask(ModularTask):
    """The finder of the modular pipeline with a VGG in the place of its ResNet."""

    def network(self, rngs: nnx.Rngs):
        make = VGGConfig.paper if self.config.size == "paper" else VGGConfig.small
        config = dataclasses.replace(make(len(self.config.bands)), size=self.config.pixels)
        return Estimator(VGG(config, rngs=rngs), Classifier(config.dense, rngs=rngs))


class Case(NamedTuple):
    """A task, the images of its batch, and how often each of its rates is timed."""

    make: Callable[[], Task]
    batch_size: int
    rounds: int = 5
    on_accelerator: int = 512  # images of a batch there


def posterior() -> Task:
    return amortised.task(amortised.PosteriorConfig(problem="gigalens80"))


SMALL = {
    "ResNet, finds lenses": Case(lambda: ModularTask(ModularConfig(stage="find")), 32),
    "VGG, finds lenses": Case(lambda: VGGTask(ModularConfig(stage="find")), 32),
    "EDSR, denoises": Case(lambda: ModularTask(ModularConfig(stage="denoise")), 16),
    "U-Net, separates": Case(lambda: GGSLTask(GGSLConfig()), 32),
    "ResNet and flow, posterior": Case(posterior, 64),
}
LARGE = {
    "ResNet-18, finds lenses": Case(lambda: ModularTask(ModularConfig(stage="find", size="narrow")), 32, 2),
    "ResNet-50, finds lenses": Case(lambda: ModularTask(ModularConfig(stage="find", size="paper")), 32, 2),
    "VGG of 128 pixels, finds lenses": Case(
        lambda: VGGTask(ModularConfig(stage="find", size="paper", pixels=128)), 16, 2),
    "EDSR of 64 features, denoises": Case(lambda: ModularTask(ModularConfig(stage="denoise", size="narrow")), 4, 2),
    "U-Net of 15.5 M, separates": Case(lambda: GGSLTask(GGSLConfig(network="paper")), 8, 2),
}


HALF = {  # on accelerators
    "U-Net of 15.5 M in bfloat16, separates": Case(
        lambda: GGSLTask(GGSLConfig(network="paper", dtype="bfloat16")), 8, 2, 256),
    "ResNet-50 in bfloat16, finds lenses": Case(
        lambda: ModularTask(ModularConfig(stage="find", size="paper", dtype="bfloat16")), 32, 2),
}


def rates(case: Case, reuse: int, smoke: bool) -> dict[str, float]:
    """Images a second of a task on all devices, see `giga.models.training.rates`."""
    over = parallel.mesh()
    batch_size = case.batch_size if parallel.one_by_one(over) else case.on_accelerator
    task, config = case.make(), dataclasses.replace(TRAINING, batch_size=batch_size, reuse=reuse)
    if smoke:
        config = dataclasses.replace(config, batch_size=4, chunk=4)
    rule = optimiser(config)
    network, state = start(task, config, rule)
    loop = Loop(task, config, network, rule, over)
    found = measure_rates(loop, parallel.on_devices(state, over), case.rounds)
    return found | {"batch_size": config.batch_size, "devices": over.devices.size}


def made(config: UNetConfig):
    """Structure and random weights of a network; drawing them by its own initialisers takes longer than the rest."""
    structure, state = nnx.split(nnx.eval_shape(lambda: UNet(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)
    return structure, jax.tree.map(lambda leaf: jnp.asarray(0.02 * rng.normal(size=leaf.shape), leaf.dtype), state)


def single(smoke: bool) -> dict[str, dict[str, float]]:
    """One image through the small U-Net and the paper's, and the gradient of the small one, alone and in a scan."""
    configs = {"small": UNetConfig.small()} if smoke else {"small": UNetConfig.small(), "paper": UNetConfig.paper()}
    image, results = jax.random.normal(jax.random.key(0), (1, *SHAPE)), {}
    for name, config in configs.items():
        structure, state = made(config)
        forward = jax.jit(lambda state, x, structure=structure: nnx.merge(structure, state)(x))
        results[f"one image, {name}"] = measure(forward, state, image) | dict(
            parameters=parameters(nnx.merge(structure, state)))
    structure, state = made(UNetConfig.small())
    batch = jax.random.normal(jax.random.key(1), (4 if smoke else 16, *SHAPE))
    steps = 2 if smoke else 10

    def step(state, batch):
        def loss(state):
            return jnp.mean(jnp.abs(nnx.merge(structure, state)(batch)["lens"]))

        return jax.tree.map(lambda w, g: w - 1e-3 * g, state, jax.grad(loss)(state))

    def scanned(state, batch):
        return jax.lax.scan(lambda state, _: (step(state, batch), None), state, length=steps)[0]

    for name, function, together in (("a step alone", step, 1), ("steps in a scan", scanned, steps)):
        results[f"training, {name}"] = measure(jax.jit(function), state, batch, per=together * len(batch), budget=20.0)
    return results


def main() -> None:
    arguments = parser(__doc__ or "", "networks")
    arguments.add_argument("--reuse", type=int, nargs="*", default=[4], help="images of a scene, besides one")
    arguments.add_argument("--case", nargs="+", help="rates of these kinds of network alone, by part of their names")
    options = arguments.parse_args()
    devices = len(parallel.start())
    cases = SMALL | LARGE | ({} if parallel.one_by_one(parallel.mesh()) else HALF)
    runs = [(name, case, 1) for name, case in cases.items()]
    runs += [(name, case, reuse) for name, case in SMALL.items() for reuse in options.reuse]
    if options.case:
        runs = [run for run in runs if any(part in run[0] for part in options.case)]
    results = {} if options.case else single(options.smoke)
    for name, case, reuse in runs[:1] if options.smoke else runs:
        label = f"simulated as it trains, {name}, {devices} devices, {reuse} images of a scene"
        results[label] = rates(case, reuse, options.smoke)
    write(options.out, results)


if __name__ == "__main__":
    main()
