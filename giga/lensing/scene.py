"""A scene: the masses and lights of one strong lens."""

from collections.abc import Sequence

from jax import Array

from giga.component import Component, Param
from giga.light.base import LightProfile
from giga.mass.base import MassProfile


class Scene(Component):
    """Mass, lens light and source light of one lens.

    With numbers on its leaves it is a lens that renders, with distributions a prior, with arrays a
    sample.

    Attributes:
        mass: Mass profiles of the lens plane.
        lens_light: Light profiles that are not lensed.
        source_light: Light profiles of the source plane.
        noise_scale: What the noise of each observation is multiplied by, one entry each; none is one.
    """

    mass: Sequence[MassProfile] = ()
    lens_light: Sequence[LightProfile] = ()
    source_light: Sequence[LightProfile] = ()
    noise_scale: Sequence[Param] = ()

    @property
    def light(self) -> list[LightProfile]:
        """Lens and source light in the order in which amplitudes are stacked."""
        return [*self.lens_light, *self.source_light]

    @property
    def has_own_priors(self) -> bool:
        """Whether amplitudes are left to be solved under a prior of their profile's own."""
        return any(profile.is_linear and profile.has_own_prior for profile in self.light)

    @property
    def is_linear(self) -> bool:
        """Whether any amplitude is left to be solved."""
        return any(profile.is_linear for profile in self.light)

    def with_amplitudes(self, amplitudes: Sequence[Param]) -> "Scene":
        """Fill the linear amplitudes, one entry for each linear profile in the order of `light`."""
        values = iter(amplitudes)

        def fill(profiles: Sequence[LightProfile]) -> list[LightProfile]:
            return [p.replace(amp=next(values)) if p.is_linear else p for p in profiles]

        return self.replace(lens_light=fill(self.lens_light), source_light=fill(self.source_light))

    def in_band(self, band: str | None) -> "Scene":
        """The scene as one band sees it: profiles tied to other bands are left out."""

        def keep(profiles: Sequence[LightProfile]) -> list[LightProfile]:
            return [p for p in profiles if p.bands is None or band in p.bands]

        return self.replace(lens_light=keep(self.lens_light), source_light=keep(self.source_light))

    def divided(self, unit: Array) -> "Scene":
        """The scene with every amplitude that it has, and what else is a brightness, divided by a unit of flux."""
        return self.replace(lens_light=[p.divided(unit) for p in self.lens_light],
                            source_light=[p.divided(unit) for p in self.source_light])
