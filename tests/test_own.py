"""The code of docs/own.md runs, block after block, for fewer steps."""

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "own.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
FEWER = {"steps=2000, warmup=100": "steps=2, warmup=0, batch_size=8, chunk=2, validate_every=2, checkpoint_every=2,\n"
                                   "validation_size=8, measure_rates=False",
         "range(2000)": "range(2)", "split(key, 32)": "split(key, 4)", "batches(64)": "batches(4)"}


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, Any]:
    """What all blocks but that of PyTorch leave."""
    assert all(any(old in block for block in BLOCKS) for old in FEWER)
    found: dict[str, Any] = {"runs": tmp_path_factory.mktemp("runs")}
    for block in BLOCKS[:-1]:
        run(block, found)
    return found


def run(block: str, names: dict[str, Any]) -> None:
    for old, new in FEWER.items():
        block = block.replace(old, new)
    exec(compile(block.replace('"runs/finder"', 'runs / "finder"'), str(PAGE), "exec"), names)


def test_a_network_learns_in_both_loops(names):
    assert int(names["trained"].state.step) == 2 and np.isfinite(names["trained"].best.loss)
    assert names["model"](names["images"]).shape == (4,) and np.isfinite(names["loss"])
    task = BLOCKS[1][BLOCKS[1].index("class Network"):]
    assert len([line for line in task.splitlines() if line.strip()]) <= 22, "the page says twenty lines"


def test_batches_of_numpy_are_copies_that_differ(names):
    first, second = (one for _, one in zip(range(2), names["batches"](4), strict=False))
    assert first[0].shape == (4, 32, 32, 3) and first[0].flags.writeable and first[1].shape == (4,)
    assert not np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(next(names["batches"](4))[0], first[0])


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_loader_of_pytorch(names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of PyTorch are none of ours
        run(BLOCKS[-1], names)
    assert tuple(names["images"].shape) == (4, 3, 32, 32) and tuple(names["labels"].shape) == (4,)
    np.testing.assert_array_equal(names["images"].numpy().transpose(0, 2, 3, 1), next(names["batches"](4))[0])
