"""Point-spread functions: kernels, their supersampling, and the way they are applied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jax import Array
from jax.custom_derivatives import SymbolicZero

from giga.component import AnyArray, Component, static
from giga.imaging.resampling import Resampling, as_lenstronomy, bin_kernel, fine_side, integrated
from giga.runtime.products import HIGHEST, einsum

TOGETHER = 20  # images in one batch of transforms


class PSF(Component):
    """A PSF kernel of odd side that sums to one.

    Attributes:
        kernel: Shape (k, k), sampled at 1 / supersampling of a pixel and integrated over a subpixel.
        supersampling: Subpixels a side.
    """

    kernel: AnyArray
    supersampling: int = static(default=1)

    @staticmethod
    def gaussian(fwhm: float, pixel_scale: float, size: int, supersampling: int = 1) -> PSF:
        """A Gaussian sampled at (sub)pixel centres.

        Args:
            fwhm: Full width at half maximum [arcsec].
            pixel_scale: Side of a pixel [arcsec].
            size: Side of the kernel in pixels, odd; it grows to cover as much when supersampled.
            supersampling: Subpixels a side.
        """
        side = fine_side(size, supersampling)
        axis = (np.arange(side) - side // 2) * pixel_scale / supersampling
        line = np.exp(-0.5 * (axis / (fwhm / 2.3548200450309493)) ** 2)
        kernel = np.outer(line, line)
        return PSF(kernel=jnp.asarray(kernel / kernel.sum()), supersampling=supersampling)

    @staticmethod
    def from_native(kernel: np.ndarray, supersampling: int, resampling: Resampling = "integrated") -> PSF:
        """Resample a kernel given at the pixel scale.

        Args:
            kernel: Shape (k, k), k odd.
            supersampling: Subpixels a side.
            resampling: "integrated" takes each value as the PSF integrated over a pixel, as a star
                on the detector shows it, and finds a smooth PSF whose integrals they are; noise and negative
                wings are kept, so that flux and centroid are those of the kernel.
                "lenstronomy" gives the kernel that lenstronomy's `subgrid_kernel` gives, broader by
                part of a pixel, for images that were simulated with it.
        """
        if resampling not in ("integrated", "lenstronomy"):
            raise ValueError(f"psf resampling: expected 'integrated' or 'lenstronomy', got {resampling!r}")
        kernel = np.asarray(kernel, float)
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
            raise ValueError(f"psf: kernel must be square with an odd side, got shape {kernel.shape}")
        if supersampling > 1:
            kernel = (integrated if resampling == "integrated" else as_lenstronomy)(kernel, supersampling)
        return PSF(kernel=jnp.asarray(kernel / kernel.sum()), supersampling=supersampling)

    def fwhm(self, pixel_scale: float) -> float:
        """Full width at half maximum, for pixels of some side [arcsec]."""
        return half_maximum(np.asarray(self.kernel, float)) * pixel_scale / self.supersampling

    def at(self, supersampling: int) -> PSF:
        """The same PSF at a coarser supersampling that divides its own."""
        factor, rest = divmod(self.supersampling, supersampling)
        if rest:
            raise ValueError(f"psf: supersampling {supersampling} does not divide the kernel's {self.supersampling}")
        if factor == 1:
            return self
        return PSF(kernel=jnp.asarray(bin_kernel(np.asarray(self.kernel), factor)), supersampling=supersampling)


def gaussian_outside(fwhm: float, width: float) -> float:
    """Share of a Gaussian's light outside a square about its centre.

    Args:
        fwhm: Full width at half maximum.
        width: Side of the square, in the same unit.
    """
    sigma = fwhm / 2.3548200450309493
    return 1.0 - math.erf(0.5 * width / (math.sqrt(2.0) * sigma)) ** 2


def half_maximum(kernel: np.ndarray) -> float:
    """Full width at half maximum of a kernel through its centre, mean of rows and columns [samples]."""
    middle = len(kernel) // 2
    lines = (kernel[middle, middle:], kernel[middle, middle::-1], kernel[middle:, middle], kernel[middle::-1, middle])
    widths = []
    for line in lines:
        below = int(np.argmax(line < 0.5 * line[0])) or len(line) - 1
        widths.append(below - (0.5 * line[0] - line[below]) / (line[below - 1] - line[below]))
    return 0.5 * float(np.sum(widths))


class Convolution(Component):
    """A PSF made ready for images of one shape: subpixel phases in, pixels out.

    Averaging over subpixels and convolving on the fine grid is one linear map. In the Fourier
    domain it is a sum over the s*s subpixel phases of native-size products, so the fine grid is
    never transformed: s*s forward transforms and one back, all of the native size.

    Attributes:
        transfer: Fourier transforms of the phases' kernels, shape (s*s, my, mx//2+1) for "fft";
            the phases' kernels, shape (1, s*s, k, k), for "direct"; the factors' bands for
            "lowrank", (rows, columns).
        native: The same for an image sampled once a pixel, one phase: the kernel summed over pixels.
        origin: Zero, in an array: a corner that XLA does not know keeps a padding out of the profiles.
        method: "fft", "direct" or "lowrank".
        shape: (ny, nx) of the image.
        padded: (my, mx) of the transforms.
        supersampling: s.
    """

    transfer: Any  # Array, or (Array, Array) for "lowrank"
    native: Any
    origin: Array
    method: str = static()
    shape: tuple[int, int] = static()
    padded: tuple[int, int] = static()
    supersampling: int = static()

    def __call__(self, phases: Array) -> Array:
        """Convolve and bin.

        Args:
            phases: Shape (s*s, ny, nx) from `Grid.phases`, or (1, ny, nx) when sampled once a pixel.

        Returns:
            Shape (ny, nx): the mean over each pixel of the convolved brightness, zero outside.
        """
        ny, nx = self.shape
        kernel = self.native if len(phases) == 1 else self.transfer
        if self.method == "fft":
            return _fft_convolve(self.padded, kernel, self.origin, phases)[:ny, :nx]
        if self.method == "direct":
            return jax.lax.conv_general_dilated(phases[None], kernel, (1, 1), "SAME", precision=HIGHEST)[0, 0]
        rows, columns = kernel
        s = math.isqrt(len(phases))
        # Phases side by side make two large products of s*s small ones, at three quarters of the work.
        tiled = phases.reshape(s, s, ny, nx).swapaxes(1, 2).reshape(s * ny, s * nx)
        return einsum("rij,jk,rkl->il", rows, tiled, columns, optimize=[(0, 1), (0, 1)])

    def many(self, images: Sequence[Array]) -> Array:
        """Convolve several images sampled alike, shape (len(images), ny, nx).

        With "fft" each image is written straight to its place on the padded grid, a few at a time: stacked
        first, they would be copied twice, and all together they do not fit a cache.
        """
        if self.method != "fft":
            return jax.vmap(self)(jnp.stack(images))
        ny, nx = self.shape
        kernel = self.native if len(images[0]) == 1 else self.transfer
        groups = -(-len(images) // TOGETHER)
        size = -(-len(images) // groups)
        parts = [_fft_convolve_many(self.padded, kernel, self.origin, list(images[k:k + size]))
                 for k in range(0, len(images), size)]
        return jnp.concatenate(parts)[:, :ny, :nx]

    def stacked(self, images: Array) -> Array:
        """Convolve a stack of images sampled alike, shape (n, phases, ny, nx), in a loop over a few at a time."""
        return jax.lax.map(self, images, batch_size=min(TOGETHER, len(images)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fft_convolve(padded: tuple[int, int], kernel: Array, origin: Array, phases: Array) -> Array:
    """Sum over phases of their convolutions with their kernels, on the padded grid.

    The phases are laid on the padded grid at a corner that XLA does not know. With `jnp.pad` it would
    evaluate the profiles inside the padding, with a branch a pixel, at several times the cost.
    """
    canvas = jnp.zeros((len(phases), *padded), phases.dtype)
    return _product(padded, kernel, jax.lax.dynamic_update_slice(canvas, phases, (origin,) * 3))


@partial(_fft_convolve.defjvp, symbolic_zeros=True)
def _fft_convolve_jvp(padded, primals, tangents):
    # Where derivatives are taken the phases are stored anyway, and the plain padding is the faster one.
    kernel, _, phases = primals
    kernel_dot, _, phases_dot = tangents
    ny, nx = phases.shape[1:]

    def convolve(kernel: Array, image: Array) -> Array:
        return _product(padded, kernel, jnp.pad(image, ((0, 0), (0, padded[0] - ny), (0, padded[1] - nx))))

    out = convolve(kernel, phases)
    tangent = jnp.zeros_like(out)
    if not isinstance(phases_dot, SymbolicZero):
        tangent = tangent + convolve(kernel, phases_dot)
    if not isinstance(kernel_dot, SymbolicZero):
        tangent = tangent + convolve(kernel_dot, phases)
    return out, tangent


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fft_convolve_many(padded: tuple[int, int], kernel: Array, origin: Array, images: list[Array]) -> Array:
    canvas = jnp.zeros((len(images), len(images[0]), *padded), images[0].dtype)
    for k, image in enumerate(images):
        canvas = jax.lax.dynamic_update_slice(canvas, image[None], (origin + k, origin, origin, origin))
    return _product(padded, kernel, canvas)


@_fft_convolve_many.defjvp
def _fft_convolve_many_jvp(padded, primals, tangents):
    kernel, origin, images = primals
    kernel_dot, origin_dot, images_dot = tangents
    convolve = partial(_fft_convolve, padded)

    def all_of(kernel, origin, images):
        return jax.vmap(convolve, (None, None, 0))(kernel, origin, jnp.stack(images))

    return jax.jvp(all_of, (kernel, origin, images), (kernel_dot, origin_dot, images_dot))


def _product(padded: tuple[int, int], kernel: Array, canvas: Array) -> Array:
    return jnp.fft.irfft2(jnp.sum(jnp.fft.rfft2(canvas) * kernel, axis=-3), padded)


def plan(psf: PSF, shape: tuple[int, int], dtype=np.float32, method: str = "auto") -> Convolution:
    """Make a PSF ready for images of a shape. Done once, on the host, in float64.

    Args:
        psf: The kernel and its supersampling.
        shape: (ny, nx) of the image.
        dtype: Precision of the images.
        method: "fft", "direct", "lowrank", or "auto" (measured by `benchmarks/psf.py`: low rank for
            a separable kernel, else FFT; direct is never the fastest).
    """
    fine, s = np.asarray(psf.kernel, float), psf.supersampling
    stack, native = _phase_kernels(fine, s), _phase_kernels(bin_kernel(fine, s), 1)
    if method == "auto":
        method = choose_method(fine)
    size = stack.shape[-1]
    padded = fast_length(shape[0] + size // 2), fast_length(shape[1] + size // 2)
    if method == "lowrank":
        transfer, coarse = _bands(fine, s, shape, dtype), _bands(bin_kernel(fine, s), 1, shape, dtype)
    elif method == "direct":
        transfer, coarse = (np.asarray(k[None, :, ::-1, ::-1], dtype) for k in (stack, native))
    elif method == "fft":
        transfer, coarse = (_transform(k, padded, dtype) for k in (stack, native))
    else:
        raise ValueError(f"convolution method: expected 'auto', 'fft', 'direct' or 'lowrank', got {method!r}")
    return Convolution(transfer=transfer, native=coarse, origin=jnp.asarray(0, np.int32), method=method, shape=shape,
                       padded=padded, supersampling=s)


def fast_length(n: int) -> int:
    """Smallest length from n on whose transform is fast."""
    return int(scipy.fft.next_fast_len(n, real=True))  # pyright: ignore[reportArgumentType]


def choose_method(kernel: np.ndarray) -> str:
    """The method that measures fastest in value and gradient: low rank for a separable kernel, else FFT."""
    return "lowrank" if rank(kernel) == 1 else "fft"


def rank(kernel: np.ndarray, tolerance: float = 1e-7) -> int:
    """Number of separable terms that reproduce a kernel to a tolerance of its peak."""
    values = np.linalg.svd(kernel, compute_uv=False)
    return int(np.sum(values > tolerance * values[0]))


def _phase_kernels(fine: np.ndarray, s: int) -> np.ndarray:
    """Native-scale kernel of each subpixel phase, shape (s*s, k, k), k odd.

    Pixel p is the mean over its subpixels a of sum_m fine[m] I[s p + a - m]; with s p + a - m =
    s q + b that is sum_b sum_q H_b[p - q] I_b[q], H_b[r] = mean_a fine[s r + a - b].
    """
    line = phase_weights(len(fine), s)
    side = line.shape[1]
    return np.einsum("bri,ij,csj->bcrs", line, fine, line, optimize=True).reshape(s * s, side, side)


def phase_weights(size: int, s: int) -> np.ndarray:
    """Weight of sample i of a fine kernel in place r of phase b along one axis, shape (s, k, size), k odd."""
    half = size // 2
    reach = (half + s - 1) // s  # |s r| <= half + s - 1
    r = np.arange(-reach, reach + 1)
    line = np.zeros((s, len(r), size))
    for b in range(s):
        for a in range(s):
            index = s * r + a - b + half
            inside = (index >= 0) & (index < size)
            line[b, np.flatnonzero(inside), index[inside]] += 1.0 / s
    return line


def _transform(stack: np.ndarray, padded: tuple[int, int], dtype) -> np.ndarray:
    """Fourier transforms of centred kernels on a padded grid."""
    size = stack.shape[-1]
    if size > min(padded):
        raise ValueError(f"psf: kernel of {size} pixels is wider than the padded image {padded}")
    full = np.zeros((len(stack), *padded))
    full[:, :size, :size] = stack
    full = np.roll(full, (-(size // 2), -(size // 2)), axis=(1, 2))
    return np.asarray(np.fft.rfft2(full), np.result_type(dtype, np.complex64))


def _bands(fine: np.ndarray, s: int, shape: tuple[int, int], dtype) -> tuple[np.ndarray, np.ndarray]:
    """Banded matrices of a low-rank kernel: (rank, ny, s*ny) from the left, (rank, s*nx, nx) from the right.

    Each has the blocks of the s phases along an axis side by side.
    """
    left, values, right = np.linalg.svd(fine)
    count = rank(fine, 1e-7 if np.dtype(dtype) == np.float32 else 1e-15)

    def band(vector, n):
        half = len(vector) // 2
        out = np.zeros((s, n, n))
        for b in range(s):
            for a in range(s):
                index = s * np.subtract.outer(np.arange(n), np.arange(n)) + a - b + half
                inside = (index >= 0) & (index < len(vector))
                out[b] += np.where(inside, vector[np.clip(index, 0, len(vector) - 1)], 0.0) / s
        return out

    rows = [np.concatenate(band(left[:, k] * values[k], shape[0]), axis=1) for k in range(count)]
    columns = [np.concatenate(band(right[k], shape[1]), axis=1).T for k in range(count)]
    return np.asarray(np.stack(rows), dtype), np.asarray(np.stack(columns), dtype)
