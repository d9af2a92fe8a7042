"""Fit the SLACS fleet, or search for its best fits, and set the Einstein radii beside published ones.

DIR holds catalogue.csv, as `examples/slacs_fleet` takes it. Its one configuration is searched with each of --models:
"isothermal" with the slope of the mass fixed to that of an isothermal ellipsoid, "published" without shear too, as the
published radii have it, "apart" as "isothermal" with a prior of its own for the centre of the mass, "cusp" without the
softening of the source's core, "uncertain" with 2% of the brightness beside the noise, and "free". Radii of searches
are those of the best fits, without errors. With --chains every lens is sampled, and its radii are means;
slacs_chains.json is written then. Who does nothing says the median of all published radii.

--work keeps the fleets, with a gallery each; what is there already is not done again, and with --as-is nothing is: the
lenses that are there are reported. What earlier code has fitted is reported with the git hash of the code that reports,
so each row has the time at which its fit was written. A fleet is what `giga fit-many DIR/catalogue.csv --config
examples/slacs_fleet/fleet.toml --ignore theta_E_published` leaves, with `--stop-after map` for a search, and with
`--set mass.0.gamma=2.0` for "isothermal". A picture of each is left beside the JSON: the images without the light of
the lens, and the critical curves.
"""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from _common import HERE, parser, write
from matplotlib.figure import Figure

from giga.io.results.fleet import FleetFolder
from giga.io.results.model import read_model
from giga.jobs.fleet import plan_fleet, run_fleet
from giga.runtime.atomic import write_bytes
from giga.show.plot import png

CONFIG = HERE.parent / "examples" / "slacs_fleet" / "fleet.toml"
NEAR = {"dist": "Normal", "loc": 0.0, "scale": 0.05}  # arcsec
MODELS = {"isothermal": {"mass.0.gamma": 2.0}, "free": {},
          "published": {"mass.0.gamma": 2.0, "mass.1.gamma1": 0.0, "mass.1.gamma2": 0.0},
          "apart": {"mass.0.gamma": 2.0, "mass.0.center_x": NEAR, "mass.0.center_y": NEAR},
          "cusp": {"mass.0.gamma": 2.0, "source_light.0.softening": 0.0},
          "uncertain": {"mass.0.gamma": 2.0, "observation.0.model_error": 0.02}}
FAR = 5.0  # percent
COLUMNS = 8  # of the picture


def fitted(folder: Path, catalogue: Path, changes: dict, chains: bool, as_is: bool) -> dict[str, dict]:
    """What was found of each lens, by its name."""
    fleet = plan_fleet(catalogue, CONFIG, overrides=changes, ignore=["theta_E_published"])
    if not as_is:
        run_fleet(fleet, folder, searches=not chains)
    there, rows = FleetFolder(folder, searches=not chains), {}
    for name in fleet.rows:
        if failure := there.failure(name):
            rows[name] = {"status": "failed", "reason": failure["reason"]}
        elif there.is_done(name):
            found = json.loads(there.last(name).read_text(encoding="utf-8"))
            written = datetime.fromtimestamp(there.last(name).stat().st_mtime, UTC)
            rows[name] = {"status": "done", "written": written.isoformat(timespec="seconds"), **of_search(found),
                          **(of_chains(found) if chains else {})}
        else:
            rows[name] = {"status": "left"}
    return rows


def of_search(found: dict) -> dict:
    """What is kept of a search."""
    stage = found["stages"]["map"]
    return {"theta_E": round(found["best"]["mass.0.theta_E"], 4),
            "best": {key: round(value, 4) for key, value in found["best"].items()},
            "reduced_chi2": round(found["reduced_chi2"], 3), "log_prob": round(stage["log_prob"], 1),
            "gradients": found["evaluations"]["map"], "rounds": stage["rounds"],
            "agreeing": [stage["agreeing_finalists"], stage["finalists"]],
            "seconds": round(found["timings_s"]["map"], 1), "compile_s": round(found["timings_s"]["compile"], 1)}


def of_chains(found: dict) -> dict:
    """What is kept of chains besides."""
    radius, hmc = found["parameters"]["mass.0.theta_E"], found["stages"]["hmc"]
    spent = {key: value for key, value in found["timings_s"].items() if key != "compile"}
    return {"theta_E": round(radius["mean"], 4), "theta_E_sd": round(radius["sd"], 4),
            "gradients": sum(value for key, value in found["evaluations"].items() if key != "evidence"),
            "seconds": round(sum(spent.values()), 1),
            "seconds_of": {key: round(value, 1) for key, value in spent.items()},
            "worst_rhat": round(max(row["rhat"] for row in found["parameters"].values()), 5),
            "smallest_ess_bulk": round(min(row["ess_bulk"] for row in found["parameters"].values())),
            "smallest_ess_tail": round(min(row["ess_tail"] for row in found["parameters"].values())),
            "divergences": hmc["divergences"], "trajectories": hmc["iterations"] * hmc["chains"],
            "converged": hmc["converged"], "modes": len(found["stages"]["map"]["modes"])}


def beside(radii: dict[str, float], published: dict[str, float]) -> dict:
    """How far radii are from published ones, in percent of these."""
    off = {name: 100.0 * (radii[name] / value - 1.0) for name, value in published.items() if name in radii}
    values = np.abs(list(off.values()))
    return {"lenses": len(off), "median_percent": round(float(np.median(values)), 2),
            "mean_of_signed_percent": round(float(np.mean(list(off.values()))), 2),
            "above_5_percent": {name: round(value, 1) for name, value in off.items() if abs(value) > FAR}}


def picture(folder: Path, found: dict[str, dict], published: dict[str, float]) -> Figure:
    """The image of each lens without the light of the lens, over its noise, and its tangential critical curve."""
    rows = -(-len(found) // COLUMNS)
    figure = Figure(figsize=(1.6 * COLUMNS, 1.8 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, row) in zip(axes, found.items(), strict=False):
        if row["status"] != "done":
            axis.set_title(f"{name}\n{row['status']}", fontsize=7)
            continue
        (shown,) = read_model(folder / "lenses" / name / "model.fits")
        noise = np.median(shown.sigma[shown.mask])
        left = np.where(shown.mask, shown.observation.image - shown.lens_light, 0.0)
        axis.imshow(left / noise, origin="lower", extent=shown.observation.grid.extent, cmap="magma", vmin=-3.0,
                    vmax=8.0)
        for curve in shown.curves:
            if curve.kind == "tangential":
                axis.plot(*curve.critical.T, color="white", lw=0.5)
        left_edge, right_edge, bottom, top = shown.observation.grid.extent
        axis.set(xlim=(left_edge, right_edge), ylim=(bottom, top))  # a curve may leave the field
        known = f" ({published[name]:.2f})" if name in published else ""
        axis.set_title(f"{name}\n{row['theta_E']:.2f}″{known}", fontsize=7)
    return figure


def summed_up(found: dict[str, dict], published: dict[str, float], chains: bool) -> dict:
    """One line for a fleet, and its rows."""
    done = {name: row for name, row in found.items() if row["status"] == "done"}
    seconds = [row["seconds"] for row in done.values()]
    out = beside({name: row["theta_E"] for name, row in done.items()}, published) | {
        "done": len(done), "of": len(found), "median_seconds": float(np.median(seconds)),
        "longest_seconds": max(seconds),
        "median_gradients": int(np.median([row["gradients"] for row in done.values()])),
        "median_reduced_chi2": float(np.median([row["reduced_chi2"] for row in done.values()]))}
    if chains:
        out |= {"converged": sum(row["converged"] for row in done.values()),
                "to_the_target": sum(row["worst_rhat"] < 1.01 and row["smallest_ess_bulk"] > 1000
                                     and row["smallest_ess_tail"] > 400 for row in done.values())}
    return out | {"rows": found}


def main() -> None:
    """Fit each, compare, write."""
    arguments = parser(__doc__ or "", "slacs")
    arguments.add_argument("folder", type=Path, help="folder with catalogue.csv")
    arguments.add_argument("--models", nargs="+", choices=list(MODELS), default=["isothermal", "free"])
    arguments.add_argument("--chains", action="store_true", help="sample every lens")
    arguments.add_argument("--as-is", action="store_true", help="report what is there already")
    arguments.add_argument("--work", type=Path, default=Path("runs/slacs-searches"))
    given = arguments.parse_args()
    if given.chains and given.out == arguments.get_default("out"):
        given.out = given.out.with_name("slacs_chains.json")
    catalogue = given.folder / "catalogue.csv"
    with catalogue.open(newline="", encoding="utf-8") as file:
        published = {row["name"]: float(row["theta_E_published"]) for row in csv.DictReader(file)
                     if row["theta_E_published"]}
    out = {"published": published,
           "nothing": beside(dict.fromkeys(published, float(np.median(list(published.values())))), published)}
    for model in given.models:
        found = fitted(given.work / model, catalogue, MODELS[model], given.chains, given.as_is)
        if not any(row["status"] == "done" for row in found.values()):
            arguments.error(f"--work: no lens of {model} is done in {given.work / model}")
        out[model] = summed_up(found, published, given.chains)
        write_bytes(given.out.with_name(f"{given.out.stem}_{model}.png"),
                    png(picture(given.work / model, found, published)))
    write(given.out, out, show=False)
    for model in ("nothing", *given.models):
        print(model, {key: value for key, value in out[model].items() if key != "rows"})


if __name__ == "__main__":
    main()
