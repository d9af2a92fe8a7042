"""Where weights and their card are: in the zoo, a file, the folder of a run, or a folder as model hubs have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from giga.models.zoo.card import Card, ZooError

WEIGHTS, HUB_CARD = "model.safetensors", "config.json"  # of a hub's folder
PICKLES = (".bin", ".ckpt", ".joblib", ".msgpack", ".npy", ".pickle", ".pkl", ".pt", ".pth")
"""Files of weights that are no safetensors; most run code when they are read, and none is ever opened."""


def place_of(name_or_path: str | Path, folder: Path) -> tuple[Path, Path]:
    """Weights and card of a name of the zoo in `folder`, or of a path; they need not be there.

    A path is a file of weights or its card, either suffix or none, or a folder. A folder has `model.safetensors`, or
    one other file of weights; its card is `NAME.json`, or else `config.json`.

    Raises:
        ZooError: No such name, or a folder without weights or with several.
    """
    path, text = Path(name_or_path), str(name_or_path)
    named = not (isinstance(name_or_path, Path) or len(path.parts) > 1
                 or path.suffix in (".safetensors", ".json", *PICKLES))
    if named:
        weights, note = _pair(folder / text)
        if weights.exists() or note.exists():
            return weights, note
    weights, note = _pair(path)
    if path.suffix in PICKLES:
        raise ZooError(f"{path}: weights as {path.suffix}, which is never read: expected safetensors")
    if path.is_dir() and not weights.exists():
        return _inside(path)
    if named and not weights.exists():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.safetensors")))
        raise ZooError(f"unknown model {text!r}; the zoo has {known or 'none yet'}")
    return weights, note


def _inside(folder: Path) -> tuple[Path, Path]:
    found = sorted(folder.glob("*.safetensors"))
    weights = folder / WEIGHTS
    if weights not in found:
        if not found:
            others = [path.name for path in sorted(folder.iterdir()) if path.suffix in PICKLES]
            besides = f"; {', '.join(others)} are never read" if others else ""
            raise ZooError(f"{folder}: no weights, expected {WEIGHTS}{besides}")
        if len(found) > 1:
            some = ", ".join(path.name for path in found[:3])
            raise ZooError(f"{folder}: got {len(found)} files of weights ({some}), expected one, or {WEIGHTS}")
        weights = found[0]
    _, note = _pair(weights)
    return weights, note if note.exists() or not (folder / HUB_CARD).exists() else folder / HUB_CARD


def _pair(path: Path) -> tuple[Path, Path]:
    """Weights and card of a path with either suffix, or with none."""
    stem = path.name.removesuffix(".safetensors").removesuffix(".json")
    return path.with_name(f"{stem}.safetensors"), path.with_name(f"{stem}.json")


def header_of(card: Card) -> dict[str, str]:
    """What weights say of themselves in their header, as strings: enough to build their network without a card."""
    return {"format": "giga", "network": card.network, "config": json.dumps(card.config)}


def card_in_header(weights: Path) -> Card | None:
    """The little of a card that the header of weights has; None if they say nothing of a network.

    Raises:
        ZooError: No safetensors file, or a header that cannot be used.
    """
    try:
        with safe_open(weights, "numpy") as file:
            found: Mapping[str, Any] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ZooError(f"{weights}: truncated or no safetensors file ({error})") from error
    if not {"network", "config"} <= found.keys():
        return None
    try:
        config = json.loads(found["config"])
    except ValueError as error:
        raise ZooError(f"{weights}: header: config: got {found['config']!r:.60}, expected JSON") from error
    if not isinstance(config, dict):
        raise ZooError(f"{weights}: header: config: got {config!r:.60}, expected a JSON object")
    return Card(network=found["network"], config=config, recipe={}, seed=0, git_hash="unknown", command="", metrics={},
                limits=("Its card is missing: how it was trained and how good it is are not known.",), flops=0.0,
                images_per_s={})
