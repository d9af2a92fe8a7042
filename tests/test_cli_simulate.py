"""`giga simulate`: from a configuration to shards, taken up again where it stopped; what is wrong is named."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from test_io_psfex import write as write_psfex
from typer.testing import CliRunner

from giga.cli import app
from giga.io.configuration.simulation import Simulation, load_injection, load_simulation
from giga.io.configuration.toml import parse_override
from giga.io.errors import InputError
from giga.io.results.shards import read_shard, write_shard
from giga.runtime.identity import identity_of
from giga.simulate.batch import Batch
from giga.simulate.surveys.noise import CameraNoise, CorrelatedNoise, CutoutNoise
from giga.simulate.systems.ggsl import companions
from giga.simulate.systems.modular import lsst_lenses

CONFIG = """
[survey]
name = "kids"
bands = ["g", "r"]
shape = [16, 16]
supersampling = 1
psf = {fwhm = 0.5}

[output]
images = 5
per_shard = 3
seed = 7

[run]
n_devices = 1

[values]
lensed = {dist = "Bernoulli", probability = 0.5}

[extras]
lensed = {same_as = "values.lensed"}

[[mass]]
profile = "SIE"
theta_E = {dist = "Uniform", low = 0.8, high = 1.2}

[[lens_light]]
profile = "Sersic"
amp = 100.0
R_sersic = {dist = "Uniform", low = 0.5, high = 1.0, each_band = true}
n_sersic = 1.0

[[source_light]]
profile = "Sersic"
amp = {relation = "present", value = 50.0, probability = {same_as = "values.lensed"}}
R_sersic = 0.2
n_sersic = 1.0
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "lenses.toml"
    path.write_text(CONFIG)
    return path


def run(*words: object):
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


def loaded(config: Path, *changes: str) -> Simulation:
    return load_simulation(config, dict(map(parse_override, changes)))


def test_shards_are_what_the_seed_says_and_taken_up_again(config, tmp_path):
    out = tmp_path / "images"
    done = run(config, "--out", out)
    assert done.exit_code == 0, done.output
    manifest = json.loads((out / "manifest.json").read_text())
    assert [row["images"] for row in manifest["shards"]] == [3, 2] and manifest["bands"] == ["g", "r"]
    shards = [read_shard(out / row["file"]) for row in manifest["shards"]]
    simulator = loaded(config).simulator
    for step, batch in enumerate(shards):
        again = simulator.simulate(jax.random.fold_in(jax.random.key(7), step), 3)
        for one, other in zip(jax.tree.leaves(batch), jax.tree.leaves(again), strict=True):
            # Another program of the same arithmetic: some processors round its vectors otherwise.
            np.testing.assert_allclose(one, np.asarray(other)[:len(batch.image)], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(sum(batch.parts.values()), batch.image, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(batch.label, batch.truth["lensed"])
    assert len(np.unique(np.concatenate([batch.truth["mass.0.theta_E"] for batch in shards]))) == 5

    refused = run(config, "--out", out)
    assert refused.exit_code == 2 and "already holds a run" in refused.stderr
    other = run(config, "--out", out, "--resume", "--set", "output.seed=8")
    assert other.exit_code == 2 and "images of another configuration or version" in other.stderr
    first, second = (out / row["file"] for row in manifest["shards"])
    whole, before = second.read_bytes(), first.stat().st_mtime_ns
    second.write_bytes(whole[:1000])
    resumed = run(config, "--out", out, "--resume")
    assert resumed.exit_code == 0 and "shard 1 of 2: was there" in resumed.output
    assert first.stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_shard(second).image, shards[1].image)
    more = run(config, "--out", out, "-n", 6, "--resume")
    assert more.exit_code == 0 and first.stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_shard(second).image[:2], shards[1].image)
    assert json.loads((out / "manifest.json").read_text())["images"] == 6
    fewer = run(config, "--out", out, "-n", 2, "--resume")
    assert fewer.exit_code == 2 and "holds 6 images; expected at most the 2 asked for" in " ".join(fewer.stderr.split())
    assert json.loads((out / "manifest.json").read_text())["images"] == 6

    flooded = run(config, "--out", tmp_path / "bad", "--set", "lens_light.0.amp=3e38", "-n", 3)
    assert flooded.exit_code == 2 and "population: image 0 of shard 0 is not finite" in " ".join(flooded.stderr.split())
    assert not list((tmp_path / "bad").glob("shard-*"))


def test_a_worker_leaves_the_same_shards_and_says_what_is_wrong(config, tmp_path):
    pytest.importorskip("distributed")
    manifests = []
    for out, options in (("here", []), ("there", ["--workers", 1])):
        done = run(config, "--out", tmp_path / out, *options)
        assert done.exit_code == 0, done.output
        manifests.append(json.loads((tmp_path / out / "manifest.json").read_text()))
    for one, other in zip(*(each["shards"] for each in manifests), strict=True):
        assert one["file"] == other["file"]
        for a, b in zip(*(jax.tree.leaves(read_shard(tmp_path / out / one["file"])) for out in ("here", "there")),
                        strict=True):
            np.testing.assert_array_equal(a, b)
    both = run(config, "--out", tmp_path / "other", "--workers", 1, "--scheduler", "tcp://a:1")
    assert both.exit_code == 2 and "--scheduler: given with --workers" in both.stderr


@pytest.mark.parametrize("suffix", [".h5", ".fits"])
def test_a_shard_comes_back_as_it_was(tmp_path, suffix):
    rng = np.random.default_rng(0)
    image, sigma = (rng.normal(size=(3, 4, 5, 2)).astype(np.float32) for _ in range(2))
    parts = {name: rng.normal(size=image.shape).astype(np.float32) for name in ("lens", "source", "noise")}
    truth = {"mass.0.theta_E": np.float32([1, 2, 3]), "lens_light.0.amp": rng.normal(size=(3, 2)).astype(np.float32),
             "lensed": np.int32([1, 0, 1])}
    psf = np.broadcast_to(rng.normal(size=(2, 3, 3)).astype(np.float32), (3, 2, 3, 3))
    batch = Batch(image=image, parts=parts, truth=truth, companions=0.5 * sigma, label=np.int32([1, 0, 1]),
                  sigma=sigma, psf=psf)
    path = write_shard(tmp_path / f"one{suffix}", batch, {"SEED": 3})
    assert jax.tree.structure(read_shard(path)) == jax.tree.structure(batch)
    jax.tree.map(np.testing.assert_array_equal, read_shard(path), batch)
    different = write_shard(tmp_path / f"two{suffix}", batch.replace(psf=rng.normal(size=psf.shape)), {})
    assert len(np.unique(read_shard(different).psf[:, 0, 0, 0])) == 3
    if suffix == ".fits":
        with fits.open(path) as hdus:
            columns = hdus["TRUTH"].columns
            assert hdus[0].header["SEED"] == 3 and hdus["IMAGE"].data.shape == (3, 2, 4, 5)
            assert columns["mass.0.theta_E"].unit == "arcsec" and columns["lens_light.0.amp"].unit
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=f"one{suffix}: .*cannot be read"):
        read_shard(path)


def test_psfs_from_files(config, tmp_path):
    write_psfex(tmp_path / "r.psf")
    kernel = np.zeros((5, 5))
    kernel[2, 1:4] = 0.25, 0.5, 0.25
    fits.writeto(tmp_path / "g.fits", kernel)
    made = loaded(config, 'survey.band.g.psf={fits = "g.fits"}', 'survey.shape=[64, 64]',
                  'survey.band.r={psf = {psfex = "r.psf", x = 1000, y = 2000}, gain = 3.0}')
    kernels = made.simulator.optics.kernels
    middle = kernels.shape[-1] // 2
    np.testing.assert_allclose(kernels[0, 0, middle, middle - 1:middle + 2], [0.25, 0.5, 0.25], atol=1e-6)
    assert 0.0 < kernels[0, 1, middle + 3, middle] < kernels[0, 1, middle, middle] < 0.2
    assert made.survey.band("r").gain == 3.0


def test_kinds_of_noise(config, tmp_path):
    sky = np.random.default_rng(0).normal(size=(12, 24, 24, 2))
    np.save(tmp_path / "sky.npy", 0.5 * (sky + np.roll(sky, 1, 1)))
    assert isinstance(loaded(config).simulator.noise, CameraNoise)
    cutouts = loaded(config, 'noise={kind = "cutouts", cutouts = "sky.npy"}')
    assert isinstance(cutouts.simulator.noise, CutoutNoise) and np.shape(cutouts.simulator.noise.bank) == sky.shape
    correlated = loaded(config, 'noise={kind = "correlated", cutouts = "sky.npy", reach = 3}')
    assert isinstance(correlated.simulator.noise, CorrelatedNoise)
    np.testing.assert_allclose(correlated.simulator.noise.background_rms, 0.5**0.5, rtol=0.05)
    np.save(tmp_path / "sky.npy", sky)
    assert loaded(config, 'noise={kind = "cutouts", cutouts = "sky.npy"}').identity != cutouts.identity


def test_recipes(tmp_path):
    path = tmp_path / "paper.toml"
    survey = '[survey]\nname = "kids-ggsl-unet"\n[population]\nrecipe = '
    path.write_text(f'{survey}"table_2"\n[mixing]\nmissing = 0.1\n[companions]\nmost = 2\n')
    made = load_simulation(path)
    assert made.simulator.mixing is not None and made.simulator.mixing.missing == 0.1
    assert made.simulator.companions is not None and len(made.simulator.companions.treedef.children()) > 0
    path.write_text(f'{survey}"physical"\nempty = 0.5\n[output]\nformat = "fits"\n')
    physical = load_simulation(path)
    assert physical.simulator.mixing is None and physical.simulator.population.n_bands == 4
    assert physical.identity != made.identity
    path.write_text(physical.dump())
    assert load_simulation(path).identity == physical.identity
    assert load_simulation(path, {"output.images": 9}).identity == physical.identity


def test_companions_of_kinds_and_lenses_matched_in_flux(tmp_path):
    path = tmp_path / "crowded.toml"
    path.write_text('[survey]\nname = "lsst"\nbands = ["g", "r", "i"]\nshape = [64, 64]\n[companions]\nmost = 2\n'
                    '[population]\nrecipe = "modular"\nempty = 0.5\n')
    survey = load_simulation(path).survey
    plain, kinds, matched, alone = (load_simulation(path, change) for change in (
        {}, {"companions.kinds": [0.4, 0.3, 0.2, 0.1]}, {"population.matched": True}, {"population.empty": 0.0}))
    # What a folder of images was made of before there were these fields is the same still.
    assert "kinds" not in plain.tables["companions"] and "matched" not in plain.tables["population"]
    assert len({one.identity for one in (plain, kinds, matched, alone)}) == 4
    for made, wanted in ((plain, lsst_lenses(survey)), (matched, lsst_lenses(survey, matched=True)),
                         (alone, lsst_lenses(survey, lensed=None))):
        assert identity_of(made.population) == identity_of(jax.tree.map(jnp.asarray, wanted))
    for made, shares in ((plain, None), (kinds, (0.4, 0.3, 0.2, 0.1))):
        wanted = companions(survey, 2, kinds=shares)
        assert identity_of(made.simulator.companions) == identity_of(jax.tree.map(jnp.asarray, wanted))
    path.write_text(kinds.dump())
    assert load_simulation(path).identity == kinds.identity


def test_the_configurations_of_the_page_are_valid(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "simulate.md").read_text()
    simulated, injected = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for name in ("r.psf", "stars.psf"):
        write_psfex(tmp_path / name)
    (tmp_path / "simulate.toml").write_text(simulated)
    made = load_simulation(tmp_path / "simulate.toml")
    assert made.simulator.bands == 3 and made.simulator.turns and made.output.per_shard == 1000
    (tmp_path / "inject.toml").write_text(injected)
    assert [band.name for band in load_injection(tmp_path / "inject.toml").survey.bands] == ["g", "r"]


@pytest.mark.parametrize(("change", "message"), [
    ("survey.name=kdis", "lenses.toml: survey.name: got 'kdis'; expected one of"),
    ('survey.bands=["g", "q"]', "lenses.toml: survey.bands: survey 'kids': no band 'q'; expected one of"),
    ("survey.pixel_scale=-0.2", "lenses.toml: survey.pixel_scale: got -0.2; expected a number above 0"),
    ("survey.band.x.gain=2", "lenses.toml: survey.band.x: no such band; expected one of 'g', 'r'"),
    ("survey.band.g.gain=-1", "lenses.toml: survey.band.g: band 'g': gain: expected a positive number, got -1"),
    ("survey.psf={fwhm = 0.5, fits = 'a.fits'}", "lenses.toml: survey.psf.fwhm: 2 of fits, psfex and fwhm; expected"),
    ("survey.psf={fits = 'no.fits'}", "no.fits: survey.psf.fits: no such file"),
    ("survey.psf={psfex = 'no.psf'}", "no.psf: psf: no such file"),
    ("survey.psf={fwhm = 5.0}", "lenses.toml: survey.psf: kernel of"),
    ("noise.kind=cutouts", "lenses.toml: noise.cutouts: missing; expected images of blank sky"),
    ("noise={kind = 'cutouts', cutouts = 'none'}", "none: noise.cutouts: no such file or folder"),
    ("noise={kind = 'cutouts', cutouts = 'small.npy'}", "noise cutouts are 8 x 8, the survey needs 16 x 16"),
    ("noise={kind = 'cutouts', cutouts = 'nan.npy'}", "none of 3 can be used (not finite 3)"),
    ("noise={kind = 'correlated', cutouts = 'sky.npy', pixel_scale = 0.3}", "pixels of 0.3 arcsec; expected"),
    ("noise={kind = 'correlated', cutouts = 'sky.npy', reach = 10}", "lenses.toml: noise.reach: blank cutouts"),
    ("lens_light.0.amp={dist = 'Normal', loc = 1.0, scale = -1.0}", "lenses.toml: lens_light.0.amp"),
    ("lens_light.0.R_sersic=wide", "lenses.toml: lens_light.0.R_sersic: got 'wide'; expected a number"),
    ("mass.0.theta_E={column = 'theta_E'}", "lenses.toml: mass.0.theta_E: got {'column': 'theta_E'}; expected no"),
    ("population.table=none.csv", "none.csv: no such file"),
    ("population.recipe=physical", "lenses.toml: population.recipe: 'physical' beside mass, lens_light"),
    ("population.recipe=collett", "lenses.toml: population.table: missing; expected a table of Collett (2015)"),
    ("population.empty=1.5", "lenses.toml: population.empty: got 1.5"),
    ("population.lens_magnitude=[20.5,17.0]", "population.lens_magnitude: got 20.5 to 17; expected a lower"),
    ("companions.magnitude=[25,20]", "companions.magnitude: got 25 to 20; expected a lower number first"),
    ("companions.kinds=[0.5,0.5]", "companions.kinds: got [0.5, 0.5]; expected 4 or 5 shares from 0 to 1 that"),
    ("companions.kinds=[0.5,0.5,0.5,0]", "companions.kinds: got [0.5, 0.5, 0.5, 0.0]; expected 4 or 5"),
    ("companions.kinds=red", "companions.kinds: got 'red'; expected a list (each a number)"),
    ("population.matched=true", "population.matched: got true with none as recipe; expected 'modular'"),
    ("mixing.missing=0.1", "lenses.toml: lens_light.0.R_sersic.each_band: got True; expected"),
    ("output.format=png", "lenses.toml: output.format: got 'png'; expected one of"),
    ("output.images=0", "lenses.toml: output.images: got 0; expected a number of at least 1"),
    ("otuput.images=3", "lenses.toml: otuput: unknown section; expected one of"),
])
def test_what_is_wrong_is_named(config, tmp_path, change, message):
    sky = np.random.default_rng(0).normal(size=(3, 20, 20, 2))
    np.save(tmp_path / "sky.npy", sky)
    np.save(tmp_path / "small.npy", sky[:, :8, :8])
    np.save(tmp_path / "nan.npy", sky * np.nan)
    result = run(config, "--out", tmp_path / "out", "--set", change)
    assert message in " ".join(result.stderr.split())
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
