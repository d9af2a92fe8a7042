"""COOLEST 0.1 templates: lenses and sources with their data, pixels, the quantiles and the chain of their posterior.

Written by the `coolest` package (extra `interop`), beside FITS files and a CSV chain in the same folder, as it wants
them. What COOLEST cannot say goes into a record of what was skipped.

References:
    Galan et al. (2023), JOSS 8, 5567.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from astropy.io import fits

from giga.component import is_distribution, leaves_with_names
from giga.io.errors import InputError
from giga.io.exchange.conventions import within
from giga.io.exchange.coolest_planes import META, Place, is_several, of_last, plane_places, simple_places, stated
from giga.io.exchange.coolest_profiles import ALIKE, ANGLES, CODE, GRID, LIGHTS, LIKE_LINEAR, MASSES, SETS
from giga.io.exchange.pairs import Pair, written
from giga.io.exchange.points import with_images
from giga.io.exchange.tables import distribution_table
from giga.io.jsonfile import write_json
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.light.pixel_image import PixelImage
from giga.light.pixel_source import PixelSource
from giga.light.point import LensedPoint
from giga.runtime.atomic import write_atomically, write_text

WEIGHTS = "probability_weights"
CHAIN = "chain_file_name"  # the key of `meta` that COOLEST looks for
MODE = "MAP"


@dataclass(frozen=True, eq=False)
class Seen:
    """What a template says of the data.

    Attributes:
        pixel_scale: Side of a pixel [arcsec].
        image, noise, mask: Shape (ny, nx): data [counts / s], standard deviations, whether a pixel is fitted.
        center: Of the image [arcsec].
        rotation: Of the image's rows, counter-clockwise from +x [rad].
        psf: Kernel, with `psf_supersampling` samples a pixel side.
        supersampling: Subpixels a side at which the scene was rendered, for the record.
        psf_fwhm: Of a Gaussian instead [arcsec].
        exposure_time: [s], or None.
        zero_point: Magnitude of a count per second, or None.
        band: Its name.
        origin: Right ascension and declination of the origin of the angles [deg], or None.
    """

    pixel_scale: float
    image: np.ndarray | None = None
    noise: np.ndarray | None = None
    mask: np.ndarray | None = None
    center: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    psf: np.ndarray | None = None
    psf_supersampling: int = 1
    supersampling: int = 1
    psf_fwhm: float | None = None
    exposure_time: float | None = None
    zero_point: float | None = None
    band: str | None = None
    origin: tuple[float, float] | None = None


@dataclass(eq=False)
class _Writing:
    """A template while it is made."""

    coolest: Any
    path: Path
    seen: Seen
    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    sampled: bool = False
    chain: list[tuple[Any, np.ndarray]] = field(default_factory=list)

    def skip(self, what: str, why: str) -> None:
        self.skipped.append((what, why))

    def image(self, name: str, pixels: np.ndarray) -> str:
        """Write a FITS file beside the template; its name."""
        path = self.path.with_name(f"{self.path.stem}_{name}.fits")
        hdu = fits.PrimaryHDU(np.asarray(pixels))
        self.files.append(write_atomically(path, lambda temporary: hdu.writeto(temporary, overwrite=True)))
        return path.name

    def pixels(self, what: str, name: str, pixels: np.ndarray | None, scale: float,
               center: tuple[float, float]) -> dict[str, Any] | None:
        """Arguments of a COOLEST grid; its file is left out where the package could not read it."""
        if pixels is None:
            return None
        ny, nx = pixels.shape
        grid = {"field_of_view_x": _field(center[0], nx, scale), "field_of_view_y": _field(center[1], ny, scale),
                "num_pix_x": nx, "num_pix_y": ny, "check_fits_file": False}
        if nx != ny:
            self.skip(what, f"{ny} x {nx} pixels, but COOLEST 0.1.11 mixes the axes of a file that is not square")
            return grid
        return grid | {"fits_path": self.image(name, pixels)}


def package() -> Any:
    """The modules of the `coolest` package that a template is made of.

    Raises:
        InputError: It is not installed.
    """
    try:
        names = ("lazy", "json", "standard", "classes.parameter", "classes.probabilities")
        return {name: importlib.import_module(f"coolest.template.{name}") for name in names}
    except ImportError as error:
        raise InputError("", "coolest", f"cannot be imported ({error})", "pip install 'giga[interop]'") from error


def write_coolest(path: str | PathLike[str], scene: Scene, seen: Seen, *, draws: Scene | None = None,
                  prior: Scene | None = None, redshifts: Redshifts | None = None,
                  about: Mapping[str, Any] | None = None,
                  unsaid: Sequence[tuple[str, str]] = ()) -> tuple[list[Path], list[tuple[str, str]]]:
    """Write a template.

    Args:
        path: Where it goes, NAME.json; its other files are NAME_*.
        scene: Of numbers, the best fit.
        seen: The data.
        draws: The same scene with draws of the posterior, along the first axis of free leaves. Quantiles and the chain
            are those of COOLEST's own parameters of each draw.
        prior: The same scene with distributions on its free leaves.
        redshifts: Of lens and source, and the cosmology; those of the scene's planes where it has them. Of several
            planes each has a galaxy, strengths are those for a source on the last, and `meta.giga_planes` has the
            rest.
        about: More to say in `meta`.
        unsaid: What is left out of the fit beside, and why, for the record.

    Returns:
        The files written, and what was skipped with the reason, which NAME_skipped.json says too.

    Raises:
        InputError: A path without the suffix .json, planes that do not fit, or no `coolest` package.
        OSError: A file cannot be written.
    """
    path = Path(path).absolute()
    if path.suffix != ".json":
        raise InputError(path, "--out", f"suffix {path.suffix!r}", "'.json'")
    making = _Writing(package(), path, seen, skipped=list(unsaid), sampled=draws is not None)
    redshifts = _redshifts(making, scene, draws, prior) or redshifts or Redshifts()
    scene, draws = with_images(scene, draws)
    said = dict(about or {})
    if isinstance(scene.planes, Planes) and is_several(scene):
        said[META] = stated(scene.planes)
        places = plane_places(scene, scene.planes)
        scene, draws, prior, left = of_last(scene, draws, prior)
        making.skipped += left
    else:
        places = simple_places(scene, redshifts)
    template = _template(making, _entities(making, places, scene, draws, prior), redshifts, said)
    if making.chain:
        _write_chain(making, template)
    template.meta["giga_skipped"] = [f"{what}: {why}" for what, why in making.skipped]
    text = template.to_JSON(indent=2, exclude_keys=template.exclude_keys)
    record = write_json(path.with_name(f"{path.stem}_skipped.json"),
                        [{"what": what, "why": why} for what, why in making.skipped])
    return [write_text(path, text + "\n"), *making.files, record], making.skipped


def _redshifts(making: _Writing, scene: Scene, draws: Scene | None, prior: Scene | None) -> Redshifts | None:
    """First and last redshift of a scene's planes, at the best fit; without planes None."""
    planes = scene.planes
    if not isinstance(planes, Planes):
        return None
    try:
        planes.check(scene.mass, scene.source_light)
    except ValueError as error:  # it begins with the path of the value
        raise InputError("", "", str(error)) from None
    flat, several = planes.cosmology, is_several(scene)
    kept = f"; meta.{META} has the rest" if several else ""
    if float(flat.Ok0) or float(flat.w0) != -1.0 or float(flat.wa):
        making.skip("planes.cosmology", f"Ok0 = {float(flat.Ok0):g}, w0 = {float(flat.w0):g}, wa = {float(flat.wa):g}; "
                    f"COOLEST is written with H0 and Om0 of a flat universe{kept}")
    if type(flat) is not Cosmology:
        making.skip("planes.cosmology", f"{type(flat).__name__}; photons and neutrinos are left out")
    for k, profile in enumerate(scene.mass):
        if several and planes.mass_plane(profile) == len(planes.redshifts) - 1:
            making.skip(f"mass.{k}", "on the last plane, where it bends no light that is there")
    if planes.sources:
        making.skip("planes.sources", "redshifts of sources of which only images are seen, which COOLEST has not")
    drawn = {} if draws is None else dict(leaves_with_names(draws.planes))
    for name, leaf in () if prior is None else leaves_with_names(prior.planes):
        if is_distribution(leaf):
            many = np.asarray(drawn.get(name, 0.0), float)
            spread = "" if many.size < 2 else "; 16, 50 and 84% of the draws are below " \
                + ", ".join(f"{value:.6g}" for value in np.percentile(many, [16.0, 50.0, 84.0]))
            making.skip(f"planes.{name}: prior and posterior", "COOLEST has one number of it, that of the best fit"
                        + spread)
    return Redshifts(float(planes.redshifts[0]), float(planes.redshifts[-1]), cosmology=flat)


def _entities(making: _Writing, places: Sequence[Place], scene: Scene, draws: Scene | None, prior: Scene | None) -> Any:
    lazy, entities = making.coolest["lazy"], []
    for place in places:
        mass, light = lazy.MassModel(), lazy.LightModel()
        for section, pairs, numbers, model in (("mass", MASSES, place.mass, mass),
                                               ("lens_light", LIGHTS, place.lens_light, light),
                                               ("source_light", LIGHTS, place.source_light, light)):
            for k in numbers:
                one = _made(making, pairs, section, k, scene, draws, prior)
                model.extend([] if one is None else [one])
        if not (len(mass) or len(light) or place.keep):
            continue
        entities.append(lazy.MassField(place.name, place.redshift, mass_model=mass) if place.kind == "MassField" else
                        lazy.Galaxy(place.name, place.redshift, light_model=light, mass_model=mass))
    return lazy.LensingEntityList(*entities)


def _made(making: _Writing, pairs: Sequence[Pair], section: str, k: int, scene: Scene, draws: Scene | None,
          prior: Scene | None) -> Any:
    """A profile of a scene as COOLEST has it, and the record of what it has not."""
    profile = getattr(scene, section)[k]
    if isinstance(profile, LensedPoint):
        making.skip(f"{section}.{k}: its place in the source plane", "COOLEST has the places of its images, "
                    "which it follows from")
    if type(profile) is LensedPoint:
        making.skip(f"{section}.{k}: fluxes tied to the magnifications", "COOLEST has a flux of each image, as "
                    "they are written")
    others = [None if other is None else getattr(other, section)[k] for other in (draws, prior)]
    return _profile(making, pairs, profile, others[0], others[1], f"{section}.{k}")


def _profile(making: _Writing, pairs: Sequence[Pair], profile: Any, drawn: Any, prior: Any, path: str) -> Any:
    """A profile of COOLEST with its numbers, or None where it is skipped."""
    if isinstance(profile, PixelSource | PixelImage):
        return _grid(making, profile, path)
    try:
        name, best = written(pairs, CODE, profile, path)
        values = best if drawn is None else written(pairs, CODE, drawn, path)[1]
    except InputError as error:
        making.skip(error.field or path, f"{error.seen}; expected {error.expected}")
        return None
    kind = making.coolest["lazy"].MassModel if pairs is MASSES else making.coolest["lazy"].LightModel
    (made,) = kind(name)
    try:
        for key, value in best.items():
            made.parameters[key].set_point_estimate(value if isinstance(value, int) else np.asarray(value).tolist())
    except ValueError as error:
        making.skip(path, f"{name} with {key} = {value}: {error}")  # pyright: ignore[reportPossiblyUnboundVariable]
        return None
    if missing := [key for key in made.parameters if key not in best]:
        making.skip(path, f"no value of {missing[0]}")
        return None
    for key, parameter in made.parameters.items():
        many = np.asarray(values[key])
        if many.ndim <= np.ndim(best[key]):
            parameter.fix()
        elif key in SETS:
            if len(many) > 1:
                parameter.set_posterior(_statistics(making, many))
                making.skip(f"{path}: chain of {key}", "a list, and COOLEST's chains have single numbers")
        else:
            around = within(many, best[key], 180.0) if key in ANGLES else many
            if len(many) > 1:
                parameter.set_posterior(_statistics(making, around))
                making.chain.append((parameter, many))
        if prior is not None:
            _set_prior(making, parameter, key, profile, prior, path)
    return made


def _statistics(making: _Writing, draws: np.ndarray) -> Any:
    low, middle, high = np.percentile(draws, [16.0, 50.0, 84.0], axis=0)
    return making.coolest["lazy"].PosteriorStatistics(mean=np.mean(draws, axis=0).tolist(), median=middle.tolist(),
                                                      percentile_16th=low.tolist(), percentile_84th=high.tolist())


def _set_prior(making: _Writing, parameter: Any, key: str, profile: Any, prior: Any, path: str) -> None:
    """The prior of a parameter that is a field of giga's; of others, as of an angle, none follows."""
    alike = ALIKE | (LIKE_LINEAR if getattr(profile, "b_n", "") == "linear" else {})
    one: Any = getattr(prior, alike[key], None) if key in alike else None
    if key not in alike and not parameter.fixed and key not in SETS:
        making.skip(f"{path}: prior of {key}", "giga has none of it, but of the numbers that it is made of")
    if not is_distribution(one):
        return
    kinds, table = making.coolest["classes.probabilities"], distribution_table(one, f"{path}.{alike[key]}")
    if table["dist"] == "Normal":
        parameter.set_prior(kinds.GaussianPrior(mean=table["loc"], width=table["scale"]))
    elif table["dist"] == "Uniform":
        parameter.set_prior(kinds.UniformPrior(min_value=table["low"], max_value=table["high"]))
    else:
        why = f"{table['dist']}, which COOLEST does not define{'; posterior_stats are there' * making.sampled}"
        making.skip(f"{path}.{alike[key]}: prior", why)


def _grid(making: _Writing, profile: Any, path: str) -> Any:
    """Pixels of a light: flux per pixel of the data, as COOLEST evaluates them."""
    area = making.seen.pixel_scale**2
    if isinstance(profile, PixelImage):
        if float(profile.phi_G):
            making.skip(path, f"PixelImage with phi_G = {float(profile.phi_G):g}; expected 0, as COOLEST's grids are")
            return None
        pixels, scale = float(profile.amp) * np.asarray(profile.image, float), float(profile.scale)
        center = float(profile.center_x), float(profile.center_y)
    else:
        n, half = profile.n_pixels, float(profile.half_size)
        scale, center = 2.0 * half / (n + 1), (float(profile.center_x), float(profile.center_y))
        step = scale * (np.arange(n) - 0.5 * (n - 1))
        with jax.enable_x64(True):
            nodes = np.meshgrid(center[0] + step, center[1] + step)
            pixels = np.asarray(_bright(jax.tree.map(np.asarray, profile), *nodes))
    name = path.replace(".", "_")
    arguments = making.pixels(path, name, pixels * area, scale, center)
    assert arguments is not None
    if "fits_path" not in arguments:
        return None
    (made,) = making.coolest["lazy"].LightModel(GRID)
    made.parameters["pixels"].set_grid(arguments.pop("fits_path"), **arguments)
    return made


@jax.jit
def _bright(profile: Any, x: Any, y: Any) -> Any:
    return profile.brightness(x, y)


def _template(making: _Writing, entities: Any, z: Redshifts, about: dict[str, Any]) -> Any:
    lazy, seen = making.coolest["lazy"], making.seen
    if seen.supersampling > 1:
        making.skip("observation.supersampling", f"{seen.supersampling}; COOLEST does not say how a scene is rendered")
    if seen.rotation:
        making.skip("observation", f"image turned by {seen.rotation:g} rad; COOLEST's pixels run along x and y")
    image, noise, mask = (None if seen.rotation else pixels for pixels in (seen.image, seen.noise, seen.mask))
    grids = {name: making.pixels(f"observation.{name}", name, pixels, seen.pixel_scale, seen.center)
             for name, pixels in (("image", image), ("noise", noise),
                                  ("mask", None if mask is None else np.asarray(mask, np.int16)))}
    made = {name: None if grid is None else lazy.PixelatedRegularGrid(**grid) for name, grid in grids.items()}
    observation = lazy.Observation(
        pixels=made["image"], exposure_time=seen.exposure_time, mag_zero_point=seen.zero_point,
        noise=None if made["noise"] is None else lazy.NoiseMap(noise_map=made["noise"]))
    instrument = lazy.Instrument(seen.pixel_scale, band=seen.band or "", psf=_psf(making))
    likelihoods = None
    if made["mask"] is not None and made["image"] is not None:
        likelihoods = lazy.DataLikelihoodList(lazy.ImagingDataLikelihood(mask=made["mask"]))
    origin = lazy.CoordinatesOrigin(*(f"{value}d" for value in seen.origin)) if seen.origin is not None \
        else lazy.CoordinatesOrigin("0d", "0d")
    if seen.origin is None:
        making.skip("coordinates_origin", "where the lens is on the sky is not known")
    flat = z.cosmology
    cosmology = lazy.Cosmology(float(flat.H0), float(flat.Om0))
    return making.coolest["standard"].COOLEST(MODE, origin, entities, observation, instrument, cosmology=cosmology,
                                              likelihoods=likelihoods, metadata=about)


def _psf(making: _Writing) -> Any:
    lazy, seen = making.coolest["lazy"], making.seen
    if seen.psf_fwhm is not None:
        return lazy.GaussianPSF(fwhm=seen.psf_fwhm / seen.pixel_scale)
    grid = making.pixels("observation.psf", "psf", seen.psf, seen.pixel_scale / seen.psf_supersampling, (0.0, 0.0))
    if grid is None:
        making.skip("observation.psf", "no kernel is known")
        return None
    return lazy.PixelatedPSF(pixels=lazy.PixelatedRegularGrid(**grid))


def _write_chain(making: _Writing, template: Any) -> None:
    """Draws of every free number under its COOLEST name, with equal weights."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*(parameter.id for parameter, _ in making.chain), WEIGHTS])
    columns = np.stack([draws for _, draws in making.chain], axis=1)
    weight = 1.0 / len(columns)
    lines.writerows([*map(repr, row), repr(weight)] for row in columns.tolist())
    file = making.path.with_name(f"{making.path.stem}_chain.csv")
    making.files.append(write_text(file, text.getvalue()))
    template.meta[CHAIN] = file.name


def _field(center: float, pixels: int, scale: float) -> tuple[float, float]:
    """Outer edges of a row of pixels [arcsec]."""
    return center - 0.5 * pixels * scale, center + 0.5 * pixels * scale
