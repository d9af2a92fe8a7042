"""Data sets of lenstronomy and PyAutoLens, made here by their conventions, and the messages for files that are none."""

import json

import h5py
import numpy as np
import pytest
from astropy.io import fits
from test_init import SIDE, run, seen  # noqa: F401  # a fixture

from giga.io.errors import InputError
from giga.io.images.datasets import find_dataset
from giga.io.images.hdf5 import pixel_side
from giga.io.images.hdu import read_image
from giga.jobs.demo import BACKGROUND_RMS, PIXEL_SCALE
from giga.jobs.init import Wishes, begin

EXPOSURE = 2200.0


def lenstronomy(image, **changes):
    """The keyword arguments of its image data, with angles from the middle of the image."""
    corner = -0.5 * (SIDE - 1) * PIXEL_SCALE
    fields = dict(image_data=image, background_rms=BACKGROUND_RMS, exposure_time=EXPOSURE, ra_at_xy_0=corner,
                  dec_at_xy_0=corner, transform_pix2angle=PIXEL_SCALE * np.eye(2))
    return {name: value for name, value in (fields | changes).items() if value is not None}


def write(path, fields):
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value
    return path


def test_hdf5_of_lenstronomy_is_a_configuration(seen, tmp_path):  # noqa: F811
    image, kernel = seen
    file = write(tmp_path / "lens.h5", lenstronomy(image, kernel_point_source=kernel, psf_type="PIXEL"))
    begun = begin(file, Wishes(theta_E=1.17), tmp_path / "lens.toml")
    one = begun.observation
    np.testing.assert_array_equal(one.image, image)
    assert float(one.grid.pixel_scale) == pytest.approx(PIXEL_SCALE) and one.psf is not None
    assert (one.background_rms, one.exposure_time) == (BACKGROUND_RMS, EXPOSURE)
    for line in ('psf_hdu = "kernel_point_source"', 'image = "lens.h5"', "of the data set"):
        assert line in begun.text
    assert any("HDF5 as lenstronomy has it: background_rms ()" in note for note in begun.notes)
    assert not any("angles of the fit" in note for note in begun.notes)


def test_maps_and_a_psf_beside_the_image(seen, tmp_path):  # noqa: F811
    image, kernel = seen
    seconds = np.full(image.shape, EXPOSURE)
    mirrored = PIXEL_SCALE * np.diag([-1.0, 1.0])
    write(tmp_path / "image_lens_F814W.h5", lenstronomy(image, exposure_time=seconds, transform_pix2angle=mirrored))
    fine = np.kron(kernel, np.ones((3, 3))) / 9.0
    write(tmp_path / "psf_lens_F814W.h5", {"kernel_point_source": fine, "psf_variance_map": np.ones((33, 33)),
                                            "point_source_supersampling_factor": 3})
    begun = begin(tmp_path / "image_lens_F814W.h5", Wishes(theta_E=1.17, z_lens=0.4), tmp_path / "lens.toml")
    assert np.all(begun.observation.exposure_time == EXPOSURE) and "psf_supersampling = 3" in begun.text
    assert 'psf = "psf_lens_F814W.h5"' in begun.text and "z_lens = 0.4" in begun.text
    assert any("angles of the fit" in note and "[[-1.0, 0.0], [0.0, 1.0]]" in note for note in begun.notes)


@pytest.mark.parametrize("way", ["info.json", "header"])
def test_a_folder_of_pyautolens_is_a_configuration(seen, tmp_path, way):  # noqa: F811
    image, kernel = seen
    folder, mask = tmp_path / "lens", np.zeros(image.shape)
    mask[70:76, 95:100] = 1.0  # which is left out
    folder.mkdir()
    header = fits.Header({"PIXSCAY": str(PIXEL_SCALE)}) if way == "header" else fits.Header()
    if way == "info.json":
        info = {"pixel_scale": PIXEL_SCALE, "redshift_lens": 0.3, "slope": np.nan}
        (folder / "info.json").write_text(json.dumps(info))
    fits.writeto(folder / "data.fits", image, header)
    fits.writeto(folder / "noise_map.fits", np.full(image.shape, BACKGROUND_RMS))
    fits.writeto(folder / "psf.fits", kernel)
    fits.writeto(folder / "mask.fits", mask)
    done = run("init", folder, "--theta-e", 1.17, "--out", tmp_path / "lens.toml")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "lens.toml").read_text()
    for line in ('image = "lens/data.fits"', 'noise_map = "lens/noise_map.fits"', 'psf = "lens/psf.fits"',
                 'mask = "lens/mask.fits"', 'mask_is = "bad"', f"pixel_scale = {PIXEL_SCALE:g}"):
        assert line in text
    assert ("z_lens = 0.3" in text) == (way == "info.json")
    observation = begin(folder, Wishes(theta_E=1.17), tmp_path / "lens.toml").observation if way == "header" else None
    assert observation is None or not observation.mask[70:76, 95:100].any()


@pytest.mark.parametrize(("name", "content", "words"), [
    ("a.h5", {"cube": np.ones((2, 3, 3)), "rms": 1.0},
     ["HDF5 with cube (2, 3, 3), rms ()", "image_data, as lenstronomy"]),
    ("b.h5", {"image_data": np.ones((9, 9)), "transform_pix2angle": np.array([[1.0, 0.5], [0.0, 1.0]])},
     ["transform_pix2angle", "square pixels"]),
    ("folder", None, ["a folder with readme.txt", "data.fits or image.fits"]),
    ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(100), ["cannot be read", "it is a PNG picture"]),
    ("a.npy", b"\x93NUMPY" + bytes(100), ["it is an array of NumPy"]),
    ("a.fits", b"x,y\n1,2\n", ["it is a text"]), ("b.fits", b"", ["it is an empty file"]),
])
def test_what_is_neither_is_named(tmp_path, name, content, words):
    path = tmp_path / name
    if content is None:
        path.mkdir()
        (path / "readme.txt").write_text("nothing")
    elif isinstance(content, dict):
        write(path, content)
    else:
        path.write_bytes(content)
    done = run("init", path, "--out", tmp_path / "lens.toml")
    message = " ".join(done.stderr.split())
    assert done.exit_code == 2 and name in message and all(word in message for word in words), message
    assert not (tmp_path / "lens.toml").exists()


def test_arrays_are_hdus(tmp_path):
    image = np.arange(12.0).reshape(3, 4)
    file = write(tmp_path / "x.h5", {"a_map": np.ones((3, 4)), "image_data": image.astype(np.float32), "n": 3})
    np.testing.assert_array_equal(read_image(file)[0], image)
    assert read_image(file, "a_map")[0].sum() == 12.0
    with pytest.raises(InputError, match="no HDU 'b'; expected one of its HDUs: .*A_MAP"):
        read_image(file, "b")
    write(tmp_path / "y.h5", {"n": 3})
    with pytest.raises(InputError, match=r"y\.h5: image: cannot be read \(HDF5 with n \(\), and no image"):
        read_image(tmp_path / "y.h5")
    fits.writeto(tmp_path / "x.fits", image)
    assert find_dataset(tmp_path / "x.fits", "IMAGE") is None and find_dataset(tmp_path / "none", "IMAGE") is None


def test_sides_of_pixels():
    angle = np.deg2rad(30.0)
    turned = 0.05 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert pixel_side(turned) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="2 x 2"):
        pixel_side(np.ones(3))
