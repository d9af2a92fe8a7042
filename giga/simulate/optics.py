"""The PSFs of a simulator: one for every band, in one or several variants."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Component, static
from giga.imaging.observation import check_kernel
from giga.imaging.psf import PSF, Convolution, choose_method, fast_length, phase_weights, plan
from giga.imaging.resampling import binning
from giga.runtime.products import einsum


class Optics(Component):
    """PSFs made ready for images of one shape.

    Attributes:
        convolutions: Stacked over (variants, 1 or bands).
        kernels: At the pixel scale, shape (variants, bands, k, k).
        shared: Whether one PSF serves all bands.
    """

    convolutions: Convolution
    kernels: Array
    shared: bool = static(default=True)

    @staticmethod
    def of(variants: Sequence[Sequence[PSF]], shape: tuple[int, int], dtype=np.float32) -> Optics:
        """Prepare PSFs, on the host.

        Args:
            variants: For each variant the PSF of every band, all of one supersampling. An example sees one variant.
            shape: (ny, nx) of the images.
            dtype: Precision of the images.

        Raises:
            ValueError: No PSF, or different supersamplings.
        """
        everyone = [psf for bands in variants for psf in bands]
        if not everyone:
            raise ValueError("psf: expected at least one variant with one PSF a band, got none")
        if len({psf.supersampling for psf in everyone}) > 1:
            raise ValueError(f"psf: expected one supersampling, got {sorted({p.supersampling for p in everyone})}")
        if len({len(bands) for bands in variants}) > 1:
            raise ValueError(f"psf: expected one PSF a band in every variant, got {[len(b) for b in variants]}")
        for psf in everyone:
            check_kernel(np.asarray(psf.kernel), psf.supersampling, shape)
        shared = all(np.array_equal(psf.kernel, bands[0].kernel) for bands in variants for psf in bands)
        side = max(psf.kernel.shape[0] for psf in everyone)
        wide = [[psf.replace(kernel=_widened(np.asarray(psf.kernel, float), side)) for psf in bands]
                for bands in variants]
        separable = all(choose_method(np.asarray(psf.kernel)) == "lowrank" for bands in wide for psf in bands)
        method = "lowrank" if separable else "fft"
        plans = [[plan(psf, shape, dtype, method) for psf in (bands[:1] if shared else bands)] for bands in wide]
        native = [[np.asarray(psf.at(1).kernel) for psf in bands] for bands in wide]
        stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *bands) for bands in plans]
        return Optics(convolutions=jax.tree.map(lambda *leaves: jnp.stack(leaves), *stacked),
                      kernels=jnp.asarray(np.array(native), dtype), shared=shared)

    @staticmethod
    def of_image(kernels: Array, supersampling: int, shape: tuple[int, int]) -> Optics:
        """The PSFs that come with one image, prepared on the device; pure.

        Args:
            kernels: Of each band, shape (bands, k, k), k odd, sampled at 1 / supersampling of a pixel, of sum one.
            supersampling: Subpixels a side.
            shape: (ny, nx) of the image.
        """
        size, dtype = kernels.shape[-1], kernels.dtype
        coarse = binning(size, supersampling).astype(dtype)
        native = einsum("pi,bij,qj->bpq", coarse, kernels, coarse)
        lines = [phase_weights(size, supersampling), phase_weights(len(coarse), 1)]
        side = lines[0].shape[1]
        padded = fast_length(shape[0] + side // 2), fast_length(shape[1] + side // 2)
        transfers = [_transform(einsum("pri,bij,qsj->bpqrs", line.astype(dtype), each, line.astype(dtype)), padded)
                     for line, each in zip(lines, (kernels, native), strict=True)]
        made = Convolution(transfer=transfers[0][None], native=transfers[1][None],
                           origin=jnp.zeros((1, len(kernels)), jnp.int32), method="fft", shape=shape, padded=padded,
                           supersampling=supersampling)
        return Optics(convolutions=made, kernels=native[None], shared=False)

    @property
    def supersampling(self) -> int:
        """Subpixels a side."""
        return self.convolutions.supersampling

    @property
    def variants(self) -> int:
        """Number of variants."""
        return len(self.kernels)

    def convolution(self, variant: Array, band: int) -> Convolution:
        """The PSF of one band in one variant."""
        one = variant if self.variants > 1 else 0  # one PSF for all images makes one large product of theirs
        return jax.tree.map(lambda a: a[one, 0 if self.shared else band], self.convolutions)


def _transform(stack: Array, padded: tuple[int, int]) -> Array:
    """Transforms of centred kernels of shape (bands, s, s, k, k) on a padded grid, shape (bands, s*s, my, mx//2+1)."""
    bands, s, _, size, _ = stack.shape
    full = jnp.zeros((bands, s * s, *padded), stack.dtype).at[..., :size, :size].set(
        stack.reshape(bands, s * s, size, size))
    return jnp.fft.rfft2(jnp.roll(full, (-(size // 2), -(size // 2)), axis=(-2, -1)))


def _widened(kernel: np.ndarray, side: int) -> np.ndarray:
    margin = (side - len(kernel)) // 2
    return np.pad(kernel, margin)
