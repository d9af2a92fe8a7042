"""Time networks on one device: one image through each, and why a CPU trains step by step.

The U-Net of the GGSL-UNet paper and the small one, on one image of 64 x 64 x 4 pixels; weights are random, which costs
the same. And the gradient of the small one, batch 16: alone, and ten of them in a scan.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write
from flax import nnx

from giga import parallel
from giga.bench.measure import measure
from giga.models.count import parameters
from giga.models.unet import UNet, UNetConfig

SHAPE = (64, 64, 4)


def made(config: UNetConfig):
    """Structure and random weights of a network; drawing them by its own initialisers takes longer than the rest."""
    structure, state = nnx.split(nnx.eval_shape(lambda: UNet(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)
    return structure, jax.tree.map(lambda leaf: jnp.asarray(0.02 * rng.normal(size=leaf.shape), leaf.dtype), state)


def main() -> None:
    options = parser(__doc__, "networks").parse_args()
    parallel.start(cpu_devices=1)
    configs = {"small": UNetConfig.small()} if options.smoke else {"small": UNetConfig.small(),
                                                                  "paper": UNetConfig.paper()}
    image, results = jax.random.normal(jax.random.key(0), (1, *SHAPE)), {}
    for name, config in configs.items():
        structure, state = made(config)
        forward = jax.jit(lambda state, x, structure=structure: nnx.merge(structure, state)(x))
        results[f"one image, {name}"] = measure(forward, state, image) | dict(
            parameters=parameters(nnx.merge(structure, state)))
    structure, state = made(UNetConfig.small())
    batch = jax.random.normal(jax.random.key(1), (4 if options.smoke else 16, *SHAPE))
    steps = 2 if options.smoke else 10

    def step(state, batch):
        def loss(state):
            return jnp.mean(jnp.abs(nnx.merge(structure, state)(batch)["lens"]))

        return jax.tree.map(lambda w, g: w - 1e-3 * g, state, jax.grad(loss)(state))

    def scanned(state, batch):
        return jax.lax.scan(lambda state, _: (step(state, batch), None), state, length=steps)[0]

    for name, function, together in (("a step alone", step, 1), ("steps in a scan", scanned, steps)):
        results[f"training, {name}"] = measure(jax.jit(function), state, batch, per=together * len(batch), budget=20.0)
    write(options.out, results)


if __name__ == "__main__":
    main()
