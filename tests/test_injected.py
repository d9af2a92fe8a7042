"""Simulated light in stored cutouts: each with its own PSF, noise and row of the table, and the same again."""

import dataclasses
import re
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from flax import nnx

from giga.imaging.psf import PSF
from giga.io.configuration.simulation import load_simulation
from giga.io.configuration.training import load_training
from giga.io.errors import InputError
from giga.io.results.simulation import read_shard, simulate_shards
from giga.io.stored.labels import open_cutouts
from giga.io.tables import write_toml
from giga.jobs.cutouts import LensFinderConfig, injected_in
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import SIE
from giga.models.training import injected
from giga.models.training.source import Blend
from giga.models.training.train import TrainConfig, train
from giga.runtime.identity import identity_of
from giga.runtime.parallel import mesh
from giga.simulate.batch import turned
from giga.simulate.inject import light_of
from giga.simulate.injected import light_noise
from giga.simulate.optics import Optics
from giga.simulate.surveys.psf_models import GaussianPSF, MoffatPSF

COUNT, SIDE = 12, 24
IMAGES = (5.0 + np.random.default_rng(1).normal(size=(COUNT, SIDE, SIDE, 2))).astype(np.float32)
THETA, WIDTHS = np.linspace(0.8, 1.4, COUNT), np.linspace(0.7, 1.2, COUNT)
TIED = {"same_as": "values.lensed"}
PLAIN = {
    "survey": {"name": "des", "bands": ["g", "r"], "shape": [SIDE, SIDE], "supersampling": 2},
    "injected": {"images": "galaxies.h5", "labels": "galaxies.csv", "group": "field", "shares": [0.5, 0.25, 0.25]},
    "values": {"lensed": {"dist": "Bernoulli", "probability": 0.5}}, "extras": {"lensed": TIED},
    "mass": [{"profile": "SIE", "theta_E": {"column": "theta"}, "e1": 0.1, "e2": {"dist": "Normal", "loc": 0.0,
                                                                                    "scale": 0.1}}],
    "source_light": [{"profile": "Sersic", "amp": {"relation": "present", "value": 60.0, "probability": TIED},
                      "R_sersic": 0.3, "n_sersic": 1.0, "center_x": 0.2, "center_y": -0.1}],
    "output": {"images": 6, "per_shard": 6, "seed": 5}}


def write(folder, table=None, tables=None, **arrays):
    """Twelve galaxies in four fields, and the configuration that puts light into them."""
    (folder / "galaxies.h5").unlink(missing_ok=True)  # it may be open
    with h5py.File(folder / "galaxies.h5", "w") as file:
        made = file.create_dataset("image", data=arrays.pop("image", IMAGES))
        made.attrs["bands"], made.attrs["pixel_scale"] = ["g", "r"], arrays.pop("pixel_scale", 0.263)
        made.attrs["unit"] = arrays.pop("unit", "count / s")
        file["name"] = [f"g{k}" for k in range(COUNT)]
        for name, values in arrays.items():
            file[name] = values
    known = {"name": [f"g{k}" for k in range(COUNT)], "field": np.arange(COUNT) // 3, "theta": THETA, "fwhm": WIDTHS,
             "gain": np.full(COUNT, 2.0), "exposure_time": np.full(COUNT, 50.0)}
    known |= table or {}
    Table({name: values for name, values in known.items() if values is not None}).write(
        folder / "galaxies.csv", overwrite=True)
    whole = {**PLAIN, **(tables or {})}
    (folder / "arcs.toml").write_text(write_toml(whole))
    return folder / "arcs.toml"


def loaded(folder, **settings):
    return load_simulation(write(folder, **settings))


@pytest.mark.parametrize("model", [GaussianPSF(0.9), MoffatPSF(0.6, 3.0)])
@pytest.mark.parametrize("supersampling", [1, 2, 3])
def test_kernels_of_one_image_convolve_as_those_of_a_survey(model, supersampling):
    kernel = model.psf(0.263, supersampling).kernel
    wanted = Optics.of([[PSF(kernel=kernel, supersampling=supersampling)] * 2], (SIDE, SIDE))
    found = Optics.of_image(jnp.stack([kernel] * 2).astype(jnp.float32), supersampling, (SIDE, SIDE))
    for phases in (1, supersampling**2):
        light = jax.random.normal(jax.random.key(phases), (phases, SIDE, SIDE))
        np.testing.assert_allclose(found.convolution(jnp.int32(0), 1)(light),
                                   wanted.convolution(jnp.int32(0), 1)(light), atol=1e-6)
    np.testing.assert_allclose(found.kernels, wanted.kernels, atol=1e-7)


@pytest.mark.parametrize("turns", [False, True])
def test_light_has_the_psf_and_the_row_of_its_cutout(turns, tmp_path):
    simulation = loaded(tmp_path, tables={"output": {**PLAIN["output"], "turns": turns}})
    batch = simulation.images(0, 6)
    psf, truth = {}, batch.truth
    assert set(np.asarray(truth["turn"]).tolist()) == {0} or turns
    for k in range(6):
        cutout, turn = int(truth["cutout"][k]), int(truth["turn"][k])
        assert truth["mass.0.theta_E"][k] == pytest.approx(THETA[cutout])
        np.testing.assert_array_equal(batch.label[k], truth["lensed"][k])
        back = np.asarray(turned(jnp.int32(turn), jnp.asarray(IMAGES[cutout])))
        if not batch.label[k]:
            np.testing.assert_array_equal(batch.image[k], back)  # nothing is added, and no noise
            continue
        x, y = float(truth["source_light.0.center_x"][k]), float(truth["source_light.0.center_y"][k])
        scene = Scene(mass=[SIE(theta_E=THETA[cutout], e1=float(truth["mass.0.e1"][k]),
                                e2=float(truth["mass.0.e2"][k]), center_x=0.0, center_y=0.0)],
                      source_light=[Sersic(amp=60.0, R_sersic=0.3, n_sersic=1.0, e1=0.0, e2=0.0, center_x=x,
                                           center_y=y)])
        psf = [GaussianPSF(WIDTHS[cutout]).psf(0.263, 2)] * 2
        wanted = np.asarray(light_of(scene, simulation.survey.grid, psf))  # of the scene as it was turned
        light = np.asarray(batch.parts["source"][k])
        np.testing.assert_allclose(light, wanted, rtol=2e-3, atol=2e-4 * wanted.max())
        noise = np.asarray(batch.image[k]) - back - light
        bright = light > 0.2 * light.max()
        assert np.std((noise / np.sqrt(light / 100.0))[bright]) == pytest.approx(1.0, abs=0.25)  # 100 s of gain 2, 50 s
    assert 0 < np.sum(batch.label) < 6


def test_what_is_written_is_what_training_sees(tmp_path):
    file = write(tmp_path)
    simulation = load_simulation(file, {"output.images": 12, "injected.part": "train"})
    simulate_shards(simulation, tmp_path / "out", mesh(jax.devices()[:1]))
    source = injected_in(load_simulation(file)).source
    for step in (0, 1):
        shard, seen = read_shard(tmp_path / "out" / f"shard-{step:05d}.h5"), source.batch(step, 6)
        np.testing.assert_array_equal(shard.image, seen["image"])
        np.testing.assert_array_equal(shard.label, seen["label"])
        assert set(np.asarray(shard.truth["cutout"]).tolist()) == set(source.split.train.tolist())
    stored = open_cutouts(tmp_path / "out", target="label", group="cutout", shares=(0.6, 0.4, 0.0)).source
    cutouts = np.concatenate([read_shard(tmp_path / "out" / f"shard-{k:05d}.h5").truth["cutout"] for k in (0, 1)])
    assert not set(cutouts[stored.split.train]) & set(cutouts[stored.split.validation])


def test_a_field_is_in_one_part_and_what_is_held_out_stays(tmp_path):
    source = loaded(tmp_path, tables={"injected": {**PLAIN["injected"], "scenes": 2}}).made
    parts = [set((source.split.part(name) // 3).tolist()) for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [2, 1, 1] and not parts[0] & parts[1] and not parts[0] & parts[2]
    assert source.held_out("validation") == 6
    first, again = source.part("validation", 0, 6), source.part("validation", 2, 2)
    np.testing.assert_array_equal(first["image"][2:4], again["image"])
    assert (first["image"][:3] != first["image"][3:]).any()  # the same cutouts with other scenes
    np.testing.assert_array_equal(source.rows(source.split.validation)["label"],
                                  source.targets["label"][source.split.validation])


def test_one_program_serves_all_steps(tmp_path):
    source = loaded(tmp_path).made
    before = injected._made._cache_size()
    for step in range(3):
        source.batch(step, 4)
    assert injected._made._cache_size() <= before + 1
    other = dataclasses.replace(source, seed=9)
    other.batch(0, 4)
    assert injected._made._cache_size() <= before + 1 and other.identity != source.identity


@dataclasses.dataclass(frozen=True, eq=False)
class Bright:
    """A task that tells light by the sum of a band."""

    source: object
    stored = 1.0

    @property
    def identity(self):
        return identity_of("bright", self.source.identity)

    def network(self, rngs):
        return nnx.Linear(2, 1, rngs=rngs)

    def example(self, key):
        raise AssertionError("nothing is simulated")

    def shown(self, key, row):
        return row

    def loss(self, model, batch, key):
        wrong = model(batch["image"].mean((1, 2)))[:, 0] - batch["label"]
        return jnp.mean(batch["weight"] * wrong**2), {}


def test_a_killed_and_resumed_training_is_the_unbroken_one(tmp_path):
    config = TrainConfig(steps=8, batch_size=4, chunk=2, warmup=2, validate_every=4, checkpoint_every=2,
                         validation_size=4, measure_rates=False)
    device = mesh(jax.devices()[:1])
    unbroken = train(Bright(loaded(tmp_path).made), config, tmp_path / "a", over=device)

    def report(row):
        if row["kind"] == "train" and row["step"] == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(Bright(loaded(tmp_path).made), config, tmp_path / "b", over=device, report=report)
    found = train(Bright(loaded(tmp_path).made), config, tmp_path / "b", over=device, resume=True)
    for a, b in zip(jax.tree.leaves(found.state), jax.tree.leaves(unbroken.state), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_psfs_and_calibrations_of_each_cutout(tmp_path):
    wide = np.stack([GaussianPSF(width).psf(0.263).kernel[:9, :9] for width in (1.0, 1.0)])[None]
    kernels = np.asarray(wide / wide.sum((-1, -2), keepdims=True), np.float32)
    for side in (9, 11):
        kernel = np.zeros((side, side), np.float32)
        kernel[side // 2, side // 2] = 1.0
        fits.writeto(tmp_path / f"psf-{side}.fits", kernel, overwrite=True)
    own = loaded(tmp_path, table={"fwhm": None}, psf=kernels).made.backdrops.read(np.array([3]))
    assert own.kernels.shape[1] == 2
    files = {"fwhm": None, "psf": ["psf-11.fits"] + ["psf-9.fits"] * (COUNT - 1)}
    read = loaded(tmp_path, table=files).made.backdrops.read(np.array([0, 1]))
    np.testing.assert_allclose(read.kernels.sum((-1, -2)), 1.0, rtol=1e-5)
    points = {"zero_point_g": np.full(COUNT, 26.58 + 2.5), "zero_point_r": np.full(COUNT, 26.78),
              "rms_g": np.full(COUNT, 3.0), "rms_r": np.full(COUNT, 4.0)}
    found = loaded(tmp_path, table=points).made.backdrops.read(np.array([4]))
    np.testing.assert_allclose(found.image[0], IMAGES[4] * [0.1, 1.0], rtol=1e-4)
    np.testing.assert_allclose(found.rms[0], [0.3, 4.0], rtol=1e-4)
    np.testing.assert_allclose(found.photon[0], [0.001, 0.01], rtol=1e-4)
    shared = loaded(tmp_path, tables={"injected": {**PLAIN["injected"], "psf": "survey"}}).made
    assert shared.backdrops.read(np.array([4])).kernels is None and shared.injector.optics is not None


def test_numbers_in_the_place_of_classes_and_shares_of_a_batch(tmp_path):
    simulation = loaded(tmp_path)
    data = injected_in(simulation, values=("mass.0.theta_E", "mass.0.e2"))
    row = data.source.batch(0, 4)
    assert row["theta"].shape == (4, 2) and set(row["theta"][:, 0]) < set(THETA.astype(np.float32))
    np.testing.assert_array_equal(data.targets("theta")[:, 0], THETA[data.source.split.train].astype(np.float32))
    one = injected_in(simulation)
    both = one.mixed((one,), (0.5, 0.5)).source
    assert isinstance(both, Blend) and both.batch(0, 4)["image"].shape == (4, SIDE, SIDE, 2)


def test_noise_of_light_comes_in_whole_electrons_and_nowhere_else():
    light = jnp.zeros((64, 64, 1)).at[:32].set(0.5)
    noise, sigma = light_noise(jax.random.key(0), light, jnp.full(1, 0.25))
    electrons = np.asarray(light + noise)[:32] / 0.25
    np.testing.assert_allclose(electrons, np.round(electrons), atol=1e-4)
    np.testing.assert_array_equal(noise[32:], 0.0)
    assert float(sigma[0, 0, 0]) == pytest.approx(np.sqrt(0.5 * 0.25))


FLAT = IMAGES.copy()
FLAT[3, ..., 1] = 1.0
INJECTED = PLAIN["injected"]


@pytest.mark.parametrize(("settings", "message"), [
    ({"table": {"fwhm": None}}, "injected.psf: cutouts without a PSF; expected a column fwhm or psf"),
    ({"table": {"fwhm": None, "fwhm_g": WIDTHS}}, "fwhm_r: no such column beside fwhm_g"),
    ({"table": {"fwhm": -WIDTHS}}, "fwhm: row 1: -0.7; expected a number above 0"),
    ({"table": {"theta": [np.nan, *THETA[1:]]}}, "theta is nan in row 0"),
    ({"pixel_scale": 0.3}, "pixels of 0.3 arcsec; expected 0.263 within 2%"),
    ({"unit": "nanomaggy"}, "pixels in 'nanomaggy'; expected counts per second"),
    ({"image": IMAGES[:, :20, :20]}, "images of 20 x 20 pixels in 2 bands; expected 24 x 24 in 2, or a size"),
    ({"tables": {"survey": {**PLAIN["survey"], "bands": ["r", "g"]}}}, "bands in the order g, r; expected r, g"),
    ({"tables": {"noise": {"kind": "camera"}}}, "noise: given for an injection"),
    ({"tables": {"injected": {**INJECTED, "shares": [0.5, 0.25, 0.5]}}}, "shares: got 0.5, 0.25, 0.5, of sum 1.25"),
    ({"tables": {"injected": {**INJECTED, "group": "night"}}}, "night: no such column"),
    ({"tables": {"injected": {**INJECTED, "part": "tests"}}}, "injected.part: got 'tests'"),
    ({"tables": {"source_light": []}}, "source_light: no source"),
    ({"tables": {"mass": [{"profile": "SIE", "theta_E": {"column": "thet"}}]}}, "(nearest: 'theta')"),
    ({"table": {"name": [f"g{k}" for k in range(1, COUNT + 1)]}}, "1 labels of images that are not there: g12"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_does_not_fit_is_said(settings, message, tmp_path):
    with pytest.raises(InputError) as error:
        loaded(tmp_path, **settings)
    assert message in str(error.value), str(error.value)


def test_a_cutout_without_noise_is_named_when_it_is_read(tmp_path):
    source = loaded(tmp_path, image=FLAT).made
    with pytest.raises(InputError, match="g3 has no noise in band 2"):
        source.rows(np.arange(6))


def test_a_finder_needs_scenes_without_light(tmp_path):
    with pytest.raises(InputError, match=r"extras\.lensed: missing, so that every image has light"):
        injected_in(loaded(tmp_path, tables={"extras": {"was": TIED}}))


def test_the_configuration_of_the_page_is_valid(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "cutouts.md").read_text()
    _, _, text = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    table = {"z": np.full(COUNT, 0.2), "sigma_v": np.full(COUNT, 220.0), "theta": None}
    file = write(tmp_path, table, image=np.random.default_rng(2).normal(size=(COUNT, 70, 70, 3)).astype(np.float32))
    with h5py.File(tmp_path / "galaxies.h5", "r+") as opened:
        opened["image"].attrs["bands"] = ["g", "r", "i"]
    file.write_text(text)
    simulation = load_simulation(file)
    assert load_training(file, {"finder": LensFinderConfig}).train.steps == 2000
    assert simulation.made.images.shape == (64, 64, 3) and simulation.made.scenes == 20


def test_images_go_together_as_one_by_one(tmp_path):
    """On an accelerator a batch is one program; here it is asked for, with turns and kernels of its own."""
    source = loaded(tmp_path, tables={"output": {**PLAIN["output"], "turns": True}}).made
    rows = np.arange(4)
    keys, cutouts = source._held(rows), source.backdrops.read(rows)
    found = jax.jit(jax.vmap(lambda key, cutout: source.injector(key, cutout)))(keys, cutouts)
    wanted = source.made(rows, keys)
    np.testing.assert_array_equal(found.truth["turn"], wanted.truth["turn"])
    np.testing.assert_allclose(found.parts["source"], wanted.parts["source"], rtol=1e-4, atol=1e-4)
    # A count that falls on the edge of an electron may fall to either side.
    assert np.mean(np.abs(np.asarray(found.image) - wanted.image) > 1e-3) < 1e-3


@pytest.mark.parametrize(("scale", "message"), [(0.263, ""), (0.3, "pixels of 0.3 arcsec; expected 0.263 within 2%")])
def test_a_folder_of_cutouts_has_its_pixel_scale_in_its_wcs(scale, message, tmp_path):
    file = write(tmp_path, tables={"injected": {**INJECTED, "images": "galaxies"}})
    (tmp_path / "galaxies").mkdir()
    header = fits.Header({"BANDS": "g r", "BUNIT": "count/s", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
                          "CRVAL1": 10.0, "CRVAL2": 0.0, "CDELT1": -scale / 3600.0, "CDELT2": scale / 3600.0})
    for k in range(COUNT):
        fits.writeto(tmp_path / "galaxies" / f"g{k}.fits", np.moveaxis(IMAGES[k], -1, 0), header)
    if message:
        with pytest.raises(InputError, match=message):
            load_simulation(file)
        return
    simulation = load_simulation(file)
    names, cutout = simulation.made.images.names, int(simulation.images(0, 1).truth["cutout"][0])
    assert simulation.images(0, 1).truth["mass.0.theta_E"][0] == pytest.approx(THETA[int(names[cutout][1:])])
