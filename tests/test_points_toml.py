"""The section [[points]] of a configuration, and a search with point images beside the pixels."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpyro.distributions as dist
import pytest

from giga.bayes.points import PointImages, PointTerm
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.inference.pipeline import search
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import dump_config, parse_config
from giga.io.errors import InputError
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import SIS

TEXT = """
[[observation]]
image = "a.fits"
background_rms = 0.1
exposure_time = 100.0
[[mass]]
profile = "SIS"
theta_E = {dist = "LogNormal", loc = 0.0, scale = 0.1}
[[source_light]]
profile = "Sersic"
R_sersic = 0.1
n_sersic = 1.0
[planes]
redshifts = [0.5, 1.5]
[[points]]
x = [1.5, -0.9]
y = [0.0, 0.1]
sigma = 0.005
flux = [5.0, 3.0]
flux_sigma = [0.5, 0.3]
delay = [31.0]
delay_sigma = 1.5
source = 0
"""


@dataclass(frozen=True)
class NoSettings:
    """A section [inference] that is left out."""


def parsed(text: str):
    return parse_config(tomllib.loads(text), Path("lens.toml"), NoSettings)


def test_points_are_read_and_written_back():
    config = parsed(TEXT)
    (term,) = (one.term() for one in config.points)
    np.testing.assert_array_equal(term.data.x, [1.5, -0.9])
    np.testing.assert_array_equal(term.data.sigma, 0.005)
    np.testing.assert_array_equal(term.data.delay_sigma, [1.5])
    assert (term.ladder, term.source, term.finder, term.data.plane) == ("source", 0, None, -1)
    assert parsed(dump_config(config)) == config
    image = parsed(TEXT + 'ladder = "image"\nhalf_width = 3.0\n')
    assert image.points[0].term().finder.half_width == 3.0


@pytest.mark.parametrize("old, new, says", [
    ("y = [0.0, 0.1]", "y = [0.0]", "lens.toml: points.0.y: got shape (1,); expected (2,)"),
    ("sigma = 0.005", "sigma = -0.1", "lens.toml: points.0.sigma: got -0.1; expected standard deviations above 0"),
    ("source = 0", "source = 2", "lens.toml: points.0: source: got 2; expected the number of a source_light"),
    ("source = 0", 'ladder = "image"', "lens.toml: points.0.half_width: missing"),
    ("source = 0", "sources = 0", "lens.toml: points.0.sources: unknown"),
    ("[planes]\nredshifts = [0.5, 1.5]\n", "", "lens.toml: points.0: planes: missing; delays need the redshifts"),
    ("flux = [5.0, 3.0]", "flux = [5.0, -3.0]", "lens.toml: points.0.flux: got -3 for image 1; expected fluxes of"),
    ("flux = [5.0, 3.0]\n", "", "lens.toml: points.0.flux: missing; expected both flux and flux_sigma"),
])
def test_bad_points_are_refused(old, new, says):
    with pytest.raises(InputError) as error:
        parsed(TEXT.replace(old, new))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_who_would_leave_points_out_refuses_them():
    with pytest.raises(InputError, match="points: given; expected no such section: giga calibrate leaves it out"):
        parsed(TEXT).refuse("giga calibrate", "start", "points")
    parsed(TEXT).refuse("giga calibrate", "start")


def test_a_search_takes_points():
    """Pixels of noise alone tell nothing of the mass; the images of a point do."""
    noise = np.random.default_rng(0).normal(0.0, 1.0, (8, 8))
    observation = Observation(image=noise, grid=Grid(shape=(8, 8), pixel_scale=0.5), background_rms=1.0,
                              exposure_time=1e6)
    scene = Scene(mass=[SIS(theta_E=dist.Uniform(0.5, 2.0), center_x=dist.Normal(0.0, 0.3))],
                  source_light=[Sersic(amp=1e-3, R_sersic=0.2, n_sersic=1.0, center_x=0.3)])
    data = PointImages.of([1.5, -0.9], [0.0, 0.0], 0.003)
    found = search(scene, [observation], config=FitConfig(n_screen=8, n_starts=4, n_finalists=2, map_rounds=4),
                   points=[PointTerm(data=data, source=0)])
    assert found.best["mass.0.theta_E"] == pytest.approx(1.2, abs=0.02)
    first, second = found.point_images.rows
    assert (first.parity, second.parity, first.draws) == (1, -1, None)
    assert first.numbers["x"]["best"] - second.numbers["x"]["best"] == pytest.approx(
        2.0 * found.best["mass.0.theta_E"], rel=1e-6)
