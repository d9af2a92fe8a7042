"""The command line: `giga demo`, `giga fit`, `giga plot`, `giga doctor`."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from giga import parallel
from giga.checkpoint import CheckpointError, Store, identity_of
from giga.component import is_distribution, leaves_with_names
from giga.demo import SEED, TRUTH, write_demo
from giga.inference.pipeline import PACKAGES, FitConfig, fit
from giga.inference.result import Result
from giga.io.atomic import write_text
from giga.io.errors import InputError, nearest
from giga.io.fits import load_observations
from giga.io.results import FILES, redraw, write_results
from giga.io.toml import Config, dump_config, load_config, parse_override, scene_from_config
from giga.prior import values_of
from giga.progress import FitProgress
from giga.scene import Scene

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Strong gravitational lensing in JAX.")
console = Console()
errors = Console(stderr=True)

Out = Annotated[Path, typer.Option("--out", help="Folder of the run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the run that the folder holds.")]
Override = Annotated[list[str] | None, typer.Option("--set", help="Set one value, as inference.n_chains=8.")]


def edge(command: Callable[..., None]) -> Callable[..., None]:
    """Turn bad input into one line on the error stream and exit code 2."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (InputError, parallel.DeviceError, CheckpointError) as error:
            _fail(str(error))
        except FloatingPointError as error:
            _fail(str(error), code=1)
        except KeyboardInterrupt:
            _fail("interrupted; go on with the same command and --resume", code=130)
        except OSError as error:
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))

    return wrapped


def _fail(message: str, code: int = 2) -> None:
    errors.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
    raise typer.Exit(code)


@app.command("fit")
@edge
def fit_command(
    config: Annotated[Path, typer.Argument(help="Configuration, a TOML file.")],
    out: Out,
    data: Annotated[Path | None,
                    typer.Option("--data", help="Folder that the observations' paths are relative to.")] = None,
    override: Override = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Fit a lens: from FITS images to a posterior, pictures and a report."""
    settings = load_config(config, fit_config_type=FitConfig, data_dir=data)
    settings = settings.with_overrides(dict(map(parse_override, override or [])))
    run_fit(settings, out, resume=resume, overwrite=overwrite)


@app.command()
@edge
def demo(
    out: Out = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the noise and of the fit.")] = SEED,
    override: Override = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Simulate an HST-like quad, fit it, and print the truth beside the posterior."""
    begun = time.perf_counter()
    _claim(out, resume=resume, overwrite=overwrite)
    _start_devices("auto", "float32")
    settings = load_config(write_demo(out / "data", seed), fit_config_type=FitConfig)
    settings = settings.with_overrides(dict(map(parse_override, override or [])))
    prior = scene_from_config(settings)
    result = run_fit(settings, out, resume=True, truth=values_of(prior, TRUTH))
    inside = sum(_inside(result, name) for name in result.names)
    console.print(f"\n{inside} of {len(result.names)} true values lie inside the 99% interval. "
                  f"{time.perf_counter() - begun:.0f} s in all, compiling included.")


@app.command()
@edge
def plot(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Draw the pictures and the report of a finished run again."""
    for path in redraw(run):
        console.print(f"wrote {escape(str(path))}")


@app.command()
@edge
def doctor() -> None:
    """Say which devices JAX really uses, their memory, precision and versions, and what is amiss."""
    devices = parallel.start("auto")
    table = Table("what", "value", title="giga doctor")
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for name, version in _versions().items():
        table.add_row(name, version)
    for device in devices:
        stats = device.memory_stats() or {}
        memory = f", {stats['bytes_limit'] / 2**30:.1f} GiB for JAX" if "bytes_limit" in stats else ""
        table.add_row(f"device {device.id}", f"{device.platform}: {device.device_kind}{memory}")
    table.add_row("precision", "float32 by default; [run] precision = \"float64\" asks for more")
    table.add_row("GPU build", escape(_gpu_build(devices)))
    table.add_row("processes",
                  f"{jax.process_count()} (this is {jax.process_index()}), {parallel.cores()} CPU cores here")
    console.print(table)


def run_fit(config: Config, out: Path, *, resume: bool = False, overwrite: bool = False,
            truth: Mapping[str, float] | None = None) -> Result:
    """Run a configuration and leave every file of a fit in a folder.

    Args:
        config: The configuration.
        out: The folder.
        resume: Go on from its checkpoint, if there is one.
        overwrite: Remove the run that it holds.
        truth: True values by path name, when known.

    Returns:
        The result, also written.

    Raises:
        InputError: Bad input, or a folder that holds a run already.
        DeviceError: A device was asked for that is not there.
        CheckpointError: A checkpoint of other data or another configuration.
        OSError: A file cannot be written.
    """
    notes: list[str] = []
    try:
        _start_devices(config.run.devices, config.run.precision)
    except parallel.DeviceError as error:
        raise InputError(config.file, "run.devices", str(error)) from error
    observations, prior = load_observations(config.observation, notes), scene_from_config(config)
    _check_parameters(config, prior)
    _claim(out, resume=resume, overwrite=overwrite)
    out.mkdir(parents=True, exist_ok=True)
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    console.print(f"fitting on {parallel.describe()}", highlight=False)
    text = dump_config(config)
    arrays = [(o.image, o.mask, o.noise_map, o.psf.kernel if o.psf else None) for o in observations]
    store = Store(out / "checkpoint", identity_of(text, arrays))
    write_text(out / "config.toml", text)
    with FitProgress(console) as report:
        result = fit(prior, observations, config=config.inference, seed=config.run.seed,
                     amplitudes=config.likelihood.amplitudes, amplitude_sd=config.likelihood.amplitude_sd,
                     precision=config.run.precision, truth=truth, report=report, store=store)
    with console.status("writing pictures and tables"):
        write_results(result, out, text)
    _show(result, out)
    return result


def _check_parameters(config: Config, prior: Scene) -> None:
    """Check what can only be checked against the free parameters."""
    free = [(name, leaf) for name, leaf in leaves_with_names(prior) if is_distribution(leaf)]
    names = list({id(leaf): name for name, leaf in reversed(free)}.values())  # of tied leaves the first
    if not names:
        raise InputError(config.file, "", "no free parameter", "a distribution, {dist = ...}, on one parameter")
    axis = config.inference.vi_axis
    if axis not in ("auto", "none", *names):
        raise InputError(config.file, "inference.vi_axis", f"got {axis!r}", nearest(axis, ["auto", "none", *names]))


def _start_devices(wanted: str, precision: str) -> None:
    parallel.start(wanted)
    if precision == "float64":
        jax.config.update("jax_enable_x64", True)


def _claim(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds a run, unless told to go on or to start over."""
    if resume and overwrite:
        raise InputError(out, "--resume", "given together with --overwrite", "one of them")
    held = [name for name in (*FILES, "checkpoint") if (out / name).exists()]
    if not held or resume:
        return
    if not overwrite:
        raise InputError(out, "--out", f"already holds a run ({', '.join(held)})",
                         "an empty or new folder, or --resume to go on, or --overwrite to start over")
    for name in held:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _inside(result: Result, name: str) -> bool:
    """Whether the truth lies inside the central 99% interval."""
    truth = (result.truth or {})[name]
    values = result.samples[name]
    return bool(((values < truth).mean() > 0.005) and ((values > truth).mean() > 0.005))


def _show(result: Result, out: Path) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("parameter", no_wrap=True)
    for title in (*(["truth"] if result.truth else []), "mean", "sd", "R-hat", "ESS", "tail"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, values in result.samples.items():
        row = result.diagnostics[name]
        truth = []
        if result.truth:
            mark = "" if _inside(result, name) else "[red]![/]"  # outside the 99% interval
            truth = [f"{mark}{result.truth[name]:.4g}"]
        colour = "red" if row["rhat"] > 1.01 else "green"
        table.add_row(name, *truth, f"{values.mean():.4g}", f"{values.std():.1g}", f"[{colour}]{row['rhat']:.3f}[/]",
                      f"{row['ess_bulk']:.0f}", f"{row['ess_tail']:.0f}")
    console.print(table)
    hmc, found = result.info["hmc"], result.info["map"]
    sampled = len(result.names)
    console.print(f"chi2 {result.chi2:.1f} for {result.n_pixels} pixels, {sampled} sampled and "
                  f"{result.n_free - sampled} solved parameters: "
                  f"reduced {result.reduced_chi2:.4f}")
    console.print(f"dead lanes {found['dead_lanes']} of {found['starts']}, dead chains {hmc['dead_chains']} of "
                  f"{hmc['chains']}, divergences {hmc['divergences']}, acceptance {hmc['acceptance']:.2f}")
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.timings_s.items())
    console.print(f"time: {times}")
    if not hmc["converged"]:
        console.print(f"[bold red]not converged:[/] worst R-hat {hmc['worst_rhat']:.3f}, smallest ESS "
                      f"{hmc['smallest_ess_bulk']:.0f} after {hmc['iterations']} iterations of {hmc['chains']} chains")
    console.print(f"report: {escape(str(out / 'report.html'))}")


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _gpu_build(devices: list[Any]) -> str:
    """Whether JAX's GPU build is installed, and whether it is in use."""
    plugins = sorted(d.metadata["Name"] for d in importlib.metadata.distributions()
                     if (d.metadata["Name"] or "").startswith(("jax-cuda", "jax_cuda")))
    used = devices[0].platform == "gpu"
    if used:
        return f"installed ({', '.join(plugins)}) and in use"
    if plugins:
        return f"installed ({', '.join(plugins)}), but JAX finds no GPU: look at nvidia-smi and the driver"
    return "not installed; pip install 'giga[gpu]' on a machine with an NVIDIA GPU"


def main() -> None:
    """Entry point."""
    app(prog_name="giga")


if __name__ == "__main__":
    sys.exit(main())
