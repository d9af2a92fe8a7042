"""Images on the fly: a population of scenes, seen by a survey."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.component import Component, static
from giga.imaging.grid import Grid
from giga.imaging.psf import PSF
from giga.imaging.render import supersamplings
from giga.lensing.scene import Scene
from giga.runtime import parallel
from giga.simulate.bands import band_images
from giga.simulate.batch import Batch, dihedral
from giga.simulate.mixing import Mixing
from giga.simulate.optics import Optics
from giga.simulate.populations.population import Population
from giga.simulate.surveys.noise import Noise

LENSED = "lensed"  # name of the extra that says whether a source is lensed


class Geometry(Component):
    """What of an example costs most: the traced and convolved light.

    Attributes:
        lens, source: Shape (ny, nx, bands) [counts / s]; one band if they are to be mixed.
        companions: Shape (ny, nx, bands) [counts / s].
        truth: Parameters by name.
        variant: Which of the PSF's variants.
    """

    lens: Array
    source: Array
    companions: Array
    truth: dict[str, Array]
    variant: Array


class Examples(Component):
    """A pure, compiled source of training images; a subclass says by `geometry` what a scene is.

    Attributes:
        grid: The pixels.
        optics: The PSFs, in one or several variants that are drawn from.
        noise: What the detector and the sky add.
        turns: Whether images are flipped and turned, truth included.
        bands: Number of bands.
    """

    grid: Grid
    optics: Optics
    noise: Noise
    turns: bool = static(default=False)
    bands: int = static(default=1)

    def geometry(self, key: Array) -> Geometry:
        """Draw a scene, trace and convolve it."""
        raise NotImplementedError

    def finish(self, key: Array, geometry: Geometry) -> Batch:
        """The example of a scene: all that may differ between two uses of one geometry."""
        raise NotImplementedError

    def example(self, key: Array) -> Batch:
        """One example, without a leading axis."""
        geometry_key, finish_key = jax.random.split(key)
        return self.finish(finish_key, self.geometry(geometry_key))

    def simulate(self, key: Array, n: int, over: Mesh | None = None) -> Batch:
        """Simulate a batch, spread over devices and in groups that fit their memory.

        Example i depends on the key and on i alone, whatever the number of devices. Each device keeps what it made.
        Programs are compiled for few sizes: a number between two of them takes the larger, at most a quarter more, and
        is cut; see `giga.runtime.parallel.rounded_up`.

        Args:
            key: Random key.
            n: Number of examples.
            over: Mesh of devices; None is all.
        """
        size = parallel.rounded_up(n)
        whole = _simulator(over or parallel.mesh())(self, _keys(key, size))
        return whole if size == n else _cut(whole, n)


class Simulator(Examples):
    """Scenes of a population, seen by a survey.

    Attributes:
        population: Distribution of scenes. An extra named "lensed" becomes the label, otherwise every image is a lens.
        companions: Distribution of galaxies (`lens_light`) that belong to neither lens nor source; their
            light counts as noise.
        mixing: Random strengths of the parts, as the GGSL-UNet paper mixes them; None leaves them physical.
    """

    population: Population
    companions: Population | None = None
    mixing: Mixing | None = None

    def geometry(self, key: Array) -> Geometry:
        """Draw a scene, trace and convolve it."""
        scene_key, companion_key, psf_key = jax.random.split(key, 3)
        scene, truth = self.population.draw(scene_key)
        variant = jax.random.randint(psf_key, (), 0, self.optics.variants)
        lens, source = self._images(scene, variant, 1 if self.mixing is not None else self.bands)
        companions = jnp.zeros((*self.grid.shape, self.bands), lens.dtype)
        if self.companions is not None:
            companions, _ = self._images(self.companions.sample(companion_key), variant, self.bands)
        return Geometry(lens=lens, source=source, companions=companions, truth=truth, variant=variant)

    def finish(self, key: Array, geometry: Geometry) -> Batch:
        """Add noise, mix and turn: all that may differ between two uses of one geometry."""
        noise_key, mixing_key, turn_key = jax.random.split(key, 3)
        lens, source, companions, truth = geometry.lens, geometry.source, geometry.companions, dict(geometry.truth)
        # A mixed image has no counts of its own: its noise is that of an empty field, as in a real cutout.
        counted = companions if self.mixing is not None else lens + source + companions
        noise, sigma = self.noise(noise_key, counted)
        noise = noise + companions
        if self.mixing is not None:
            lens, source, noise, sigma, strengths = self.mixing(mixing_key, lens, source, noise, sigma)
            companions = companions * strengths["noise"]
            truth |= {f"mixing.{name}": value for name, value in strengths.items()}
        label = jnp.asarray(truth.get(LENSED, 1)).astype(jnp.int32)
        batch = Batch(image=lens + source + noise, parts=dict(lens=lens, source=source, noise=noise),
                      companions=companions, truth=truth, label=label, sigma=sigma,
                      psf=self.optics.kernels[geometry.variant])
        return dihedral(turn_key, batch) if self.turns else batch

    def _images(self, scene: Scene, variant: Array, bands: int) -> tuple[Array, Array]:
        rays = {}
        for factor in supersamplings(scene, self.optics.supersampling):
            x, y = self.grid.phases(factor)
            rays[factor] = ((x, y), scene.rays(x, y) if scene.source_light else None)
        lens, source = band_images(scene, rays, self.optics, variant, bands)
        return lens * self.grid.pixel_area, source * self.grid.pixel_area


@partial(jax.jit, static_argnums=1)
def _keys(key: Array, n: int) -> Array:
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(n))


@partial(jax.jit, static_argnums=1)
def _cut(batch: Batch, n: int) -> Batch:
    return jax.tree.map(lambda a: a[:n], batch)


@cache
def _simulator(over: Mesh):
    def one(simulator: Examples, key: Array) -> Batch:
        return simulator.example(key)

    return parallel.compiled(parallel.partitioned(parallel.batched(one, over), over), over)


def simulator(population: Population, grid: Grid, psfs: Sequence[PSF] | Sequence[Sequence[PSF]], noise: Noise, *,
              companions: Population | None = None, mixing: Mixing | None = None, turns: bool = False,
              dtype=np.float32) -> Simulator:
    """Make a simulator.

    Args:
        population: Distribution of scenes, see `giga.simulate.populations.population`.
        grid: The pixels.
        psfs: One PSF a band, or several such lists, of which each example sees one at random.
        noise: The noise model.
        companions: Distribution of galaxies nearby.
        mixing: The GGSL-UNet recipe, whose scenes are rendered in one band.
        turns: Flip and turn the images.
        dtype: Precision.

    Raises:
        ValueError: PSFs that do not go together, or a population of another number of bands.
    """
    variants: Any = [psfs] if not psfs or isinstance(psfs[0], PSF) else psfs
    optics = Optics.of(variants, grid.shape, dtype)
    if mixing is not None:
        if not optics.shared:
            raise ValueError("mixing: one geometry serves all bands, so they must share one PSF")
        optics = optics.replace(kernels=jnp.broadcast_to(
            optics.kernels[:, :1], (optics.variants, mixing.bands, *optics.kernels.shape[2:])))
    bands = optics.kernels.shape[1]
    _check_bands("population", population, None if mixing is not None else bands)
    if companions is not None:
        _check_bands("companions", companions, bands)
    small = grid.replace(pixel_scale=jnp.asarray(grid.pixel_scale, dtype), center_x=jnp.asarray(grid.center_x, dtype),
                         center_y=jnp.asarray(grid.center_y, dtype), rotation=jnp.asarray(grid.rotation, dtype))
    made = Simulator(grid=small, optics=optics, noise=noise, mixing=mixing, population=population,
                     companions=companions, turns=turns, bands=bands)
    return jax.tree.map(jnp.asarray, made)  # else every call would send them to the device


def _check_bands(name: str, population: Population, bands: int | None) -> None:
    if population.n_bands not in (None, bands):
        expected = "none: mixing makes the bands" if bands is None else f"{bands}, one a PSF"
        raise ValueError(f"{name}: leaves of {population.n_bands} bands; expected {expected}")
