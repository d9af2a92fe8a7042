"""Redshifts of a lens and its source, and what they turn angles into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import numpy as np
from jax import Array

from giga.lensing.cosmology import ARCSEC, Cosmology

Scale = Literal["kpc_lens", "kpc_source", "mass_per_arcsec2"]


@dataclass(frozen=True)
class Redshifts:
    """Where lens and source are.

    Attributes:
        z_lens, z_source: Redshifts; None is not known.
        cosmology: What makes them distances.
    """

    z_lens: float | None = None
    z_source: float | None = None
    cosmology: Cosmology = field(default_factory=Cosmology)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those that are not known."""
        return tuple(name for name in ("z_lens", "z_source") if getattr(self, name) is None)

    @property
    def kpc_lens(self) -> float:
        """Length of one arcsec in the lens plane [kpc]."""
        return float(self._scale("kpc_lens"))

    @property
    def kpc_source(self) -> float:
        """Length of one arcsec in the source plane [kpc]."""
        return float(self._scale("kpc_source"))

    @property
    def mass_per_arcsec2(self) -> float:
        """Critical surface density times the area of a square arcsec in the lens plane [solar masses]."""
        return float(self._scale("mass_per_arcsec2"))

    def of_draws(self, name: Scale, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
        """One of the numbers above for each draw of redshifts and of the cosmology.

        Args:
            name: Of the number.
            drawn: What differs from draw to draw, of one shape: z_lens, z_source, or a field of the cosmology.

        Returns:
            Their shape.
        """
        arrays = [np.asarray(values, float) for values in drawn.values()]

        def one(*values: Array) -> Array:
            new = dict(zip(drawn, values, strict=True))
            redshifts = {key: new.pop(key) for key in ("z_lens", "z_source") if key in new}
            return replace(self, cosmology=self.cosmology.replace(**new), **redshifts)._scale(name)  # pyright: ignore

        found = jax.jit(jax.vmap(one))(*[array.ravel() for array in arrays])
        return np.asarray(found, float).reshape(arrays[0].shape)

    def _scale(self, name: Scale) -> Array:
        if name == "mass_per_arcsec2":
            density = self.cosmology.critical_density(self.z_lens, self.z_source)  # pyright: ignore
            return density * self._scale("kpc_lens") ** 2
        z: Any = self.z_lens if name == "kpc_lens" else self.z_source
        return 1e3 * ARCSEC * self.cosmology.angular_diameter_distance(z)
