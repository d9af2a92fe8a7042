"""Clusters prepared for injection: deflections about their galaxies, and the secondary caustics for several sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np

from giga.component import AnyArray, Component, static
from giga.imaging.grid import Grid
from giga.lensing.caustics import told_apart
from giga.lensing.cosmology import Cosmology
from giga.lensing.critical import Curve, critical_curves, winding
from giga.lensing.tracing import deflection
from giga.mass.base import MassProfile
from giga.mass.members import gathered
from giga.simulate.systems.cluster_sources import BEHIND, FURTHEST

THETA_E = (0.2, 3.5)
"""Equivalent Einstein radii of galaxies that act as lenses [arcsec]: Angora et al. (2023), section 3.1."""

NODES = 8  # sources' D_ls / D_s for which there are caustics
CORNERS = 96  # of each caustic
NEAR = 6  # neighbours of a galaxy whose light is drawn with it
MARGIN = 4  # pixels about a cutout, by which it may be moved


class Galaxies(Component):
    """Member galaxies of a cluster as they shine.

    Attributes:
        x, y: Centres, shape (g,) [arcsec].
        mag: F814W magnitude, shape (g,).
        e1, e2: Ellipticity components of the light, shape (g,).
    """

    x: AnyArray
    y: AnyArray
    mag: AnyArray
    e1: AnyArray
    e2: AnyArray

    @property
    def places(self) -> np.ndarray:
        """Centres, shape (g, 2) [arcsec]."""
        return np.stack([np.asarray(self.x, float), np.asarray(self.y, float)], -1)


class ClusterLens(Component):
    """One model of a cluster, by which fields are made.

    Attributes:
        mass: All masses, whose deflection is that of D_ls / D_s = 1.
        smooth: Those of them that are no galaxies; empty where that is not known, as of a deflection map.
        galaxies: The members.
        z: Redshift.
        cosmology: What makes redshifts D_ls / D_s.
    """

    mass: Sequence[MassProfile]
    smooth: Sequence[MassProfile]
    galaxies: Galaxies
    z: float
    cosmology: Cosmology = Cosmology()


class Scaled(MassProfile):
    """Masses as a source sees them whose D_ls / D_s is known.

    Attributes:
        mass: The masses, for D_ls / D_s = 1.
        efficiency: D_ls / D_s.
    """

    mass: Sequence[MassProfile]
    efficiency: AnyArray

    from_numbers = False

    def deflection(self, x, y):
        alpha_x, alpha_y = deflection(gathered(self.mass), x, y)
        return self.efficiency * alpha_x, self.efficiency * alpha_y

    def jacobian(self, x, y):
        parts = [profile.jacobian(x, y) for profile in gathered(self.mass)]
        xx, xy, yx, yy = (self.efficiency * sum(terms[1:], terms[0]) for terms in zip(*parts, strict=True))
        return xx, xy, yx, yy


class ClusterField(Component):
    """What injection needs of one or several clusters; it stays on the device. Made by `prepare`, joined by `join`.

    Attributes:
        alpha: Deflection of D_ls / D_s = 1 about each galaxy, by the phases of a pixel as `Grid.phases` has them,
            shape (g, 2, s*s, ny + 2 MARGIN, nx + 2 MARGIN) [arcsec].
        center: Of each galaxy, about which its cutout lies, shape (g, 2) [arcsec].
        near: Places of its neighbours relative to it, shape (g, NEAR, 2) [arcsec].
        light: F814W magnitude, e1 and e2 of a galaxy and of its neighbours, shape (g, 1 + NEAR, 3); a magnitude of
            infinity is none.
        member: Number of the cluster of a galaxy, shape (g,).
        lens: Galaxy of each secondary critical line, shape (lines,).
        node: For which source it is, the number of its cluster and of the node, shape (lines, 2).
        theta_E: Its equivalent Einstein radius, shape (lines,) [arcsec].
        caustic: What it maps to, as so many corners, shape (lines, CORNERS, 2) [arcsec].
        efficiency: D_ls / D_s of the nodes, shape (clusters, NODES).
        z_lens: Redshifts of the clusters, shape (clusters,).
        ladder: D_ls / D_s by redshift from 0 to `FURTHEST` in equal steps, shape (clusters, z).
        pixel_scale: Side of a pixel [arcsec].
        supersampling: s.
    """

    alpha: AnyArray
    center: AnyArray
    near: AnyArray
    light: AnyArray
    member: AnyArray
    lens: AnyArray
    node: AnyArray
    theta_E: AnyArray
    caustic: AnyArray
    efficiency: AnyArray
    z_lens: AnyArray
    ladder: AnyArray
    pixel_scale: float = static()
    supersampling: int = static()

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the cutouts."""
        ny, nx = self.alpha.shape[3:]
        return ny - 2 * MARGIN, nx - 2 * MARGIN

    @property
    def lenses(self) -> np.ndarray:
        """Numbers of the galaxies that have a critical line, shape (lenses,)."""
        return np.unique(np.asarray(self.lens))

    @staticmethod
    def join(several: Sequence[ClusterField]) -> ClusterField:
        """Several clusters as one field.

        Raises:
            ValueError: None, or cutouts of several sizes.
        """
        if not several:
            raise ValueError("clusters: got none; expected one or more")
        about = [(one.shape, one.pixel_scale, one.supersampling) for one in several]
        if len(set(about)) > 1:
            raise ValueError(f"clusters: cutouts of {about}; expected one shape, pixel scale and supersampling")
        galaxies = np.cumsum([0, *(len(one.center) for one in several)])
        clusters = np.cumsum([0, *(len(one.z_lens) for one in several)])
        moved = [one.replace(lens=np.asarray(one.lens) + galaxies[k], member=np.asarray(one.member) + clusters[k],
                             node=np.asarray(one.node) + np.array([clusters[k], 0])) for k, one in enumerate(several)]
        arrays = [field.name for field in fields(ClusterField) if not field.metadata.get("static")]  # pyright: ignore
        return several[0].replace(**{name: np.concatenate([np.asarray(getattr(one, name)) for one in moved])
                                     for name in arrays})


def prepare(lens: ClusterLens, grid: Grid, half_width: float, supersampling: int = 2, nodes: int = NODES,
            centers: np.ndarray | None = None) -> ClusterField:
    """Find the secondary critical lines of a cluster, and the deflection about its galaxies.

    A single lens plane bends light by D_ls / D_s times one field. So that field is stored once; critical lines are
    found for `nodes` values of D_ls / D_s, between those of the nearest and of the furthest source.

    Args:
        lens: The model.
        grid: Of a cutout, about a galaxy.
        half_width: Half the side of the square about the origin whose galaxies are taken [arcsec].
        supersampling: Subpixels a side.
        nodes: Values of D_ls / D_s.
        centers: About which the cutouts of the galaxies lie, shape (galaxies, 2), NaN for those that are left out
            [arcsec]; None is the galaxies themselves.

    Returns:
        The field of one cluster, on the host.

    Raises:
        ValueError: No galaxy in the square, or none that acts as a lens.
    """
    places = lens.galaxies.places
    centers = places if centers is None else np.asarray(centers, float)
    inside = np.flatnonzero(np.abs(centers).max(1) < half_width - 0.5 * max(grid.shape) * float(grid.pixel_scale))
    if not inside.size:
        raise ValueError(f"galaxies: none of {len(places)} is within the square of half-width {half_width:g} arcsec")
    z = np.linspace(0.0, FURTHEST, 1024)
    behind = z > lens.z + 1e-3
    ladder = np.zeros(len(z))
    ladder[behind] = np.asarray(lens.cosmology.lensing_efficiency(jnp.asarray(lens.z), jnp.asarray(z[behind])), float)
    ends = np.interp([lens.z + BEHIND, FURTHEST], z, ladder)
    width = (ends[1] - ends[0]) / nodes
    efficiency = ends[0] + width * (np.arange(nodes) + 0.5)
    rows = []
    for number, one in enumerate(efficiency):
        for curve in secondary(lens, one, half_width):
            galaxy = _owner(curve, places[inside])
            if galaxy is not None:
                rows.append((galaxy, number, curve.einstein_radius, _corners(curve.caustic)))
    if not rows:
        raise ValueError(f"galaxies: none of {len(inside)} has a critical line of {THETA_E[0]:g} to {THETA_E[1]:g} "
                         "arcsec")
    owner, number, theta_E, caustic = (np.array(column) for column in zip(*rows, strict=True))
    near, light = _neighbours(lens.galaxies, inside, 0.75 * max(grid.shape) * float(grid.pixel_scale))
    return ClusterField(
        alpha=_deflections(lens.mass, centers[inside], grid, supersampling),
        center=centers[inside].astype(np.float32), near=near, light=light,
        member=np.zeros(len(inside), np.int32), lens=owner.astype(np.int32),
        node=np.stack([np.zeros(len(number)), number], -1).astype(np.int32), theta_E=theta_E.astype(np.float32),
        caustic=caustic.astype(np.float32), efficiency=efficiency[None].astype(np.float32),
        z_lens=np.array([lens.z], np.float32), ladder=ladder[None].astype(np.float32),
        pixel_scale=float(grid.pixel_scale), supersampling=supersampling)


def secondary(lens: ClusterLens, efficiency: float, half_width: float) -> list[Curve]:
    """The tangential critical lines of galaxies that act as lenses, for one D_ls / D_s.

    Where it is not known which masses are galaxies, the size alone tells, and lines about no member are left out.

    References:
        Angora et al. (2023), section 3.1.
    """
    curves = critical_curves([Scaled(mass=lens.mass, efficiency=jnp.asarray(efficiency))], half_width,
                             galaxies=lens.galaxies.places)
    if lens.smooth:
        curves = told_apart(curves, [Scaled(mass=lens.smooth, efficiency=jnp.asarray(efficiency))])
    return [one for one in curves if one.kind == "tangential" and one.closed and (one.secondary or not lens.smooth)
            and THETA_E[0] < one.einstein_radius < THETA_E[1]]


def _owner(curve: Curve, places: np.ndarray) -> int | None:
    """Number of the galaxy inside a critical line that is nearest to its middle; None for a line about none."""
    inside = np.flatnonzero(winding(curve.critical, places[:, 0], places[:, 1]) != 0)
    if not inside.size:
        return None
    middle = 0.5 * (curve.critical.min(0) + curve.critical.max(0))
    return int(inside[np.argmin(np.hypot(*(places[inside] - middle).T))])


def _corners(points: np.ndarray) -> np.ndarray:
    """A closed polygon with `CORNERS` corners, equally far from each other along it, shape (CORNERS, 2)."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = along[-1] * np.arange(CORNERS) / CORNERS
    return np.stack([np.interp(at, along, column) for column in points.T], -1)


def _neighbours(galaxies: Galaxies, inside: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Places and light of the neighbours of some galaxies that outshine others there, see `ClusterField`.

    Bright ones are seen from further away: flux over the square of the distance orders them.
    """
    places, mag = galaxies.places, np.asarray(galaxies.mag, float)
    shapes = np.stack([mag, np.asarray(galaxies.e1, float), np.asarray(galaxies.e2, float)], -1)
    near = np.zeros((len(inside), NEAR, 2))
    light = np.zeros((len(inside), 1 + NEAR, 3))
    light[:, 1:, 0] = np.inf
    for k, galaxy in enumerate(inside):
        away = places - places[galaxy]
        distance = np.hypot(*away.T)
        weight = 10.0 ** (-0.4 * (mag - mag[galaxy])) / np.maximum(distance, 0.1) ** 2
        seen = [other for other in np.argsort(-weight) if other != galaxy
                and (distance[other] < reach or weight[other] > 1.0 / reach**2)][:NEAR]
        light[k, 0] = shapes[galaxy]
        near[k, :len(seen)], light[k, 1:1 + len(seen)] = away[seen], shapes[seen]
    return near.astype(np.float32), light.astype(np.float32)


def _deflections(mass: Sequence[MassProfile], places: np.ndarray, grid: Grid, supersampling: int) -> np.ndarray:
    """The deflection about each galaxy, see `ClusterField.alpha`."""
    ny, nx = grid.shape
    wide = Grid(shape=(ny + 2 * MARGIN, nx + 2 * MARGIN), pixel_scale=float(grid.pixel_scale))
    x, y = (np.asarray(one, np.float32) for one in wide.phases(supersampling))
    x, y = np.broadcast_arrays(x, y)
    return np.stack([np.stack([np.asarray(a, np.float32) for a in _bent(list(mass), x + px, y + py)])
                     for px, py in places.astype(np.float32)])


@jax.jit
def _bent(mass, x, y):
    return deflection(gathered(mass), x, y)
