"""From the configuration of a fit to a network that knows its posterior, and from the network back to a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.bayes.prior import Prior
from giga.imaging.observation import Observation
from giga.inference.search.starts import Starts
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, parse_config, read_toml_text, scene_from_config, to_tables
from giga.io.errors import InputError, check_pixel_scale, nearest
from giga.io.images.companion import check_aligned
from giga.io.images.fits import load_observations
from giga.io.tables import above, at_least, to_table, write_toml
from giga.jobs.problems import Problem, demo60, gigalens80
from giga.lensing.scene import Scene
from giga.models.networks.count import operations
from giga.models.networks.posterior import HEADS, TRUNKS, PosteriorNet, PosteriorNetConfig
from giga.models.systems.measured import Measured
from giga.models.systems.posterior_task import PosteriorTask, Subject, calibrated, measure, physical
from giga.models.zoo import Card, Seen, ZooError, load

FILES = ("image", "noise_map", "mask", "psf")
"""Fields of an observation that are files."""

PROBLEMS: Mapping[str, Callable[[], Problem]] = {"gigalens80": lambda: gigalens80(1), "demo60": demo60}
"""Problems whose prior and observation a network may learn by name."""


@dataclass(frozen=True)
class PosteriorConfig:
    """Section [system] of `name = "posterior"`: the fit whose posterior is learned, and the network.

    Raises:
        InputError: Neither a fit nor a problem or both, or a value that is not one of those allowed.
    """

    fit: Path | None = None  # configuration of the fit: its prior, observations and noise
    problem: str = ""  # or the name of a problem
    parameters: tuple[str, ...] = ()  # path names; empty is all
    amplitude_sd: float | None = above(0.0, None)  # of amplitudes that are solved; none takes the likelihood's
    trunk: str = "small"  # or "resnet18", "resnet34", "resnet50"
    width: int = at_least(0, 0)  # channels of the trunk's first level; 0 takes the preset's
    blocks: tuple[int, ...] = at_least(1, ())  # of the trunk's levels; empty takes the preset's
    head: str = "flow"  # or "gaussian"
    layers: int = at_least(1, 6)  # couplings of the flow
    hidden: int = at_least(1, 64)  # their width
    dtype: str = "float32"  # of the trunk's activations, or "bfloat16"

    def __post_init__(self) -> None:
        if (self.fit is None) == (not self.problem):
            raise InputError("", "fit", "missing" if self.fit is None else "given together with a problem",
                             "the configuration of a fit, or the name of a problem")
        for field, allowed in (("problem", ("", *PROBLEMS)), ("head", HEADS), ("trunk", TRUNKS),
                               ("dtype", ("float32", "bfloat16"))):
            if (value := getattr(self, field)) not in allowed:
                raise InputError("", field, f"got {value!r}", nearest(value, [name for name in allowed if name]))


def subject_of(config: PosteriorConfig) -> tuple[Subject, tuple[str, ...]]:
    """What a network learns, and the names of its bands.

    Raises:
        InputError: The fit's configuration or data are wrong, or do not suit a network.
    """
    scene, observations, sd = _source(config)
    sd = config.amplitude_sd if config.amplitude_sd is not None else sd
    try:
        subject = Subject.of(scene, observations, sd)
    except ValueError as error:
        raise InputError(config.fit or config.problem, "", str(error)) from error
    return subject, tuple(one.band or f"band {k + 1}" for k, one in enumerate(observations))


def _source(config: PosteriorConfig) -> tuple[Scene, Sequence[Observation], float | None]:
    if config.fit is None:
        problem = PROBLEMS[config.problem]()
        return problem.prior, problem.observations, None
    settings = load_config(config.fit, fit_config_type=FitConfig)
    settings.refuse("giga train, which learns from images of this model,", "points", "start")
    return scene_from_config(settings), load_observations(settings.observation), settings.likelihood.amplitude_sd


def network_config(config: PosteriorConfig, subject: Subject, bands: tuple[str, ...]) -> PosteriorNetConfig:
    """The network's own configuration, which goes with its weights and holds the prior."""
    names = subject.prior.names
    for k, name in enumerate(config.parameters):
        if name not in names:
            raise InputError(config.fit or config.problem, f"system.parameters.{k}", f"got {name!r}",
                             nearest(name, names))
    shape, scale = subject.data[0].grid.shape, float(subject.data[0].grid.pixel_scale)
    return PosteriorNetConfig(
        parameters=config.parameters or names, shape=shape, bands=bands, rms=subject.rms, pixel_scale=scale,
        problem=config.problem, fit="" if config.fit is None else _text(config.fit), trunk=config.trunk,
        width=config.width, blocks=config.blocks, head=config.head, layers=config.layers, hidden=config.hidden,
        dtype=config.dtype)


def _text(path: Path) -> str:
    """The configuration of a fit with the names of its files alone, as it travels with weights."""
    tables = to_tables(load_config(path, fit_config_type=FitConfig))
    for observation in tables["observation"]:
        observation |= {field: Path(observation[field]).name for field in FILES if field in observation}
    return write_toml(tables)


def task(config: PosteriorConfig) -> PosteriorTask:
    """The task of a configuration. Raises InputError."""
    subject, bands = subject_of(config)
    return PosteriorTask(network_config(config, subject, bands), subject)


def image_shape(config: PosteriorConfig) -> tuple[int, int, int]:
    """Shape (ny, nx, bands) of the images of a configuration. Raises InputError."""
    subject, bands = subject_of(config)
    return (*subject.data[0].grid.shape, len(bands))


def evaluate(config: PosteriorConfig, model: PosteriorNet, images: int, seed: int) -> dict[str, Measured]:
    """Calibration of a network's posteriors on examples drawn as in training; see `posterior_task.measure`."""
    return {"simulated": measure(model, task(config), images, seed)}


def finish(config: PosteriorConfig, model: PosteriorNet) -> PosteriorNet:
    """Set the temperature of a network that is trained, see `posterior_task.calibrated`."""
    calibrated(model, task(config))
    return model


def card(config: PosteriorConfig) -> dict[str, Any]:
    """What a configuration settles of the card of its weights."""
    subject, bands = subject_of(config)
    made = network_config(config, subject, bands)
    graph, state = nnx.split(nnx.eval_shape(lambda: PosteriorNet(made, rngs=nnx.Rngs(0))))
    image = jax.ShapeDtypeStruct((1, *made.shape, len(bands)), jnp.float32)
    flops = operations(lambda state, image: nnx.merge(graph, state)(image), state, image)
    ny, nx = made.shape
    seen = Seen.of(made)
    assert seen is not None  # of such a network there is always something
    return dict(network="PosteriorNet", config=to_table(made), flops=flops,
                seen=with_psfs(seen, _source(config)[1]), limits=(
        f"Knows one prior, one PSF and one noise, those of {config.fit.name if config.fit else config.problem}, in "
        f"images of {ny} x {nx} pixels of {made.pixel_scale:g} arcsec; elsewhere its widths mean nothing.",
        "Calibrated on average over the prior, not for each image; real images were in no training or test set."))


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network of the zoo that gives posteriors, and the prior whose parameters it speaks of.

    Attributes:
        name: As it was asked for.
        sha256: Of its weights.
        model: The network.
        prior: Of all parameters of its fit.
        seen: Images that it was trained on.
    """

    name: str
    sha256: str
    model: PosteriorNet
    prior: Prior
    seen: Seen | None = None

    @property
    def config(self) -> PosteriorNetConfig:
        """The network's configuration."""
        return self.model.config

    @staticmethod
    def of(name: str) -> Predictor:
        """Load a network by its name or path.

        Raises:
            InputError: It is not there, is damaged, or gives no posterior.
        """
        try:
            model, known = load(name)
        except ZooError as error:
            raise InputError("", "model", str(error)) from error
        return Predictor.made(name, model, known)

    @staticmethod
    def made(name: str, model: Any, known: Card) -> Predictor:
        """Of a network that is loaded, and its card. Raises InputError for one that gives no posterior."""
        if not isinstance(model, PosteriorNet):
            raise InputError("", "model", f"{name} is a {known.network}", "a PosteriorNet, from `[system] name = "
                                                                          "\"posterior\"`")
        return Predictor(name, known.sha256, model, Prior.of(scene_of(model.config)), seen_by(known, model.config))

    def draws(self, image: np.ndarray, count: int, seed: int = 0) -> dict[str, np.ndarray]:
        """Draw from the posterior of one image.

        Args:
            image: Shape (ny, nx, bands) [counts / s], finite.
            count: Number of draws.
            seed: Of the draws.

        Returns:
            Physical values by path name, each shape (count,).
        """
        graph, state = nnx.split(self.model)
        z = _drawn(graph, state, jax.random.key(seed), jnp.asarray(image, jnp.float32), count)
        x = physical(self.prior, self.config.parameters, z)
        return {name: x[:, k] for k, name in enumerate(self.config.parameters)}

    def starts(self, observations: Sequence[Observation], count: int, seed: int) -> Starts:
        """Proposals for a fit of some observations.

        Raises:
            InputError: Observations that are not as the network knows them: number, shape, pixel scale, order; or that
                are not on the same pixels.
        """
        config = self.config
        seen = [observation.image.shape for observation in observations]
        if seen != [config.shape] * len(config.bands):
            raise InputError("", "--init-from", f"{self.name} takes {len(config.bands)} images of {config.shape}",
                             f"that of the observations, {', '.join(map(str, seen))}")
        for observation in observations:
            self.check_scale(float(observation.grid.pixel_scale), "", "--init-from")
        check_aligned(observations, config.bands, "--init-from")
        image = np.stack([np.where(one.mask, one.image, 0.0) for one in observations], -1)
        return Starts(self.draws(image, count, seed), self.name, self.sha256)

    def check_scale(self, pixel_scale: float, file: str | PathLike[str], field: str) -> None:
        """Refuse pixels of another size than the network knows. Raises InputError."""
        check_pixel_scale(pixel_scale, self.config.pixel_scale, 0.01, f"which {self.name} learned", file, field)


@partial(jax.jit, static_argnums=(0, 4))
def _drawn(graph: Any, state: Any, key: Array, image: Array, count: int) -> Array:
    return nnx.merge(graph, state).sample(key, image[None], count)[:, 0]


def scene_of(config: PosteriorNetConfig) -> Scene:
    """The scene of distributions that a network learned the posterior of."""
    if config.problem:
        return PROBLEMS[config.problem]().prior
    file = Path("the model's fit")
    return scene_from_config(parse_config(read_toml_text(config.fit, file), file, FitConfig))


def seen_by(card: Card, config: PosteriorNetConfig) -> Seen | None:
    """What a network has seen, with the PSFs of its problem or its fit as far as these tell."""
    seen = card.seen
    if seen is None or seen.fwhm:
        return seen
    if config.problem:
        return with_psfs(seen, PROBLEMS[config.problem]().observations)
    file = Path("the model's fit")
    widths = [one.psf_fwhm for one in parse_config(read_toml_text(config.fit, file), file, FitConfig).observation]
    known = [(width, width) for width in widths if width is not None]
    return replace(seen, fwhm=tuple(known)) if len(known) == len(widths) else seen


def with_psfs(seen: Seen, observations: Sequence[Observation]) -> Seen:
    """What was seen, with the widths of the PSFs of some observations, if all have one."""
    widths = [one.psf.fwhm(float(one.grid.pixel_scale)) for one in observations if one.psf is not None]
    return replace(seen, fwhm=tuple((width, width) for width in widths)) if len(widths) == len(observations) else seen


def summary(draws: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation and quantiles of draws by name."""
    rows = {}
    for name, values in draws.items():
        q16, q50, q84 = np.quantile(values, [0.16, 0.5, 0.84])
        rows[name] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "q16": float(q16),
                      "q50": float(q50), "q84": float(q84)}
    return rows
