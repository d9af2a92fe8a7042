"""What the commands share: the application, its consoles, common options, and how bad input ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.metadata import version as installed_version
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from giga.io.errors import InputError
from giga.runtime.cache import enable_cache
from giga.runtime.checkpoint import CheckpointError
from giga.runtime.nodes import NodeError
from giga.runtime.parallel import DeviceError
from giga.runtime.workers import ClusterError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Strong gravitational lensing in JAX.")
console = Console()
errors = Console(stderr=True)

ConfigFile = Annotated[Path, typer.Argument(help="Configuration, a TOML file.")]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder that the observations' paths are relative to.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the run that the folder holds.")]
Coordinator = Annotated[str | None, typer.Option("--coordinator", help="HOST:PORT of process 0, if there are several; "
                                                 "found under srun and mpirun.")]
Processes = Annotated[int | None, typer.Option("--processes", help="Number of processes that work as one.")]
Process = Annotated[int | None, typer.Option("--process", help="Number of this process, from 0.")]
CoordinatorTimeout = Annotated[float, typer.Option("--coordinator-timeout", help="Longest wait for the others \\[s].")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep compiled programs of other runs, "
                                       "whatever GIGA_CACHE says.")]
WorkerCount = Annotated[int | None, typer.Option("--workers", help="Processes of this machine that share the work, "
                                                 "each with its cores and GPU; with --slurm the number of jobs.")]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Address of a Dask scheduler whose workers do it.")]
Slurm = Annotated[str | None, typer.Option("--slurm", help="Options of sbatch for jobs that do it, as "
                                           "'--partition=gpu --gres=gpu:1 --time=4:00:00'.")]
Override = Annotated[list[str] | None, typer.Option("--set", help="Set one value, as inference.n_chains=8.")]


def _say_version(asked: bool) -> None:
    """Print the version and leave."""
    if asked:
        typer.echo(f"giga {installed_version('giga')}")
        raise typer.Exit


@app.callback()
def _of_all(version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True,
                                                  help="The version; `giga doctor` has those of all else.")] = False,
            ) -> None:
    """Strong gravitational lensing in JAX."""


def edge(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option --no-cache, and turn bad input into one line on the error stream and exit code 2."""
    asked = signature(command, eval_str=True)
    advice = "; go on with the same command and --resume" if "resume" in asked.parameters else ""

    @wraps(command)
    def wrapped(*arguments: Any, no_cache: bool = False, **options: Any) -> None:
        try:
            if not no_cache:
                _keep_programs()
            command(*arguments, **options)
        except (InputError, DeviceError, NodeError, CheckpointError, ClusterError) as error:
            fail(str(error))
        except FloatingPointError as error:
            fail(str(error), code=1)
        except KeyboardInterrupt as error:
            fail(f"interrupted{f': {error}' if str(error) else ''}{advice}", code=130)
        except OSError as error:
            fail(_of_system(error, options))

    option = Parameter("no_cache", Parameter.KEYWORD_ONLY, default=False, annotation=NoCache)
    vars(wrapped)["__signature__"] = asked.replace(parameters=[*asked.parameters.values(), option])
    wrapped.__annotations__ = {**command.__annotations__, "no_cache": NoCache}
    return wrapped


def _of_system(error: OSError, options: Mapping[str, Any]) -> str:
    """What the system refused, in one line; of a place that a command was told to write to, by its option."""
    if not error.filename:
        return str(error)
    place = Path(os.fsdecode(error.filename))
    for name in ("out", "work"):
        asked = options.get(name)
        if isinstance(asked, Path) and (place == asked or place in asked.parents or asked in place.parents):
            return str(InputError(place, f"--{name}", error.strerror or str(error), "a place that can be written to"))
    return f"{place}: {error.strerror}"


def _keep_programs() -> None:
    """Keep compiled programs; where that cannot be, say so and go on without."""
    try:
        enable_cache()
    except OSError as error:
        errors.print(f"[yellow]note:[/] compiled programs are not kept: {escape(str(error))}", soft_wrap=True,
                     highlight=False)


def check_out(paths: Sequence[Path], inputs: Sequence[Path] = (), overwrite: bool = False,
              option: str = "--out") -> None:
    """Refuse places for files before the work is done: no folder, an input, or, unless told to, what is there.

    Raises:
        InputError: Such a place.
    """
    for path in paths:
        if not path.parent.is_dir():
            raise InputError(path, option, f"no folder {path.parent}", "a file in a folder that is there")
        if path.is_dir():
            raise InputError(path, option, "is a folder", "a file")
        if path.exists() and any(path.samefile(one) for one in inputs if one.exists()):
            raise InputError(path, option, "an input would be overwritten", "another name")
        if path.exists() and not overwrite:
            raise InputError(path, option, "is there already", "another name, or --overwrite")


def tell(file: Path, notes: Sequence[str]) -> None:
    """Print what the user should know of a file."""
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(file.name)}: {escape(note)}", highlight=False, soft_wrap=True)


def fail(message: str, code: int = 2) -> NoReturn:
    """Print one line on the error stream and leave."""
    errors.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
    raise typer.Exit(code)
