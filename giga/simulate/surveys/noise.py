"""Noise of a detector and a sky: computed, correlated, or taken from real images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from giga.component import Component, Param, static
from giga.simulate.surveys import draws
from giga.simulate.surveys.survey import Survey

FEW = 32  # electrons in a pixel below which they are drawn one by one: see tests/test_noise.py
TERMS = 80  # of the Poisson distribution below that; what is beyond has a probability of 1e-11


class Noise(Component):
    """What is added to the model of one image."""

    def __call__(self, key: Array, model: Array) -> tuple[Array, Array]:
        """Draw noise.

        Args:
            key: Random key.
            model: Image without noise and sky, shape (ny, nx, bands) [counts / s].

        Returns:
            The noise and its standard deviation, both of the shape of the model [counts / s].
        """
        raise NotImplementedError


class CameraNoise(Noise):
    """Photon noise of sky and model, and Gaussian read noise.

    The electrons of a pixel are Poisson, those of sky and model together, so that their number is never
    below the sky's. From `FEW` on they are drawn as one Gaussian with the read noise, whose first three
    cumulants are made those of the sum (Cornish and Fisher); below, where `few` is set, one by one.

    Attributes:
        background_rms: Standard deviation without a source, read noise included, shape (bands,) [counts / s].
        photon: Variance per count / s, 1 / (gain total_time), shape (bands,) [counts / s].
        sky: Sky and dark current, shape (bands,) [counts / s].
        few: Whether pixels can hold fewer than `FEW` electrons.

    References:
        Cornish and Fisher (1938), Revue de l'Institut International de Statistique 5, 307.
    """

    background_rms: Param
    photon: Param
    sky: Param
    few: bool = static(default=False)

    @staticmethod
    def of(survey: Survey) -> CameraNoise:
        """The noise of a survey's bands."""
        photon = survey.photon
        return CameraNoise(background_rms=jnp.asarray(survey.background_rms, np.float32),
                           photon=jnp.asarray(photon, np.float32),
                           sky=jnp.asarray(survey.sky_electrons * photon, np.float32),
                           few=bool(np.min(survey.sky_electrons) < FEW))

    def __call__(self, key: Array, model: Array) -> tuple[Array, Array]:
        # In electrons, so that squares of fluxes stay within float32 in any unit.
        light, sky = jnp.maximum(model, 0.0) / self.photon, self.sky / self.photon
        floor = jnp.square(self.background_rms / self.photon)
        electrons, variance = sky + light, floor + light
        sigma = jnp.sqrt(variance)
        if not self.few:
            skewness = electrons / (variance * sigma)
            return self.photon * (sigma * _skewed(draws.normal(key, model.shape, model.dtype), skewness)), \
                self.photon * sigma
        electron_key, read_key = jax.random.split(key)
        read = jnp.sqrt(jnp.maximum(floor - sky, 0.0))
        uniform = draws.uniform(electron_key, model.shape, model.dtype)
        one_by_one = poisson(uniform, jnp.minimum(electrons, FEW)) - electrons
        root = jnp.sqrt(jnp.maximum(electrons, FEW))
        many = root * _skewed(_normal(uniform), 1.0 / root)
        noise = jnp.where(electrons < FEW, one_by_one, many) + read * draws.normal(read_key, model.shape, model.dtype)
        return self.photon * noise, self.photon * sigma


class PhotonNoise(Noise):
    """Gaussian photon noise of the model alone, for light that is added to images with a noise of their own.

    Attributes:
        photon: Variance per count / s, shape (bands,) [counts / s].
    """

    photon: Param

    def __call__(self, key: Array, model: Array) -> tuple[Array, Array]:
        sigma = jnp.sqrt(jnp.maximum(model, 0.0)) * jnp.sqrt(self.photon)
        return sigma * draws.normal(key, model.shape, model.dtype), sigma


class CorrelatedNoise(Noise):
    """Gaussian background noise of a given power spectrum, as resampled images have it, and photon noise.

    Attributes:
        transfer: Square root of the power spectrum on the padded grid, shape (my, mx//2+1, bands); the mean
            of its square over all frequencies is the variance of a pixel [counts / s].
        background_rms: Standard deviation of a pixel, shape (bands,) [counts / s].
        photon: Variance per count / s of the model, shape () or (bands,); None has no photon noise.
        padded: (my, mx), larger than an image by the reach of the correlation, so that opposite edges are
            independent.
    """

    transfer: Param
    background_rms: Param
    photon: Param | None = None
    padded: tuple[int, int] = static()

    @staticmethod
    def of(autocovariance: ArrayLike, shape: tuple[int, int],
           photon: ArrayLike | None = None) -> CorrelatedNoise:
        """Noise of an autocovariance, see `autocovariance`; its variance is exactly that at lag zero.

        What of the spectrum is negative, as a measurement can be, is set to zero and the rest rescaled.

        Args:
            autocovariance: Shape (2 reach + 1, 2 reach + 1, bands) or without bands, lag zero in the middle.
            shape: (ny, nx) of the images.
            photon: Variance per count / s of the model, shape () or (bands,); None has no photon noise.

        Raises:
            ValueError: An even or oblong shape, a variance that is not positive.
        """
        covariance = np.asarray(autocovariance, float)
        covariance = covariance[..., None] if covariance.ndim == 2 else covariance
        side = covariance.shape[0]
        if covariance.ndim != 3 or covariance.shape[1] != side or side % 2 == 0:
            raise ValueError("autocovariance: expected shape (2 reach + 1, 2 reach + 1, bands), "
                             f"got {covariance.shape}")
        reach = side // 2
        variance = covariance[reach, reach]
        if not (np.isfinite(covariance).all() and (variance > 0.0).all()):
            raise ValueError(f"autocovariance: expected a positive variance and finite values, got {variance}")
        my, mx = shape[0] + reach, shape[1] + reach
        my, mx = max(my, side), max(mx + mx % 2, side + 1)  # an even width: its transform is unambiguous
        full = np.zeros((my, mx, covariance.shape[2]))
        full[:side, :side] = covariance
        spectrum = np.maximum(np.fft.fft2(np.roll(full, (-reach, -reach), (0, 1)), axes=(0, 1)).real, 0.0)
        spectrum *= variance / spectrum.mean((0, 1))
        return CorrelatedNoise(transfer=jnp.asarray(np.sqrt(spectrum)[:, :mx // 2 + 1], np.float32),
                               background_rms=jnp.asarray(np.sqrt(variance), np.float32),
                               photon=None if photon is None else jnp.asarray(photon, np.float32), padded=(my, mx))

    def __call__(self, key: Array, model: Array) -> tuple[Array, Array]:
        background_key, photon_key = jax.random.split(key)
        ny, nx, bands = model.shape
        white = draws.normal(background_key, (bands, *self.padded), model.dtype)
        coloured = jnp.fft.irfft2(jnp.fft.rfft2(white) * jnp.moveaxis(self.transfer, -1, 0), self.padded)
        noise = jnp.moveaxis(coloured[:, :ny, :nx], 0, -1).astype(model.dtype)
        return _with_photons(photon_key, model, self.photon, noise, self.background_rms)


class CutoutNoise(Noise):
    """Pieces of real images: one at random, at a random place in it, flipped and turned at random.

    Attributes:
        bank: Shape (m, my, mx, bands), at least as large as the images [counts / s].
        sigma: Their standard deviation, shape (m, bands) or that of the bank [counts / s].
        photon: Variance per count / s of the light that is added, shape () or (bands,); None has none.
        turn: Whether quarter turns are drawn too, as square images allow.
    """

    bank: Param
    sigma: Param
    photon: Param | None = None
    turn: bool = static(default=True)

    @staticmethod
    def of(bank: ArrayLike, shape: tuple[int, int], sigma: ArrayLike | None = None,
           photon: ArrayLike | None = None) -> CutoutNoise:
        """A bank of cutouts for images of a shape.

        Args:
            bank: Shape (m, my, mx, bands), vetted, see `giga.simulate.surveys.cutouts.vet` [counts / s].
            shape: (ny, nx) of the images.
            sigma: Shape (m, bands) or that of the bank; None is 1.4826 times the median absolute
                deviation of each cutout and band.
            photon: Variance per count / s of the light that is added, shape () or (bands,); None has none.

        Raises:
            ValueError: A bank that is empty, too small, not finite, or whose sigma does not fit it.
        """
        cutouts = np.asarray(bank, np.float32)
        if cutouts.ndim != 4 or len(cutouts) == 0:
            raise ValueError(f"noise cutouts: expected shape (cutouts, ny, nx, bands), got {cutouts.shape}")
        size = cutouts.shape[1:3]
        if size[0] < shape[0] or size[1] < shape[1]:
            raise ValueError(f"noise cutouts are {size[0]} x {size[1]}, the survey needs {shape[0]} x {shape[1]}")
        if not np.isfinite(cutouts).all():
            raise ValueError(f"noise cutouts: {np.sum(~np.isfinite(cutouts))} pixels are NaN or infinite; vet them")
        if sigma is None:
            middle = np.median(cutouts, (1, 2), keepdims=True)
            sigma = 1.4826 * np.median(np.abs(cutouts - middle), (1, 2))
        scatter = np.asarray(sigma, np.float32)
        if scatter.shape not in (cutouts.shape, (len(cutouts), cutouts.shape[3])):
            raise ValueError(f"noise cutouts: sigma of shape {scatter.shape}; expected {cutouts.shape} or "
                             f"{(len(cutouts), cutouts.shape[3])}")
        if not (np.isfinite(scatter).all() and (scatter > 0.0).all()):
            raise ValueError(f"noise cutouts: sigma must be positive, got {np.min(scatter):.4g}")
        return CutoutNoise(bank=jnp.asarray(cutouts), sigma=jnp.asarray(scatter), turn=shape[0] == shape[1],
                           photon=None if photon is None else jnp.asarray(photon, np.float32))

    def __call__(self, key: Array, model: Array) -> tuple[Array, Array]:
        place_key, photon_key = jax.random.split(key)
        m, my, mx, bands = self.bank.shape
        ny, nx, _ = model.shape
        numbers = jax.random.randint(place_key, (6,), 0, jnp.array([m, my - ny + 1, mx - nx + 1, 2, 2, 2]))

        def piece(images: Array) -> Array:
            cut = images[numbers[0]]
            if (my, mx) != (ny, nx):
                cut = jax.lax.dynamic_slice(cut, (*numbers[1:3], 0), (ny, nx, bands))
            cut = jnp.where(numbers[3], cut[::-1], cut)
            cut = jnp.where(numbers[4], cut[:, ::-1], cut)
            return jnp.where(numbers[5], cut.swapaxes(0, 1), cut) if self.turn else cut

        noise = piece(self.bank).astype(model.dtype)
        sigma = piece(self.sigma) if self.sigma.ndim == 4 else self.sigma[numbers[0]]
        return _with_photons(photon_key, model, self.photon, noise, sigma)


def autocovariance(cutouts: ArrayLike, reach: int) -> np.ndarray:
    """Measure the autocovariance of blank sky, mean over cutouts, each by its own mean.

    Every lag is divided by the number of pixel pairs that it has, so that the edges do not bias it. Its
    Fourier transform is the power spectrum.

    Args:
        cutouts: Shape (m, ny, nx, bands), without sources.
        reach: Longest lag along an axis [pixels].

    Returns:
        Shape (2 reach + 1, 2 reach + 1, bands), lag zero in the middle.

    Raises:
        ValueError: Cutouts smaller than twice the reach, of another shape, or not finite.
    """
    images = np.asarray(cutouts, float)
    if images.ndim != 4 or len(images) == 0 or min(images.shape[1:3]) <= 2 * reach:
        raise ValueError(f"blank cutouts: expected shape (cutouts, ny, nx, bands) with sides above {2 * reach}, "
                         f"got {images.shape}")
    if not np.isfinite(images).all():
        raise ValueError(f"blank cutouts: {np.sum(~np.isfinite(images))} pixels are NaN or infinite")
    ny, nx = images.shape[1:3]
    padded = (ny + reach, nx + reach)
    images = images - images.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.rfft2(images, padded, axes=(1, 2))) ** 2).mean(0)
    pairs = np.abs(np.fft.rfft2(np.ones((ny, nx)), padded)) ** 2
    total = np.fft.irfft2(power, padded, axes=(0, 1))
    count = np.fft.irfft2(pairs, padded)
    lags = np.arange(-reach, reach + 1)
    return total[np.ix_(lags, lags)] / count[np.ix_(lags, lags)][..., None]


def poisson(uniform: Array, rate: Array) -> Array:
    """Poisson numbers of small rates by the inverse of their distribution, exact up to `FEW`.

    Args:
        uniform: Uniform on [0, 1).
        rate: Expected number, at most `FEW`; same shape.
    """
    probability = jnp.exp(-rate)
    total, number = probability, jnp.zeros_like(rate)
    for k in range(1, TERMS + 1):
        number = number + (uniform >= total)
        probability = probability * (rate / k)
        total = total + probability
    return number


def _with_photons(key: Array, model: Array, photon: Array | None, noise: Array, sigma: Array) -> tuple[Array, Array]:
    """Noise and its standard deviation with the Gaussian photon noise of a model added to both."""
    if photon is None:
        return noise, jnp.broadcast_to(sigma, model.shape).astype(model.dtype)
    own = jnp.sqrt(jnp.maximum(model, 0.0)) * jnp.sqrt(photon)
    # The square is taken of a ratio: that of a flux may be outside float32.
    total = sigma * jnp.sqrt(1.0 + jnp.square(own / sigma))
    return noise + own * draws.normal(key, model.shape, model.dtype), total


def _normal(uniform: Array) -> Array:
    """Standard normal numbers from uniform ones, of which zero is possible."""
    return np.sqrt(2.0, dtype=np.float32) * jax.lax.erf_inv(2.0 * jnp.maximum(uniform, 2.0**-24) - 1.0)


def _skewed(z: Array, skewness: Array) -> Array:
    """Standard normal numbers bent to a skewness, of mean zero and variance one."""
    bend = skewness / 6.0
    return (z + bend * (z * z - 1.0)) * jax.lax.rsqrt(1.0 + 2.0 * bend * bend)
