"""COOLEST 0.1 templates read: profiles with their numbers and priors, and where the data lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist
from astropy.io import fits

from giga.io.errors import InputError
from giga.io.exchange.coolest_planes import check_redshifts, from_last, layout
from giga.io.exchange.coolest_profiles import ALIKE, CODE, GRID, LIGHTS, LIKE_LINEAR, MASSES
from giga.io.exchange.coolest_write import package
from giga.io.exchange.pairs import read
from giga.io.exchange.points import with_sources
from giga.io.jsonfile import read_json
from giga.lensing.scene import Scene
from giga.light.pixel_image import PixelImage

MAJOR = "0"
VERSION = "coolest.__version__"
SOLVED = ("I_eff", "amps", "A")


@dataclass(frozen=True, eq=False)
class Template:
    """A template of COOLEST.

    Attributes:
        scene: Of numbers, the point estimates.
        priors: Distributions by path in the scene, of those parameters whose prior is one of giga's.
        fixed: Paths that the template fixes.
        observation: Fields of [[observation]] that it tells; files by their absolute path.
        lens: Fields of [lens].
        notes: What it says and giga does not take, in words.
    """

    scene: Scene
    priors: dict[str, dist.Distribution] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    observation: dict[str, Any] = field(default_factory=dict)
    lens: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_coolest(path: str | PathLike[str]) -> Template:
    """Read a template, NAME.json, through the `coolest` package.

    Galaxies with mass are lenses and those without are sources, unless redshifts say it: of two the further one is the
    source's, of more each is a plane (`giga.io.exchange.coolest_planes.layout`), strengths being those for a source at
    the most distant galaxy.

    Raises:
        InputError: A file that is missing or damaged, no template, or one of another major version; profiles that giga
            does not have; redshifts that are missing or say nothing of lenses and sources; or no `coolest` package.
    """
    path = Path(path).absolute()
    content = read_json(path)
    _check_version(path, content)
    modules = package()
    try:
        check_redshifts(content)
    except InputError as error:
        raise InputError(path, error.field, error.seen, error.expected) from None
    try:
        made = modules["json"].JSONSerializer(str(path.with_suffix("")), check_external_files=False) \
            .load_simple(str(path), as_object=True, validate=True)
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError, IndexError) as error:
        said = f"{type(error).__name__} {' '.join(str(error).split())}"[:160]
        raise InputError(path, "", f"cannot be read ({said})", "a template of COOLEST") from error
    try:
        return _template(path, made, content)
    except InputError as error:
        raise error if error.file else InputError(path, error.field, error.seen, error.expected) from None


def _check_version(path: Path, content: Any) -> None:
    if not isinstance(content, Mapping) or content.get("standard") != "COOLEST":
        seen = repr(content.get("standard"))[:40] if isinstance(content, Mapping) else type(content).__name__
        raise InputError(path, "standard", f"got {seen}", "'COOLEST', a template of it")
    meta = content.get("meta")
    version = meta.get(VERSION) if isinstance(meta, Mapping) else None
    if version is None or str(version).split(".")[0] != MAJOR:
        raise InputError(path, f"meta.{VERSION}", "missing" if version is None else f"got {str(version)!r}",
                         f"a version {MAJOR}.x, as COOLEST 0.1.11")


def _template(path: Path, made: Any, content: Mapping[str, Any]) -> Template:
    found = layout(made)
    parts: dict[str, Any] = {"mass": [], "lens_light": [], "source_light": []}
    template = Template(Scene(), notes=list(found.notes))
    area = float(made.instrument.pixel_size) ** 2
    for i, entity in enumerate(made.lensing_entities):
        models = [("mass_model", "mass", MASSES)]
        models += [("light_model", "source_light" if found.source[i] else "lens_light", LIGHTS)] \
            if entity.type == "Galaxy" else []
        for model, section, pairs in models:
            for j, profile in enumerate(getattr(entity, model)):
                here = f"lensing_entities.{i}.{model}.{j}"
                if section == "mass" and not found.bends[i]:
                    template.notes.append(f"{here}: {profile.type} of a source, which bends no light here, left out")
                    continue
                on = {} if found.plane[i] is None or section == "lens_light" else {"plane": found.plane[i]}
                at = f"{section}.{len(parts[section])}"
                rows = content["lensing_entities"][i][model][j]["parameters"]
                if profile.type == GRID:
                    parts[section].append(_pixels(path, profile, here, area).replace(**on))
                    template.fixed.add(at)
                    continue
                values = {key: parameter.point_estimate.value for key, parameter in profile.parameters.items()
                          if hasattr(parameter, "point_estimate")}
                one = read(pairs, CODE, profile.type, {key: value for key, value in values.items() if value != []},
                           here, SOLVED)
                if section not in getattr(one, "sections", (section,)):
                    raise InputError("", here, f"{profile.type} of a galaxy that is no source",
                                     "it in the source, which is behind the lens")
                parts[section].append(one.replace(**on))
                _free(template, profile, one, rows, at)
    _data(path, template, made)
    scene, priors, left = Scene(**parts), template.priors, []
    if found.planes is not None:
        scene = scene.replace(planes=found.planes)
        try:
            found.planes.check(scene.mass, scene.source_light)
            scene, priors, left = from_last(scene, priors)
            scene.check()
        except ValueError as error:  # it begins with the path of the value
            raise InputError("", "", str(error)) from None
    if found.near is not None:
        template.lens.update(zip(("z_lens", "z_source"), found.near, strict=True))
    scene, apart = with_sources(scene)
    return replace(template, scene=scene, priors=priors, notes=[*template.notes, *left, *apart])


def _pixels(path: Path, profile: Any, here: str, area: float) -> PixelImage:
    grid = profile.parameters["pixels"]
    if grid.fits_file.path is None:
        raise InputError("", f"{here}.pixels", "no FITS file", "pixels")
    file = path.parent / grid.fits_file.path
    try:
        image = np.asarray(fits.getdata(file), float)
    except (OSError, TypeError, ValueError) as error:
        raise InputError(file, "", f"cannot be read ({error})", "the pixels of a light") from error
    (left, right), (low, high) = grid.field_of_view_x, grid.field_of_view_y
    if image.ndim != 2 or not np.isfinite(image).all() or not right > left or not high > low:
        raise InputError(file, "", f"shape {image.shape} over x {left} to {right}, y {low} to {high}",
                         "a finite image of two axes, x and y that increase")
    scale = (right - left) / image.shape[1]
    if not abs((high - low) / image.shape[0] / scale - 1.0) < 1e-6:
        raise InputError(file, "", f"pixels of {scale:g} by {(high - low) / image.shape[0]:g} arcsec", "square pixels")
    # Flux per pixel of the data
    return PixelImage(amp=1.0 / area, image=image, scale=float(scale), center_x=0.5 * (left + right),
                      center_y=0.5 * (low + high))


def _free(template: Template, profile: Any, one: Any, rows: Mapping[str, Any], at: str) -> None:
    """What a template says of a profile's parameters beside their values."""
    alike = ALIKE | (LIKE_LINEAR if getattr(one, "b_n", "") == "linear" else {})
    fixed = [key for key in profile.parameters if bool(rows.get(key, {}).get("fixed"))]
    for key, parameter in profile.parameters.items():
        name = alike.get(key)
        if key in fixed:
            template.fixed.update([f"{at}.{name}"] if name else [])
        elif name and (prior := _prior(parameter.prior)) is not None:
            template.priors[f"{at}.{name}"] = prior
        elif getattr(parameter.prior, "type", None) is not None:
            template.notes.append(f"{at}: {parameter.prior.type} of {key}, which is no parameter of giga, left out")
    for pair, names in ((("q", "phi"), ("e1", "e2")), (("gamma_ext", "phi_ext"), ("gamma1", "gamma2"))):
        if set(pair) <= set(fixed):
            template.fixed.update(f"{at}.{name}" for name in names)


def _prior(prior: Any) -> dist.Distribution | None:
    kind = getattr(prior, "type", None)
    if kind == "GaussianPrior" and prior.mean is not None and prior.width:
        return dist.Normal(float(prior.mean), float(prior.width))
    if kind == "UniformPrior" and prior.min_value is not None and prior.max_value is not None:
        return dist.Uniform(float(prior.min_value), float(prior.max_value))
    return None


def _data(path: Path, template: Template, made: Any) -> None:
    """Fields of [[observation]] and [lens], as far as the template has them."""
    observation, instrument, fields = made.observation, made.instrument, template.observation

    def file_of(grid: Any) -> str | None:
        name = grid.fits_file.path
        return None if name is None else str(path.parent / name)

    if image := file_of(observation.pixels):
        fields |= {"image": image, "units": "counts/s"}
    fields["pixel_scale"] = float(instrument.pixel_size)
    exposure = observation.exposure_time
    if isinstance(exposure, int | float) and exposure > 0.0:
        fields["exposure_time"] = float(exposure)
    noise = observation.noise
    if noise.type == "NoiseMap" and (noise_map := file_of(noise.noise_map)):
        fields["noise_map"] = noise_map
    elif noise.type == "UniformGaussianNoise":
        fields["background_rms"] = float(noise.std_dev)
    elif noise.type is not None:
        template.notes.append(f"observation.noise: {noise.type}, give noise_map or background_rms")
    psf = instrument.psf
    if psf.type == "PixelatedPSF" and (kernel := file_of(psf.pixels)):
        samples = float(instrument.pixel_size) / float(psf.pixels.pixel_size or instrument.pixel_size)
        fields |= {"psf": kernel} | ({"psf_supersampling": round(samples)} if round(samples) > 1 else {})
    elif psf.type == "GaussianPSF":
        width = float(psf.fwhm) * float(instrument.pixel_size)
        fields |= {"psf_fwhm": width, "psf_size": 2 * int(np.ceil(3.0 * float(psf.fwhm))) + 1}
    if instrument.band:
        fields["band"] = str(instrument.band)
    if observation.mag_zero_point is not None:
        fields["zero_point"] = float(observation.mag_zero_point)
    for likelihood in made.likelihoods or ():
        if mask := file_of(likelihood.mask):
            fields |= {"mask": mask, "mask_is": "good"}
    z = {key: entity.redshift for entity in made.lensing_entities if entity.redshift is not None
         for key in (["z_lens"] if len(entity.mass_model) else ["z_source"])}
    flat = made.cosmology
    if flat is not None and flat.astropy_name != "FlatLambdaCDM":
        template.notes.append(f"cosmology: {flat.astropy_name} is left out; [lens] has a flat universe")
        flat = None
    template.lens.update({key: float(value) for key, value in z.items()}
                         | ({} if flat is None else {"H0": float(flat.H0), "Om0": float(flat.Om0)}))


def chain_of(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The chain of a template: draws by the name of COOLEST's parameter, and `probability_weights`.

    Raises:
        InputError: A template without a chain, or a chain that is missing or damaged.
    """
    path = Path(path)
    content = read_json(path)
    _check_version(path, content)
    name = content["meta"].get("chain_file_name")
    if name is None:
        raise InputError(path, "meta.chain_file_name", "missing", "the name of a CSV file")
    file = path.parent / name
    try:
        with file.open(encoding="utf-8-sig") as lines:
            names = lines.readline().strip().split(",")
            columns = np.loadtxt(lines, delimiter=",", ndmin=2).T
    except (OSError, ValueError) as error:
        raise InputError(file, "", f"cannot be read ({error})", "a chain of COOLEST, numbers with one row of names"
                         ) from error
    if len(columns) != len(names):
        raise InputError(file, "", f"{len(columns)} columns", f"{len(names)}, one a name")
    return dict(zip(names, columns, strict=True))

