"""The base class of light profiles: a brightness that is linear in its amplitude."""

from __future__ import annotations

import operator
from functools import reduce
from typing import ClassVar, Self

import jax.numpy as jnp
from jax import Array

from giga.component import Component, Param, static


class LightProfile(Component):
    """Surface brightness on the sky. Positions in arcsec, brightness in counts / s / arcsec^2.

    A subclass defines `basis`: its brightness for unit amplitudes, with one leading axis over its
    `n_amp` amplitudes. An `amp` left out (None) is linear: it is solved from the data.

    Attributes:
        amp: Amplitude(s), shape () or (n_amp,) [counts / s / arcsec^2 unless the profile says otherwise];
            None is linear.
        supersampling: Subpixels a side at which this profile is evaluated: a multiple of the PSF's
            own supersampling, or 1; None takes the PSF's.
        bands: Bands in which the profile shines; None is all of them.
        plane: Number of the plane that a source lies on, in a scene of several; None is the last.
    """

    amp: Param = None
    supersampling: int | None = static(default=None)
    bands: tuple[str, ...] | None = static(default=None)
    plane: int | None = static(default=None)

    scalar_amp: ClassVar[bool] = True  # one amplitude, of shape ()
    positive: ClassVar[bool] = True  # solved amplitudes below zero are no light
    convolved: ClassVar[bool] = True  # seen through the PSF
    is_point: ClassVar[bool] = False  # without a size: no brightness, but a flux that is laid on the pixels
    sections: ClassVar[tuple[str, ...]] = ("lens_light", "source_light")  # of a scene, where it may stand
    amp_unit: ClassVar[str] = "ct / (s arcsec2)"  # of a brightness per arcsec^2 in an image of counts per second

    @property
    def n_amp(self) -> int:
        """Number of amplitudes."""
        return 1

    @property
    def is_linear(self) -> bool:
        """Whether the amplitude is solved from the data."""
        return self.amp is None

    def for_pixels(self, pixel_scale: float) -> Self:
        """The same profile, ready for images whose pixels have this side [arcsec]; see `sampled_apart`."""
        return self

    def sampled_apart(self) -> tuple[LightProfile, ...]:
        """Parts whose sum it is, in the order of its amplitudes, each sampled as it says; itself unless it has such."""
        return (self,)

    def basis(self, x: Array, y: Array) -> Array:
        """Brightness for unit amplitudes, shape (n_amp, *x.shape)."""
        raise NotImplementedError

    @property
    def has_own_prior(self) -> bool:
        """Whether amplitudes that are solved have a Gaussian prior of the profile's own, and are integrated out."""
        return False

    def prior_sd(self) -> Array:
        """Standard deviations of that prior, which has zero mean and no correlations, shape (n_amp,)."""
        raise NotImplementedError

    def divided(self, unit: Array) -> Self:
        """The same with what is a brightness divided by a unit."""
        return self if self.is_linear else self.replace(amp=self.amp / unit)

    def flux(self) -> Array:
        """Total flux with the profile's own amplitude, shape () [counts / s]; infinite where it has no end.

        NaN from a profile that does not tell.
        """
        return jnp.asarray(jnp.nan)

    def brightness(self, x: Array, y: Array) -> Array:
        """Surface brightness with the profile's own amplitude, shape of x."""
        basis = self.basis(x, y)
        if self.scalar_amp:
            return self.amp * basis[0]
        # A sum of terms fuses; a matrix product does not.
        return reduce(operator.add, (self.amp[k] * basis[k] for k in range(self.n_amp)))
