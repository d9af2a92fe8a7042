"""Runs written for other codes, and models of other codes made configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from astropy.io import fits

from giga.component import is_distribution, path_name
from giga.imaging.grid import sky_of
from giga.imaging.steepness import share_left
from giga.inference.settings import FitConfig
from giga.io.configuration.points import PointsConfig
from giga.io.configuration.toml import load_config, parse_config, to_tables
from giga.io.errors import InputError
from giga.io.exchange.coolest_read import Template, read_coolest
from giga.io.exchange.coolest_write import Seen, write_coolest
from giga.io.exchange.fitted import Fitted, read_fitted
from giga.io.exchange.lenstronomy import read_lenstronomy, write_lenstronomy
from giga.io.exchange.tables import scene_tables
from giga.io.images.hdu import read_image
from giga.io.images.sky import celestial_wcs
from giga.io.jsonfile import write_json
from giga.io.lenstool.catalogues import read_potfile
from giga.io.lenstool.scenes import Arcs, lenstool_files
from giga.io.results.model import read_model
from giga.io.table_file import FORMATS
from giga.io.tables import write_toml
from giga.jobs.job import free_names
from giga.lensing.scene import Scene
from giga.mass.members import Members
from giga.runtime.atomic import write_atomically, write_text

Code = Literal["coolest", "lenstronomy"]
STAND_IN = {"image": "data.fits", "background_rms": 1.0, "exposure_time": 1.0}  # to check a model that has no data
RECORD = "skipped.json"  # of what LensTool cannot say
TAKEN = ("run", "observation", "likelihood", "inference", "lens")  # sections of --observation


@dataclass(frozen=True)
class Exchanged:
    """What an exchange has left: files, and what the user should know."""

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_run(run: Path, code: Code, out: Path, number: int = 0) -> Exchanged:
    """Write a finished fit, or what a search has found, for another code.

    Args:
        run: Folder of the run.
        code: "coolest" or "lenstronomy".
        out: A JSON file; other files of COOLEST lie beside it.
        number: Of the observation.

    Raises:
        InputError: A folder without a run, a model that the code cannot say, or a template of a fit without an image.
        OSError: A file cannot be written.
    """
    fitted = read_fitted(run, number)
    about = {"made_by": "giga", "chi2": fitted.chi2, "posterior": fitted.sampled}
    name = code.upper() if code == "coolest" else code
    skipped = [(f"points.{k}", f"{_measured(one)}, which are data of the fit: {name}'s file has none of them")
               for k, one in enumerate(fitted.config.points)]
    skipped += [(f"{section}.{k}.softening", f"{soft:g} arcsec: {name} draws the cusp as it is, with "
                 f"{1.0 / share_left(one):.3g} times the flux")
                for section in ("lens_light", "source_light")
                for k, one in enumerate(getattr(fitted.best, section)) if (soft := getattr(one, "softening", 0.0))]
    if code == "lenstronomy":
        record = {"giga_skipped": [f"{what}: {why}" for what, why in skipped]} if skipped else {}
        files = [write_lenstronomy(out, fitted.best, about | record)]
    else:
        if not fitted.config.observation:
            raise InputError(run / "config.toml", "observation", "none", "a fit to an image, which a template is of")
        files, skipped = write_coolest(out, fitted.best, seen_of(fitted), draws=fitted.draws, prior=fitted.prior,
                                       redshifts=fitted.config.lens.redshifts, about=about, unsaid=skipped)
    reasons = dict.fromkeys(why for _, why in skipped)
    ended = [f"{run}: the search has ended, nothing is sampled yet"] if code == "lenstronomy" and not fitted.sampled \
        else []
    return Exchanged(files, ended + [f"skipped {', '.join(what for what, other in skipped if other == why)}: {why}"
                                     for why in reasons])


def export_cluster(run: Path, out: Path, *, overwrite: bool = False) -> Exchanged:
    """Write a fit of a cluster, or what its search has found, as LensTool's files: the best fit.

    Args:
        run: Folder of the run.
        out: Folder for `best.par`, its potfiles, `arcs.dat` and the record `skipped.json`.
        overwrite: Write over what the folder holds.

    Raises:
        InputError: A folder without a run, a run that is not of a cluster, masses none of which LensTool has, or a
            folder that holds something.
        OSError: A file cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir()) and not overwrite):
        raise InputError(out, "--out", "is there already", "a folder that is new or empty, or --overwrite")
    fitted = read_fitted(run)
    cluster, planes = fitted.config.cluster, fitted.best.planes
    if cluster is None:
        raise InputError(run / "config.toml", "cluster", "none", "a fit of a cluster, whose images LensTool has")
    z, drawn = np.array([float(one) for one in planes.sources]), fitted.draws.planes.sources  # pyright: ignore
    free = {name: (float(best), float(np.std(draws)) if fitted.sampled else _width(prior))
            for name, best, prior, draws in zip(cluster.systems.names, z, fitted.prior.planes.sources,  # pyright: ignore
                                                drawn, strict=True) if is_distribution(prior)}
    table = replace(cluster.systems.table, z=z[list(cluster.systems.system)])
    universe: Any = fitted.draws.planes.cosmology  # pyright: ignore
    freed = {name: float(np.std(getattr(universe, name))) if fitted.sampled else _width(prior)
             for name, prior in vars(fitted.prior.planes.cosmology).items() if is_distribution(prior)}  # pyright: ignore
    settings = cluster.settings
    try:
        made = lenstool_files(fitted.best, settings.reference,
                              Arcs(table, free, settings.sigma, settings.ladder == "image"), settings.half_width,
                              (f"giga: chi2 {fitted.chi2:.6g} of the best fit",), _names(fitted), freed)
    except ValueError as error:
        raise InputError(run / "config.toml", "mass", str(error)) from error
    skipped = list(made.skipped)
    names = [name for name in free_names(fitted.prior) if not name.startswith(("planes.sources", "planes.cosmology"))]
    if names:
        skipped.append((", ".join(names), "the best fit is written, without priors and errors: no limit is written"))
    out.mkdir(parents=True, exist_ok=True)
    files = [write_text(out / name, text) for name, text in made.texts.items()]
    files.append(write_json(out / RECORD, [{"what": what, "why": why} for what, why in skipped]))
    ended = [] if fitted.sampled else [f"{run}: the search has ended, nothing is sampled yet"]
    return Exchanged(files, ended + [f"skipped {what}: {why}" for what, why in skipped])


def _names(fitted: Fitted) -> dict[int, tuple[str, ...]]:
    """Names of members by the number of their mass; those of a table have none."""
    out: dict[int, tuple[str, ...]] = {}
    for k, (profile, mass) in enumerate(zip(fitted.config.mass, fitted.best.mass, strict=True)):
        path = dict(profile.settings).get("catalogue")
        if isinstance(mass, Members) and path is not None and Path(path).suffix.lower() not in FORMATS:
            out[k] = read_potfile(path).names
    return out


def _width(prior: Any) -> float:
    """Standard deviation of a prior, by its draws."""
    return float(np.std(np.asarray(prior.sample(jax.random.key(0), (4096,)), float)))


def _measured(points: PointsConfig) -> str:
    """What was measured of a point source, in words."""
    counted = {"positions": points.x, "fluxes": points.flux, "delays": points.delay}
    return ", ".join(f"{len(values)} {name}" for name, values in counted.items() if values is not None)


def seen_of(fitted: Fitted) -> Seen:
    """What a template says of the data of a fit: the images of model.fits, and the PSF where its file is."""
    picture = read_model(fitted.folder / "model.fits")[fitted.number]
    observation, grid, asked = picture.observation, picture.observation.grid, fitted.config.observation[fitted.number]
    psf = read_image(asked.psf, asked.psf_hdu)[0] if asked.psf is not None and asked.psf.is_file() else None
    origin = None
    if observation.header:
        wcs = celestial_wcs(fits.Header.fromstring(observation.header, sep="\n"))
        if wcs is not None:
            at = grid.to_pixel(np.zeros(1), np.zeros(1))  # pyright: ignore[reportArgumentType]
            sky = sky_of(wcs, np.asarray(at[0], float), np.asarray(at[1], float))
            origin = float(sky.icrs.ra.deg[0]), float(sky.icrs.dec.deg[0])  # pyright: ignore
    return Seen(
        pixel_scale=float(grid.pixel_scale), image=np.asarray(observation.image), mask=np.asarray(picture.mask),
        noise=None if observation.noise_map is None else np.asarray(observation.noise_map),
        center=(float(grid.center_x), float(grid.center_y)), rotation=float(grid.rotation), psf=psf,
        psf_supersampling=asked.psf_supersampling, supersampling=asked.supersampling, psf_fwhm=asked.psf_fwhm,
        exposure_time=asked.exposure_time,
        zero_point=asked.zero_point if asked.units in (None, "counts/s") else None, band=asked.band, origin=origin)


def import_model(file: Path, code: Code, out: Path, like: Path | None = None, priors: str | None = None) -> Exchanged:
    """Write the configuration of a model of another code.

    A parameter has the prior that the file gives it, if it is one of giga's, else its value; with a named set of priors
    what the file does not fix is free.

    Args:
        file: JSON: a template of COOLEST, or keyword arguments of lenstronomy.
        code: Whose.
        out: The configuration.
        like: A configuration whose data and settings are taken.
        priors: A named set.

    Raises:
        InputError: A file that cannot be read, or a model that a configuration cannot hold.
        OSError: A file cannot be written.
    """
    if code == "coolest":
        template = read_coolest(file)
    else:
        scene, notes = read_lenstronomy(file)
        template = Template(scene, notes=notes)
    images: dict[Path, np.ndarray] = {}

    def save(path: str, image: np.ndarray) -> Path:
        place = out.with_name(f"{out.stem}_{path.rpartition('.')[0].replace('.', '_')}.fits").absolute()
        images[place] = image
        return place

    def leave_out(path: str) -> bool:
        held = path in template.priors or any(path == one or path.startswith(f"{one}.") for one in template.fixed)
        return priors is not None and not held

    profiles, more = scene_tables(with_priors(template.scene, template.priors), save, leave_out)
    tables = ({} if priors is None else {"priors": priors}) | _data(template, like)
    notes = [*template.notes, *more]
    complete = "observation" in tables
    if not complete:
        notes.append("no [[observation]]: write one, or give --observation CONFIG.toml")
    if priors is None and not template.priors:
        notes.append("every parameter is a number; --priors galaxy-scale frees them")
    written: list[Path] = []
    try:
        for path, image in images.items():
            hdu = fits.PrimaryHDU(image)
            written.append(write_atomically(path, lambda temporary, hdu=hdu: hdu.writeto(temporary, overwrite=True)))
        checked = tables | profiles if complete else tables | {"observation": [STAND_IN]} | profiles
        parse_config(checked, out, FitConfig)
    except InputError:
        for path in written:
            path.unlink()
        raise
    head = f"# From {file.name}, {code}.\n" + ("" if complete else "# Add [[observation]], then giga fit.\n")
    return Exchanged([write_text(out, f"{head}\n{write_toml(tables | profiles)}"), *written], notes)


def _data(template: Template, like: Path | None) -> dict[str, Any]:
    """The sections beside the profiles: those of a configuration, or what the file tells."""
    if like is not None:
        tables = to_tables(load_config(like, fit_config_type=FitConfig))
        return {name: tables[name] for name in TAKEN if tables.get(name)}
    told = template.observation
    noise = "noise_map" in told or {"background_rms", "exposure_time"} <= set(told)
    found: dict[str, Any] = {"observation": [told]} if "image" in told and noise else {}
    return found | ({"lens": template.lens} if template.lens else {})


def with_priors(scene: Scene, priors: Mapping[str, Any]) -> Scene:
    """The scene with distributions in the place of some of its numbers, by path."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: priors.get(path_name(path), leaf), scene)
