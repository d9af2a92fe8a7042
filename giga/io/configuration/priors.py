"""Named sets of priors: what a profile's parameters get where a configuration does not write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TYPICAL = 1.2  # Einstein radius of a galaxy [arcsec]; the median of 32 SLACS lenses is 1.19, Auger et al. (2009)
SPREAD = 1.6  # factor to either side of it that holds 68%: 95% is 0.47 to 3.1 arcsec
SHARE = 0.5  # of the field's radius, which a ring that can be seen does not exceed by much
LIGHT = 1.5  # half-light radius of a lens over its Einstein radius, which is known to a factor of two


@dataclass(frozen=True)
class Expected:
    """What is expected of a lens before its fit, which priors are scaled by. Lengths and angles in arcsec.

    Attributes:
        center_x, center_y: Centre of the lens.
        near: Standard deviation of the centres of mass and light about it.
        theta_E: Einstein radius.
        factor: To either side of it, that holds 68% of its prior.
        half_light: Half-light radius of the lens.
        light_factor: As `factor`, of the radii of its light.
        pixel_scale: Side of a pixel.
        extent: Radius of the field that is fitted.
        e1, e2: Ellipticity of the light.
        e_sd: Standard deviation about it.
        sample: Distance of the samples of the light, a pixel over the supersampling.
    """

    center_x: float
    center_y: float
    near: float
    theta_E: float
    factor: float
    half_light: float
    light_factor: float
    pixel_scale: float
    extent: float
    e1: float = 0.0
    e2: float = 0.0
    e_sd: float = 0.15
    sample: float = 0.0

    @staticmethod
    def of_field(pixel_scale: float, extent: float, center: tuple[float, float], supersampling: int = 1) -> Expected:
        """What a galaxy in a field is like when nothing of it was measured."""
        theta_E = min(TYPICAL, SHARE * extent)
        return Expected(*center, max(0.1, pixel_scale), theta_E, SPREAD, LIGHT * theta_E, 2.0, pixel_scale, extent,
                        sample=pixel_scale / supersampling)


PLACES = ("center_x", "center_y", "e1", "e2")  # which are near zero, and rounded to 0.001
WORDS = {"theta_E": "θ", "factor": "f", "half_light": "R", "light_factor": "g", "pixel_scale": "p",
         "extent": "F", "center_x": "x", "center_y": "y", "near": "n", "e_sd": "s", "sample": "d"}


@dataclass(frozen=True)
class Scaled:
    """A number, or a multiple of what is expected, not below another such.

    >>> Scaled(0.12, "theta_E", Scaled(0.5, "pixel_scale")).words
    '0.12 θ, at least 0.5 p'
    """

    times: float
    of: str = ""
    least: Scaled | None = None

    def value(self, expected: Expected) -> float:
        """The number, rounded."""
        number = self.times * (getattr(expected, self.of) if self.of else 1.0)
        if self.least is not None:
            number = max(number, self.least.value(expected))
        return round(number, 3) + 0.0 if self.of in PLACES else float(f"{number:.3g}")

    @property
    def words(self) -> str:
        """For the table of the documentation."""
        name = WORDS.get(self.of, self.of)
        text = f"{self.times:g}" if not name else name if self.times == 1.0 else f"{self.times:g} {name}"
        return text if self.least is None else f"{text}, at least {self.least.words}"


@dataclass(frozen=True)
class Shape:
    """A distribution whose arguments are scaled."""

    dist: str
    arguments: tuple[tuple[str, Scaled], ...]

    def value(self, expected: Expected) -> dict[str, Any]:
        """The prior as TOML has it."""
        return {"dist": self.dist} | {key: scaled.value(expected) for key, scaled in self.arguments}

    @property
    def words(self) -> str:
        """For the table of the documentation."""
        return f"{self.dist}, " + ", ".join(f"{key} {scaled.words}" for key, scaled in self.arguments)


@dataclass(frozen=True)
class Rule:
    """What some parameters of some profiles get, and why.

    Attributes:
        section: "mass", "lens_light" or "source_light".
        profiles: Names; empty is all that have the parameter.
        parameters: Names of parameters or settings.
        value: What each gets.
        reason: A sentence for the documentation.
        part: Of several like profiles of a section, see `parts`: 0 the first, 1 those after it; None is any.
    """

    section: str
    profiles: tuple[str, ...]
    parameters: tuple[str, ...]
    value: Shape | Scaled | int
    reason: str
    part: int | None = None


def _number(value: float | Scaled) -> Scaled:
    return value if isinstance(value, Scaled) else Scaled(value)


def normal(loc: float | Scaled, scale: float | Scaled) -> Shape:
    """A Gaussian."""
    return Shape("Normal", (("loc", _number(loc)), ("scale", _number(scale))))


def log_normal(median: float | Scaled, factor: float | Scaled) -> Shape:
    """A Gaussian of the logarithm."""
    return Shape("LogNormal", (("median", _number(median)), ("factor", _number(factor))))


def truncated(loc: float | Scaled, scale: float | Scaled, low: float | Scaled, high: float | Scaled) -> Shape:
    """A Gaussian between bounds."""
    return Shape("TruncatedNormal", tuple((key, _number(value)) for key, value in
                                          (("loc", loc), ("scale", scale), ("low", low), ("high", high))))


THETA = Scaled(1.0, "theta_E")
# As wide as the ring, a source would take what a model of the lens leaves of its light.
SIZE = truncated(Scaled(0.12, "theta_E", Scaled(0.5, "pixel_scale")),
                 Scaled(0.08, "theta_E", Scaled(0.3, "pixel_scale")),
                 Scaled(0.01, "theta_E"), Scaled(0.4, "theta_E", Scaled(2.0, "pixel_scale")))
SOFTENED = "a cusp is too bright where a sample falls on it: a likelihood of many peaks"
RADIUS, WIDE = Scaled(1.0, "half_light", Scaled(1.0, "pixel_scale")), Scaled(1.0, "light_factor")
NEAR, PLACE = Scaled(1.0, "near"), Scaled(0.25, "theta_E")
SLOPES, HALOS = ("EPL", "EPLMultipole", "SPEMD"), ("NFW", "NFWEllipse", "GNFW", "TNFW")
PJAFFE = ("PJaffe", "PJaffeEllipse")


def _centres(section: str, scale: Scaled, reason: str) -> tuple[Rule, ...]:
    return tuple(Rule(section, (), (f"center_{axis}",), normal(Scaled(1.0, f"center_{axis}"), scale), reason)
                 for axis in "xy")


def _arms(section: str) -> tuple[Rule, ...]:
    return (Rule(section, ("Spiral",), ("contrast",), truncated(0.4, 0.2, 0.0, 0.95), "arms that are seen"),
            Rule(section, ("Spiral",), ("pitch",), truncated(0.35, 0.15, 0.1, 1.0),
                 "20 degrees; beyond pi / 2 they wind the other way, which is another prior"),
            Rule(section, ("Spiral",), ("phi0",), normal(0.0, 1.5), "any turn of two arms"))


GALAXY_SCALE: tuple[Rule, ...] = (
    Rule("mass", ("PointMass",), ("theta_E",), log_normal(Scaled(0.1, "theta_E"), 2.5), "a companion of the lens"),
    Rule("mass", (), ("theta_E",), log_normal(THETA, Scaled(1.0, "factor")),
         "lenses found by surveys; a ring that is seen lies within the field"),
    Rule("mass", SLOPES, ("gamma",), truncated(2.0, 0.2, 1.2, 2.8),
         "2.08 with a scatter of 0.16 in SLACS (Auger et al. 2010); wider, and centred on isothermal"),
    Rule("mass", (), ("e1", "e2"), normal(0.0, 0.15), "axis ratios from about 0.6 to 1 within 68%"),
    *_centres("mass", NEAR, "mass follows the light of a galaxy"),
    Rule("mass", (), ("gamma1", "gamma2"), normal(0.0, 0.05), "shear by neighbours of galaxies: 0.05 to 0.1 in all"),
    Rule("mass", (), ("kappa",), normal(0.0, 0.05), "as large as the shear that comes with it"),
    Rule("mass", (), ("g1", "g2", "g3", "g4"), normal(0.0, 0.01), "the gradient of a shear of 0.05 over 5 arcsec"),
    Rule("mass", (), ("ra_0",), Scaled(1.0, "center_x"), "a fixed number: the centre of the lens"),
    Rule("mass", (), ("dec_0",), Scaled(1.0, "center_y"), "a fixed number: the centre of the lens"),
    Rule("mass", (), ("a3_a", "a4_a"), normal(0.0, 0.01), "isophotes of early-type galaxies (Hao et al. 2006)"),
    Rule("mass", ("NIE", "SPEMD"), ("s_scale",), log_normal(Scaled(0.05, "theta_E"), 2.5),
         "cores too small to show a central image"),
    Rule("mass", HALOS, ("Rs",), log_normal(Scaled(8.0, "theta_E"), 2.0), "about 45 kpc at a redshift of 0.3"),
    Rule("mass", HALOS, ("alpha_Rs",), log_normal(THETA, 2.0), "a halo that bends light at Rs as much as the lens"),
    Rule("mass", ("GNFW",), ("gamma_in",), truncated(1.0, 0.3, 0.2, 2.0), "1 is NFW"),
    Rule("mass", ("TNFW",), ("r_trunc",), log_normal(Scaled(40.0, "theta_E"), 2.0), "five scale radii"),
    Rule("mass", ("Hernquist",), ("Rs",), log_normal(Scaled(0.55, "half_light"), WIDE),
         "of the half-light radius, Hernquist (1990)"),
    Rule("mass", ("Hernquist",), ("sigma0",), log_normal(1.0, 2.0), "about half of the lens's mass in stars"),
    Rule("mass", PJAFFE, ("Ra",), log_normal(Scaled(0.05, "theta_E"), 2.0), "a small core"),
    Rule("mass", PJAFFE, ("Rs",), log_normal(Scaled(5.0, "theta_E"), 2.0), "cut off well outside the ring"),
    Rule("mass", PJAFFE, ("sigma0",), log_normal(10.0, 2.5), "makes theta_E with this core"),
    Rule("mass", ("Sersic",), ("k_eff",), log_normal(0.3, 2.0), "about half of the lens's mass in stars"),
    Rule("mass", ("Sersic",), ("R_sersic",), log_normal(RADIUS, WIDE), "that of the light"),
    Rule("mass", ("Sersic",), ("n_sersic",), log_normal(3.0, 1.6), "early-type galaxies, 1.9 to 4.8"),
    Rule("mass", ("Gaussian",), ("amp",), log_normal(Scaled(1.0, "theta_E"), 2.5), "a share of the mass in the ring"),
    Rule("mass", ("Gaussian",), ("sigma",), log_normal(THETA, 2.0), "as wide as the ring"),

    Rule("lens_light", ("MultiGaussian",), ("n_gaussians",), 10, "those of the middle, of two sets", 0),
    Rule("lens_light", ("MultiGaussian",), ("n_gaussians",), 12, "those further out, of two sets", 1),
    Rule("lens_light", ("MultiGaussian",), ("sigma_max",), Scaled(0.5, "theta_E"),
         "a fixed number: isophotes twist and flatten outwards, and two sets have an ellipse each", 0),
    Rule("lens_light", ("MultiGaussian",), ("sigma_min",), Scaled(3.0, "pixel_scale"),
         "a fixed number: the sets overlap", 1),
    Rule("lens_light", ("MultiGaussian",), ("n_gaussians",), 20, "fluxes are solved, so more cost little"),
    Rule("lens_light", ("MultiGaussian",), ("sigma_min",), Scaled(0.3, "pixel_scale"),
         "a fixed number: below a pixel"),
    Rule("lens_light", ("MultiGaussian",), ("sigma_max",), Scaled(1.0, "extent", Scaled(2.0, "half_light")),
         "a fixed number: to the extent of the light"),
    Rule("lens_light", ("Sersic", "CoreSersic"), ("R_sersic",), log_normal(
        Scaled(0.5, "half_light", Scaled(1.0, "pixel_scale")), WIDE), "the compact part", 0),
    Rule("lens_light", ("Sersic", "CoreSersic"), ("R_sersic",), log_normal(
        Scaled(2.0, "half_light", Scaled(1.0, "pixel_scale")), WIDE), "the extended part", 1),
    Rule("lens_light", ("Sersic", "CoreSersic"), ("R_sersic",), log_normal(RADIUS, WIDE),
         "1.5 Einstein radii within a factor of two, unless it is measured"),
    Rule("lens_light", ("Sersic",), ("n_sersic",), log_normal(1.5, 1.6), "envelopes and discs, 0.9 to 2.4", 1),
    Rule("lens_light", ("Sersic", "CoreSersic"), ("n_sersic",), log_normal(3.0, 1.6),
         "bulges and early-type galaxies, 1.9 to 4.8"),
    Rule("lens_light", ("Sersic", "CoreSersic"), ("softening",), Scaled(0.4, "sample"), SOFTENED),
    Rule("lens_light", ("CoreSersic",), ("Rb",), log_normal(Scaled(0.03, "half_light"), 2.0),
         "cores of some 100 pc"),
    Rule("lens_light", ("CoreSersic",), ("gamma",), truncated(0.2, 0.15, 0.0, 0.8), "slopes of cores"),
    Rule("lens_light", ("Gaussian",), ("sigma",), log_normal(Scaled(0.85, "half_light"), WIDE),
         "of the half-light radius"),
    Rule("lens_light", ("Moffat",), ("alpha",), log_normal(RADIUS, WIDE), "that of the light"),
    Rule("lens_light", ("Moffat",), ("beta",), truncated(2.5, 0.7, 1.1, 6.0), "as steep as a galaxy outside"),
    Rule("lens_light", ("Ring",), ("radius",), log_normal(RADIUS, WIDE), "that of the light"),
    Rule("lens_light", ("Ring",), ("width",), log_normal(Scaled(0.3, "half_light", Scaled(0.5, "pixel_scale")), WIDE),
         "narrower than the ring"),
    Rule("lens_light", ("Spiral",), ("Rs",), log_normal(
        Scaled(0.6, "half_light", Scaled(0.5, "pixel_scale")), WIDE), "of the half-light radius, a disc's"),
    *_arms("lens_light"),
    Rule("lens_light", ("Shapelets",), ("beta",), log_normal(Scaled(0.5, "half_light"), WIDE),
         "half of the light's radius"),
    Rule("lens_light", ("PixelImage",), ("scale",), Scaled(1.0, "pixel_scale"), "a fixed number: the image's pixels"),
    Rule("lens_light", (), ("e1",), normal(Scaled(1.0, "e1"), Scaled(1.0, "e_sd")), "as the mass, or as measured"),
    Rule("lens_light", (), ("e2",), normal(Scaled(1.0, "e2"), Scaled(1.0, "e_sd")), "as the mass, or as measured"),
    *_centres("lens_light", NEAR, "the configured centre"),
    Rule("lens_light", ("Shapelets",), ("n_max",), 6, "28 amplitudes, which are solved"),

    Rule("source_light", ("Sersic", "CoreSersic"), ("R_sersic",), SIZE,
         "a faint blue galaxy: about a tenth of the ring, and smaller than it"),
    Rule("source_light", ("Sersic", "CoreSersic"), ("n_sersic",), truncated(1.5, 1.0, 0.5, 4.0),
         "discs, and what is steeper; flatter than 0.5 is no galaxy"),
    Rule("source_light", ("Sersic", "CoreSersic"), ("softening",), Scaled(0.4, "sample"), SOFTENED),
    Rule("source_light", ("CoreSersic",), ("Rb",), log_normal(Scaled(0.02, "theta_E"), 2.0), "inside the source"),
    Rule("source_light", ("CoreSersic",), ("gamma",), truncated(0.2, 0.15, 0.0, 0.8), "slopes of cores"),
    Rule("source_light", ("Gaussian",), ("sigma",), SIZE, "as a Sersic source"),
    Rule("source_light", ("Moffat",), ("alpha",), SIZE, "as a Sersic source"),
    Rule("source_light", ("Moffat",), ("beta",), truncated(2.5, 0.7, 1.1, 6.0), "as steep as a galaxy outside"),
    Rule("source_light", ("Ring",), ("radius",), SIZE, "as a Sersic source"),
    Rule("source_light", ("Ring",), ("width",), log_normal(Scaled(0.04, "theta_E", Scaled(0.2, "pixel_scale")), WIDE),
         "narrower than the ring"),
    Rule("source_light", ("Spiral",), ("Rs",), SIZE, "as a Sersic source"),
    *_arms("source_light"),
    Rule("source_light", ("MultiGaussian",), ("n_gaussians",), 10, "fluxes are solved"),
    Rule("source_light", ("MultiGaussian",), ("sigma_min",), Scaled(0.02, "theta_E"),
         "a fixed number: a sixth of a source's radius"),
    Rule("source_light", ("MultiGaussian",), ("sigma_max",), Scaled(0.4, "theta_E"),
         "a fixed number: three of its radii"),
    Rule("source_light", ("Shapelets",), ("beta",), log_normal(Scaled(0.08, "theta_E"), 1.6),
         "two thirds of a source's radius: terms reach both ways"),
    Rule("source_light", ("Shapelets",), ("n_max",), 6, "28 amplitudes, which are solved"),
    Rule("source_light", ("PixelImage",), ("scale",), log_normal(Scaled(0.5, "pixel_scale"), 1.6),
         "a stamp's pixel, magnified to about one of the image"),
    Rule("source_light", (), ("e1", "e2"), normal(0.0, 0.2), "axis ratios from about 0.5 to 1 within 68%"),
    *_centres("source_light", PLACE, "in the source plane, inside the caustics"),
)

SETS: Mapping[str, Sequence[Rule]] = {"galaxy-scale": GALAXY_SCALE}
"""The sets by the name that `priors` takes."""


def default(rules: Sequence[Rule], section: str, profile: str, parameter: str, expected: Callable[[], Expected],
            part: int | None = None) -> Any:
    """What a set gives to a parameter, as TOML has it; None where it gives nothing.

    Args:
        rules: The set.
        section, profile, parameter: Whose.
        expected: Gives what is expected of the lens, asked only where it counts.
        part: From `parts`.
    """
    for rule in rules:
        if (rule.section == section and parameter in rule.parameters and profile in (rule.profiles or (profile,))
                and rule.part in (None, part)):
            return rule.value if isinstance(rule.value, int) else rule.value.value(expected())
    return None


def parts(profiles: Sequence[str]) -> list[int | None]:
    """The part of each profile of a section: of several Sersics or multi-Gaussians the first is 0, others are 1."""
    out: list[int | None] = [None] * len(profiles)
    for like in (("Sersic", "CoreSersic"), ("MultiGaussian",)):
        alike = [k for k, name in enumerate(profiles) if name in like]
        if len(alike) > 1:
            for k in alike:
                out[k] = int(k != alike[0])
    return out
