"""A configuration made ready to be fitted: devices, data, prior, and the folder that the results go to."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from giga.bayes.prior import Prior
from giga.component import is_distribution, leaves_with_names
from giga.imaging.audit import Audit
from giga.imaging.observation import Observation, facts_of
from giga.imaging.steepness import steep_for
from giga.inference.search.starts import Starts, smaller
from giga.io.configuration.kept import CONFIG, is_own, text_beside
from giga.io.configuration.toml import Config, differences, dump_config, listed, load_config, scene_from_config
from giga.io.errors import InputError, nearest
from giga.io.images.config import LensConfig
from giga.io.images.fits import load_observations
from giga.io.results.audit import AUDIT
from giga.io.results.folder import FILES, SEARCH_FILES
from giga.jobs.amortised import Predictor
from giga.jobs.audit import PICTURE, audited
from giga.jobs.earlier import gone_on, start_of
from giga.jobs.familiar import unfamiliar
from giga.jobs.separated_mask import masked
from giga.lensing.scene import Scene
from giga.light.point import LensedPoint
from giga.mass.members import Members
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.checkpoint import CheckpointError, ForeignCheckpoint, Store
from giga.runtime.identity import changed, identity_of, told
from giga.runtime.nodes import NodeError

T = TypeVar("T")
CHECKPOINT = "checkpoint"  # folder of the states in that of a run


@dataclass(frozen=True, eq=False)
class Job:
    """A configuration made ready to be fitted. Made by `prepare`.

    Attributes:
        config: The configuration.
        text: The same as TOML with every default, as it is kept beside the results.
        prior: Scene with distributions on the leaves to be fitted.
        observations: The data.
        notes: What the user should know of the data.
        starts: What a network proposes to the search; None without one.
        truth: True values by path name, when known; the result keeps them.
        dates: Of the files that the data was read from, see `dates_of`.
        start: Where the search starts, by path name; None without an earlier fit.
    """

    config: Config
    text: str
    prior: Scene
    observations: Sequence[Observation]
    notes: Sequence[str]
    starts: Starts | None = None
    truth: Mapping[str, float] | None = None
    dates: Mapping[str, Sequence[int]] = field(default_factory=dict)
    start: Mapping[str, float] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """All that the result depends on, by name: the configuration, the data, and what a network proposes."""
        proposed = {} if self.starts is None else {"network of the starts": self.starts.sha256}
        known = {f"truth.{name}": float(value) for name, value in (self.truth or {}).items()}
        known |= {f"start.{name}": float(value) for name, value in (self.start or {}).items()}
        if self.config.cluster is not None:  # what its files hold
            known |= {"images of the cluster": self.config.cluster.term().data,
                      "members": [profile.catalogue for profile in self.prior.mass if isinstance(profile, Members)]}
        return {"configuration": _what(self.config), **facts_of(self.observations), **proposed, **known}

    @property
    def identity(self) -> str:
        """Hash of all that the result depends on."""
        return identity_of(self.facts)

    def store(self, out: Path) -> Store:
        """The checkpoints in the folder of this run, and config.toml beside them.

        Raises:
            CheckpointError: The folder holds checkpoints of other data or of another configuration.
            OSError: A file cannot be written.
        """
        out.mkdir(parents=True, exist_ok=True)
        try:
            store = Store(out / CHECKPOINT, self.identity, self.config.run.checkpoint_interval_s, self.facts,
                          {"dates": self.dates, "truth": dict(self.truth or {})})
        except ForeignCheckpoint as error:
            data = [text for text in error.changes if not text.startswith("configuration:")]
            changes = [part for part in (changed_values(out, self.config), listed(data)) if part]
            raise ForeignCheckpoint(f"{error}: {', '.join(changes) or 'it was made by an older version of giga'}",
                                    error.changes) from None
        write_text(out / "config.toml", self.text)
        return store


class Opened(NamedTuple):
    """What a fit starts from, see `opened`.

    Attributes:
        job: The data and the prior.
        devices: Of all processes, the first of which writes and prints.
        store: The checkpoints; of several processes the first has them.
        audits: What the first process found of each observation.
    """

    job: Job
    devices: parallel.Devices
    store: Store | None
    audits: Sequence[Audit] = ()


def opened(config: Config, out: Path, *, resume: bool = False, overwrite: bool = False, init_from: str | None = None,
           mask_from: str | None = None, truth: Mapping[str, float] | None = None, strict: bool = False) -> Opened:
    """Everything that comes before the first step of a fit, in every process of it.

    Args:
        config: The configuration.
        out: Folder of the run.
        resume, overwrite: What to do with the run that it holds, see `claim`.
        init_from, mask_from: Networks, see `helped`.
        truth: True values by path name, when known.
        strict: Refuse data with a serious finding of the audit.

    Raises:
        InputError: Bad input, or a folder that holds a run already.
        NodeError: Of several processes, one has failed, or has other data or another configuration.
        CheckpointError: A checkpoint of other data or another configuration.
        OSError: A file cannot be written.
    """
    devices = start_devices_of(config)
    job = together(lambda: dataclasses.replace(helped(prepare(config), init_from, mask_from), truth=truth))
    check_same(job)
    text = text_beside(out, job.text, config.file,
                       lambda: dump_config(load_config(config.file, fit_config_type=type(config.inference))))
    job = dataclasses.replace(job, text=text)
    audits = together(lambda: audited(job.prior, job.observations, config.run.precision, config.file, strict)
                      if devices.first else [])

    def place() -> Store | None:
        claim(out, resume=resume, overwrite=overwrite, config=config.file)
        return job.store(out)

    return Opened(job, devices, together(lambda: place() if devices.first else None), audits)


def prepare(config: Config) -> Job:
    """Load the data of a configuration and build its prior.

    Raises:
        InputError: Bad input.
    """
    notes: list[str] = []
    if config.start.folder is not None:
        config = gone_on(config)
    dates = dates_of(config)  # before they are read, so that a change in between is seen later
    observations, prior = load_observations(config.observation, notes), scene_from_config(config)
    check_parameters(config, prior)
    check_field(config, prior, observations)
    notes += check_count(config, prior)
    notes += _steep(prior, observations, np.dtype(config.run.precision))
    start = None
    if config.start.folder is not None:
        start, said = start_of(config, prior)
        notes += said
    notes += [*config.said, *config.notes]
    text = "".join(f"# {line}\n" for line in config.said) + dump_config(config)
    return Job(config, text, prior, observations, notes, dates=dates, start=start)


def dates_of(config: Config) -> dict[str, list[int]]:
    """Size, date and date of the last change of every file that the data of a configuration is read from.

    The last is the file system's own, which a copy that keeps dates does not set. A file that is not there has none.
    """
    files = [path for observation in config.observation for path in observation.files()]
    if config.cluster is not None:
        files += [config.cluster.settings.images,
                  *(Path(one) for profile in config.mass for key, one in profile.settings if key == "catalogue")]
    seen = {str(path): path.stat() for path in files if path.is_file()}
    return {path: [one.st_size, one.st_mtime_ns, one.st_ctime_ns] for path, one in seen.items()}


def _steep(prior: Scene, observations: Sequence[Observation], dtype: np.dtype) -> list[str]:
    """What is too steep for the sampling of the observations, at the middle of the prior."""
    middle = Prior.of(prior, dtype)
    origin: Any = np.zeros(middle.size, dtype)
    return steep_for(middle.scene(origin), observations)


def helped(job: Job, init_from: str | None, mask_from: str | None) -> Job:
    """A job with what networks have to say of its data.

    Args:
        job: The job.
        init_from: A network that gives posteriors, whose draws the search starts from.
        mask_from: A separator, whose parts make the mask; the first network sees the image without it.

    Raises:
        InputError: A network that is not there, does not suit the data, or has no parameter of the fit.
    """
    observations, notes = job.observations, list(job.notes)
    starts = None
    if init_from is not None:
        if job.config.inference.map_method != "lm":
            raise InputError(job.config.file, "inference.map_method", f"got {job.config.inference.map_method!r}",
                             "'lm', which takes the starts of --init-from")
        count = smaller(job.config.inference.map).n_screen
        predictor = Predictor.of(init_from)
        starts = predictor.starts(observations, count, job.config.run.seed)
        notes += unfamiliar(init_from, predictor.seen, observations)
        if not set(starts.values) & set(free_names(job.prior)):
            raise InputError("", "--init-from", f"{init_from} knows {', '.join(starts.values)}",
                             f"some of the free parameters, {', '.join(free_names(job.prior))}")
        others = [name for name in free_names(job.prior) if name not in starts.values]
        if others:
            notes.append(f"{init_from} says nothing of {', '.join(others)}; their starts are drawn from the prior")
    if mask_from is not None:
        observations = masked(mask_from, observations, notes=notes)
        kept = sum(int(one.mask.sum()) for one in observations)
        notes.append(f"{mask_from} leaves {kept} of {sum(int(one.mask.sum()) for one in job.observations)} pixels")
    return dataclasses.replace(job, observations=observations, notes=notes, starts=starts)


def changed_values(out: Path, config: Config) -> str:
    """What a configuration changes of the one that a folder was made with, in words.

    Args:
        out: Folder of a run.
        config: The new configuration.

    Returns:
        The first values that differ, without those that say only where and how it runs; an empty text when none
        differs.
    """
    try:
        kept = _kept(out, config)
    except InputError as error:
        return str(error)
    return "" if kept is None else listed(differences(_what(kept), _what(config)))


def changed_units(out: Path, config: Config) -> bool:
    """Whether redshifts, cosmology or zero points differ from those that a folder was made with."""
    kept = _kept(out, config)
    return kept is not None and _units(kept) != _units(config)


def _kept(out: Path, config: Config) -> Config | None:
    """The configuration that a folder was made with, if it is there. Raises InputError."""
    path = out / "config.toml"
    return load_config(path, fit_config_type=type(config.inference)) if path.is_file() else None


def _units(config: Config) -> tuple[Any, ...]:
    """What turns the numbers of a fit into others and changes none of its draws."""
    cluster = None if config.cluster is None else config.cluster.settings.z_map
    return config.lens, cluster, *(one.zero_point for one in config.observation)


def _what(config: Config) -> str:
    """The part of a configuration that a fit depends on.

    Redshifts and zero points turn its numbers into others; the set that priors came from is in the priors.
    """
    observation = tuple(dataclasses.replace(one, zero_point=None) for one in config.observation)
    lens = LensConfig() if config.cluster is None else config.lens  # to whose sources it is a matter of the fit
    return dump_config(dataclasses.replace(config, run=config.run.what, observation=observation, lens=lens,
                                           priors=None))


def together(work: Callable[[], T]) -> T:
    """Do something in every process; where it fails in one, no process goes on.

    Raises:
        NodeError: It failed in another process.
    """
    try:
        out, failure = work(), None
    except (InputError, parallel.DeviceError, CheckpointError, OSError) as error:
        out, failure = None, error
    messages = parallel.everywhere(str(failure) if failure else "")
    if failure:
        raise failure
    for k, message in enumerate(messages):
        if message:
            raise NodeError(f"process {k}: {message}")
    return out  # pyright: ignore[reportReturnType]


def check_same(job: Job) -> None:
    """See that all processes have the same data and configuration; raises NodeError in all if not."""
    hashes = parallel.everywhere(job.identity)
    if len(set(hashes)) == 1:
        return
    facts = [json.loads(text) for text in parallel.everywhere(json.dumps(told(job.facts)))]
    k = next(k for k, text in enumerate(hashes) if text != hashes[0])
    seen = ", ".join(f"process {k}: {text[:12]}" for k, text in enumerate(hashes))
    raise NodeError(f"{job.config.file}: the processes have different data or configurations (hashes: {seen}; process "
                    f"0 -> process {k}: {listed(changed(facts[0], facts[k]))}); give every process the same files and "
                    "options")


def start_devices_of(config: Config) -> parallel.Devices:
    """Start the devices that a configuration asks for.

    Raises:
        InputError: They are not there.
    """
    run = config.run
    try:
        return parallel.start_devices(run.devices, run.precision, run.n_devices, run.memory_gb)
    except parallel.DeviceError as error:
        field = "n_devices" if str(error).startswith("n_devices") else "devices"
        raise InputError(config.file, f"run.{field}", str(error).removeprefix(f"{field}: ")) from error


def claim(out: Path, *, resume: bool, overwrite: bool,
          files: Sequence[str] = (*FILES, *SEARCH_FILES, PICTURE, AUDIT), config: Path | None = None) -> None:
    """Refuse a folder that holds a run, unless told to go on or to start over.

    Args:
        out: The folder.
        resume: Go on.
        overwrite: Remove what is there.
        files: That are those of a run.
        config: The configuration that the command was given: in the folder it is no sign of a run, and stays.

    Raises:
        InputError: It holds one, or the options contradict each other.
    """
    if resume and overwrite:
        raise InputError(out, "--resume", "given together with --overwrite", "one of them")
    own = config is not None and is_own(out, config)
    held = [name for name in dict.fromkeys((*files, CHECKPOINT)) if (out / name).exists()
            and not (own and name == CONFIG)]
    if not held or resume:
        return
    if not overwrite:
        raise InputError(out, "--out", f"already holds a run ({', '.join(held)})",
                         "an empty or new folder, or --resume to go on, or --overwrite to start over")
    for name in held:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_parameters(config: Config, prior: Scene) -> None:
    """Check what can only be checked against the free parameters. Raises InputError."""
    names = free_names(prior)
    if not names:
        raise InputError(config.file, "", "no free parameter", "a distribution, {dist = ...}, on one parameter")
    check_axis(config.inference.vi_axis, names, config.file)
    try:
        Prior.of(prior, np.dtype(config.run.precision))
    except ValueError as error:
        raise InputError(config.file, "", str(error)) from error


def check_field(config: Config, prior: Scene, observations: Sequence[Observation]) -> None:
    """Check that images of point sources beside pixels lie in an image that sees them. Raises InputError."""
    places = [(f"source_light.{k}", profile.x, profile.y, profile.bands)
              for k, profile in enumerate(prior.source_light) if isinstance(profile, LensedPoint)]
    places += [(f"points.{k}", points.x, points.y, None) for k, points in enumerate(config.points)]
    for path, *place, bands in places if observations else ():
        x, y = (np.asarray(part, float) for part in place)
        inside, seen = np.zeros(len(x), bool), "no image"
        for observation in observations:
            if bands is None or observation.band in bands:
                (ny, nx), at = observation.image.shape, observation.grid.to_pixel(x, y)  # pyright: ignore
                column, row = np.asarray(at[0], float), np.asarray(at[1], float)
                inside |= (np.abs(column - 0.5 * (nx - 1)) < 0.5 * nx) & (np.abs(row - 0.5 * (ny - 1)) < 0.5 * ny)
                left, right, low, high = observation.grid.extent
                seen = f"x from {left:g} to {right:g} and y from {low:g} to {high:g}"
        if not inside.all():
            j = int(np.argmin(inside))
            raise InputError(config.file, f"{path}.x.{j}", f"got ({x[j]:g}, {y[j]:g}), which no image has",
                             f"a place on an image, {seen} arcsec")


def check_count(config: Config, prior: Scene) -> list[str]:
    """Check that without pixels no more is free than was measured.

    An image has two coordinates, and each flux and delay is one number. Free are the parameters, what is solved (two
    coordinates of a source that has no place of its own, a flux where fluxes were measured) and redshifts. Offsets of
    members from their relation are not counted: their prior is the scatter about it.

    Returns:
        What the user should know where it is so all the same, as `run.underdetermined` allows.

    Raises:
        InputError: More is free.
    """
    if config.observation or not config.terms:
        return []
    measured, solved = (sum(getattr(term, name) for term in config.terms) for name in ("measured", "solved"))
    names = [name for name in free_names(prior) if not name.rpartition(".")[0].endswith("offsets")]
    free = len(names) + solved
    if measured >= free:
        return []
    seen = f"{measured} measurements for {free} free parameters ({len(names)} sampled, {solved} solved)"
    if config.run.underdetermined:
        return [f"{seen}: what the priors say of the rest stays"]
    raise InputError(config.file, "cluster" if config.cluster is not None else "points", seen,
                     "as many measurements or more, parameters that are fixed, or run.underdetermined = true where the "
                     "priors are meant to say the rest")


def check_axis(axis: str, names: Sequence[str], file: str | Path) -> None:
    """Check that the conditioning parameter is one of the free parameters, "auto" or "none". Raises InputError."""
    if axis not in ("auto", "none", *names):
        raise InputError(file, "inference.vi_axis", f"got {axis!r}", nearest(axis, ["auto", "none", *names]))


def free_names(prior: Scene) -> list[str]:
    """Path names of the free parameters; of tied leaves the first."""
    free = [(name, leaf) for name, leaf in leaves_with_names(prior) if is_distribution(leaf)]
    return list({id(leaf): name for name, leaf in reversed(free)}.values())
