"""Noise maps of DES J0408-5354 that know how wrong its PSF is.

    python examples/time_delay_quad/noise.py DESJ0408_time_delay_cosmography/data

writes noise_BAND.fits for each band beside them (or in the folder --out): the background, the photons, and
psf_error_map, the relative variance of the PSF's pixels, times (flux of the quasar's image x PSF)^2. The fluxes are
those of the PSF and a plane that fit the 5 x 5 pixels about each image best.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
from astropy.io import fits
from scipy.ndimage import shift

SEEN = {  # where the quasar's images are in each band, arcsec from the middle: those of desj0408.toml less its offset
    "f814w": (0.04, 0.0, 0.0), "f475x": (0.04, 0.018, 0.001), "f160w": (0.08, -0.169, 0.030)}
X, Y = (-1.918, 1.951, 1.834, -0.085), (-1.552, -0.921, 0.302, 1.409)
REACH = 2  # pixels to either side of an image


def laid(kernel: np.ndarray, shape: tuple[int, ...], x: float, y: float) -> np.ndarray:
    """A kernel with its middle at a place in pixels, on an image."""
    column, row = round(x), round(y)
    moved = shift(kernel, (y - row, x - column), order=1)
    side = len(kernel) // 2
    out = np.zeros(tuple(n + 2 * side for n in shape))
    out[row:row + 2 * side + 1, column:column + 2 * side + 1] = moved
    return out[side:-side, side:-side]


def variance(data: h5py.File, psf: h5py.File, scale: float, off_x: float, off_y: float) -> np.ndarray:
    """Variance of each pixel [(counts / s)^2]."""
    image, exposure = np.asarray(data["image_data"]), np.asarray(data["exposure_map"])
    kernel, error = np.asarray(psf["kernel_point_source"]), np.asarray(psf["psf_error_map"])
    out = float(np.asarray(data["background_rms"])) ** 2 + np.maximum(image, 0.0) / exposure
    middle = 0.5 * (image.shape[0] - 1)
    for x, y in zip(X, Y, strict=True):
        at = (x - off_x) / scale + middle, (y - off_y) / scale + middle
        box = tuple(slice(round(p) - REACH, round(p) + REACH + 1) for p in at[::-1])
        point = laid(kernel, image.shape, *at)
        rows, columns = np.mgrid[box]
        basis = np.stack([point[box].ravel(), np.ones(rows.size), rows.ravel() - rows.mean(),
                          columns.ravel() - columns.mean()], 1)
        flux = max(np.linalg.lstsq(basis, image[box].ravel(), rcond=None)[0][0], 0.0)
        out += laid(error, image.shape, *at) * (flux * point) ** 2
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("--out", type=Path, help="folder of the maps; that of the data by default")
    options = parser.parse_args()
    out = options.out or options.data
    out.mkdir(parents=True, exist_ok=True)
    for band, place in SEEN.items():
        with h5py.File(options.data / f"data_{band}.hdf5") as data, h5py.File(options.data / f"psf_{band}.hdf5") as psf:
            noise = np.sqrt(variance(data, psf, *place))
        fits.writeto(out / f"noise_{band}.fits", noise.astype(np.float32), overwrite=True)
        print(f"{band}: {np.median(noise):.4f} in the middle of all pixels, at most {noise.max():.3f}")


if __name__ == "__main__":
    main()
