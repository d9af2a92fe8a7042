"""`giga prepare` and `giga inject-cluster`: clusters of galaxies as fields of lenses, and lenses in images of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax
import typer
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge
from giga.io.clusters.fields import save_field
from giga.io.clusters.models import cluster_lens, map_lens, north_up
from giga.io.clusters.mosaics import check_places, inject_lenses, on_mosaic, read_mosaic, write_lenses
from giga.io.errors import InputError, nearest
from giga.io.lenstool.par import read_par
from giga.runtime import parallel
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_fields import NODES, Lens, prepare
from giga.simulate.systems.clusters import cluster_lenses

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
    seen = _survey(survey)
    parallel.start(n_devices=1)
    lens, _ = _model(model, alpha_y, members, z_lens, z_map)
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
    seen = _survey(survey)
    check_places(out, images, overwrite)
    parallel.start(n_devices=1)
    lens, reference = _model(model, alpha_y, members, z_lens, z_map)
    mosaic = read_mosaic(images, seen)
    field, stamps = on_mosaic(lens, reference, mosaic, seen, half_width, nodes=nodes)
    made = cluster_lenses(field, seen, stamps=stamps, sigma=mosaic.sigma, turns=False)
    added, table = inject_lenses(jax.random.key(seed), mosaic, reference, made, count)
    write_lenses(out, mosaic, added, table)
    console.print(f"{len(table)} lenses in {len(images)} images: {escape(str(out))}", highlight=False, soft_wrap=True)


def _survey(name: str) -> Survey:
    if name not in SURVEYS:
        raise InputError("", "--survey", f"got {name!r}", nearest(name, SURVEYS))
    return SURVEYS[name]


def _model(model: Path, alpha_y: Path | None, members: Path | None, z_lens: float | None,
           z_map: float | None) -> tuple[Lens, tuple[float, float]]:
    """The model, and the sky at its origin."""
    if alpha_y is None:
        for option, value in (("--members", members), ("--z-lens", z_lens), ("--z-map", z_map)):
            if value is not None:
                raise InputError("", option, "given without --alpha-y", "--alpha-y too, or a .par alone")
        par = read_par(model)
        return cluster_lens(par), par.reference
    if members is None or z_lens is None:
        raise InputError("", "--members" if members is None else "--z-lens", "missing",
                         "a catalogue and a redshift with a deflection map")
    return map_lens(model, alpha_y, members, z_lens, z_map), north_up(model)
