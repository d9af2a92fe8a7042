"""Lensed light in cutouts of galaxies that are there: each brings its noise, its PSF, and what is known of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from giga.component import AnyArray, Component, static
from giga.imaging.grid import Grid
from giga.imaging.render import supersamplings
from giga.simulate.bands import band_images
from giga.simulate.batch import Batch, turned_batch
from giga.simulate.generator import LENSED
from giga.simulate.optics import Optics
from giga.simulate.populations.population import Population
from giga.simulate.surveys.noise import CameraNoise

CUTOUT, TURN = "cutout", "turn"  # names in the truth: the cutout's number, and how it was turned


class Cutout(Component):
    """An image that light is put into; several have a leading axis.

    Attributes:
        image: Shape (ny, nx, bands) [counts / s].
        rms: Of its noise, shape (bands,) [counts / s].
        photon: Variance per count / s of light, 1 / (electrons per count / s), shape (bands,), above 0.
        number: Which one it is, and which row of the population's catalogue is its own, shape ().
        kernels: Its PSFs, sampled as the injector says, shape (bands, k, k); None where all have the same.
    """

    image: AnyArray
    rms: AnyArray
    photon: AnyArray
    number: AnyArray
    kernels: AnyArray | None = None


class Injector(Component):
    """Puts the lensed light of a population into cutouts, with the photon noise of that light.

    The galaxy of a cutout is the deflector, its noise stays as it is. Columns of the population's catalogue are those
    of the cutout's own row: its redshift, its velocity dispersion, its place in the image.

    Attributes:
        grid: The pixels.
        population: Masses and sources; its light of lenses is added only where `lens_light` says so. An extra named
            "lensed" becomes the label.
        optics: PSFs of all cutouts; None where each has its own.
        supersampling: Subpixels a side.
        turns: Whether images are flipped and turned, truth included.
        lens_light: Whether the population's lens light is added too.
    """

    grid: Grid
    population: Population
    optics: Optics | None = None
    supersampling: int = static(default=1)
    turns: bool = static(default=False)
    lens_light: bool = static(default=False)

    def __call__(self, key: Array, cutout: Cutout) -> Batch:
        """The example of one cutout, without a leading axis; pure.

        The truth has, besides that of the scene, "cutout", its number, and "turn", an element of the symmetries of the
        square as `giga.simulate.batch.turned` has them, 0 where nothing is turned. The galaxy belongs to the part
        "noise".
        """
        scene_key, noise_key, turn_key = jax.random.split(key, 3)
        scene, truth = self.population.draw(scene_key, cutout.number)
        scene = scene if self.lens_light else scene.replace(lens_light=[])
        image = jnp.asarray(cutout.image)
        optics = self.optics
        if optics is None:
            optics = Optics.of_image(jnp.asarray(cutout.kernels), self.supersampling, self.grid.shape)
        rays = {}
        for factor in supersamplings(scene, self.supersampling):
            x, y = self.grid.phases(factor)
            rays[factor] = ((x, y), scene.rays(x, y))
        lens, source = (light * self.grid.pixel_area
                        for light in band_images(scene, rays, optics, jnp.zeros((), jnp.int32), image.shape[-1]))
        noise, own = light_noise(noise_key, lens + source, jnp.asarray(cutout.photon))
        turn = jax.random.randint(turn_key, (), 0, 8) if self.turns else jnp.zeros((), jnp.int32)
        batch = Batch(image=image + lens + source + noise, parts=dict(lens=lens, source=source, noise=image + noise),
                      companions=jnp.zeros_like(image), label=jnp.asarray(truth.get(LENSED, 1)).astype(jnp.int32),
                      truth=truth | {CUTOUT: jnp.asarray(cutout.number, jnp.int32), TURN: turn.astype(jnp.int32)},
                      sigma=jnp.hypot(jnp.broadcast_to(cutout.rms, image.shape), own), psf=optics.kernels[0])
        if not self.turns:
            return batch
        # Behind a branch, else a CPU makes the image anew, noise and all, for each of the turns that it chooses from.
        return jax.lax.cond(turn > 0, lambda one: turned_batch(turn, one), lambda one: one, batch)

    def told(self, key: Array, number: Array) -> dict[str, Array]:
        """The truth of a cutout's scene alone, nothing rendered or turned; of the key of its example."""
        return self.population.draw(jax.random.split(key, 3)[0], number)[1]


def light_noise(key: Array, light: Array, photon: Array) -> tuple[Array, Array]:
    """Photon noise of light that is added to an image, in whole electrons where these are few; and its sigma.

    Args:
        key: Random key.
        light: Shape (ny, nx, bands) [counts / s].
        photon: Variance per count / s, shape (bands,), above 0.
    """
    nothing = jnp.zeros_like(photon)
    noise, sigma = CameraNoise(background_rms=nothing, photon=photon, sky=nothing, few=True)(key, light)
    return jnp.where(light > 0.0, noise, 0.0), sigma
