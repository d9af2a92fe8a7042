"""Search for the best fits of the SLACS fleet, and set their Einstein radii beside published ones.

DIR holds catalogue.csv, as `examples/slacs_fleet` takes it. Its one configuration is searched twice, or once with
--models: with the slope of the mass fixed to that of an isothermal ellipsoid, as the published radii have it, and free.
No lens is sampled: the radii are those of the best fits, without errors. Who does nothing says the median of all
published radii.

--work keeps both fleets, with a gallery each; what is there already is not searched again. It is what `giga fit-many
DIR/catalogue.csv --config examples/slacs_fleet/fleet.toml --ignore theta_E_published --stop-after map` leaves in
WORK/free, and with `--set mass.0.gamma=2.0` in WORK/isothermal. A picture of each is left beside the JSON: the images
without the light of the lens, and the critical curves.
"""

import csv
import json
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
MODELS = {"isothermal": {"mass.0.gamma": 2.0}, "free": {}}
FAR = 5.0  # percent
COLUMNS = 8  # of the picture


def searched(folder: Path, catalogue: Path, changes: dict) -> dict[str, dict]:
    """What the search of each lens has found, by its name."""
    fleet = plan_fleet(catalogue, CONFIG, overrides=changes, ignore=["theta_E_published"])
    status = run_fleet(fleet, folder, searches=True)
    rows = {}
    for name, (said, reason) in status.items():
        if said != "done":
            rows[name] = {"status": said, "reason": reason}
            continue
        found = json.loads(FleetFolder(folder, searches=True).last(name).read_text(encoding="utf-8"))
        stage = found["stages"]["map"]
        rows[name] = {"status": said, "theta_E": round(found["best"]["mass.0.theta_E"], 4),
                      "best": {key: round(value, 4) for key, value in found["best"].items()},
                      "reduced_chi2": round(found["reduced_chi2"], 3), "log_prob": round(stage["log_prob"], 1),
                      "gradients": found["evaluations"]["map"], "rounds": stage["rounds"],
                      "agreeing": [stage["agreeing_finalists"], stage["finalists"]],
                      "seconds": round(found["timings_s"]["map"], 1),
                      "compile_s": round(found["timings_s"]["compile"], 1)}
    return rows


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
        known = f" ({published[name]:.2f})" if name in published else ""
        axis.set_title(f"{name}\n{row['theta_E']:.2f}″{known}", fontsize=7)
    return figure


def main() -> None:
    """Search both, compare, write."""
    arguments = parser(__doc__ or "", "slacs")
    arguments.add_argument("folder", type=Path, help="folder with catalogue.csv")
    arguments.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments.add_argument("--work", type=Path, default=Path("runs/slacs-searches"))
    given = arguments.parse_args()
    catalogue = given.folder / "catalogue.csv"
    with catalogue.open(newline="", encoding="utf-8") as file:
        published = {row["name"]: float(row["theta_E_published"]) for row in csv.DictReader(file)
                     if row["theta_E_published"]}
    rows = {model: searched(given.work / model, catalogue, MODELS[model]) for model in given.models}
    out = {"published": published,
           "nothing": beside(dict.fromkeys(published, float(np.median(list(published.values())))), published)}
    for model, found in rows.items():
        done = {name: row for name, row in found.items() if row["status"] == "done"}
        seconds = [row["seconds"] for row in done.values()]
        out[model] = beside({name: row["theta_E"] for name, row in done.items()}, published) | {
            "done": len(done), "of": len(found), "median_seconds": float(np.median(seconds)),
            "longest_seconds": max(seconds),
            "median_gradients": int(np.median([row["gradients"] for row in done.values()])),
            "median_reduced_chi2": float(np.median([row["reduced_chi2"] for row in done.values()])), "rows": found}
        write_bytes(given.out.with_name(f"{given.out.stem}_{model}.png"),
                    png(picture(given.work / model, found, published)))
    write(given.out, out, show=False)
    for model in ("nothing", *rows):
        print(model, {key: value for key, value in out[model].items() if key != "rows"})


if __name__ == "__main__":
    main()
