"""The lens taken away by a separator of the zoo, where its bands and pixels are those of a cutout."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from astropy.stats import sigma_clipped_stats

from giga.io.errors import InputError
from giga.io.grading.views import View
from giga.models.networks.separator import GGSLConfig, Separator, separate
from giga.models.zoo import FOLDER, Seen, ZooError, load, names
from giga.models.zoo.card import from_table, read_card
from giga.models.zoo.seen import SCALE


class Subtraction:
    """Separators of the zoo, each loaded when a cutout asks for it.

    Args:
        model: A name or path; None takes any of the zoo whose bands and pixels fit.

    Raises:
        InputError: A model that is not there, or no separator.
    """

    def __init__(self, model: str | None = None):
        self._loaded: dict[str, Separator] = {}
        self._seen: dict[str, Seen] = {}
        for name in names() if model is None else ():
            card = read_card(FOLDER / f"{name}.json")
            if card.network == "Separator":
                config = from_table(GGSLConfig, card.config, f"card of {name}")
                if config.recipe == "physical":  # whose scale is the noise: images may have any unit
                    self._seen[name] = Seen(float(config.observed.pixel_scale),
                                            tuple(band.name for band in config.observed.bands), ())
        if model is not None:
            try:
                network, card = load(model)
            except ZooError as error:
                raise InputError("", "--model", str(error)) from error
            if not isinstance(network, Separator) or card.seen is None:
                raise InputError("", "--model", f"{model} is a {card.network}", "a Separator")
            self._loaded[model], self._seen[model] = network, card.seen

    def fitting(self, view: View) -> str | None:
        """Name of a separator that takes a view; None where none does."""
        scale = view.pixel_scale
        for name, seen in self._seen.items():
            same = scale is not None and 1.0 / SCALE <= scale / seen.pixel_scale <= SCALE
            if same and {band.lower() for band in seen.bands} <= {band.lower() for band in view.bands}:
                return name  # FITS names of HDUs are upper-case
        return None

    def without_lens(self, view: View) -> np.ndarray:
        """A view without its lens, shape (ny, nx, bands); bands that the network has not seen are missing.

        Raises:
            ValueError: No separator fits, or pixels are missing.
        """
        name = self.fitting(view)
        if name is None:
            raise ValueError(f"bands {', '.join(view.bands)}: no separator of these bands and pixels")
        if name not in self._loaded:
            self._loaded[name], _ = load(name)
        bands = [band.lower() for band in view.bands]
        places = [bands.index(band.lower()) for band in self._seen[name].bands]
        image = view.image[..., places]
        if not np.isfinite(image).all():
            raise ValueError("pixels are missing, with which no separator can do")
        sky = sigma_clipped_stats(image.reshape(-1, len(places)), axis=0, maxiters=10)
        parts = separate(self._loaded[name], jnp.asarray(image - sky[1], jnp.float32)[None],
                         jnp.asarray(np.maximum(sky[2], 1e-30), jnp.float32))
        out = np.full(view.image.shape, np.nan, np.float32)
        out[..., places] = image - np.asarray(parts["lens"][0])
        return out
