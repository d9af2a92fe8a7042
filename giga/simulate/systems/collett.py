"""A catalogue of forecast lenses as a population of scenes: the columns of Collett (2015)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from giga.component import Param
from giga.lensing.cosmology import Cosmology
from giga.lensing.scene import Scene
from giga.light.sersic import Sersic
from giga.mass.epl import EPL, terms_for
from giga.mass.external import Shear
from giga.mass.sie import SIE
from giga.simulate.generator import LENSED
from giga.simulate.populations import relations
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.derived import Derived
from giga.simulate.populations.population import Population
from giga.simulate.surveys.survey import Band

SERIES_ACCURACY = 1e-5
"""Of deflections, relative; flatter lenses take more terms of the series."""


def collett_population(catalogue: Catalogue, bands: Sequence[Band], *, gamma: Param | None = None,
                       shear: Shear | None = None, n_lens: Param = 4.0, n_source: Param = 1.0,
                       center_x: Param = 0.0, center_y: Param = 0.0, cosmology: Cosmology | None = None,
                       magnitudes: Mapping[str, str] | None = None,
                       extras: Mapping[str, Any] | None = None, lensed: Param | None = None) -> Population:
    """Lenses of a catalogue: an isothermal or power-law ellipsoid, its light, and the light of one source.

    Each system is turned by a random angle. Mass and light of the lens share centre and ellipticity. The truth has the
    extras `z_lens`, `z_source`, `sigma_v`, `q_lens`, `mag_lens` and `mag_source`; angles are in the ellipticities,
    which turn with an image.

    Args:
        catalogue: Columns as `giga.io.configuration.collett.read_collett` names them.
        bands: The bands to draw; their names choose the columns of magnitudes, their zero points give the counts.
        gamma: Slope of an EPL, a number or a distribution; None is an SIE.
        shear: External shear with numbers or distributions on its leaves; None is none, as in Collett (2015).
        n_lens, n_source: Sersic indices.
        center_x, center_y: Centre of the lens [arcsec].
        cosmology: Takes Einstein radii from velocity dispersions and redshifts; None takes those of the catalogue.
        magnitudes: Name of the catalogue's band for bands of another name: {"z": "i"}.
        extras: More values that are drawn with each scene, by name.
        lensed: Distribution of 0 and 1: where it is 0 the Einstein radius is zero. It becomes an extra, "lensed".

    Raises:
        ValueError: A band or another column that the catalogue does not have; says which there are.
    """
    stacked = Catalogue({
        **{name: catalogue.columns[catalogue[name].name] for name in (
            "z_lens", "z_source", "theta_E", "sigma_v", "q_lens", "phi_lens", "R_lens", "x_source", "y_source",
            "q_source", "phi_source", "R_source")},
        "mag_lens": _stack(catalogue, "mag_lens_", bands, magnitudes or {}),
        "mag_source": _stack(catalogue, "mag_source_", bands, magnitudes or {})}, catalogue.weights)
    zero_points = np.array([band.zero_point for band in bands])
    turn = dist.Uniform(0.0, 2.0 * math.pi)
    e1, e2 = relations.ellipticity(stacked["q_lens"], Derived(jnp.add, stacked["phi_lens"], turn))
    x, y = relations.rotated(stacked["x_source"], stacked["y_source"], turn)
    source_e1, source_e2 = relations.ellipticity(stacked["q_source"], Derived(jnp.add, stacked["phi_source"], turn))
    theta_E = stacked["theta_E"] if cosmology is None else relations.einstein_radius(
        stacked["sigma_v"], stacked["z_lens"], stacked["z_source"], cosmology)
    if lensed is not None:
        theta_E, extras = relations.present(theta_E, lensed), {LENSED: lensed, **(extras or {})}
    shape = {"e1": e1, "e2": e2, "center_x": center_x, "center_y": center_y}
    terms = terms_for(float(np.min(stacked.columns["q_lens"])), SERIES_ACCURACY)
    mass = SIE(theta_E=theta_E, **shape) if gamma is None else EPL(theta_E=theta_E, gamma=gamma, terms=terms, **shape)
    scene = Scene(
        mass=[mass] if shear is None else [mass, shear],
        lens_light=[Sersic(amp=relations.amplitude(stacked["mag_lens"], zero_points, stacked["R_lens"], n_lens),
                           R_sersic=stacked["R_lens"], n_sersic=n_lens, **shape)],
        source_light=[Sersic(
            amp=relations.amplitude(stacked["mag_source"], zero_points, stacked["R_source"], n_source),
            R_sersic=stacked["R_source"], n_sersic=n_source, e1=source_e1, e2=source_e2,
            center_x=Derived(jnp.add, center_x, x), center_y=Derived(jnp.add, center_y, y))])
    known = {name: stacked[name] for name in ("z_lens", "z_source", "sigma_v", "q_lens", "mag_lens", "mag_source")}
    return Population.of(scene, {**known, **(extras or {})})


def _stack(catalogue: Catalogue, prefix: str, bands: Sequence[Band], magnitudes: Mapping[str, str]) -> np.ndarray:
    """Magnitudes of some bands, shape (rows, bands)."""
    if not bands:
        raise ValueError("collett_population: bands: got none; expected at least one")
    names = [catalogue[prefix + magnitudes.get(band.name, band.name)].name for band in bands]
    return np.stack([catalogue.columns[name] for name in names], axis=-1)
