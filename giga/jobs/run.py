"""One fit as a user runs it: from a configuration to the folder of its results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from giga.inference.pipeline import fit, search
from giga.inference.result import Found, Result
from giga.io.configuration.toml import Config
from giga.jobs.audit import keep_audits, show_audits
from giga.jobs.job import Opened, opened
from giga.jobs.results import in_units, keep_search, write_results
from giga.show.terminal import FitProgress, show_found, show_result


def run_fit(config: Config, out: Path, *, resume: bool = False, overwrite: bool = False,
            truth: Mapping[str, float] | None = None, console: Console | None = None, init_from: str | None = None,
            mask_from: str | None = None, strict: bool = False) -> Result:
    """Run a configuration and leave every file of a fit in a folder.

    What the search has found is there as soon as it has ended, whatever comes after: pictures, a report, search.json.

    Args:
        config: The configuration.
        out: The folder.
        resume: Go on from its checkpoint, if there is one.
        overwrite: Remove the run that it holds.
        truth: True values by path name, when known.
        console: Where to print; the standard output by default.
        init_from: Network that the search starts from, see `giga.jobs.job.helped`.
        mask_from: Separator that makes the mask, see there.
        strict: Refuse data with a serious finding of the audit.

    Returns:
        The result, also written.

    Raises:
        InputError: Bad input, or a folder that holds a run already.
        DeviceError: A device was asked for that is not there.
        NodeError: Of several processes, one has failed, or has other data or another configuration.
        CheckpointError: A checkpoint of other data or another configuration.
        OSError: A file cannot be written.
    """
    begun = opened(config, out, resume=resume, overwrite=overwrite, init_from=init_from, mask_from=mask_from,
                   truth=truth, strict=strict)
    console = _console(begun, out, console)

    keep = partial(keep_search, folder=out, config_text=begun.job.text) if begun.devices.first else None
    try:
        with FitProgress(console) as report:
            result = fit(**_arguments(begun), report=report, keep=keep)
    except FloatingPointError as error:
        if not (out / "search.json").is_file():
            raise
        raise FloatingPointError(f"{error}; the best fit of the search is in {out / 'report.html'}") from error
    result = in_units(result, config)
    if begun.devices.first:
        with console.status("writing pictures and tables"):
            write_results(result, out, begun.job.text)
        show_result(result, out, console)
    return result


def run_search(config: Config, out: Path, *, resume: bool = False, overwrite: bool = False,
               truth: Mapping[str, float] | None = None, console: Console | None = None, init_from: str | None = None,
               mask_from: str | None = None, strict: bool = False) -> Found:
    """The search of `run_fit` alone, and what it leaves; `run_fit` with resume goes on from it.

    Arguments and errors are those of `run_fit`.
    """
    begun = opened(config, out, resume=resume, overwrite=overwrite, init_from=init_from, mask_from=mask_from,
                   truth=truth, strict=strict)
    console = _console(begun, out, console)
    with FitProgress(console) as report:
        found = in_units(search(**_arguments(begun), report=report), config)
    if begun.devices.first:
        with console.status("writing pictures"):
            write_results(found, out, begun.job.text)
        show_found(found, out, console)
    return found


def _console(begun: Opened, out: Path, console: Console | None) -> Console:
    """Where to print, with what the user should know before the fit, and the picture of the audit."""
    console = (console or Console()) if begun.devices.first else Console(quiet=True)
    for note in begun.job.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    show_audits(begun.audits, console)
    if begun.devices.first and begun.audits:
        keep_audits(begun.job.observations, begun.audits, out)
    console.print(f"fitting on {begun.devices.where}", highlight=False)
    return console


def _arguments(begun: Opened) -> dict[str, Any]:
    """What `fit` and `search` are called with."""
    job, config = begun.job, begun.job.config
    return dict(prior=job.prior, observations=job.observations, points=config.terms,
                config=config.inference, seed=config.run.seed,
                amplitudes=config.likelihood.amplitudes, amplitude_sd=config.likelihood.amplitude_sd,
                precision=config.run.precision, truth=job.truth, start=job.start, store=begun.store,
                over=begun.devices.over, starts=job.starts)
