"""The table of docs/networks.md, row by row, against the networks."""

import re
from pathlib import Path

import pytest
from flax import nnx

from giga.models.networks.count import count
from giga.models.networks.edsr import EDSR, EDSRConfig
from giga.models.networks.resnet import ResNet, ResNetConfig
from giga.models.networks.unet import UNet, UNetConfig
from giga.models.networks.vgg import VGG, SingleChannelVGG, VGGConfig

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
PRESETS = {
    "UNetConfig.paper": (UNet, UNetConfig.paper),
    "UNetConfig.small": (UNet, UNetConfig.small),
    "EDSRConfig.paper": (EDSR, EDSRConfig.paper),
    "EDSRConfig.narrow": (EDSR, EDSRConfig.narrow),
    "EDSRConfig.small": (EDSR, EDSRConfig.small),
    "ResNetConfig.of(50)": (ResNet, lambda bands: ResNetConfig.of(50, bands)),
    "ResNetConfig.of(34)": (ResNet, lambda bands: ResNetConfig.of(34, bands)),
    "ResNetConfig.of(18)": (ResNet, lambda bands: ResNetConfig.of(18, bands)),
    "ResNetConfig.small": (ResNet, ResNetConfig.small),
    "ResNetConfig.shielded": (ResNet, ResNetConfig.shielded),
    "VGGConfig.paper": (VGG, VGGConfig.paper),
    "VGGConfig.paper, single-channel": (SingleChannelVGG, VGGConfig.paper),
    "VGGConfig.small": (VGG, VGGConfig.small),
}
ROW = re.compile(r"\| `(\w+\.\w+(?:\(\d+\))?)`(, single-channel)? \| (\d+) x (\d+) x (\d+) \| ([\d,]+) \| ([\d.]+) \|")
ROWS = [(found[1] + (found[2] or ""), tuple(map(int, found.groups()[2:5])), int(found[6].replace(",", "")), found[7])
        for found in ROW.finditer(PAGE.read_text())]


def test_every_preset_has_a_row():
    assert {row[0] for row in ROWS} == set(PRESETS)


@pytest.mark.parametrize(("name", "shape", "parameters", "gflop"), ROWS, ids=[f"{r[0]} {r[1]}" for r in ROWS])
def test_a_row_is_what_the_code_counts(name, shape, parameters, gflop):
    network, config = PRESETS[name]
    counted = count(lambda: network(config(bands=shape[-1]), rngs=nnx.Rngs(0)), shape)
    assert counted.parameters == parameters
    # Versions of JAX count elementwise operations a little differently.
    assert counted.training / 1e9 == pytest.approx(float(gflop), rel=0.02)
