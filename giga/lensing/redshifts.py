"""Redshifts of a lens and its source, and what they turn angles into."""

from __future__ import annotations

from dataclasses import dataclass, field

from giga.lensing.cosmology import ARCSEC, Cosmology


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
        return self._kpc(self.z_lens)

    @property
    def kpc_source(self) -> float:
        """Length of one arcsec in the source plane [kpc]."""
        return self._kpc(self.z_source)

    @property
    def mass_per_arcsec2(self) -> float:
        """Critical surface density times the area of a square arcsec in the lens plane [solar masses]."""
        return float(self.cosmology.critical_density(self.z_lens, self.z_source)) * self.kpc_lens**2  # pyright: ignore

    def _kpc(self, z: float | None) -> float:
        return 1e3 * ARCSEC * float(self.cosmology.angular_diameter_distance(z))  # pyright: ignore
