"""The PSFs of a simulator: one for every band, in one or several variants."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Component, static
from giga.imaging.observation import check_kernel
from giga.imaging.psf import PSF, Convolution, choose_method, plan


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


def _widened(kernel: np.ndarray, side: int) -> np.ndarray:
    margin = (side - len(kernel)) // 2
    return np.pad(kernel, margin)
