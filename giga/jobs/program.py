"""A network for others: as a program that needs JAX alone, or in a folder as model hubs have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export

from giga.bayes.prior import Prior
from giga.io.errors import InputError
from giga.jobs.amortised import scene_of
from giga.models.networks.chain import Chain, Stage, lens_logit, parameters
from giga.models.networks.posterior import PosteriorNet
from giga.models.networks.separator import Separator, scale_of
from giga.models.zoo import Card, save_weights
from giga.models.zoo.layout import HUB_CARD, WEIGHTS
from giga.runtime.atomic import write_bytes, write_text
from giga.runtime.environment import versions

PLATFORMS = ("cpu", "cuda", "tpu")
TOLERANCE = 1e-5  # of the largest output: what rounding may make of other programs of the same network
CHECKED = (1, 3)  # images of the calls that are compared


@dataclass(frozen=True)
class Signature:
    """A network as a function of arrays.

    Attributes:
        function: Of the inputs, in order; gives outputs by name.
        inputs: Shapes by name; a letter is a length that each call chooses.
        scale: Of the numbers that an input has, about.
    """

    function: Callable[..., dict[str, Array]]
    inputs: Mapping[str, tuple[int | str, ...]]
    scale: Mapping[str, Any]


def signature(model: Any) -> Signature:
    """What a network of the zoo takes and gives, in the units of images [counts / s].

    Raises:
        InputError: A network of another kind.
    """
    config = model.config
    if isinstance(model, PosteriorNet):
        prior, names = Prior.of(scene_of(config)), config.parameters
        return Signature(lambda image, normal: _posterior(model, prior, image, normal),
                         {"image": ("n", *config.shape, len(config.bands)), "normal": ("d", "n", len(names))},
                         {"image": np.asarray(config.rms), "normal": 1.0})
    if not isinstance(model, Separator | Chain | Stage):
        raise InputError("", "MODEL", f"a {type(model).__name__}", "a separator, a chain or a stage, or a posterior")
    rms = np.asarray(config.observed.background_rms, np.float32)
    image = ("n", *config.observed.shape, len(rms))
    if isinstance(model, Separator):
        return Signature(lambda image, sky: model(image, scale_of(config, image, sky)),
                         {"image": image, "background_rms": ("n", len(rms))}, {"image": rms, "background_rms": rms})
    if isinstance(model, Chain):
        return Signature(lambda image: _chain(model, image), {"image": image}, {"image": rms})
    return Signature(lambda image: _stage(model, image), {"image": image}, {"image": rms})


def _posterior(model: PosteriorNet, prior: Prior, image: Array, normal: Array) -> dict[str, Array]:
    """Draws of physical values by parameter, shape (d, n), one for each standard normal vector."""
    names, z = model.config.parameters, model.placed(image, normal)
    places = np.array([prior.names.index(name) for name in names])
    whole = jnp.zeros((*z.shape[:-1], prior.size), z.dtype).at[..., places].set(z)
    values = jax.vmap(jax.vmap(prior.constrain))(whole)
    return {name: values[..., place] for name, place in zip(names, places, strict=True)}


def _chain(model: Chain, image: Array) -> dict[str, Array]:
    denoised, source, logit, found = model(image)
    return {"denoised": denoised, "source": source, "lens": jax.nn.sigmoid(logit), **found}


def _stage(model: Stage, image: Array) -> dict[str, Array]:
    config, answer = model.config, model(model.config.stretch(image))
    if config.stage == "find":
        return {"lens": jax.nn.sigmoid(lens_logit(answer))}
    if config.stage == "measure":
        return parameters(config, answer)
    return {"denoised" if config.stage == "denoise" else "source": config.counts(answer)}


def export_program(name: str, model: Any, card: Card, out: Path, platforms: Sequence[str] = PLATFORMS) -> list[Path]:
    """Write a network as one function of arrays, its weights inside, and a JSON file of what it takes and gives.

    The file is what `jax.export.deserialize` reads: StableHLO with versions of JAX's own, which promises to read it for
    half a year at least. It is read back and called, and has to give what the network gives.

    Args:
        name: Of the network, for the JSON file.
        model: The network.
        card: Of the network.
        out: The file.
        platforms: Those that it is lowered for.

    Returns:
        Both files.

    Raises:
        InputError: A network of another kind, flatbuffers that are not installed, or a program that differs.
        OSError: A file cannot be written.
    """
    if find_spec("flatbuffers") is None:
        raise InputError("", "--to", "flatbuffers is not installed", "giga[export]")
    known = signature(model)
    free = sorted({length for shape in known.inputs.values() for length in shape if isinstance(length, str)})
    lengths = dict(zip(free, export.symbolic_shape(", ".join(free)), strict=True))
    shapes = [jax.ShapeDtypeStruct(tuple(lengths.get(one, one) if isinstance(one, str) else one for one in shape),
                                   jnp.float32) for shape in known.inputs.values()]
    made = export.export(jax.jit(known.function), platforms=platforms)(*shapes)
    content = bytes(made.serialize())
    off = difference(known, export.deserialize(bytearray(content)).call)
    if not off <= TOLERANCE:
        raise InputError(out, "--to", f"the program differs from the network by {off:.2g} of its outputs",
                         f"at most {TOLERANCE:g}")
    outputs = {key: str(shape.shape).replace(" ", "") for key, shape in zip(*_outputs(made), strict=True)}
    about = {"model": name, "network": card.network, "sha256": card.sha256, "inputs": known.inputs, "dtype": "float32",
             "outputs": outputs, "platforms": list(made.platforms), "difference": off,
             "calling_convention": made.calling_convention_version, "versions": versions()}
    return [write_bytes(out, content), write_text(beside(out), json.dumps(about, indent=2) + "\n")]


def beside(out: Path) -> Path:
    """The JSON file of a program."""
    return out.with_name(f"{out.name}.json")


def _outputs(made: export.Exported) -> tuple[list[str], list[Any]]:
    tree = jax.tree.unflatten(made.out_tree, made.out_avals)
    return list(tree), list(tree.values())


def difference(known: Signature, program: Callable[..., Any]) -> float:
    """Largest difference of a program from a network, over the largest number of each output."""
    rng, worst = np.random.default_rng(0), 0.0

    def numbers(name: str, count: int) -> np.ndarray:
        shape = [count if isinstance(length, str) else length for length in known.inputs[name]]
        spread = 1.0 if name == "background_rms" else 5.0 * rng.normal(size=shape)
        return np.broadcast_to(known.scale[name] * spread, shape).astype(np.float32)

    for count in CHECKED:
        given = [numbers(name, count) for name in known.inputs]
        found, wanted = (jax.tree.map(np.asarray, jax.jit(function)(*given)) for function in (program, known.function))
        for key, value in wanted.items():
            worst = max(worst, float(np.max(np.abs(found[key] - value)) / np.max(np.abs(value))))
    return worst


def export_folder(name: str, model: Any, card: Card, out: Path) -> list[Path]:
    """Write a network as hubs of models have them: `model.safetensors`, the card as `config.json`, and a README.md.

    `giga.models.load` reads the folder.

    Raises:
        InputError: A folder that holds something.
        OSError: A file cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(out, "--out", "is there already", "a folder that is new or empty")
    out.mkdir(parents=True, exist_ok=True)
    save_weights(model, out / WEIGHTS, card)
    note = (out / WEIGHTS).with_suffix(".json").rename(out / HUB_CARD)
    return [out / WEIGHTS, note, write_text(out / "README.md", readme(name, card))]


def readme(name: str, card: Card) -> str:
    """The card for people, in Markdown, with the front matter that hubs read."""
    parts = ["---\nlibrary_name: giga\ntags:\n- strong-lensing\n- jax\n---\n", f"# {name}\n",
             f"{card.network} with {card.parameters:,} weights. Made by\n\n    {card.command}\n",
             "```python\nfrom giga.models import load\n\nmodel, card = load(\"FOLDER\")\n```\n", "## Limits\n",
             *(f"- {text}" for text in card.limits)]
    for key in (key for key in card.metrics if ":" not in key):
        methods = {"network": card.metrics[key]} | {other.removeprefix(f"{key}: "): numbers for other, numbers
                                                    in card.metrics.items() if other.startswith(f"{key}: ")}
        parts += [f"\n## Measured: {key}\n", f"| | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
        parts += [f"| {one} | " + " | ".join(f"{numbers[one]:.4g}" if one in numbers else "" for numbers
                                            in methods.values()) + " |" for one in card.metrics[key]]
    return "\n".join(parts) + "\n"
