"""Galaxy-scale lenses in clusters: sources behind secondary caustics, seen about the members of a prepared field."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import AnyArray, static
from giga.ellipse import ellipticity
from giga.imaging.psf import PSF
from giga.lensing.cosmology import Cosmology
from giga.light.sersic import Sersic, unit_flux
from giga.simulate.batch import Batch, dihedral
from giga.simulate.generator import LENSED, Examples, Geometry
from giga.simulate.optics import Optics
from giga.simulate.surveys.noise import CameraNoise, Noise, PhotonNoise
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_fields import MARGIN, ClusterField
from giga.simulate.systems.cluster_members import MemberLight, members_of
from giga.simulate.systems.cluster_sources import FURTHEST, Sources, sources_behind

BUFFER = 0.5  # of the half-light radius, about the caustic: Angora et al. (2023), section 3.1
TRIES = 48  # places of a source of which one is in its region: the least share of a box is about a third
ELSEWHERE = 16  # places of a galaxy behind that is not to be a lens


class ClusterLenses(Examples):
    """A pure, compiled source of cutouts about cluster members, lenses and others. Make it with `cluster_lenses`.

    A lens is drawn as Angora et al. (2023) do: magnitude and redshift of the source, then one of the secondary
    critical lines for that redshift with a probability proportional to theta_E, then a place within the caustic and
    half a half-light radius about it. What is no lens is about the same galaxies or, for a share, about any
    member; so the galaxy alone tells little. In a share of both a galaxy further away is seen once: it is placed
    where it is outside of that region.

    Attributes:
        field: The clusters.
        sources: Galaxies behind.
        members: How members shine; what `stamps` replace.
        stamps: Real cutouts about each galaxy, with their own noise, shape (g, ny + 2 MARGIN, nx + 2 MARGIN, bands)
            [counts / s]; None renders the members.
        sigma: Noise of those, shape (bands,) [counts / s].
        zero_points: Of the bands, shape (bands,).
        lensed: Share of lenses.
        others: Share of what is no lens that is about any member.
        behind: Share of images with a further galaxy that is seen once.
        clumps: Bright knots of a source, to test with.
    """

    field: ClusterField
    sources: Sources
    members: MemberLight
    stamps: AnyArray | None
    sigma: AnyArray
    zero_points: AnyArray
    lensed: AnyArray
    others: AnyArray
    behind: AnyArray
    clumps: int = static(default=0)

    def geometry(self, key: Array) -> Geometry:
        """Draw an image, trace and convolve it.

        `truth` has the source's `mag` (F814W, not magnified), `z`, `r_e` [arcsec] and `theta_E` of the critical line
        [arcsec], which without a lens are those that a lens would have had; `mag_lens` and `colour_lens` (the first
        band but one less the last) of the galaxy; its number, `galaxy`, that of the line, `line`; and `place_x`,
        `place_y`, where the source is [arcsec].
        """
        keys = jax.random.split(key, 12)
        field = self.field
        lensed = jax.random.bernoulli(keys[0], self.lensed)
        cluster = jax.random.randint(keys[1], (), 0, len(field.z_lens))
        source, other = (self.sources.draw(one, cluster) for one in keys[2:4])
        node, line = self._line(keys[4], cluster, source["z"])
        anywhere = jax.random.categorical(keys[5], jnp.where(field.member == cluster, 0.0, -jnp.inf))
        elsewhere = ~lensed & jax.random.bernoulli(keys[6], self.others)
        galaxy = jnp.where(elsewhere, anywhere, field.lens[line])
        start = jax.random.randint(keys[7], (2,), 0, 2 * MARGIN + 1)
        (x, y), (bx, by) = self.rays(galaxy, start, field.efficiency[cluster, node])
        place = within(keys[8], field.caustic[line], BUFFER * source["r_e"])
        beyond, seen = self._outside(keys[9], galaxy, cluster, node, BUFFER * other["r_e"], bx, by)
        seen = seen & jax.random.bernoulli(keys[10], self.behind)
        light = [self._source(source, place, lensed), self._source(other, beyond, seen)]
        light += self._clumps(jax.random.fold_in(keys[11], 1), source, place, lensed)
        near, about = self._members(keys[11], galaxy, cluster)
        arcs = self._seen(light, bx, by)
        lens = jnp.zeros_like(arcs) if self.stamps is not None else self._seen(near, x, y)
        stamp = jnp.zeros((*self.grid.shape, self.bands), lens.dtype)
        if self.stamps is not None:
            stamp = jax.lax.dynamic_slice(self.stamps[galaxy], (start[0], start[1], 0), stamp.shape)
        truth = {LENSED: lensed, "cluster": cluster, "galaxy": galaxy, "line": line, "theta_E": field.theta_E[line],
                 **{name: source[name] for name in ("mag", "z", "r_e")}, "place_x": place[0], "place_y": place[1],
                 "row": start[0], "column": start[1], "behind": seen, "mag_lens": field.light[galaxy, 0, 0],
                 "colour_lens": about[max(self.bands - 2, 0)] - about[self.bands - 1]}
        return Geometry(lens=lens, source=arcs, companions=stamp, truth=truth, variant=jnp.int32(0))

    def finish(self, key: Array, geometry: Geometry) -> Batch:
        """Add noise and turn: real stamps have theirs, and only the photon noise of what is added is new."""
        noise_key, turn_key = jax.random.split(key)
        lens, source, stamp = geometry.lens, geometry.source, geometry.companions
        noise, sigma = self.noise(noise_key, lens + source)
        if self.stamps is not None:
            sigma = jnp.hypot(sigma, self.sigma.astype(sigma.dtype))
        batch = Batch(image=lens + source + stamp + noise, parts=dict(lens=lens, source=source, noise=noise + stamp),
                      companions=stamp, truth=dict(geometry.truth), label=geometry.truth[LENSED].astype(jnp.int32),
                      sigma=sigma, psf=self.optics.kernels[0])
        return dihedral(turn_key, batch) if self.turns else batch

    def rays(self, galaxy: Array, start: Array, efficiency: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Where the subpixels of a cutout are on the sky and, for a D_ls / D_s, behind it, by phases [arcsec].

        Args:
            galaxy: About which it is.
            start: First row and column within the wider field.
            efficiency: D_ls / D_s.
        """
        ny, nx = self.grid.shape
        alpha = self.field.alpha[galaxy]
        alpha = jax.lax.dynamic_slice(alpha, (0, 0, start[0], start[1]), (*alpha.shape[:2], ny, nx))
        x, y = self.grid.phases(self.optics.supersampling)
        moved = (start - MARGIN) * self.grid.pixel_scale
        # Relative to the galaxy, whose place is added last: float32 then has digits enough.
        x, y = x + moved[1], y + moved[0]
        px, py = self.field.center[galaxy]
        return (x, y), (px - efficiency * alpha[0] + x, py - efficiency * alpha[1] + y)

    def _seen(self, profiles: Sequence[Sersic], x: Array, y: Array) -> Array:
        """Light of profiles through the PSFs, shape (ny, nx, bands) [counts / s]; it costs nothing where amp is zero.

        One after the other in a loop: a program of one profile compiles in a fraction of the time of one of many.
        """
        def step(total: Array, profile: Sersic) -> tuple[Array, None]:
            def shone() -> Array:
                return total + profile.amp[:, None, None, None] * profile.basis(x, y)

            return jax.lax.cond(jnp.any(profile.amp != 0.0), shone, lambda: total), None

        stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf, x.dtype) for leaf in leaves]), *profiles)
        phases, _ = jax.lax.scan(step, jnp.zeros((self.bands, *x.shape), x.dtype), stacked)
        images = [self.optics.convolution(jnp.int32(0), k)(phases[k]) for k in range(self.bands)]
        return jnp.stack(images, -1) * self.grid.pixel_area

    def _line(self, key: Array, cluster: Array, z: Array) -> tuple[Array, Array]:
        """The node that is nearest to a source's D_ls / D_s, and one of its critical lines, by theta_E."""
        ladder = self.field.ladder[cluster]
        efficiency = jnp.interp(z, jnp.linspace(0.0, FURTHEST, len(ladder)), ladder)
        node = jnp.argmin(jnp.abs(self.field.efficiency[cluster] - efficiency))
        here = (self.field.node[:, 0] == cluster) & (self.field.node[:, 1] == node)
        return node, jax.random.categorical(key, jnp.where(here, jnp.log(self.field.theta_E), -jnp.inf))

    def _outside(self, key: Array, galaxy: Array, cluster: Array, node: Array, buffer: Array, bx: Array,
                 by: Array) -> tuple[Array, Array]:
        """A place behind some pixel of the cutout that is not in the region of the galaxy, and whether there is one."""
        field = self.field
        own = (field.node[:, 0] == cluster) & (field.node[:, 1] == node) & (field.lens == galaxy)
        largest = jnp.argmax(jnp.where(own, field.theta_E, 0.0))
        pixels = jax.random.randint(key, (ELSEWHERE,), 0, bx[0].size)
        places = jnp.stack([bx[0].ravel()[pixels], by[0].ravel()[pixels]], -1)
        free = ~(in_region(places, field.caustic[largest], buffer) & own.any())
        return places[jnp.argmax(free)], free.any()

    def _source(self, source: dict[str, Array], place: Array, there: Array) -> Sersic:
        amp = 10.0 ** (-0.4 * (source["mags"] - self.zero_points)) / unit_flux(source["r_e"], source["n"])
        e1, e2 = ellipticity(source["q"], source["phi"])
        return Sersic(amp=jnp.where(there, amp, 0.0), R_sersic=source["r_e"], n_sersic=source["n"], e1=e1, e2=e2,
                      center_x=place[0], center_y=place[1])

    def _clumps(self, key: Array, source: dict[str, Array], place: Array, there: Array) -> list[Sersic]:
        """Knots within a half-light radius, each 1 to 2.5 magnitudes fainter and a fifth as large as the source."""
        knots = []
        for one in jax.random.split(key, self.clumps) if self.clumps else ():
            where, faint = jax.random.split(one)
            offset = source["r_e"] * jax.random.uniform(where, (2,), minval=-1.0, maxval=1.0)
            knot = source | dict(r_e=0.2 * source["r_e"], n=jnp.asarray(1.0), q=jnp.asarray(1.0), mags=source["mags"]
                                 + jax.random.uniform(faint, minval=1.0, maxval=2.5))
            knots.append(self._source(knot, place + offset, there))
        return knots

    def _members(self, key: Array, galaxy: Array, cluster: Array) -> tuple[list[Sersic], Array]:
        """Light of a galaxy and of its neighbours, and the galaxy's magnitudes."""
        field, out, first = self.field, [], jnp.zeros(self.bands)
        for k, one in enumerate(jax.random.split(key, field.light.shape[1])):
            light = self.members.draw(one, cluster, field.light[galaxy, k])
            place = jnp.zeros(2) if k == 0 else field.near[galaxy, k - 1]
            first = light["mags"] if k == 0 else first
            amp = 10.0 ** (-0.4 * (light["mags"] - self.zero_points)) / unit_flux(light["R"], light["n"])
            out.append(Sersic(amp=amp, R_sersic=light["R"], n_sersic=light["n"], e1=light["e1"], e2=light["e2"],
                              center_x=place[0], center_y=place[1]))
        return out, first


def within(key: Array, polygon: Array, buffer: Array) -> Array:
    """A place that is uniform in the region of a closed polygon and a buffer about it, shape (2,).

    Of `TRIES` places in its box the first that is in the region; should none be, a corner.

    Args:
        key: Random key.
        polygon: Its corners, shape (k, 2).
        buffer: Width about it.
    """
    box_key, corner_key = jax.random.split(key)
    polygon = jnp.asarray(polygon)
    low, high = jnp.min(polygon, 0) - buffer, jnp.max(polygon, 0) + buffer
    places = low + (high - low) * jax.random.uniform(box_key, (TRIES, 2))
    inside = in_region(places, polygon, buffer)
    corner = polygon[jax.random.randint(corner_key, (), 0, len(polygon))]
    return jnp.where(inside.any(), places[jnp.argmax(inside)], corner)


def in_region(places: Array, polygon: Array, buffer: Array) -> Array:
    """Whether places are inside a closed polygon, or nearer to it than a buffer, shape (n,).

    Args:
        places: Shape (n, 2).
        polygon: Its corners, shape (k, 2); where it winds around a place any number of times but none is inside.
        buffer: Width about it.
    """
    x, y = places[:, :1], places[:, 1:]
    (x0, y0), (x1, y1) = polygon.T, jnp.roll(polygon, -1, 0).T
    rises = (y1 > y) != (y0 > y)
    height = jnp.where(rises, y1 - y0, 1.0)
    crossed = rises & (x < x0 + (y - y0) * (x1 - x0) / height)
    turns = jnp.sum(jnp.where(crossed, jnp.sign(y1 - y0), 0.0), -1)
    dx, dy = x1 - x0, y1 - y0
    square = dx**2 + dy**2
    share = jnp.clip(((x - x0) * dx + (y - y0) * dy) / jnp.where(square > 0.0, square, 1.0), 0.0, 1.0)
    away = jnp.min((x0 + share * dx - x) ** 2 + (y0 + share * dy - y) ** 2, -1)
    return (turns != 0.0) | (away <= buffer**2)


def cluster_lenses(field: ClusterField, survey: Survey, psfs: Sequence[PSF] | None = None, noise: Noise | None = None,
                   *, stamps: np.ndarray | None = None, sigma: np.ndarray | None = None, lensed: float = 0.5,
                   others: float = 0.3, behind: float = 0.5, clumps: int = 0, turns: bool = True,
                   cosmology: Cosmology | None = None) -> ClusterLenses:
    """Make a simulator of lenses in clusters, its arrays on the device.

    Args:
        field: The prepared clusters.
        survey: Bands, zero points, photon noise; its shape and pixel scale are the field's.
        psfs: One a band, of the field's supersampling; None takes the survey's.
        noise: In the place of the survey's camera.
        stamps: Real cutouts about each galaxy in the place of rendered members, see `ClusterLenses`.
        sigma: Noise of those, shape (bands,); None is the survey's.
        lensed, others, behind, clumps: See `ClusterLenses`.
        turns: Whether images are flipped and turned.
        cosmology: Of sizes; the default is flat with H0 = 70 and Om0 = 0.3.

    Raises:
        ValueError: A survey of another shape or scale, a band without a passband, stamps of another shape or not
            finite, or a share outside 0 to 1.
    """
    if survey.shape != field.shape or abs(survey.pixel_scale / field.pixel_scale - 1.0) > 1e-3:
        raise ValueError(f"survey: {survey.shape} pixels of {survey.pixel_scale:g} arcsec; the clusters are prepared "
                         f"for {field.shape} of {field.pixel_scale:g}")
    for name, share in dict(lensed=lensed, others=others, behind=behind).items():
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"{name}: got {share:g}; expected a share from 0 to 1")
    bands = len(survey.bands)
    if stamps is not None:
        expected = (len(field.center), *field.alpha.shape[3:], bands)
        if stamps.shape != expected:
            raise ValueError(f"stamps: got shape {stamps.shape}; expected {expected}")
        if not np.isfinite(stamps).all():
            raise ValueError(f"stamps: {np.sum(~np.isfinite(stamps))} pixels are NaN or infinite")
        noise = PhotonNoise(photon=jnp.asarray(survey.photon, jnp.float32)) if noise is None else noise
        stamps = np.asarray(stamps, np.float32)
    sources = sources_behind(np.asarray(field.z_lens), survey, cosmology)
    optics = Optics.of([list(psfs or survey.psfs(field.supersampling))], survey.shape)
    grid = survey.grid.replace(pixel_scale=jnp.float32(survey.pixel_scale))
    made = ClusterLenses(grid=grid, optics=optics, noise=CameraNoise.of(survey) if noise is None else noise,
                         turns=turns, bands=bands, field=field, sources=sources, stamps=stamps,
                         members=members_of(np.asarray(field.z_lens, float), survey, cosmology),
                         sigma=np.asarray(survey.background_rms if sigma is None else sigma, np.float32),
                         zero_points=survey.zero_points.astype(np.float32), lensed=np.float32(lensed),
                         others=np.float32(others), behind=np.float32(behind), clumps=clumps)
    return jax.tree.map(jnp.asarray, made)
