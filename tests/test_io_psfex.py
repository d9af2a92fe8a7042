"""PSFEx models: the polynomial, the sampling, and both layouts of their tables."""

import numpy as np
import pytest
from astropy.io import fits

from giga.io.errors import InputError
from giga.io.images.psfex import read_psfex

STEP, SIDE = 0.8, 31
AXIS = (np.arange(SIDE) - SIDE // 2) * STEP


def gaussian(sigma):
    image = np.exp(-0.5 * (AXIS[:, None] ** 2 + AXIS**2) / sigma**2)
    return image / image.sum()


TERMS = np.array([gaussian(1.6), 0.2 * gaussian(1.9), 0.05 * gaussian(1.5), -0.1 * gaussian(1.4), 0.03 * gaussian(1.7),
                  0.02 * gaussian(1.8)])
KEYS = {"POLNAXIS": 2, "POLNGRP": 1, "POLGRP1": 1, "POLNAME1": "X_IMAGE", "POLZERO1": 1000.0, "POLSCAL1": 900.0,
        "POLGRP2": 1, "POLNAME2": "Y_IMAGE", "POLZERO2": 2000.0, "POLSCAL2": 1800.0, "POLDEG1": 2, "PSF_SAMP": STEP,
        "PSFNAXIS": 3, "PSFAXIS1": SIDE, "PSFAXIS2": SIDE, "PSFAXIS3": 6}


def write(path, terms=TERMS, changes=None):
    """What PSFEx writes: one row, keywords in the header."""
    keys = KEYS | (changes or {})
    k = terms.shape[-1]
    column = fits.Column("PSF_MASK", f"{terms.size}E", dim=f"({k},{terms.shape[1]},{len(terms)})", array=terms[None])
    table = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    table.header.update({key: value for key, value in keys.items() if value is not None})
    table.writeto(path)
    return path


def write_merged(path, terms=TERMS):
    """A row for each detector, keywords as columns."""
    both = np.stack([0.5 * terms, terms])
    columns = [fits.Column("psf_mask", f"{terms.size}E", dim=f"({SIDE},{SIDE},6)", array=both)]
    for key, value in KEYS.items():
        kind = {int: "K", float: "D", str: "8A"}[type(value)]
        columns.append(fits.Column(key.lower(), kind, array=np.array([value, value])))
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


def test_the_polynomial_of_the_position(tmp_path):
    model = read_psfex(write(tmp_path / "a.psf"))
    u, v = 0.5, -0.25
    x, y = 1000.0 + 900.0 * u - 1.0, 2000.0 + 1800.0 * v - 1.0  # PSFEx counts pixels from one
    wanted = sum(p * t for p, t in zip((1.0, u, u * u, v, u * v, v * v), TERMS, strict=True))
    np.testing.assert_allclose(model.samples(x, y), wanted, rtol=1e-5, atol=1e-9)


def test_a_gaussian_is_resampled_to_pixels(tmp_path):
    constant = np.concatenate([TERMS[:1], np.zeros_like(TERMS[1:])])
    kernel = read_psfex(write(tmp_path / "a.psf", constant)).kernel(10.0, 20.0)
    axis = np.arange(len(kernel)) - len(kernel) // 2
    wanted = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / 1.6**2)
    assert kernel.shape[0] % 2 == 1 and kernel.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(kernel, wanted / wanted.sum(), atol=5e-3 * kernel.max())  # Lanczos-4 of a smooth image


def test_a_band_takes_it(tmp_path):
    psf = read_psfex(write(tmp_path / "a.psf")).at(500.0, 800.0, pixel_scale=0.263)
    fine = psf.psf(0.263, 2)
    assert fine.supersampling == 2 and float(fine.kernel.sum()) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="the survey's are 0.2 arcsec"):
        psf.psf(0.2)


def test_both_layouts_are_read(tmp_path):
    one = read_psfex(write(tmp_path / "a.psf"))
    merged = read_psfex(write_merged(tmp_path / "b.fits"), row=1)
    np.testing.assert_allclose(merged.samples(300.0, 700.0), one.samples(300.0, 700.0), rtol=1e-6)
    assert (merged.step, merged.zero, merged.scale) == (one.step, one.zero, one.scale)


def test_a_constant_psf(tmp_path):
    model = read_psfex(write(tmp_path / "a.psf", TERMS[:1], {"POLNAXIS": 0, "POLDEG1": None}))
    np.testing.assert_allclose(model.samples(5.0, 5.0), TERMS[0], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: p, "no such file"),
    (lambda p: write(p, changes={"POLDEG1": 3}), "6 images for a polynomial of degree 3; expected 10"),
    (lambda p: write(p, changes={"POLNAXIS": 3}), "3 context variables"),
    (lambda p: write(p, changes={"PSF_SAMP": None}), "no keyword PSF_SAMP"),
    (lambda p: write(p, TERMS[:, :, :-1]), r"PSF_MASK of shape \(6, 31, 30\)"),
    (lambda p: fits.PrimaryHDU(np.ones((3, 3))).writeto(p) or p, "no table with the column PSF_MASK"),
    (lambda p: p.write_bytes(b"not FITS") and p, "cannot be read"),
])
def test_bad_files_are_refused(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        read_psfex(make(tmp_path / "x.psf"))


def test_a_missing_row_is_refused(tmp_path):
    with pytest.raises(InputError, match="row 1; expected one of the 1 rows"):
        read_psfex(write(tmp_path / "x.psf"), row=1)
