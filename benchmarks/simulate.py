"""Simulate 64 x 64 images in 4 bands, supersampling 2, PSF and noise: images a second, and where the time goes.

The recipes are those of `giga.models.systems.ggsl`: "paper" (one geometry, mixed) and "physical" (each band its own
slope), with up to three companions, and a second deflector in a fifth of the images. Stages are timed in turn within
one run on one device, so that their ratios hold on a machine that does other work too; "images_per_s" is what
`Simulator.simulate` gives on all devices, truth and parts included. The normal numbers of the noise are timed beside
those of `jax.random`.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write

from giga.jobs.bench.measure import significant
from giga.lensing.tracing import trace
from giga.models.networks.separator import GGSLConfig
from giga.models.systems.ggsl import make_simulator
from giga.runtime import parallel
from giga.simulate.generator import Simulator
from giga.simulate.surveys import draws

RECIPES = ("paper", "physical")


def companions(simulator: Simulator, key: jax.Array) -> jax.Array:
    """Draw, evaluate and convolve the companions alone."""
    assert simulator.companions is not None  # both recipes have them
    return simulator._images(simulator.companions.sample(key), jnp.zeros((), jnp.int32), simulator.bands)[0]


def rays(simulator: Simulator, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw a scene and trace its rays."""
    x, y = simulator.grid.phases(simulator.optics.supersampling)
    return trace(simulator.population.sample(key).mass, x, y)


def stages(simulator: Simulator, n: int) -> dict[str, Callable[[], Any]]:
    """Compiled stages of n images on one device, ready to be called."""
    over = parallel.mesh(jax.devices()[:1])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(n))

    def ready(function: Callable[..., Any], *entries: Any) -> Callable[[], Any]:
        compiled = jax.jit(parallel.batched(function, over)).lower(simulator, *entries).compile()
        return lambda: compiled(simulator, *entries)

    geometry = ready(Simulator.geometry, keys)
    made = jax.block_until_ready(geometry())
    return {"example": ready(Simulator.example, keys),
            "population": ready(lambda simulator, key: simulator.population.draw(key)[1], keys),
            "rays": ready(rays, keys), "companions": ready(companions, keys), "geometry": geometry,
            "noise": ready(lambda simulator, key, made: simulator.noise(key, made.companions), keys, made),
            "finish": ready(Simulator.finish, keys, made)}


def seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begin


def measure_recipe(recipe: str, n: int, rounds: int) -> dict[str, Any]:
    """Images a second on all devices, and milliseconds of each stage on one."""
    simulator = make_simulator(GGSLConfig(recipe=recipe))
    key = jax.random.key(1)
    compile_s = seconds(lambda: simulator.simulate(key, n))
    calls = {"all": lambda: simulator.simulate(key, n), **stages(simulator, n)}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):  # the first round warms the caches
        for name, call in calls.items():
            times[name].append(seconds(call))
    kept = {name: np.array(values[1:]) for name, values in times.items()}
    whole = kept.pop("all")
    return dict(compile_s=round(compile_s, 2), images=n, devices=len(jax.devices()),
                images_per_s=dict(best=significant(n / whole.min()), median=significant(n / float(np.median(whole)))),
                ms_per_image_on_one_device={
                    name: dict(min=significant(1e3 * values.min() / n), median=significant(1e3 * np.median(values) / n))
                    for name, values in kept.items()})


def measure_draws(n: int, rounds: int) -> dict[str, float]:
    """Nanoseconds of a normal number by JAX and by `giga.simulate.surveys.draws`, in n images, on one device."""
    keys, shape = jax.random.split(jax.random.key(2), n), (64, 64, 3)
    calls = {name: jax.jit(jax.vmap(lambda key, draw=draw: draw(key, shape)))
             for name, draw in (("jax", jax.random.normal), ("giga", draws.normal))}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            times[name].append(seconds(lambda call=call: call(keys)))
    return {name: significant(1e9 * min(values[1:]) / (n * math.prod(shape))) for name, values in times.items()}


def main() -> None:
    arguments = parser(__doc__, "simulate")
    arguments.add_argument("--recipe", choices=RECIPES, action="append", help="one or both; both by default")
    arguments.add_argument("--images", type=int, default=256, help="images in one call")
    arguments.add_argument("--rounds", type=int, default=15, help="calls of each stage, in turn")
    options = arguments.parse_args()
    parallel.start()
    n, rounds = (16, 2) if options.smoke else (options.images, options.rounds)
    results = {recipe: measure_recipe(recipe, n, rounds) for recipe in options.recipe or RECIPES}
    write(options.out, results | {"ns_per_normal_number": measure_draws(n, rounds)})


if __name__ == "__main__":
    main()
