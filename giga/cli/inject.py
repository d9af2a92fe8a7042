"""`giga inject`: arcs in the cutouts of a user. `giga prepare` and `giga inject-cluster`: lenses in clusters."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from astropy.table import Column, Table
from rich.markup import escape

from giga.cli.base import ConfigFile, Override, app, check_out, console, edge, tell
from giga.cli.predict import Exposure, Units, check_units, rate_of
from giga.io.clusters.fields import save_field
from giga.io.clusters.models import cluster_lens, map_lens, north_up
from giga.io.clusters.mosaics import check_places, inject_lenses, on_mosaic, read_mosaic, write_lenses
from giga.io.configuration.simulation import load_injection, read_run
from giga.io.configuration.toml import parse_override
from giga.io.errors import InputError, nearest
from giga.io.images.cube import read_cubes
from giga.io.images.inject import grid_of, inject_cube, write_injection
from giga.io.lenstool.par import read_par
from giga.io.lenstool.rows import passed_over
from giga.io.results.separation import write_table
from giga.io.results.shards import unit_of
from giga.io.table_file import read_table_file
from giga.runtime import parallel
from giga.simulate.inject import Injection
from giga.simulate.populations.population import Population
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_fields import NODES, ClusterLens, prepare
from giga.simulate.systems.clusters import cluster_lenses

TABLE = "truth.ecsv"
_draw = jax.jit(Population.draw)

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="LensTool's .par, its potfiles beside it; or the FITS "
                                       "image of the deflection along columns.")]
AlphaY = Annotated[Path | None, typer.Option("--alpha-y", help="With a deflection map: the one along rows.")]
MembersFile = Annotated[Path | None, typer.Option("--members", help="With a deflection map: catalogue of the members.")]
ZLens = Annotated[float | None, typer.Option("--z-lens", help="With a deflection map: redshift of the cluster.")]
ZMap = Annotated[float | None, typer.Option("--z-map", help="With a deflection map: redshift of the source that it is "
                                            "for; without, it is for D_ls / D_s = 1.")]
Named = Annotated[str, typer.Option("--survey", help="Preset of the bands, size and pixels of the cutouts.")]
HalfWidth = Annotated[float, typer.Option("--half-width", help="Half the side of the square that is taken \\[arcsec].")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Values of D_ls / D_s for which caustics are found.")]


@app.command("inject")
@edge
def inject_command(
        config: ConfigFile,
        cutouts: Annotated[list[Path], typer.Argument(metavar="CUTOUT...", help="FITS files with all bands each; or "
                                                      "one a band, those of one cutout after each other.")],
        out: Annotated[Path, typer.Option("--out", help="Folder for the images and the table of their truth.")],
        count: Annotated[int, typer.Option("-n", "--n", min=1, help="Images made of each cutout.")] = 1,
        seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of scenes and photon noise.")] = 0,
        lens_light: Annotated[bool, typer.Option("--lens-light", help="Add the light of the population's deflector "
                                                 "too; without, the galaxy of the cutout is the deflector.")] = False,
        units: Units = None, exposure: Exposure = None, override: Override = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False) -> None:
    """Add lensed sources to real images; their noise, WCS and unit stay."""
    check_units(units, exposure)
    changes = dict(map(parse_override, override or []))
    run = read_run(config, changes)
    parallel.start(run.devices, n_devices=run.n_devices)
    recipe = load_injection(config, changes)
    survey, bands = recipe.survey, [band.name for band in recipe.survey.bands]
    cubes = read_cubes(cutouts, bands)
    for cube in cubes:
        grid_of(cube, survey)  # before anything is written
    scales = [rate_of(cube, units, exposure, survey.pixel_scale) for cube in cubes]
    names = [[f"{cube.file.name.split('.fit')[0]}-{k:03d}.fits" for k in range(count)] for cube in cubes]
    _check_out(out, [*(name for row in names for name in row), TABLE], cutouts, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    try:
        for c, (cube, scale) in enumerate(zip(cubes, scales, strict=True)):
            for k, name in enumerate(names[c]):
                key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), c), k)
                scene_key, noise_key = jax.random.split(key)
                scene, truth = _draw(recipe.population, scene_key)
                scene = scene if lens_light else scene.replace(lens_light=[])
                added = inject_cube(noise_key, cube, scene, survey, scale=scale,
                                    supersampling=recipe.tables["survey"]["supersampling"])
                write_injection(out / name, cube, added, scene, bands)
                rows.append({"file": name, "cutout": str(cube.file), **_magnitudes(added, scale, survey),
                             **{name: np.asarray(value) for name, value in truth.items()}})
    finally:  # images that are there have their rows, whatever came after
        if rows:
            write_table(out / TABLE, _table(rows, {"config": str(config), "seed": seed, "lens_light": lens_light}))
    console.print(f"{len(rows)} images of {len(cubes)} cutouts; truth: {escape(str(out / TABLE))}", highlight=False,
                  soft_wrap=True)


def _check_out(out: Path, names: list[str], cutouts: list[Path], overwrite: bool) -> None:
    """Refuse two images of one name, the loss of a cutout or of an image's truth and, unless told to, of any file."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(out / twice[0], "--out", "written for two cutouts", "cutouts whose files have different names")
    if out.is_dir():
        check_out([out / name for name in names], cutouts, overwrite)
        table = out / TABLE
        listed = read_table_file(table).columns.get("file", ()) if table.is_file() else ()
        left = [str(name) for name in listed if str(name) not in names and (out / str(name)).is_file()]
        if left:
            raise InputError(table, "--out", f"lists {left[0]}" + (f" and {len(left) - 1} more" if left[1:] else "")
                             + ", which would stay there without a truth", "another folder, or to make these again too")


def _magnitudes(added: Injection, scale: float, survey: Survey) -> dict[str, float]:
    """Total magnitude of the light in each band, in the field of the image; NaN without light."""
    flux = scale * np.asarray(added.light, float).sum((0, 1))
    seen = np.where(flux > 0.0, flux, np.nan)
    return {f"mag_{band.name}": float(band.zero_point - 2.5 * np.log10(value))
            for band, value in zip(survey.bands, seen, strict=True)}


def _table(rows: list[dict[str, Any]], about: dict[str, Any]) -> Table:
    """One row an image; values of bands are in the survey's order."""
    units = {name: "mag" if name.startswith("mag_") else unit_of(name) for name in rows[0]}
    columns: list[Any] = [Column([row[name] for row in rows], name, unit=unit or None) for name, unit in units.items()]
    return Table(columns, meta=about)


@app.command("prepare")
@edge
def prepare_command(model: Model, out: Annotated[Path, typer.Option("--out", help="The prepared cluster, .npz.")],
                    survey: Named = "hst-hff-60mas", half_width: HalfWidth = 60.0, nodes: Nodes = NODES,
                    alpha_y: AlphaY = None, members: MembersFile = None, z_lens: ZLens = None, z_map: ZMap = None,
                    overwrite: Replace = False) -> None:
    """Find the secondary caustics of a cluster and the deflection about its galaxies, once."""
    if out.suffix != ".npz":
        raise InputError(out, "--out", f"a name that ends in {out.suffix!r}", "one that ends in .npz")
    check_out([out], [model], overwrite)
    seen = _preset(survey)
    parallel.start(n_devices=1)
    lens, _ = _cluster(model, alpha_y, members, z_lens, z_map)
    try:
        field = prepare(lens, seen.grid, half_width, nodes=nodes)
    except ValueError as error:
        raise InputError(model, "", str(error)) from error
    save_field(out, field)
    console.print(f"{len(field.center)} galaxies, {len(field.lenses)} of which act as lenses; {len(field.lens)} "
                  f"critical lines: {escape(str(out))}", highlight=False, soft_wrap=True)


@app.command("inject-cluster")
@edge
def inject_cluster_command(
        model: Model,
        images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="FITS images of the cluster, one a band, "
                                                     "in counts / s, north up.")],
        out: Annotated[Path, typer.Option("--out", help="Folder for the images and the table of the lenses.")],
        count: Annotated[int, typer.Option("-n", "--n", min=1, help="Lenses that are added.")] = 10,
        seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of lenses and photon noise.")] = 0,
        survey: Named = "hst-hff", half_width: HalfWidth = 60.0, nodes: Nodes = NODES, alpha_y: AlphaY = None,
        members: MembersFile = None, z_lens: ZLens = None, z_map: ZMap = None, overwrite: Replace = False) -> None:
    """Add galaxy-scale lenses to images of a cluster, behind the secondary caustics of its model."""
    seen = _preset(survey)
    check_places(out, images, overwrite)
    parallel.start(n_devices=1)
    lens, reference = _cluster(model, alpha_y, members, z_lens, z_map)
    mosaic = read_mosaic(images, seen)
    field, stamps = on_mosaic(lens, reference, mosaic, seen, half_width, nodes=nodes)
    made = cluster_lenses(field, seen, stamps=stamps, sigma=mosaic.sigma, turns=False)
    added, table = inject_lenses(jax.random.key(seed), mosaic, reference, made, count)
    write_lenses(out, mosaic, added, table)
    console.print(f"{len(table)} lenses in {len(images)} images: {escape(str(out))}", highlight=False, soft_wrap=True)


def _preset(name: str) -> Survey:
    if name not in SURVEYS:
        raise InputError("", "--survey", f"got {name!r}", nearest(name, SURVEYS))
    return SURVEYS[name]


def _cluster(model: Path, alpha_y: Path | None, members: Path | None, z_lens: float | None,
           z_map: float | None) -> tuple[ClusterLens, tuple[float, float]]:
    """The model, and the sky at its origin."""
    if alpha_y is None:
        for option, value in (("--members", members), ("--z-lens", z_lens), ("--z-map", z_map)):
            if value is not None:
                raise InputError("", option, "given without --alpha-y", "--alpha-y too, or a .par alone")
        par = read_par(model)
        tell(model, passed_over(par))
        return cluster_lens(par), par.reference
    if members is None or z_lens is None:
        raise InputError("", "--members" if members is None else "--z-lens", "missing",
                         "a catalogue and a redshift with a deflection map")
    return map_lens(model, alpha_y, members, z_lens, z_map), north_up(model)
