"""Galaxies behind clusters whose arcs are seen: the sources forecast by Collett (2015), in three classes of colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import ndtri
from scipy.special import ndtr

from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.derived import Derived

NAMES = ("r", "g_r", "r_z", "R", "q", "z", "n")
"""What a source is, in this order: r magnitude, colours, half-light radius [arcsec], axis ratio, redshift, index."""

KINDS = ("blue", "green", "red")
EDGES = (0.8, 1.3)
"""g - r at which blue sources end and red ones begin: Zhang et al. (2026), section 2.2, item 4."""

SHARES = (0.5, 0.25, 0.25)
"""Of blue, green and red sources: the same item, red : green : blue = 1 : 1 : 2."""

LEAST = 0.5
"""Redshift below which hardly a cluster has an arc as wide as is wanted: 2% of the table."""

# Fitted to the 1068 sources of Collett's lenses in the best images of the DES (lenses_DESc.txt), whose ranges are those
# of Table 1: g 21.3 to 29.5, r 21.0 to 28.0, i 20.3 to 28.3 (which Table 1 calls z), radii to 1.68". Mean, scatter
# and range by class, 991 blue, 52 green and 25 red ones; what differs little between them has one row.
R_BAND, AXES = (24.4, 1.3, 21.0, 28.0), (0.65, 0.17, 0.2, 1.0)
COLOURS = (0.04, 0.24, -0.5, 0.8), (0.98, 0.15, 0.8, 1.3), (1.57, 0.19, 1.3, 2.1)  # g - r
REDDER = (0.11, 0.25, -0.5, 1.0), (0.46, 0.28, 0.0, 1.2), (0.97, 0.21, 0.2, 1.3)  # r - i
REDSHIFT = (0.57, 0.37, np.log(LEAST), 1.5), (0.26, 0.9, np.log(LEAST), 1.6), (-0.26, 0.44, np.log(LEAST), 1.5)  # ln z
RADIUS = (-1.5, 0.6, -4.0, 0.52)  # ln of the half-light radius [arcsec] at the mean r magnitude
SLOPE = -0.64  # of that with r magnitude

INDEX = (1.2, 0.8, 0.4, 4.0)
"""Sersic index: the range of Table 1. The paper takes the distribution from simulations (Xu et al. 2019) and shows
it as a figure; mean and scatter are ours."""

_ROWS = np.array([[R_BAND, COLOURS[k], REDDER[k], RADIUS, AXES, REDSHIFT[k], INDEX] for k in range(len(KINDS))])
_LOW, _HIGH = (ndtr((_ROWS[..., end] - _ROWS[..., 0]) / _ROWS[..., 1]) for end in (2, 3))  # as quantiles

OFFSETS = {"g": (1.0, 1), "r": (0.0, 0), "z": (-1.0, 2)}
"""By band: sign and column of the colour that a magnitude is away from r."""


def drawn_sources(count: int | None = None) -> Derived:
    """Sources of the fits, an array of shape (NAMES,) or (count, NAMES)."""
    shape = [1 + len(NAMES)] if count is None else [count, 1 + len(NAMES)]
    return Derived(_drawn, dist.Uniform(0.0, 1.0).expand(shape))


def tabled_sources(catalogue: Catalogue) -> Derived:
    """Sources of a table of Collett (2015), an array of shape (NAMES,); classes weigh as `SHARES` has them.

    The table has no z: as in the paper, whose range of z is that of the table's i, i stands in its place. Indices are
    not the table's, which are 1, but those of `INDEX`. Sources below `LEAST` are left out.

    Args:
        catalogue: Columns as `giga.io.configuration.collett.read_collett` names them.

    Raises:
        ValueError: A column that is missing, or a class of colour without sources.
    """
    g, r, i, R, q, z = (np.asarray(catalogue.columns[catalogue[name].name], np.float32) for name in (
        "mag_source_g", "mag_source_r", "mag_source_i", "R_source", "q_source", "z_source"))
    rows = np.stack([r, g - r, r - i, R, q, z], -1)[z > LEAST]
    kind = np.digitize(rows[:, 1], EDGES)
    counts = np.bincount(kind, minlength=len(KINDS))
    if not counts.all():
        raise ValueError(f"catalogue: {', '.join(map(str, counts))} blue, green and red sources beyond z = {LEAST:g}; "
                         "expected some of each")
    table = Catalogue({"source": rows}, (np.asarray(SHARES) / counts)[kind])
    return Derived(_tabled, table["source"], dist.Uniform(0.0, 1.0))


def kind_of(colour: Any) -> Array:
    """Number in `KINDS` of a g - r."""
    return jnp.sum(jnp.asarray(colour)[..., None] >= jnp.asarray(EDGES), -1)


def offsets(bands: Sequence[str]) -> np.ndarray:
    """Sign and column of the colour by which each band is away from r, for `magnitudes`, shape (bands, 2).

    Raises:
        ValueError: A band without colours.
    """
    for name in bands:
        if name not in OFFSETS:
            raise ValueError(f"colours: band {name!r} has none; expected some of {', '.join(OFFSETS)}")
    return np.array([OFFSETS[name] for name in bands], np.float32)


def magnitudes(source: Array, offset: Array) -> Array:
    """Magnitudes of sources (..., NAMES) in the bands of `offsets`, shape (..., bands)."""
    columns = offset[:, 1].astype(int)
    return source[..., :1] + jnp.where(columns > 0, offset[:, 0] * source[..., columns], 0.0)


# Functions of Deriveds are named ones of the module, so that two populations that are built alike compile once.

def _drawn(uniform: Any) -> Array:
    kind = jnp.sum(uniform[..., :1] >= jnp.cumsum(jnp.asarray(SHARES))[:-1], -1)
    mean, scatter, least, most = (jnp.asarray(_ROWS[..., k], uniform.dtype)[kind] for k in range(4))
    low, high = (jnp.asarray(end, uniform.dtype)[kind] for end in (_LOW, _HIGH))
    normal = ndtri(low + uniform[..., 1:] * (high - low))
    r = jnp.clip(mean[..., :1] + scatter[..., :1] * normal[..., :1], least[..., :1], most[..., :1])
    tied = jnp.asarray([SLOPE * (name == "R") for name in NAMES]) * (r - R_BAND[0])
    value = jnp.clip(mean + tied + scatter * normal, least, most)
    return jnp.where(jnp.asarray([name in ("R", "z") for name in NAMES]), jnp.exp(value), value)


def _tabled(row: Any, uniform: Any) -> Array:
    mean, scatter, least, most = INDEX
    index = mean + scatter * ndtri(_LOW[0, -1] + uniform * (_HIGH[0, -1] - _LOW[0, -1]))
    return jnp.append(row, jnp.clip(index, least, most))
