"""The mask of a likelihood from a separated image: where lens and source shine, without what is neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt

from giga.imaging.observation import Observation
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.companion import check_aligned
from giga.jobs.familiar import sky_rms, unfamiliar
from giga.models.networks.separator import Separator, separate
from giga.models.zoo import ZooError, load

SCALE_TOLERANCE = 0.1  # of the side of a pixel that a separator learned
FEWEST = 16  # pixels; what keeps fewer is no mask


@dataclass(frozen=True)
class MaskConfig:
    """How parts become a mask.

    Attributes:
        threshold: Flux of lens and source together from which a pixel is kept [rms of the sky].
        margin: Distance from such a pixel within which others are kept too [pixels]. Some sky has to be left, to say
            what the model must not light up.
        contaminant: Flux of what is neither from which a pixel is left out, if it outshines lens and source there.
        around: Distance from such a pixel within which others are left out too [pixels].
    """

    threshold: float = 2.0
    margin: float = 4.0
    contaminant: float = 5.0
    around: float = 1.0


def mask_of(parts: Mapping[str, np.ndarray], rms: float, config: MaskConfig | None = None) -> np.ndarray:
    """The pixels to be fitted.

    Args:
        parts: "lens", "source" and "noise" of one band, shape (ny, nx) [counts / s]. Companions and everything else
            that is neither lens nor source is in "noise".
        rms: Standard deviation of the sky [counts / s].
        config: Thresholds and margins.

    Returns:
        Boolean, shape (ny, nx).
    """
    config = config or MaskConfig()
    light = parts["lens"] + parts["source"]
    bright = light > config.threshold * rms
    # Noise alone is bright here and there: a pixel counts with a neighbour at its side.
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    bright = bright & np.asarray(binary_dilation(bright, cross), bool)
    foreign = (parts["noise"] > config.contaminant * rms) & (parts["noise"] > light)
    return _near(bright, config.margin) & ~_near(foreign, config.around)


def masked(name: str, observations: Sequence[Observation], config: MaskConfig | None = None,
           notes: list[str] | None = None) -> list[Observation]:
    """Give observations the masks that a separator of the zoo finds, one band an observation.

    Pixels that were masked stay so; the network sees zeros there.

    Args:
        name: The separator, by name or path.
        observations: In the order of its bands.
        config: Thresholds and margins.
        notes: Gets what of the observations is far from what the separator has seen.

    Raises:
        InputError: No such separator, or other bands, shapes or pixels than it takes, or bands that are not on the same
            pixels; hardly a pixel is left.
    """
    try:
        network, known = load(name)
    except ZooError as error:
        raise InputError("", "--mask-from", str(error)) from error
    if not isinstance(network, Separator):
        raise InputError("", "--mask-from", f"{name} is a {known.network}", "a Separator")
    survey, shapes = network.config.observed, {one.image.shape for one in observations}
    if len(observations) != len(survey.bands) or len(shapes) > 1:
        raise InputError("", "--mask-from", f"{len(observations)} observations of shapes {sorted(shapes)}",
                         f"{len(survey.bands)} of one shape, {', '.join(band.name for band in survey.bands)}")
    for one in observations:
        check_pixel_scale(float(one.grid.pixel_scale), survey.pixel_scale, SCALE_TOLERANCE, f"which {name} learned", "",
                          "--mask-from")
    check_aligned(observations, [band.name for band in survey.bands], "--mask-from")
    if notes is not None:
        notes += unfamiliar(name, known.seen, observations)
    rms = np.array([sky_rms(one) for one in observations])
    image = jnp.asarray(np.stack([np.where(one.mask, one.image, 0.0) for one in observations], -1), jnp.float32)[None]
    parts = separate(network, image, jnp.asarray(rms, jnp.float32))
    alone = {part: np.asarray(value[0], float) for part, value in parts.items()}
    out = []
    for k, one in enumerate(observations):
        mask = one.mask & mask_of({part: value[..., k] for part, value in alone.items()}, rms[k], config)
        if mask.sum() < FEWEST:
            raise InputError("", "--mask-from", f"{name} leaves {mask.sum()} pixels of observation {k}",
                             f"at least {FEWEST}")
        out.append(one.replace(mask=mask))
    return out


def _near(pixels: np.ndarray, distance: float) -> np.ndarray:
    """Pixels within a distance of some pixels."""
    return np.asarray(distance_transform_edt(~pixels)) <= distance if pixels.any() else pixels
