"""Log-probability of the flat vector given observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import DTypeLike

from giga.bayes.exchange import Orders
from giga.bayes.prior import Prior
from giga.bayes.systems import Term
from giga.component import AnyArray, Component, is_distribution, static
from giga.imaging.linear import Amplitudes, penalty, solve
from giga.imaging.observation import Data, Observation
from giga.imaging.render import render, sampling
from giga.lensing.near import bare, located
from giga.lensing.scene import Scene

AmplitudeMethod = Literal["profile", "marginal", "nonnegative"]


class Posterior(Component):
    """Prior times likelihood of one scene seen in one or several observations.

    The likelihood is Gaussian; pixels may be correlated. Its logarithm is summed relative to that of a model
    equal to the data (the saturated fit), so that float32 keeps its digits where they matter; `log_norm`
    is what was left out. The data are in multiples of their own noise, whatever the unit of the image;
    amplitudes and images come and go in the unit of the image.

    Attributes:
        prior: Prior of the scene.
        data: One entry an observation.
        amplitude_sd: Standard deviation of the linear amplitudes' Gaussian prior, or None for flat.
        orders: Orders of like profiles over which the density is summed, or None: the likelihood is that of
            each, so the sum is one over their priors.
        amplitudes: How linear amplitudes are treated: "nonnegative" (best values, not negative where a
            negative one is no light), "profile" (best values of any sign) or "marginal" (integrated out, with the
            determinant). Those with a prior of their profile's own are integrated out in any case.
        sampled_once: Whether the source is sampled once a pixel, whatever its profiles say.
        points: Images of point sources, whose likelihoods are added to that of the pixels.
    """

    prior: Prior
    data: tuple[Data, ...]
    amplitude_sd: AnyArray | None = None
    orders: Orders | None = None
    points: tuple[Term, ...] = ()
    amplitudes: AmplitudeMethod = static(default="nonnegative")
    sampled_once: bool = static(default=False)

    @staticmethod
    def of(scene: Any, observations: Sequence[Observation], amplitudes: AmplitudeMethod = "nonnegative",
           amplitude_sd: float | None = None, dtype: DTypeLike = np.float32, multiple: int = 1,
           points: Sequence[Term] = ()) -> Posterior:
        """Put a scene of distributions and its observations together.

        With linear amplitudes the photon noise is taken from the data, so that chi2 is quadratic in them.
        Images are cropped to the fitted pixels, to sides of a multiple of so many pixels. With `points` there may be no
        observation.

        Raises:
            ValueError: No observation and no points, points that the scene cannot have, a scene without light, planes
                that do not fit the profiles, noise scales that are not one an observation and positive, an unknown way
                with amplitudes, or "marginal" without `amplitude_sd` (a flat prior has no evidence).
        """
        for k, term in enumerate(points):
            try:
                term.check(scene)
            except ValueError as error:
                raise ValueError(f"points.{k}.{error}") from None
        if not observations and not points:
            raise ValueError("observations: expected at least one Observation, got none")
        if observations and not scene.light:
            raise ValueError("scene: expected a light profile in lens_light or source_light, got none")
        scene.check()
        _check_scales(scene.noise_scale, len(observations))
        if amplitudes not in get_args(AmplitudeMethod):
            raise ValueError(f"amplitudes: expected one of {', '.join(get_args(AmplitudeMethod))}, got {amplitudes!r}")
        if amplitudes == "marginal" and amplitude_sd is None:
            raise ValueError("likelihood.amplitude_sd: missing; amplitudes = 'marginal' needs the standard deviation "
                             "of the amplitudes' Gaussian prior")
        data = tuple(o.data(dtype, poisson=not scene.in_band(o.band).is_linear, multiple=multiple, scaled=True)
                     for o in observations)
        if observations:
            widest = max(float(o.grid.pixel_scale) for o in observations)
            scene = scene.replace(lens_light=[p.for_pixels(widest) for p in scene.lens_light])
        return Posterior(prior=Prior.of(scene, dtype), data=data,
                         amplitude_sd=None if amplitude_sd is None else np.asarray(amplitude_sd, dtype),
                         points=jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tuple(points)),
                         amplitudes=amplitudes)

    def log_prob(self, z: Array) -> Array:
        """Log-posterior of an unconstrained vector, up to `log_norm` and the evidence."""
        return self.log_prior(z) + self.log_likelihood(z)

    def log_prior(self, z: Array) -> Array:
        """Log-prior of an unconstrained vector, in all its orders together."""
        if self.orders is None:
            return self.prior.log_prob(z)
        return jax.nn.logsumexp(self.orders.log_prior(self.prior, z))

    @property
    def log_norm(self) -> float:
        """Log-likelihood of the saturated fit, in float64 on the host: with the unit it outgrows float32's digits."""
        return sum(map(_saturated, self.data), 0.0)

    def log_likelihood(self, z: Array) -> Array:
        """Log-likelihood relative to the saturated fit."""
        scene = self._scene(z)
        total = sum((self._one(d.seen(scene), d) for d in self.data_of(scene)), jnp.zeros((), z.dtype))
        return sum((term.log_likelihood(scene) for term in self.points), total)

    def point_residuals(self, z: Array) -> Array:
        """What is left of all that was measured of point images, over its standard deviations; there is a term."""
        scene = self.prior.scene(z)
        return jnp.concatenate([term.residuals(scene) for term in self.points])

    def data_of(self, scene: Scene) -> tuple[Data, ...]:
        """The data with the noise that a scene gives them."""
        return tuple(d.with_noise_of(scene, k) for k, d in enumerate(self.data))

    def scenes(self, z: Array) -> tuple[Scene, ...]:
        """The scene as each observation sees it, linear amplitudes solved and filled in."""
        return tuple(map(bare, self.located_scenes(z)))

    def located_scenes(self, z: Array) -> tuple[Scene, ...]:
        """The same with the images of lensed points found, see `located`."""
        scene = self._scene(z)
        out = []
        for d in self.data_of(scene):
            seen = scene.in_band(d.band)
            _, amplitudes = self.filled(d.seen(scene), d)
            out.append(seen if amplitudes is None else seen.with_amplitudes(d.physical(amplitudes.values)))
        return tuple(out)

    def models(self, z: Array) -> tuple[Array, ...]:
        """Model image of each observation, in its own units."""
        return tuple(d.physical(model) for d, model in zip(self.data, self.scaled_models(z), strict=True))

    def scaled_models(self, z: Array) -> tuple[Array, ...]:
        """Model image of each observation, in the unit of its data."""
        return tuple(model for model, _ in self.seen(z))

    def seen(self, z: Array) -> list[tuple[Array, Data]]:
        """Model image of each observation, in the unit of its data, and the data with their noise at z."""
        scene = self._scene(z)
        return [(self._model(d.seen(scene), d)[0], d) for d in self.data_of(scene)]

    @property
    def is_fine(self) -> bool:
        """Whether the source is sampled on subpixels, so that `coarse` costs less."""
        marks = jax.tree.unflatten(self.prior.treedef, self.prior.slots)
        return any(sampling(profile, d.convolution.supersampling) > 1
                   for d in self.data for profile in marks.in_band(d.band).source_light)

    def coarse_images(self, z: Array) -> tuple[Array, ...]:
        """Images of the data for `coarse`, that make it agree at z, the middle of the posterior."""
        return tuple(d.image + _image(_source_sampled_once(scene), d) - _image(scene, d)
                     for scene, d in self._filled(z))

    def coarse(self, images: tuple[Array, ...]) -> Posterior:
        """Nearly the same posterior at half the cost: rays are traced and the source is sampled once a pixel.

        What that changes in the model at one place is added to the images, so that the two have the same
        residuals there and differ about it by the change of that difference alone.

        Args:
            images: From `coarse_images`.
        """
        data = tuple(d.replace(image=image) for d, image in zip(self.data, images, strict=True))
        return self.replace(data=data, sampled_once=True)

    def chi2(self, z: Array) -> Array:
        """Sum over fitted pixels of ((data - model) / sigma)^2, or r^T C^-1 r of these where they are correlated.

        What was measured of point images counts too.
        """
        pixels = sum((jnp.sum(d.mask * d.squares(d.image - m, variance(m, d)))
                      for m, d in self.seen(z)), jnp.zeros((), z.dtype))
        return pixels + jnp.sum(self.point_residuals(z) ** 2) if self.points else pixels

    def _scene(self, z: Array) -> Scene:
        scene = located(self.prior.scene(z))
        return _source_sampled_once(scene) if self.sampled_once else scene

    def _filled(self, z: Array) -> list[tuple[Scene, Data]]:
        """The scene as each observation sees it, in the unit of its data, and the data with their noise at z."""
        scene = self._scene(z)
        return [(self.filled(d.seen(scene), d)[0], d) for d in self.data_of(scene)]

    def _one(self, scene: Scene, data: Data) -> Array:
        model, amplitudes = self._model(scene, data)
        value = log_density(model, data)
        if amplitudes is None:
            return value
        log_det = amplitudes.log_det if self.amplitudes == "marginal" else amplitudes.log_det_own
        return value - 0.5 * (amplitudes.penalty + log_det)

    def _model(self, scene: Scene, data: Data) -> tuple[Array, Amplitudes | None]:
        """The model image of a scene that the data have seen, and what was solved for it."""
        scene, amplitudes = self.filled(scene, data)
        image = _image(scene, data)
        return image if amplitudes is None else _derived_as(amplitudes.image, image), amplitudes

    def filled(self, scene: Scene, data: Data) -> tuple[Scene, Amplitudes | None]:
        """Solve linear amplitudes of a scene as `Data.seen` gives it; they are in the unit of the data.

        chi2 plus penalty is stationary in the solved amplitudes, so their derivative drops out of
        its gradient (envelope theorem) and is not taken; that of the determinant and of the priors' widths is.
        """
        if not scene.is_linear:
            return scene, None
        sd = self.amplitude_sd_of(data)
        solved = solve(scene if self.integrates(scene) else jax.lax.stop_gradient(scene), data, sd,
                       self.amplitudes == "nonnegative")
        values, image = jax.lax.stop_gradient((solved.values, solved.image))
        return scene.with_amplitudes(values), solved._replace(values=values, penalty=penalty(scene, values, sd),
                                                              image=image)

    @property
    def has_own_priors(self) -> bool:
        """Whether linear amplitudes have a prior of their profile's own."""
        return jax.tree.unflatten(self.prior.treedef, self.prior.slots).has_own_priors

    def integrates(self, scene: Scene) -> bool:
        """Whether some linear amplitudes of a scene are integrated out, so that a determinant depends on it."""
        return scene.is_linear and (self.amplitudes == "marginal" or scene.has_own_priors)

    def own_roots(self, z: Array) -> tuple[Array | None, ...]:
        """`Amplitudes.root` of each observation."""
        scene = self._scene(z)
        solved = (self.filled(d.seen(scene), d)[1] for d in self.data_of(scene))
        return tuple(None if amplitudes is None else amplitudes.root for amplitudes in solved)

    def amplitude_draw(self, key: Array, z: Array) -> tuple[list[Array], ...]:
        """A draw of the linear amplitudes given z, for each observation those of its linear profiles, in its unit."""
        scene, draws = self._scene(z), []
        for d, sub in zip(self.data_of(scene), jax.random.split(key, len(self.data)), strict=True):
            seen = d.seen(scene)
            values = solve(seen, d, self.amplitude_sd_of(d), self.amplitudes == "nonnegative", sub).values \
                if seen.is_linear else []
            draws.append(d.physical(values))
        return tuple(draws)

    def amplitude_sd_of(self, data: Data) -> AnyArray | None:
        """Standard deviation of the linear amplitudes' prior in the unit of the data."""
        return self.amplitude_sd if self.amplitude_sd is None or data.unit is None else self.amplitude_sd / data.unit


@jax.custom_jvp
def _derived_as(value: Array, other: Array) -> Array:
    """A value that is known already, with the derivatives of another way to it.

    A program without derivatives is free of the other way: images that amplitudes were solved with are summed, and not
    rendered again.
    """
    return value


@_derived_as.defjvp
def _derived_as_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[0], tangents[1]


def _image(scene: Scene, data: Data) -> Array:
    """Render a scene that the data have seen."""
    return render(scene, data.grid, data.convolution)


def _source_sampled_once(scene: Scene) -> Scene:
    return scene.replace(source_light=[p.replace(supersampling=1) for p in scene.source_light])


def _check_scales(scales: Sequence[Any], count: int) -> None:
    if scales and len(scales) != count:
        raise ValueError(f"noise_scale: expected one entry for each of {count} observations, got {len(scales)}")
    for k, scale in enumerate(scales):
        least = np.min(scale.support.lower_bound) if is_distribution(scale) and hasattr(scale.support, "lower_bound") \
            else -np.inf if is_distribution(scale) else scale
        if not (least >= 0.0 if is_distribution(scale) else least > 0.0):
            raise ValueError(f"noise_scale.{k}: expected a number above zero or a distribution of such, got {scale}")


def variance(model: Array, data: Data) -> Array:
    """Noise variance of each pixel, `background_rms^2 + max(model, 0) / exposure_time` or the map's square."""
    if not data.poisson:
        return data.variance
    return data.variance + data.photon * jnp.maximum(model, 0.0)


def log_density(model: Array, data: Data) -> Array:
    """Gaussian log-likelihood of the pixels relative to the saturated fit."""
    var = variance(model, data)
    terms = data.squares(data.image - model, var)
    if data.poisson:
        terms = terms + jnp.log(var / variance(data.image, data))
    value = -0.5 * jnp.sum(data.mask * terms)
    return value if data.scale is None else value - jnp.sum(data.mask) * jnp.log(data.scale)


def _saturated(data: Data) -> float:
    """Log-likelihood of a model that equals the data, in float64 on the host."""
    image, mask = np.asarray(data.image, float), np.asarray(data.mask, float)
    var = np.asarray(data.variance, float) + np.asarray(data.photon, float) * np.maximum(image, 0.0)
    unit = 1.0 if data.unit is None else float(data.unit)
    log_det = 0.0 if data.whitening is None else np.sum(np.log(np.asarray(data.whitening.weights[0], float)))
    return float(log_det - 0.5 * np.sum(mask * (np.log(2.0 * np.pi * var) + 2.0 * np.log(unit))))
