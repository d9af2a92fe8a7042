"""Models of clusters that sources are injected into: a `.par` of LensTool, or a deflection map and a catalogue."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from giga.imaging.grid import tangent_plane
from giga.io.configuration.members import read_members
from giga.io.errors import InputError
from giga.io.images.deflection_map import load_deflection_map
from giga.io.images.hdu import read_image
from giga.io.images.sky import celestial_wcs
from giga.io.lenstool.par import Par, read_par
from giga.io.lenstool.potentials import Potential, masses, potentials, together
from giga.io.lenstool.potfiles import members
from giga.lensing.cosmology import Cosmology
from giga.simulate.systems.cluster_fields import ClusterLens, Galaxies

LARGEST = 100.0  # cut radius of a galaxy [kpc]; what is wider is a halo of the cluster
FABER_JACKSON = 10.0  # magnitudes of a factor of ten in the velocity dispersion, L ~ sigma^4


def read_cluster(path: str | PathLike[str]) -> ClusterLens:
    """The model of a `.par` of LensTool, see `cluster_lens`. Raises InputError."""
    return cluster_lens(read_par(path))


def cluster_lens(par: Par) -> ClusterLens:
    """The model of a `.par`: potentials of type 81 with a cut radius below 100 kpc, and the potfiles, are galaxies.

    Magnitudes are taken to be F814W. A galaxy without one has that of the others' Faber-Jackson relation.

    Raises:
        InputError: What `giga.io.lenstool` refuses, no galaxy, or none that has a magnitude.
    """
    every = potentials(par)
    small = [one for one in every if _is_galaxy(one, par)]
    files = members(par)
    known = [(one.number("v_disp"), one.number("mag")) for one in small if one.has("mag")]
    for each in files:
        known += zip(np.asarray(each.each().sigma, float), np.asarray(each.catalogue.mag, float), strict=True)
    if not known:
        raise InputError(par.file, "", f"{len(small)} galaxies, none with a magnitude",
                         "a potfile, or potentials of galaxies with mag")
    relation = float(np.median([mag + FABER_JACKSON * np.log10(sigma) for sigma, mag in known if sigma > 0.0]))
    rows = [(one.x, one.y, one.number("mag") if one.has("mag") else
             relation - FABER_JACKSON * np.log10(max(one.number("v_disp"), 1.0)), *one.shape()) for one in small]
    for each in files:
        c = each.catalogue
        rows += zip(*(np.asarray(v, float) for v in (c.x, c.y, c.mag, c.e1, c.e2)), strict=True)
    x, y, mag, e1, e2 = np.array(rows, float).T
    smooth = together([one for one in every if one not in small])
    return ClusterLens(mass=[*masses(par), *files], smooth=smooth, z=every[0].z_lens, cosmology=par.cosmology,
                galaxies=Galaxies(x=x, y=y, mag=mag, e1=e1, e2=e2))


def _is_galaxy(one: Potential, par: Par) -> bool:
    return one.kind == 81 and one.radius("cut_radius") * par.kpc(one.z_lens) < LARGEST


def map_lens(alpha_x: str | PathLike[str], alpha_y: str | PathLike[str], catalogue: str | PathLike[str], z_lens: float,
             z_map: float | None = None, cosmology: Cosmology | None = None) -> ClusterLens:
    """A model that is known as a deflection map on disk, with a catalogue of the members.

    Args:
        alpha_x, alpha_y: FITS images of the deflection along columns and rows [arcsec], north up.
        catalogue: Of the members, see `giga.io.configuration.members.read_members`; places are relative to the middle
            of the map, x to the west, or degrees.
        z_lens: Redshift of the cluster.
        z_map: Of the source that the map is for; None is a map for D_ls / D_s = 1.
        cosmology: The default is flat with H0 = 70 and Om0 = 0.3.

    Raises:
        InputError: A map or a catalogue that cannot be used, or a source in front of the cluster.
    """
    cosmology = cosmology or Cosmology()
    scale = 1.0
    if z_map is not None:
        efficiency = float(cosmology.lensing_efficiency(jnp.asarray(z_lens), jnp.asarray(z_map)))
        if not efficiency > 0.0:
            raise InputError(alpha_x, "z_map", f"{z_map:g}", f"a redshift behind that of the cluster, {z_lens:g}")
        scale = 1.0 / efficiency
    field = load_deflection_map(alpha_x, alpha_y, scale=scale)
    members_of = read_members(Path(catalogue), north_up(alpha_x))
    return ClusterLens(mass=[field], smooth=[], z=z_lens, cosmology=cosmology,
                galaxies=Galaxies(x=members_of.x, y=members_of.y, mag=members_of.mag, e1=members_of.e1,
                                  e2=members_of.e2))


def north_up(image: str | PathLike[str]) -> tuple[float, float]:
    """Right ascension and declination of the middle of an image [deg].

    Raises:
        InputError: No celestial WCS, or north that is not up, or west not to the right, within a degree.
    """
    pixels, header, _ = read_image(image, None, "image")
    wcs = celestial_wcs(header)
    if wcs is None:
        raise InputError(image, "image", "no celestial WCS", "a FITS WCS")
    ny, nx = pixels.shape
    (ra, dec), plane = tangent_plane(wcs, 0.5 * (nx - 1), 0.5 * (ny - 1), 1.0)
    turned = np.degrees(np.arctan2(plane[0, 1], plane[1, 1]))
    if plane[0, 0] > 0.0 or abs(turned) > 1.0:
        raise InputError(image, "image", f"north {turned:.3g} deg from up, "
                         f"{'east' if plane[0, 0] > 0.0 else 'west'} to the right", "north up and west to the right")
    return float(ra), float(dec)
