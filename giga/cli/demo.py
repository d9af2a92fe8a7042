"""`giga demo`: simulate a lens, fit it, print the truth beside the posterior."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from giga.bayes.prior import values_of
from giga.cli.base import Out, Override, Overwrite, Resume, app, console, edge
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, parse_override, scene_from_config
from giga.jobs.demo import SEED, TRUTH, write_demo
from giga.jobs.job import claim
from giga.jobs.run import run_fit
from giga.runtime.parallel import start_devices
from giga.show.terminal import inside


@app.command()
@edge
def demo(out: Out = Path("runs/demo"),
         seed: Annotated[int, typer.Option(help="Seed of the noise and of the fit.")] = SEED,
         override: Override = None, resume: Resume = False, overwrite: Overwrite = False) -> None:
    """Simulate an HST-like quad, fit it, and print the truth beside the posterior."""
    begun = time.perf_counter()
    claim(out, resume=resume, overwrite=overwrite)
    start_devices()
    settings = load_config(write_demo(out / "data", seed), fit_config_type=FitConfig,
                           overrides=dict(map(parse_override, override or [])))
    prior = scene_from_config(settings)
    result = run_fit(settings, out, resume=True, truth=values_of(prior, TRUTH), console=console)
    count = sum(inside(result, name) for name in result.names)
    console.print(f"\n{count} of {len(result.names)} true values lie inside the 99% interval. "
                  f"{time.perf_counter() - begun:.0f} s in all, compiling included.")
