"""`giga init` and the audit: from an image to a configuration that a fit takes, and what is wrong with data."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from giga.cli import app
from giga.imaging.audit import audit
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF, plan
from giga.imaging.render import render
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, scene_from_config
from giga.io.errors import InputError
from giga.io.images.config import ObservationConfig
from giga.io.images.fits import load_observation
from giga.jobs.demo import BACKGROUND_RMS, PIXEL_SCALE, TRUTH
from giga.jobs.init import Wishes, begin
from giga.jobs.job import prepare

SIDE = 150


@pytest.fixture(scope="module")
def seen() -> tuple[np.ndarray, np.ndarray]:
    """The lens of the demonstration in a wider field, and its PSF."""
    psf = PSF.gaussian(0.1, PIXEL_SCALE, 11, supersampling=1)
    grid = Grid(shape=(SIDE, SIDE), pixel_scale=PIXEL_SCALE)
    clean = np.asarray(render(TRUTH, grid, plan(psf, grid.shape, np.float32)), float)
    noise = np.random.default_rng(3).normal(0.0, BACKGROUND_RMS, clean.shape)
    return clean + noise, np.asarray(psf.kernel, float)


@pytest.fixture(scope="module")
def folder(seen, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("init")
    fits.writeto(out / "image.fits", seen[0], fits.Header({"BUNIT": "electron/s", "EXPTIME": 2200.0}))
    fits.writeto(out / "psf.fits", seen[1])
    return out


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_init_writes_what_a_fit_takes(folder):
    done = run("init", folder / "image.fits", "--psf", folder / "psf.fits", "--pixel-scale", PIXEL_SCALE, "--out",
               folder / "lens.toml")
    assert done.exit_code == 0, done.output
    mass = (folder / "lens.toml").read_text().split("[[lens_light]]")[0]
    assert 'center_x = {same_as = "lens_light.0.center_x"}' in mass
    assert (folder / "lens.png").read_bytes().startswith(b"\x89PNG")
    config = load_config(folder / "lens.toml", fit_config_type=FitConfig)
    job = prepare(config)
    prior = scene_from_config(config).mass[0].theta_E
    assert float(np.exp(prior.loc)) == pytest.approx(1.17, rel=0.1)  # of the guess; the median of real lenses is 7% off
    assert prior.loc - 2.0 * prior.scale < np.log(1.17) < prior.loc + 2.0 * prior.scale
    (observation,) = job.observations
    assert observation.exposure_time == 2200.0
    assert observation.background_rms == pytest.approx(BACKGROUND_RMS, rel=0.1)  # measured on some 10^4 pixels of sky
    # A quad and its arcs lie inside the circle: within 1.8 Einstein radii.
    x, y = (np.asarray(a) for a in observation.grid.coordinates())
    assert observation.mask[np.hypot(x, y) < 1.5].all()
    again = run("init", folder / "image.fits", "--pixel-scale", PIXEL_SCALE, "--out", folder / "lens.toml")
    assert again.exit_code == 2 and "is there already" in again.stderr


@pytest.mark.parametrize(("words", "said"), [
    ([], ["--pixel-scale: missing"]), (["--pixel-scale", -1], ["--pixel-scale"]),
    (["--survey", "hst-asc"], ["--survey: got 'hst-asc'", "nearest: 'hst-acs'"]),
    (["--pixel-scale", 0.05, "--center", 1.0, 2.0], ["--center", "no celestial WCS"]),
    (["--pixel-scale", 0.05, "--pixel", 999, 2], ["--pixel: column 999", "outside the image"]),
    (["--pixel-scale", 0.05, "--noise", "psf.fits"], ["--noise: shape (11, 11)"]),
    (["--pixel-scale", 0.05, "--psf", "none.fits"], ["none.fits", "no such file"]),
    (["--pixel-scale", 0.05, "--z-lens", 0.6, "--z-source", 0.3], ["lens.toml: lens.z_source: got 0.3"]),
])
def test_bad_input_of_init_is_one_line_and_leaves_nothing(folder, tmp_path, words, said):
    words = [folder / word if str(word).endswith(".fits") else word for word in words]
    done = run("init", folder / "image.fits", *words, "--out", tmp_path / "lens.toml")
    assert done.exit_code == 2
    message = " ".join(done.stderr.split())
    assert all(word in message for word in said), message
    assert not list(tmp_path.iterdir())


def test_an_image_without_a_lens_is_refused(tmp_path):
    fits.writeto(tmp_path / "sky.fits", np.random.default_rng(0).normal(0.0, 1.0, (80, 80)))
    with pytest.raises(InputError, match="--theta-e: no light of a ring|IMAGE"):
        begin(tmp_path / "sky.fits", Wishes(pixel_scale=0.05), tmp_path / "lens.toml")


def test_an_unknown_unit_is_not_made_one(folder, tmp_path, seen):
    """Scaled counts, as of a stack: with the exposure time of their header their photons would be wrong."""
    header = fits.Header({"BUNIT": "Data Value", "EXPTIME": 3690.0, "GAIN": 36.0})
    fits.writeto(tmp_path / "image.fits", seen[0], header)
    begun = begin(tmp_path / "image.fits", Wishes(pixel_scale=PIXEL_SCALE, psf=folder / "psf.fits", theta_E=1.17),
                  tmp_path / "lens.toml")
    assert '\n# units = "counts/s"' in begun.text and "\nunits" not in begun.text
    assert begun.observation.exposure_time is None and any("which is not used" in note for note in begun.notes)


def test_samples_are_finer_than_the_source(folder, tmp_path, seen):
    """Pixels of four as from the ground, where two samples would have a softening as large as the source."""
    part = seen[0][:148, :148].reshape(37, 4, 37, 4).sum((1, 3))
    fits.writeto(tmp_path / "image.fits", part, fits.Header({"BUNIT": "electron/s", "EXPTIME": 2200.0}))
    begun = begin(tmp_path / "image.fits", Wishes(pixel_scale=4.0 * PIXEL_SCALE, survey="des", theta_E=1.17),
                  tmp_path / "lens.toml")
    (tmp_path / "lens.toml").write_text(begun.text)
    source = scene_from_config(load_config(tmp_path / "lens.toml", fit_config_type=FitConfig)).source_light[0]
    assert 3.0 * source.softening < source.R_sersic.base_dist.loc


def test_samples_are_as_fine_without_a_psf(tmp_path, seen):
    part = seen[0][:148, :148].reshape(37, 4, 37, 4).sum((1, 3))
    fits.writeto(tmp_path / "image.fits", part, fits.Header({"BUNIT": "electron/s", "EXPTIME": 2200.0}))
    begun = begin(tmp_path / "image.fits", Wishes(pixel_scale=4.0 * PIXEL_SCALE, theta_E=1.17), tmp_path / "lens.toml")
    assert "# psf =" in begun.text and begun.observation.psf is None and begun.observation.supersampling > 1


def test_pixels_of_a_mask_are_left_out(folder, tmp_path, seen):
    """As those without a value, which no fit takes."""
    image, mask = seen[0].copy(), np.zeros(seen[0].shape, np.uint8)
    image[70:73, 80:82], mask[70:73, 80:82] = np.nan, 1
    fits.writeto(tmp_path / "image.fits", image, fits.Header({"BUNIT": "electron/s"}))
    fits.writeto(tmp_path / "mask.fits", mask)
    words = ["init", tmp_path / "image.fits", "--psf", folder / "psf.fits", "--pixel-scale", PIXEL_SCALE, "--theta-e",
             1.17, "--out", tmp_path / "lens.toml"]
    bare = run(*words)
    assert bare.exit_code == 2 and "6 fitted pixels are NaN" in " ".join(bare.stderr.split())
    assert run(*words, "--mask", tmp_path / "mask.fits").exit_code == 0
    (observation,) = prepare(load_config(tmp_path / "lens.toml", fit_config_type=FitConfig)).observations
    assert not observation.mask[mask > 0].any() and observation.mask[74, 74]


def test_wishes_are_followed(folder):
    begun = begin(folder / "image.fits", Wishes(survey="hst-acs", theta_E=1.3, light="sersics", zero_point=25.9,
                                                z_lens=0.2), folder / "lens.toml")
    assert "median = 1.3, factor = 1.11" in begun.text
    assert "z_lens = 0.2\n# z_source = \n" in begun.text and begun.observation.zero_point == pytest.approx(25.9)
    assert begun.text.count('"Sersic"') == 3
    assert begun.observation.psf is not None and "correlation" not in begun.text


def observed(seen, **changes) -> Observation:
    image, kernel = seen
    row, column = np.indices(image.shape)
    mask = np.hypot(row - 74.5, column - 74.5) < 45
    fields = dict(image=image, grid=Grid(shape=image.shape, pixel_scale=PIXEL_SCALE), background_rms=BACKGROUND_RMS,
                  exposure_time=2200.0, mask=mask, psf=PSF.from_native(kernel, 2))
    return Observation(**(fields | changes))


def kinds(found, serious=False):
    return {one.kind for one in found.findings if one.serious or not serious}


@pytest.mark.parametrize("core", [0, 4])
def test_good_data_have_no_serious_finding(seen, core):
    """Nor have those whose innermost pixels are masked."""
    radius = np.hypot(*(np.indices(seen[0].shape) - 74.5))
    found = audit(observed(seen, mask=(radius < 45) & (radius >= core)), (0.0, 0.0))
    assert not found.serious and not kinds(found) & {"noise", "correlation", "pixels", "centring", "saturation", "mask"}
    assert found.numbers["scatter over noise"] == pytest.approx(1.0, abs=0.1)


def spoilt(image, **pixels):
    out = image.copy()
    for name, value in pixels.items():
        y, x = (int(k) for k in name[1:].split("_"))
        out[y, x] += value
    return out


GAUSSIAN = PSF.gaussian(0.12, PIXEL_SCALE, 15, 1)


def shifted(columns):
    return PSF(kernel=np.roll(GAUSSIAN.kernel, columns, 1), supersampling=1)


def hollow(middle):
    kernel = np.array(PSF.gaussian(0.4, PIXEL_SCALE, 15, 1).kernel)
    kernel[7, 7] = middle
    return PSF(kernel=kernel / kernel.sum(), supersampling=1)


@pytest.mark.parametrize(("kind", "serious", "change"), [
    ("noise", True, lambda i: {"background_rms": 3.0 * BACKGROUND_RMS}),
    ("noise", True, lambda i: {"background_rms": 0.3 * BACKGROUND_RMS}),
    ("sky", True, lambda i: {"image": i - 3.0 * BACKGROUND_RMS}),
    ("psf", True, lambda i: {"psf": None}),
    ("psf", True, lambda i: {"psf": PSF.gaussian(0.05, PIXEL_SCALE, 11, 1)}),
    ("psf", True, lambda i: {"psf": shifted(2)}),
    ("psf", True, lambda i: {"psf": hollow(-0.5)}),
    ("pixels", False, lambda i: {"image": spoilt(i, p60_70=0.5, p95_100=-0.5)}),
    ("saturation", True, lambda i: {"image": np.minimum(i, 0.5 * i.max())}),
    ("saturation", True, lambda i: {"saturation": 0.9 * i.max()}),
    ("saturation", True, lambda i: {"saturation": np.where(i < i.max(), np.inf, i.max())}),  # of each pixel
    ("mask", False, lambda i: {"mask": np.hypot(*(np.indices(i.shape) - 74.5)) < 23}),
    ("noise", False, lambda i: {"exposure_time": None}),
])
def test_what_is_wrong_is_found(seen, kind, serious, change):
    found = audit(observed(seen, **change(seen[0])), (0.0, 0.0))
    assert kind in kinds(found, serious), found.findings


@pytest.mark.parametrize("key", ["SATURATE", "SATURATA"])
def test_the_saturation_level_of_a_header_is_followed(folder, tmp_path, seen, key):
    """It is in the unit of the image, whatever the fit's is; a level that no pixel has is no finding."""
    level, exposure = 0.9 * seen[0].max(), 100.0
    for name, share in (("full", 1.0), ("empty", 2.0)):
        header = fits.Header({"BUNIT": "electron", "EXPTIME": exposure, key: share * level * exposure})
        fits.writeto(tmp_path / f"{name}.fits", exposure * seen[0], header)
        config = ObservationConfig(image=tmp_path / f"{name}.fits", units="counts", pixel_scale=PIXEL_SCALE,
                                   background_rms=exposure * BACKGROUND_RMS, psf=folder / "psf.fits", supersampling=2)
        notes = []
        observation = load_observation(config, notes=notes)
        assert observation.saturation == pytest.approx(share * level) and any(f"({key})" in note for note in notes)
        assert ("saturation" in kinds(audit(observation), serious=True)) == (name == "full")
    assert load_observation(dataclasses.replace(config, from_header=False, exposure_time=exposure)).saturation is None


def test_correlated_noise_and_a_centre_elsewhere_are_found(seen):
    clean = seen[0] - np.random.default_rng(3).normal(0.0, BACKGROUND_RMS, seen[0].shape)
    white = np.random.default_rng(4).normal(0.0, BACKGROUND_RMS, seen[0].shape)
    drizzled = (white + np.roll(white, 1, 0) + np.roll(white, 1, 1) + np.roll(white, (1, 1), (0, 1))) / 2.0
    found = audit(observed(seen, image=clean + drizzled), (0.9, 0.0))
    assert "correlation" in kinds(found) and "centring" in kinds(found, serious=True)
    assert found.numbers["correlation along rows"] == pytest.approx(0.5, abs=0.06)  # of a box of 2 x 2 pixels
    assert found.numbers["light from the prior's centre"] == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("with_map", [False, True])
def test_init_sets_the_correlation_of_a_drizzled_sky(seen, folder, tmp_path, with_map):
    """Of sums of 2 x 2 pixels; a map of half of the scatter needs its scale, too."""
    clean = seen[0] - np.random.default_rng(3).normal(0.0, BACKGROUND_RMS, seen[0].shape)
    white = np.random.default_rng(4).normal(0.0, BACKGROUND_RMS, seen[0].shape)
    drizzled = (white + np.roll(white, 1, 0) + np.roll(white, 1, 1) + np.roll(white, (1, 1), (0, 1))) / 2.0
    fits.writeto(tmp_path / "image.fits", clean + drizzled)
    fits.writeto(tmp_path / "noise.fits", np.full(clean.shape, 0.5 * BACKGROUND_RMS))
    wishes = Wishes(noise=tmp_path / "noise.fits" if with_map else None, psf=folder / "psf.fits",
                    pixel_scale=PIXEL_SCALE, theta_E=1.17)
    begun = begin(tmp_path / "image.fits", wishes, tmp_path / "lens.toml")
    assert 'correlation = "measure"' in begun.text and "# of neighbouring sky pixels: 0." in begun.text
    assert ('noise_scale = "measure"' in begun.text) == with_map
    middle = len(begun.observation.correlation) // 2
    assert begun.observation.correlation[middle, middle + 1] == pytest.approx(0.5, abs=0.06)
    assert np.median(begun.observation.sigma()[begun.observation.mask]) == pytest.approx(BACKGROUND_RMS, rel=0.15)


def test_the_audit_on_the_command_line(folder, tmp_path):
    done = run("init", folder / "image.fits", "--survey", "hst-acs", "--out", tmp_path / "lens.toml")
    assert done.exit_code == 0, done.output
    done = run("audit", tmp_path / "lens.toml", "--out", tmp_path / "audit.png", "--strict")
    assert done.exit_code == 0, done.output
    assert "audit:" in done.output and (tmp_path / "audit.png").stat().st_size > 1000
    wrong = ["--set", f"observation.0.background_rms={5.0 * BACKGROUND_RMS}", "--strict"]
    for command in (["audit", tmp_path / "lens.toml"], ["fit", tmp_path / "lens.toml", "--out", tmp_path / "run"]):
        done = run(*command, *wrong)
        assert done.exit_code == 2 and "--strict" in done.stderr and "sky scatters" in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()
