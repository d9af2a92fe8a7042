"""The zoo: trained weights with a card each, `NAME.safetensors` and `NAME.json` in this folder, loaded by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from giga.models.networks.chain import Chain, ModularConfig, Stage
from giga.models.networks.count import parameters
from giga.models.networks.cutouts import CutoutConfig, CutoutNet
from giga.models.networks.finder import Finder, FinderConfig
from giga.models.networks.posterior import PosteriorNet, PosteriorNetConfig
from giga.models.networks.separator import GGSLConfig, Separator
from giga.models.networks.unet import UNet, UNetConfig
from giga.models.zoo.card import Card as Card
from giga.models.zoo.card import ZooError as ZooError
from giga.models.zoo.card import from_table, read_card
from giga.models.zoo.layout import card_in_header, header_of, place_of
from giga.models.zoo.seen import Seen as Seen
from giga.models.zoo.weights import fill, pack_weights, sha256
from giga.runtime.atomic import write_bytes, write_text

FOLDER = Path(__file__).parent
LARGEST = 25_000_000
"""Bytes that the folder may hold."""

Builder = Callable[[Mapping[str, Any]], Any]
"""Makes a network from the `config` of a card."""


def from_config(network: Callable[..., Any], config: type) -> Builder:
    """The builder of a network that takes one frozen dataclass and `rngs`."""
    return lambda values: network(from_table(config, values, "card: config"), rngs=nnx.Rngs(0))


NETWORKS: Mapping[str, Builder] = {
    "UNet": from_config(UNet, UNetConfig),
    "Separator": from_config(Separator, GGSLConfig),
    "Stage": from_config(Stage, ModularConfig),
    "Chain": from_config(Chain, ModularConfig),
    "Finder": from_config(Finder, FinderConfig),
    "PosteriorNet": from_config(PosteriorNet, PosteriorNetConfig),
    "CutoutNet": from_config(CutoutNet, CutoutConfig),
}
"""The networks that a card may name."""


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the weights that are there, with or without a card."""
    return tuple(sorted(path.stem for path in folder.glob("*.safetensors")))


def save_weights(model: Any, path: str | Path, card: Card) -> Card:
    """Write weights and their card, each whole or not at all; first the weights, whose hash is on the card.

    Args:
        model: The network.
        path: With or without the suffix .safetensors; its folder exists.
        card: What is known of it; `parameters` and `sha256` are filled in.

    Returns:
        The card as written.

    Raises:
        OSError: A file cannot be written; names it.
    """
    weights, note = place_of(Path(path), FOLDER)
    content = pack_weights(model, header_of(card))
    card = dataclasses.replace(card, parameters=parameters(model), sha256=sha256(content))
    text = card.dump()
    write_bytes(weights, content)
    write_text(note, text)
    return card


def save_card(name_or_path: str | Path, card: Card, folder: Path = FOLDER) -> Path:
    """Write the card of weights that are there, in the place of the one they have. Returns its path.

    Raises:
        ZooError: Unknown weights, or a card of others.
    """
    weights, note = place_of(name_or_path, folder)
    if sha256(weights.read_bytes()) != card.sha256:
        raise ZooError(f"{weights}: not the weights of this card")
    return write_text(note, card.dump())


def load(name_or_path: str | Path, networks: Mapping[str, Builder] = NETWORKS,
         folder: Path = FOLDER) -> tuple[Any, Card]:
    """Load a network with its weights and its card; `giga.models.load`.

    Args:
        name_or_path: A name of the zoo; the path of a file of weights; or a folder: that of a run, or one as model hubs
            have them, `model.safetensors` with the card as `config.json`. Of a file without its card the header is
            taken, where it names the network. Only safetensors are read.
        networks: What a card may name.
        folder: Of the zoo.

    Returns:
        The network in evaluation mode, and the card.

    Raises:
        ZooError: An unknown name (lists those there are), a card without its weights or weights without their card, a
            file that is damaged or foreign, or weights of another architecture.
    """
    weights, note = place_of(name_or_path, folder)
    if not weights.exists():
        raise ZooError(f"{weights}: missing, though {note.name} is there; weights and card belong together"
                       if note.exists() else f"{weights}: no such weights")
    known = read_card(note) if note.exists() else card_in_header(weights)
    if known is None:
        raise ZooError(f"{note}: missing, though {weights.name} is there; weights and card belong together")
    card, content, source = known, weights.read_bytes(), note if note.exists() else weights
    if card.network not in networks:
        raise ZooError(f"{source}: network: got {card.network!r}, expected one of {', '.join(sorted(networks))}")
    try:
        model = nnx.eval_shape(lambda: networks[card.network](card.config))  # drawing weights takes seconds
    except ValueError as error:
        raise ZooError(f"{source}: {error}") from error
    fill(model, content, weights)  # before the hash: it says more of what is wrong
    if source == weights:
        card = dataclasses.replace(card, parameters=parameters(model), sha256=sha256(content))
    if sha256(content) != card.sha256:
        raise ZooError(f"{weights}: not the weights of {note.name}: SHA-256 {sha256(content)[:12]}, the card has "
                       f"{card.sha256[:12]}")
    model.eval()
    if card.seen is None and isinstance(model, Separator | Stage | Chain | Finder | PosteriorNet):
        card = dataclasses.replace(card, seen=Seen.of(model.config))
    return model, card
