"""`giga calibrate`: are the posteriors what they say?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from giga.cli.base import DataFolder, Override, app, console, edge, fail
from giga.imaging.observation import Observation
from giga.inference.checks.calibration import summary
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, parse_override
from giga.io.errors import InputError, nearest
from giga.io.images.config import LikelihoodConfig, RunConfig
from giga.io.results.calibration import Study, read_runs, write_summary
from giga.io.tables import Place, read_table
from giga.jobs.calibrate import RANKED, Calibration, row_of_run, run
from giga.jobs.job import check_axis, free_names, prepare, start_devices_of
from giga.jobs.problems import demo60, foundry128, gigalens80
from giga.lensing.scene import Scene
from giga.runtime import parallel
from giga.runtime.environment import environment
from giga.show.checks import calibration_figure
from giga.show.plot import png

PROBLEMS = {"demo60": demo60, "foundry128": foundry128, "gigalens80": lambda: gigalens80(1)}
SECTIONS = {"run": RunConfig, "likelihood": LikelihoodConfig, "inference": FitConfig}  # what --set changes of a problem
FEWEST = 10  # lenses; tests of fewer say nothing


@app.command("calibrate")
@edge
def calibrate_command(
    config: Annotated[Path | None, typer.Argument(help="Configuration, a TOML file.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the study; the same command goes on in it.")] = Path(
        "runs/calibration"),
    n: Annotated[int, typer.Option("--n", min=1, help="Number of lenses.")] = 60,
    problem: Annotated[str | None, typer.Option("--problem", help=f"Fixed problem instead of a configuration: "
                                                                  f"{', '.join(PROBLEMS)}.")] = None,
    runs: Annotated[list[Path] | None, typer.Option("--from", help="Finished run with a known truth; any number, "
                                                                   "instead of a configuration.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of truths, noise and fits; by default run.seed.")] = None,
    ranked: Annotated[int, typer.Option(help="Draws that each truth is ranked among.")] = RANKED,
    data: DataFolder = None, override: Override = None) -> None:
    """Draw truths from the prior, simulate and fit them, and test ranks and coverage of the posteriors."""
    given = [config is not None, problem is not None, bool(runs)]
    if sum(given) != 1:
        raise InputError("", "calibrate", f"{sum(given)} of them given",
                         "one of a configuration, --problem, and --from with finished runs")
    if ranked < 1 or not any((ranked + 1) % bins == 0 for bins in range(2, 21)):
        raise InputError("", "--ranked", f"got {ranked}", "one less than a multiple of a number from 2 to 20, as 99")
    if runs:
        rows = [row_of_run(folder, samples, truth, ranked) for folder, samples, truth in read_runs(runs)]
    else:
        changes = dict(map(parse_override, override or []))
        subject = _of_config(config, data, changes) if config is not None else _of_problem(problem or "", changes)
        rows = _simulated(subject, out, n, seed, ranked)
    _finish(rows, out, ranked)


class Subject(NamedTuple):
    """What is calibrated: a prior, templates of the data, and the settings of the fits."""

    prior: Scene
    observations: Sequence[Observation]
    run: RunConfig
    likelihood: LikelihoodConfig
    inference: FitConfig
    name: str


def _of_config(config: Path, data: Path | None, changes: Mapping[str, Any]) -> Subject:
    settings = load_config(config, fit_config_type=FitConfig, data_dir=data, overrides=changes)
    settings.refuse("giga calibrate, which simulates images alone,", "points")
    start_devices_of(settings)
    job = prepare(settings)
    return Subject(job.prior, job.observations, settings.run, settings.likelihood, settings.inference, str(config))


def _of_problem(name: str, changes: Mapping[str, Any]) -> Subject:
    if name not in PROBLEMS:
        raise InputError("", "--problem", f"got {name!r}", nearest(name, PROBLEMS))
    tables: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for path, value in changes.items():
        section, _, field = path.partition(".")
        if section not in tables:
            raise InputError("", "--set", f"got {path}", f"a field of {', '.join(SECTIONS)}")
        tables[section][field] = value
    run, likelihood, inference = (read_table(kind, tables[section], Place(Path("--set"), section))
                                  for section, kind in SECTIONS.items())
    parallel.start_devices(run.devices, run.precision)
    problem = PROBLEMS[name]()
    check_axis(inference.vi_axis, free_names(problem.prior), name)
    return Subject(problem.prior, problem.observations[:1], run, likelihood, inference, name)


def _simulated(subject: Subject, out: Path, n: int, seed: int | None, ranked: int) -> list[dict[str, Any]]:
    """Fit what is missing of a study; its rows."""
    try:
        calibration = Calibration(
            subject.prior, subject.observations, subject.inference, subject.likelihood.amplitudes,
            subject.likelihood.amplitude_sd, subject.run.precision, subject.run.seed if seed is None else seed, ranked)
    except ValueError as error:
        raise InputError(subject.name, "", str(error)) from error
    study = Study(out, calibration.identity(), calibration.facts)
    console.print(f"{n} lenses on {parallel.describe()}", highlight=False)
    try:
        run(calibration, study, n, lambda number, row: console.print(_line(number, row), highlight=False))
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on", code=130)
    return study.rows(n)


def _line(number: int, row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"[yellow]lens {number}: failed:[/] {escape(row['failed'])}"
    state = "" if row["converged"] else "[yellow], not converged[/]"
    return (f"lens {number}: R-hat {row['worst_rhat']:.3f}, ESS {row['smallest_ess_bulk']:.0f}, "
            f"{row['evaluations']} gradients{state}")


def _finish(rows: list[dict[str, Any]], out: Path, ranked: int) -> None:
    """Test, draw, write and print."""
    good = [row for row in rows if "failed" not in row]
    if len(good) < FEWEST:
        raise InputError(out, "--n", f"{len(good)} lenses with ranks", f"at least {FEWEST}")
    names = list(good[0]["ranks"])
    for row in good:
        if list(row["ranks"]) != names:
            raise InputError(out, "", f"lenses of different parameters ({len(row['ranks'])} and {len(names)})",
                             "lenses of one model")
    ranks = {name: [row["ranks"][name] for row in good] for name in names}
    below = {name: [row["below"][name] for row in good] for name in good[0]["below"]}
    found = summary(ranks, below, ranked) | dict(
        failed=[dict(lens=row["lens"], reason=row["failed"]) for row in rows if "failed" in row],
        not_converged=sum(not row.get("converged", True) for row in good),
        few_draws=sum(row.get("smallest_ess_bulk", np.inf) < ranked for row in good),
        environment=environment(), ranks=ranks, below=below)
    written = write_summary(out, found, png(calibration_figure(ranks, below, ranked)))
    _show(found)
    for path in written:
        console.print(f"wrote {escape(str(path))}")


def _show(found: dict[str, Any]) -> None:
    table = Table("interval", "holds", "of a calibrated posterior", title="coverage, all parameters")
    for row in found["coverage"]:
        table.add_row(f"{row['level']:.0%}", f"{row['share']:.1%} ± {row['error']:.1%} of {row['n']} truths",
                      f"{row['low']:.1%} to {row['high']:.1%}")
    console.print(table)
    for key, test in (("p_chi2", "chi-square"), ("p_ks", "Kolmogorov-Smirnov")):
        row = found["smallest"][key]
        console.print(f"uniform ranks, {test}: smallest p of {len(found['quantities'])} quantities {row['value']:.3g} "
                      f"({row['quantity']}), times their number {row['adjusted']:.3g}", highlight=False)
    if found["failed"]:
        console.print(f"[yellow]{len(found['failed'])} fits failed[/] and have no rank, see calibration.json")
    if found["not_converged"]:
        console.print(f"[yellow]{found['not_converged']} fits did not converge[/]; their ranks count")
    if found["few_draws"]:
        console.print(f"[yellow]{found['few_draws']} fits have fewer effective draws than are ranked[/]")
