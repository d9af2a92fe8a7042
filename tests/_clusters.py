"""A cluster of one halo and three galaxies, prepared for small cutouts."""

from functools import cache

import numpy as np

from giga.imaging.grid import Grid
from giga.mass.members import DPIE
from giga.simulate.systems.cluster_fields import ClusterField, ClusterLens, Galaxies, prepare

HALF = 20.0
GRID = Grid(shape=(16, 16), pixel_scale=0.24)
PLACES = np.array([[9.0, 3.0], [-7.0, 6.0], [2.0, -11.0]])


def lens(z: float = 0.4, smooth: bool = True) -> ClusterLens:
    halo = DPIE(sigma=700.0, core=8.0, cut=200.0)
    galaxies = [DPIE(sigma=sigma, core=0.05, cut=4.0, center_x=x, center_y=y, e1=0.1)
                for sigma, (x, y) in zip((220.0, 180.0, 150.0), PLACES, strict=True)]
    return ClusterLens(mass=[halo, *galaxies], smooth=[halo] if smooth else [], z=z, galaxies=Galaxies(
        x=PLACES[:, 0], y=PLACES[:, 1], mag=np.array([19.0, 20.0, 20.5]), e1=np.full(3, 0.1), e2=np.zeros(3)))


@cache
def field() -> ClusterField:
    return prepare(lens(), GRID, HALF, nodes=2)
