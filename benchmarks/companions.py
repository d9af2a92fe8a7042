"""Where a separator puts the light of a neighbour: one of each kind beside lenses that it knows.

Images are simulated twice, with one neighbour and without it, and are else the same to the last photon of noise. What a
part gains is the neighbour's light that is given to it; the rest went to the noise, where it belongs. Shares are of all
the light of the neighbours together, and medians of single ones, of neighbours with a signal-to-noise ratio above
--snr. Who gives all to the deflector has 1 and 0; who gives it to the noise, as is right, 0 and 0.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write

from giga.models import zoo
from giga.models.networks.separator import Separator, separate
from giga.models.systems.ggsl import make_simulator
from giga.simulate.systems.ggsl import KINDS

BATCH = 100


def shares(model: Separator, kind: int, images: int, least: float) -> dict:
    """What deflector and source gain by neighbours of one kind."""
    kinds = tuple(float(k == kind) for k in range(len(KINDS)))
    made = make_simulator(dataclasses.replace(model.config, start="", kinds=kinds, companions=1))
    sky = jnp.asarray(model.config.observed.background_rms, jnp.float32)
    gained: dict[str, list[np.ndarray]] = {"lens": [], "source": []}
    light: list[np.ndarray] = []
    for k in range(-(-images // BATCH)):
        batch = made.simulate(jax.random.key(k), BATCH)
        seen = [separate(model, image, sky) for image in (batch.image, batch.image - batch.companions)]
        there = np.asarray(jnp.sqrt(jnp.sum((batch.companions / batch.sigma) ** 2, (1, 2, 3)))) > least
        light.append(np.asarray(batch.companions.sum((1, 2, 3)))[there])
        for name, found in gained.items():
            found.append(np.asarray((seen[0][name] - seen[1][name]).sum((1, 2, 3)))[there])
    total, parts = np.concatenate(light), {name: np.concatenate(found) for name, found in gained.items()}
    return {"neighbours": len(total)} | {f"{name}_{what}": round(float(value), 4) for name, part in parts.items()
                                         for what, value in (("share", part.sum() / total.sum()),
                                                             ("median", np.median(part / total)))}


def main() -> None:
    """Measure each network, write."""
    arguments = parser(__doc__ or "", "companions")
    arguments.add_argument("models", nargs="*", default=["ggsl-unet-des"], help="separators of the zoo, or paths")
    arguments.add_argument("--images", type=int, default=1000, help="a kind")
    arguments.add_argument("--snr", type=float, default=30.0)
    given = arguments.parse_args()
    results = {}
    for name in given.models:
        model, card = zoo.load(name)
        if not isinstance(model, Separator):
            arguments.error(f"{name}: a {card.network}, expected a separator")
        results[name] = {"weights": card.sha256} | {
            kind: shares(model, k, BATCH if given.smoke else given.images, given.snr) for k, kind in enumerate(KINDS)}
    write(given.out, results)


if __name__ == "__main__":
    main()
