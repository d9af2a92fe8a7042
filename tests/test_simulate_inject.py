"""Light added to real images, in memory and in files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits

from giga.imaging.grid import Grid
from giga.imaging.observation import check_kernel
from giga.imaging.psf import plan
from giga.imaging.render import render
from giga.io.errors import InputError
from giga.io.images.inject import Target, inject_files
from giga.io.images.sky import celestial_wcs
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.mass import SIE
from giga.simulate.inject import Backdrop, inject, light_of, scene_in
from giga.simulate.surveys.survey import GaussianPSF

KEY = jax.random.key(5)
GRID = Grid(shape=(32, 36), pixel_scale=0.2)
PSFS = [GaussianPSF(0.6).psf(0.2, 2), GaussianPSF(0.9).psf(0.2, 2)]


def arc(amp):
    return Scene(mass=[SIE(theta_E=1.2, e1=0.1, e2=0.0, center_x=0.0, center_y=0.0)],
                 source_light=[Sersic(amp=amp, R_sersic=0.2, n_sersic=1.0, e1=0.0, e2=0.0, center_x=0.2, center_y=0.1)])


def test_bands_have_their_own_light_and_psf():
    light = light_of(arc(jnp.array([30.0, 50.0])), GRID, PSFS)
    assert light.shape == (32, 36, 2)
    for k, amp in enumerate((30.0, 50.0)):
        wanted = jax.jit(render)(arc(amp), GRID, plan(PSFS[k], GRID.shape))
        # Compiled apart: float32 sums in another order.
        np.testing.assert_allclose(light[..., k], wanted, rtol=1e-4, atol=1e-5 * float(jnp.max(wanted)))


def test_amplitudes_of_a_set_are_not_bands():
    scene = Scene(source_light=[Shapelets(n_max=1, beta=0.2, center_x=0.0, center_y=jnp.array([0.0, 0.1]),
                                          amp=jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))])
    second = scene_in(scene, 1).source_light[0]
    np.testing.assert_array_equal(second.amp, [4.0, 5.0, 6.0])
    assert float(second.center_y) == pytest.approx(0.1)
    plain = Scene(source_light=[Shapelets(n_max=1, beta=0.2, center_x=0.0, center_y=0.0, amp=jnp.ones(3))])
    assert scene_in(plain, 1).source_light[0].amp.shape == (3,)


def test_only_the_lights_own_photon_noise_is_new():
    image = np.random.default_rng(0).normal(size=(128, 128, 1)).astype(np.float32)
    light = np.zeros((128, 128, 1), np.float32)
    light[:64] = 40.0
    added = inject(KEY, image, light, 0.5)
    np.testing.assert_array_equal(added.image[64:], image[64:])
    np.testing.assert_array_equal(added.noise[64:], 0.0)
    np.testing.assert_allclose(added.image, image + added.light + added.noise, rtol=1e-6)
    # 8192 pixels of variance 40 * 0.5.
    assert float(np.mean(added.noise[:64])) == pytest.approx(0.0, abs=4 * np.sqrt(20 / 8192))
    assert float(np.std(added.noise[:64])) == pytest.approx(np.sqrt(20.0), rel=0.03)


def test_faint_light_comes_in_whole_electrons():
    light = np.full((64, 64, 1), 2.0, np.float32)
    added = inject(KEY, np.zeros((64, 64, 1)), light, 0.5)  # four electrons a pixel
    electrons = np.asarray(added.light + added.noise) / 0.5
    np.testing.assert_allclose(electrons, np.round(electrons), atol=1e-4)
    assert electrons.mean() == pytest.approx(4.0, abs=0.13)


def test_without_a_gain_there_is_no_noise():
    added = inject(KEY, np.ones((8, 8, 1)), np.ones((8, 8, 1)), None)
    np.testing.assert_array_equal(added.image, 2.0)


def test_shapes_and_nan_are_refused():
    with pytest.raises(ValueError, match=r"shape \(8, 9, 1\); the light has \(8, 8, 1\)"):
        inject(KEY, np.ones((8, 9, 1)), np.ones((8, 8, 1)), None)
    with pytest.raises(ValueError, match="64 pixels are NaN"):
        inject(KEY, np.ones((8, 8, 1)), np.full((8, 8, 1), np.nan), None)


def test_a_backdrop_keeps_its_galaxy_in_the_centre():
    bank = np.random.default_rng(0).normal(size=(4, 21, 21, 1)).astype(np.float32)
    bank[:, 10, 10] = 500.0
    noise = Backdrop.of(bank, (15, 15), photon=0.1)
    samples, sigma = jax.jit(jax.vmap(lambda key: noise(key, jnp.zeros((15, 15, 1)))))(jax.random.split(KEY, 20))
    np.testing.assert_array_equal(samples[:, 7, 7, 0], 500.0)
    assert len({float(s[0, 0, 0]) for s in samples}) > 8  # four galaxies, eight turns
    assert sigma.shape == samples.shape


def write(path, shape=(40, 44), scale=0.2, seed=0):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 20.0, "CRPIX2": 18.0, "CRVAL1": 30.0,
                          "CRVAL2": -5.0, "CDELT1": -scale / 3600, "CDELT2": scale / 3600, "OBSERVER": "Hubble"})
    fits.writeto(path, np.random.default_rng(seed).normal(size=shape).astype(np.float32), header if scale else None)
    return path


def target(path, **changes):
    return Target(**({"image": path, "psf": GaussianPSF(0.7), "photon": 0.1} | changes))


def test_files_keep_their_header_and_wcs(tmp_path):
    files = [write(tmp_path / f"{b}.fits", seed=k) for k, b in enumerate("gr")]
    added, written = inject_files(KEY, [target(f) for f in files], arc(jnp.array([30.0, 50.0])), tmp_path / "out")
    assert written == [tmp_path / "out" / "g.fits", tmp_path / "out" / "r.fits"]
    for k, (before, after) in enumerate(zip(files, written, strict=True)):
        with fits.open(before) as old, fits.open(after) as new:
            assert new[0].header["OBSERVER"] == "Hubble" and new[0].header["INJECTED"] is True
            for name in (0, "LIGHT", "NOISE"):
                ours = celestial_wcs(new[name].header)
                np.testing.assert_allclose(ours.wcs_pix2world([[3, 30]], 0),
                                           celestial_wcs(old[0].header).wcs_pix2world([[3, 30]], 0), rtol=1e-9)
            np.testing.assert_allclose(new[0].data, old[0].data + new["LIGHT"].data + new["NOISE"].data, atol=1e-5)
            np.testing.assert_allclose(new["LIGHT"].data, added.light[..., k], rtol=1e-6)
            truth = {row["name"]: row["value"] for row in new["TRUTH"].data}
            assert truth["mass.0.theta_E"][0] == 1.2 and list(truth["source_light.0.amp"]) == [30.0, 50.0]


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: ([], "out"), "no image"),
    (lambda p: ([target(p / "none.fits")], "out"), "no such file"),
    (lambda p: ([target(write(p / "a.fits"))], "."), "would be overwritten; expected another folder"),
    (lambda p: ([target(write(p / "a.fits")), target(write(p / "b.fits", (30, 30)))], "out"), r"\(30, 30\) pixels"),
    (lambda p: ([target(write(p / "a.fits", scale=0.0))], "out"), "pixel_scale: missing"),
    (lambda p: ([target(write(p / "a.fits"), psf=GaussianPSF(9.0))], "out"), "wider than the image"),
])
def test_bad_input_is_refused(tmp_path, make, message):
    targets, out = make(tmp_path)
    with pytest.raises(InputError, match=message):
        inject_files(KEY, targets, arc(30.0), tmp_path / out)


def test_kernels_fit_the_images():
    for psf in PSFS:
        check_kernel(np.asarray(psf.kernel), 2, GRID.shape)
