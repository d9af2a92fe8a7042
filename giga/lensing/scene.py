"""A scene: the masses and lights of one strong lens."""

from collections.abc import Callable, Sequence

from jax import Array

from giga.component import Component, Param, check_numbers
from giga.lensing.planes import Planes, Sightline, rays
from giga.lensing.tracing import trace
from giga.light.base import LightProfile
from giga.mass.base import MassProfile


class Scene(Component):
    """Mass, lens light and source light of one lens.

    With numbers on its leaves it is a lens that renders, with distributions a prior, with arrays a
    sample.

    Attributes:
        mass: Mass profiles of the lens plane, or of the planes that they name.
        lens_light: Light profiles that are not lensed.
        source_light: Light profiles of the source plane, or of the planes that they name.
        noise_scale: What the noise of each observation is multiplied by, one entry each; none is one.
        planes: Redshifts of several planes; empty is one lens plane and one source plane, whatever their redshifts.
    """

    mass: Sequence[MassProfile] = ()
    lens_light: Sequence[LightProfile] = ()
    source_light: Sequence[LightProfile] = ()
    noise_scale: Sequence[Param] = ()
    planes: Planes | tuple[()] = ()

    def check(self) -> None:
        """Refuse numbers out of their range, planes that do not fit, and lights where they cannot stand.

        Raises:
            ValueError: What is wrong, by its path in the scene.
        """
        check_numbers(self)
        for section in ("lens_light", "source_light"):
            for k, profile in enumerate(getattr(self, section)):
                if section not in profile.sections:
                    raise ValueError(f"{section}.{k}: got {type(profile).__name__}; expected it in "
                                     f"{' or '.join(profile.sections)}")
        for k, profile in enumerate(self.lens_light):
            if profile.plane is not None:
                raise ValueError(f"lens_light.{k}.plane: got {profile.plane}; expected none, for lens light is not "
                                 "lensed (light behind a lens is source light)")
        if isinstance(self.planes, Planes):
            self.planes.check(self.mass, self.source_light)
            return
        for k, profile in enumerate(self.mass):
            if profile.absolute:
                raise ValueError(f"mass.{k}.profile: got {type(profile).__name__}, whose mass is a velocity "
                                 "dispersion; expected planes with absolute = true")
        for name, profiles in (("mass", self.mass), ("source_light", self.source_light)):
            for k, profile in enumerate(profiles):
                if profile.plane is not None:
                    raise ValueError(f"{name}.{k}.plane: got {profile.plane}, but the scene has no planes; expected "
                                     "planes with their redshifts")

    def lenses(self, source: int = -1) -> Sequence[MassProfile]:
        """The masses as thin lenses of one plane, as a source plane sees them; without planes they are `mass`."""
        if not isinstance(self.planes, Planes):
            return self.mass
        return [Sightline(mass=self.mass, planes=self.planes, source=source)]

    def of_plane(self, source: int = -1) -> "Scene":
        """What one source plane sees, as a scene of one lens plane and that source plane; without planes the scene."""
        planes = self.planes
        if not isinstance(planes, Planes):
            return self
        sources = [p for p in self.source_light if planes.light_plane(p) == source % len(planes.redshifts)]
        return self.replace(mass=self.lenses(source), source_light=sources, planes=())

    def rays(self, x: Array, y: Array) -> Callable[[LightProfile], tuple[Array, Array]]:
        """Trace rays from the sky to the sources.

        Args:
            x, y: Directions, any one shape [arcsec].

        Returns:
            A function that tells of a profile in `source_light` where the rays meet its plane, two arrays [arcsec].
        """
        planes = self.planes
        if not isinstance(planes, Planes):
            beta = trace(self.mass, x, y)
            return lambda profile: beta
        crossed = rays(self.mass, planes, x, y)
        return lambda profile: crossed[planes.light_plane(profile)]

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
