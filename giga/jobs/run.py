"""One fit as a user runs it: from a configuration to the folder of its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from giga.inference.pipeline import fit
from giga.inference.result import Result
from giga.io.configuration.toml import Config
from giga.jobs.job import opened
from giga.jobs.results import in_units, write_results
from giga.show.terminal import FitProgress, show_result


def run_fit(config: Config, out: Path, *, resume: bool = False, overwrite: bool = False,
            truth: Mapping[str, float] | None = None, console: Console | None = None, init_from: str | None = None,
            mask_from: str | None = None) -> Result:
    """Run a configuration and leave every file of a fit in a folder.

    Args:
        config: The configuration.
        out: The folder.
        resume: Go on from its checkpoint, if there is one.
        overwrite: Remove the run that it holds.
        truth: True values by path name, when known.
        console: Where to print; the standard output by default.
        init_from: Network that the search starts from, see `giga.jobs.job.helped`.
        mask_from: Separator that makes the mask, see there.

    Returns:
        The result, also written.

    Raises:
        InputError: Bad input, or a folder that holds a run already.
        DeviceError: A device was asked for that is not there.
        NodeError: Of several processes, one has failed, or has other data or another configuration.
        CheckpointError: A checkpoint of other data or another configuration.
        OSError: A file cannot be written.
    """
    job, over, store, first, where = opened(config, out, resume=resume, overwrite=overwrite, init_from=init_from,
                                            mask_from=mask_from, truth=truth)
    console = (console or Console()) if first else Console(quiet=True)
    for note in job.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    console.print(f"fitting on {where}", highlight=False)
    with FitProgress(console) as report:
        result = fit(job.prior, job.observations, config=config.inference, seed=config.run.seed,
                     amplitudes=config.likelihood.amplitudes, amplitude_sd=config.likelihood.amplitude_sd,
                     precision=config.run.precision, truth=truth, report=report, store=store, over=over,
                     starts=job.starts)
    result = in_units(result, config)
    if first:
        with console.status("writing pictures and tables"):
            write_results(result, out, job.text)
        show_result(result, out, console)
    return result
