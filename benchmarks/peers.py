"""Time other codes and giga on the same lens, one after the other, and report the ratios.

--peers is a folder of scripts (bench_lenstronomy.py, which writes the reference, bench_gigalens.py,
bench_jaxtronomy.py, bench_caustics.py), each printing JSON with fwd1_ms_per_image,
fwd16_ms_per_image, vg1_ms_per_image and vg16_ms_per_image; --venvs holds a virtual environment for
each, by name. giga runs first and last: the spread of its two runs says what the machine did meanwhile.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _common import HERE, parser, write

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
}


def run(command: list[str], environment: dict[str, str]) -> dict:
    """Run a script and parse the first JSON object on its standard output, or say how it failed."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    start = done.stdout.find("{")
    if done.returncode or start < 0:
        return dict(failed=f"exit code {done.returncode}", stderr=done.stderr[-500:])
    return json.JSONDecoder().raw_decode(done.stdout[start:])[0]


def run_giga(folder: Path, name: str, smoke: bool) -> dict[str, float]:
    """Milliseconds an image by column; of the ways to batch, the faster one."""
    out = folder / f"{name}.json"
    command = [sys.executable, str(HERE / "render.py"), "--out", str(out), *(["--smoke"] if smoke else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"benchmarks/render.py failed: {done.stderr[-500:]}")
    rows = json.loads(out.read_text())["results"]["auto"]
    return {column: min(rows[name]["median_ms"] for name in names) for column, names in COLUMNS.items()}


def main() -> None:
    arguments = parser(__doc__, "peers")
    arguments.add_argument("--peers", type=Path, required=True, help="folder of the peers' scripts")
    arguments.add_argument("--venvs", type=Path, required=True, help="folder of their virtual environments")
    options = arguments.parse_args()
    names = ["lenstronomy"] if options.smoke else list(SCRIPTS)
    for name in names:
        for needed in (options.peers / SCRIPTS[name][0], options.venvs / name / "bin" / "python"):
            if not needed.exists():
                raise SystemExit(f"{needed} does not exist")
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | dict(PEERS_OUT=scratch)
        first = run_giga(Path(scratch), "first", options.smoke)
        peers = {name: run([str(options.venvs / name / "bin" / "python"), str(options.peers / SCRIPTS[name][0]),
                            *SCRIPTS[name][1:]], environment) for name in names}
        last = run_giga(Path(scratch), "last", options.smoke)
    giga = {column: min(first[column], last[column]) for column in COLUMNS}
    ratios = {name: {c: round(row[c] / giga[c], 2) for c in COLUMNS if c in row} for name, row in peers.items()}
    lenstronomy = peers["lenstronomy"].get("EPLNUMBA_ss2conv", {})
    if "med_ms" in lenstronomy:
        ratios["lenstronomy"]["fwd1_ms_per_image"] = round(lenstronomy["med_ms"] / giga["fwd1_ms_per_image"], 2)
    write(options.out, dict(giga_first=first, giga_last=last, peer_over_giga=ratios, peers=peers))


if __name__ == "__main__":
    main()
