"""Time other codes and giga on the same lens, one after the other, and report the ratios.

--peers is a folder of scripts (bench_lenstronomy.py, which writes the reference, bench_gigalens.py,
bench_jaxtronomy.py, bench_caustics.py), each printing JSON with fwd1_ms_per_image,
fwd16_ms_per_image, vg1_ms_per_image and vg16_ms_per_image, and where it solves linear amplitudes their times;
--venvs holds a virtual environment for each, by name. giga runs first and last: the spread of its two runs says what
the machine did meanwhile. --only takes some of the peers, --linear adds the 31 solved amplitudes (GIGA-Lens takes
minutes for them), --demo60 SECONDS has GIGA-Lens and giga fit GIGA-Lens's own benchmark problem.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _common import HERE, parser, write

from giga.inference.chains.diagnostics import ess_bulk, rhat
from giga.io.jsonfile import read_json, write_json
from giga.jobs.problems import demo60

SCRIPTS = {
    "lenstronomy": ["bench_lenstronomy.py"],
    "gigalens": ["bench_gigalens.py", "18", "--nolstsq"],
    "jaxtronomy": ["bench_jaxtronomy.py", "--f32"],
    "caustics": ["bench_caustics.py"],
}
COLUMNS = {
    "fwd1_ms_per_image": ["forward_batch_1"],
    "fwd16_ms_per_image": ["forward_batch_16_map", "forward_batch_16_vmap"],
    "vg1_ms_per_image": ["value_and_gradient_batch_1"],
    "vg16_ms_per_image": ["value_and_gradient_batch_16_map", "value_and_gradient_batch_16_vmap"],
    "linear_fwd1_ms_per_image": ["linear_forward_batch_1"],
    "linear_vg1_ms_per_image": ["linear_value_and_gradient_batch_1"],
}
LINEAR = {"gigalens": ["bench_gigalens.py", "18"], "jaxtronomy": ["bench_jaxtronomy.py", "--f32", "--lin"]}


def run(command: list[str], environment: dict[str, str]) -> dict:
    """Run a script and put together the JSON objects on its standard output, or say how it failed."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    text, found = done.stdout, {}
    while (start := text.find("{")) >= 0:
        row, length = json.JSONDecoder().raw_decode(text[start:])
        found, text = found | row, text[start + length:]
    if done.returncode or not found:
        return found | dict(failed=f"exit code {done.returncode}", stderr=done.stderr[-500:])
    return found


def linear_times(row: dict) -> dict[str, float]:
    """Milliseconds of a peer's linear solve, by giga's names; each peer has its own."""
    found = {"linear_fwd1_ms_per_image": row.get("lstsq_fwd1", row.get("lin", row.get("linear_solve"))),
             "linear_vg1_ms_per_image": row.get("lstsq_vg1", row.get("lin_vg"))}
    return {column: times["med_ms"] for column, times in found.items() if times is not None}


def gigalens_demo(folder: Path, options, environment: dict[str, str]) -> dict:
    """GIGA-Lens on demo60: how many effective samples its budget gives."""
    problem = demo60()
    (observation,) = problem.observations
    groups = [problem.prior.mass, problem.prior.lens_light, problem.prior.source_light]
    path = folder / "demo60.json"
    write_json(path, dict(
        prior=[[_distributions(profile) for profile in group] for group in groups],
        image=observation.image.tolist(), kernel=np.asarray(observation.psf.kernel, float).tolist(),
        background_rms=observation.background_rms, exposure_time=observation.exposure_time,
        pixel_scale=float(observation.grid.pixel_scale)))
    row = run([str(options.venvs / "gigalens" / "bin" / "python"), str(HERE / "gigalens_demo60.py"),
               str(options.peers), str(path), str(options.demo60)], environment)
    if "failed" in row:
        return row
    chains = np.load(row.pop("chains_file"), allow_pickle=False)
    ess = float(np.min(ess_bulk(chains)))
    return row | dict(draws=chains.shape[1], worst_rhat=float(np.max(rhat(chains))), smallest_ess_bulk=ess,
                      ess_per_second=ess / row["seconds"]["hmc"], ess_per_wall_second=ess / row["wall_s"])


def _distributions(profile) -> dict[str, list]:
    """Distributions of a profile by GIGA-Lens's names: kind and numbers."""
    names = dict(theta_E="theta_E", gamma="gamma", gamma1="gamma1", gamma2="gamma2", e1="e1", e2="e2", amp="Ie",
                 center_x="center_x", center_y="center_y", R_sersic="R_sersic", n_sersic="n_sersic")
    out = {}
    for ours, theirs in names.items():
        prior = getattr(profile, ours, None)
        if prior is not None:
            kind = "TruncatedNormal" if "Truncated" in type(prior).__name__ else type(prior).__name__
            base = getattr(prior, "base_dist", prior) if kind == "TruncatedNormal" else prior
            numbers = {key: float(getattr(base if key in ("loc", "scale") else prior, key))
                       for key in ("loc", "scale", "low", "high") if hasattr(prior, key) or hasattr(base, key)}
            out[theirs] = [kind, numbers]
    return out


def giga_demo(folder: Path, smoke: bool) -> dict:
    """giga on the same problem."""
    job, out = folder / "job.json", folder / "row.json"
    write_json(job, dict(problem="demo60", devices=None, stages=["map", "svi", "hmc"], repeat=1, lenses=2, smoke=smoke))
    subprocess.run([sys.executable, "-m", "giga.jobs.bench.worker", str(job), str(out)], check=True)
    (row,) = read_json(out)["row"]["fits"]
    return row | dict(ess_per_wall_second=row["smallest_ess_bulk"] / row["wall_s"])


def run_giga(folder: Path, name: str, smoke: bool, linear: bool) -> dict[str, float]:
    """Milliseconds an image by column; of the ways to batch, the faster one."""
    out = folder / f"{name}.json"
    command = [sys.executable, str(HERE / "render.py"), "--out", str(out), *(["--smoke"] if smoke else []),
               *(["--linear"] if linear else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"benchmarks/render.py failed: {done.stderr[-500:]}")
    rows = json.loads(out.read_text())["results"]["auto"]
    return {column: min(rows[name]["median_ms"] for name in names) for column, names in COLUMNS.items()
            if names[0] in rows}


def main() -> None:
    arguments = parser(__doc__, "peers")
    arguments.add_argument("--peers", type=Path, required=True, help="folder of the peers' scripts")
    arguments.add_argument("--venvs", type=Path, required=True, help="folder of their virtual environments")
    arguments.add_argument("--only", nargs="*", choices=SCRIPTS, default=list(SCRIPTS),
                           help="some of the peers, or with no name none of these; lenstronomy comes with the others")
    arguments.add_argument("--linear", action="store_true", help="with the solved amplitudes")
    arguments.add_argument("--demo60", type=float, default=None, metavar="SECONDS", help="budget of GIGA-Lens's fit")
    options = arguments.parse_args()
    names = [name for name in SCRIPTS if name in options.only or (name == "lenstronomy" and options.only)]
    names = names[:1] if options.smoke else names
    scripts = SCRIPTS | (LINEAR if options.linear else {})
    for name in names:
        for needed in (options.peers / scripts[name][0], options.venvs / name / "bin" / "python"):
            if not needed.exists():
                raise SystemExit(f"{needed} does not exist")
    with tempfile.TemporaryDirectory() as scratch:
        folder, environment = Path(scratch), os.environ | dict(PEERS_OUT=scratch)
        first = run_giga(folder, "first", options.smoke, options.linear) if names else {}
        peers = {name: run([str(options.venvs / name / "bin" / "python"), str(options.peers / scripts[name][0]),
                            *scripts[name][1:]], environment) for name in names}
        last = run_giga(folder, "last", options.smoke, options.linear) if names else {}
        fits = {} if options.demo60 is None else dict(
            gigalens=gigalens_demo(folder, options, environment), giga=giga_demo(folder, options.smoke))
    giga = {column: min(first[column], last[column]) for column in first}
    for row in peers.values():
        row |= linear_times(row) if options.linear else {}
    ratios = {name: {c: round(row[c] / giga[c], 2) for c in giga if c in row} for name, row in peers.items()}
    lenstronomy = peers.get("lenstronomy", {}).get("EPLNUMBA_ss2conv", {})
    if "med_ms" in lenstronomy:
        ratios["lenstronomy"]["fwd1_ms_per_image"] = round(lenstronomy["med_ms"] / giga["fwd1_ms_per_image"], 2)
    if "ess_per_second" in fits.get("gigalens", {}):
        ratios["demo60"] = {key: fits["giga"][key] / fits["gigalens"][key]
                            for key in ("ess_per_second", "ess_per_wall_second")}
    write(options.out, dict(giga_first=first, giga_last=last, peer_over_giga=ratios, demo60=fits, peers=peers))


if __name__ == "__main__":
    main()
