"""Networks that predict posteriors: the exact one where it is known, its calibration, and the starts of a search."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _amortised import RMS, SCALE, SIZE, blobs, exact, toy
from _problems import blank, lens_prior, observe
from flax import nnx

from giga.bayes.posterior import Posterior
from giga.inference.search.lanes import improver, screener
from giga.inference.search.map import MapConfig, find_map
from giga.inference.search.starts import Starts, chosen, completed, smaller
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.models.networks.posterior import PosteriorNet, PosteriorNetConfig
from giga.models.systems import posterior_task
from giga.models.systems.posterior_task import PosteriorTask, Subject, calibrated, measure, physical
from giga.models.training.train import TrainConfig, train
from giga.runtime.parallel import mesh

TRAIN = TrainConfig(steps=400, batch_size=64, chunk=100, learning_rate=1e-2, warmup=20, ema=0.98, validation_size=0,
                    validate_every=400, checkpoint_every=400, measure_rates=False)


@pytest.fixture(scope="module")
def task():
    return toy()


@pytest.fixture(scope="module")
def trained(task, tmp_path_factory):
    over = mesh(jax.devices()[:1])
    return train(task, TRAIN, tmp_path_factory.mktemp("run"), over=over).model()


@pytest.fixture(scope="module")
def examples(task):
    return jax.jit(lambda keys: jax.lax.map(task.example, keys))(jax.random.split(jax.random.key(11), 256))


@nnx.jit
def answers(model, examples):
    """Covariance, mean and log-density of the truth."""
    return (model.head.covariance(model.features(examples["image"])), model(examples["image"]),
            model.log_prob(examples["image"], examples["z"]))


@nnx.jit
def drawn(model, image):
    return model.sample(jax.random.key(0), image, 400)


def test_the_head_finds_the_exact_posterior(task, trained, examples):
    images, z = (np.asarray(examples[name], float) for name in ("image", "z"))
    mean, covariance = exact(task, images)
    found, middle, log_prob = (np.asarray(part, float) for part in answers(trained, examples))
    sd = np.sqrt(np.diagonal(found, axis1=1, axis2=2))
    true_sd = np.sqrt(np.diag(covariance))
    assert (true_sd < 0.8).all()  # the image tells something
    # An eighth of a width is what a few hundred steps leave.
    np.testing.assert_allclose(sd.mean(0), true_sd, rtol=0.15)
    correlation = found[:, 0, 1] / sd.prod(1)
    assert correlation.mean() == pytest.approx(covariance[0, 1] / true_sd.prod(), abs=0.15)
    assert np.sqrt(np.mean((middle - mean) ** 2, 0)) / true_sd == pytest.approx(
        0.0, abs=0.4)
    step = z - mean
    best = -0.5 * np.einsum("ni,ij,nj->n", step, np.linalg.inv(covariance), step) - np.log(2 * np.pi) \
        - 0.5 * np.linalg.slogdet(covariance)[1]
    assert log_prob.mean() == pytest.approx(best.mean(), abs=0.15) and log_prob.mean() > -np.log(2 * np.pi) - 1.0


def test_measures_of_a_network(task, trained):
    found = measure(trained, task, 96).numbers
    assert found["coverage_68"] == pytest.approx(0.68, abs=0.1)
    assert found["coverage_95"] == pytest.approx(0.95, abs=0.05)
    assert found["gain"] > 0.3 and found["p_ks"] > 1e-3
    assert found["temperature"] == 1.0 and found["best_temperature"] == pytest.approx(1.0, abs=0.15)
    for name in task.config.parameters:
        assert 0.2 < found[f"shrink {name}"] < 0.9


def test_a_test_set_is_measured_by_one_program(task, trained, monkeypatch):
    """40 images are 32 and 8, and the 8 are no other numbers than they were alone."""
    traces = []
    whiten = PosteriorNet.whiten
    monkeypatch.setattr(PosteriorNet, "whiten", lambda *arguments: (traces.append(0), whiten(*arguments))[1])
    rows = posterior_task._rows(task, trained)
    parts = list(rows(40, 5, 30))
    assert len(traces) == 1 and [part["draws"].shape for part in parts] == [(30, 32, 2), (30, 8, 2)]
    list(rows(37, 6, 30))
    assert len(traces) == 1
    key, own = jax.random.split(jax.random.fold_in(jax.random.key(5), 32))
    examples = jax.vmap(task.example)(jax.random.split(key, 8))
    np.testing.assert_allclose(parts[1]["z"], examples["z"], rtol=1e-6)
    np.testing.assert_allclose(parts[1]["draws"], trained.sample(own, examples["image"], 30), rtol=1e-4, atol=1e-4)


def test_the_temperature_mends_widths(task, trained, examples):
    """A head whose widths are half of what they should be is mended; one that is right is left alone."""
    model = nnx.clone(trained)
    size = len(task.config.parameters)
    diagonal = size + np.flatnonzero(np.equal(*np.tril_indices(size)))
    model.head.out.bias[...] = model.head.out.bias[...].at[diagonal].add(jnp.log(2.0))
    before = float(answers(model, examples)[2].mean())
    temperature = calibrated(model, task, images=256)
    # Widths of the trained head are right to 15%.
    assert temperature == pytest.approx(2.0, rel=0.15) and float(model.temperature[...]) == pytest.approx(temperature)
    assert measure(model, task, 96).numbers["coverage_68"] == pytest.approx(0.68, abs=0.1)
    assert float(answers(model, examples)[2].mean()) > before + 0.5
    # Of the first parameter, whose row of the factor is its diagonal alone.
    spread = [np.std(drawn(m, examples["image"][:1])[..., 0]) for m in (model, trained)]
    assert spread[0] / spread[1] == pytest.approx(0.5 * temperature, rel=1e-3)


def test_a_flow_begins_as_its_gaussian_and_knows_its_density():
    task = toy(head="flow", layers=2, hidden=8)
    model = task.network(nnx.Rngs(0))
    image = jnp.ones((1, 16, 16, 1))


    @nnx.jit
    def parts(model):
        draws, features = model.sample(jax.random.key(1), image, 50), model.features(image)
        back = model.head.colour(features, model.whiten(image, draws[3])[0][None])[0]
        gaussian = model.head.gaussian
        return (draws, model.log_prob(image, draws[0]), gaussian.log_prob(features, draws[0]), back, model(image),
                gaussian(features))

    draws, log_prob, gaussian, back, middle, mean = parts(model)
    assert draws.shape == (50, 1, 2)
    np.testing.assert_allclose(log_prob, gaussian, rtol=1e-4)
    np.testing.assert_allclose(back, draws[3], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(middle, mean, atol=1e-5)


def test_masked_pixels_are_not_looked_at():
    mask = np.ones((16, 16), bool)
    mask[:, :5] = False
    subject = Subject.of(Scene(source_light=[Sersic(amp=dist.Normal(2.0, 0.5), R_sersic=0.4, n_sersic=0.6)]),
                         [blank(16, 0.13, 0.03, mask=mask)])
    task = PosteriorTask(dataclasses.replace(toy().config, parameters=subject.prior.names), subject)
    model = task.network(nnx.Rngs(0))
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 1)).astype(np.float32)
    other = image.copy()
    other[:, :, :5] = np.nan
    features = nnx.jit(PosteriorNet.features)
    np.testing.assert_array_equal(features(model, image), features(model, other))
    other[:, :, 5] = 9.0
    assert not np.allclose(features(model, image), features(model, other))
    assert task.identity != toy().identity


def test_a_subset_of_parameters_in_physical_units():
    subject = Subject.of(lens_prior(), [blank(16)])
    names = ("mass.1.gamma1", "mass.0.theta_E")
    task = PosteriorTask(dataclasses.replace(toy().config, parameters=names), subject)
    z, whole = jax.jit(lambda key: (task.example(key)["z"], subject.models(key)[0]))(jax.random.key(3))
    places = [subject.prior.names.index(name) for name in names]
    np.testing.assert_array_equal(z, whole[np.array(places)])
    expected = jax.jit(subject.prior.constrain)(whole)[np.array(places)]
    np.testing.assert_allclose(physical(subject.prior, names, z[None])[0], expected, rtol=1e-5)


def test_what_a_subject_cannot_be():
    with pytest.raises(ValueError, match="expected one shape"):
        Subject.of(lens_prior(), [blank(16), blank(20)])
    with pytest.raises(ValueError, match="amplitude_sd: missing"):
        Subject.of(lens_prior(None), [blank(16)])
    with pytest.raises(ValueError, match="head: got 'student'"):
        dataclasses.replace(toy().config, head="student")
    with pytest.raises(ValueError, match="one rms a band"):
        PosteriorNetConfig(parameters=("a",), shape=(16, 16), bands=("r", "i"), rms=(1.0,), pixel_scale=0.1)


def test_solved_amplitudes_are_drawn():
    subject = Subject.of(Scene(source_light=[Sersic(R_sersic=dist.LogNormal(-1.0, 0.1), n_sersic=1.0)]),
                         [blank(16, 0.13, 1e-3)], amplitude_sd=5.0)
    def image(key):
        return subject.image(key, *subject.models(key))

    images = jax.jit(jax.vmap(image))(jax.random.split(jax.random.key(0), 200))
    flux = np.asarray(images).sum((1, 2, 3))
    assert abs(flux.mean()) < 4.0 * flux.std() / np.sqrt(200) and (flux < 0).any() and (flux > 0).any()


def test_noise_is_that_of_the_scale_that_is_drawn():
    lens = blobs([2.0, 2.0]).replace(noise_scale=[dist.Uniform(0.5, 3.0)])
    subject = Subject.of(lens, [blank(SIZE, SCALE, RMS)])
    task = PosteriorTask(dataclasses.replace(toy().config, parameters=("noise_scale.0",)), subject)

    def drawn(key):
        z, (model,) = subject.models(key)
        return subject.prior.constrain(z)[0], task.example(key)["image"][..., 0] - subject.data[0].physical(model)

    scales, noise = jax.jit(jax.vmap(drawn))(jax.random.split(jax.random.key(1), 40))
    # 256 pixels: a standard deviation to 4.4%
    np.testing.assert_allclose(np.std(noise, axis=(1, 2)) / RMS, scales, rtol=0.2)
    assert np.ptp(scales) > 1.5


# The search that starts from a network.

PLACE = {"source_light.0.R_sersic": 0.3, "source_light.0.center_x": 0.12, "source_light.0.center_y": -0.1}


def spot(values) -> Scene:
    radius, x, y = values
    return Scene(source_light=[Sersic(amp=8.0, R_sersic=radius, n_sersic=1.0, e1=0.1, e2=0.0, center_x=x, center_y=y)])


@pytest.fixture(scope="module")
def posterior():
    prior = spot((dist.LogNormal(-1.2, 0.3), dist.Uniform(-0.6, 0.6), dist.Normal(0.0, 0.2)))
    return Posterior.of(prior, [observe(spot(PLACE.values()), blank(16, rms=0.2))])


def proposals(middle, count=16, width=0.02) -> Starts:
    rng = np.random.default_rng(2)
    return Starts({name: value + width * rng.normal(size=count) for name, value in middle.items()}, "net", "abc")


def test_other_parameters_come_from_the_prior(posterior):
    prior = posterior.prior
    starts = Starts({"source_light.0.center_x": np.array([0.1, 0.7, 0.2]), "mass.0.theta_E": np.ones(3)}, "net")
    z = completed(jax.random.key(0), prior, starts)  # 0.7 lies outside the prior
    x = np.asarray(jax.jit(jax.vmap(prior.constrain))(z))
    assert z.shape == (2, 3)
    np.testing.assert_allclose(x[:, 1], [0.1, 0.2], rtol=1e-4)
    assert x[0, 0] != x[1, 0]
    with pytest.raises(ValueError, match="expected some of the free parameters, source_light.0.R_sersic"):
        completed(jax.random.key(0), prior, Starts({"mass.0.theta_E": np.ones(3)}, "net"))
    with pytest.raises(ValueError, match="none of its 3 draws"):
        completed(jax.random.key(0), prior, Starts({"source_light.0.center_x": np.full(3, 0.9)}, "net"))


def test_the_smaller_search():
    assert smaller(MapConfig()) == dataclasses.replace(MapConfig(), n_screen=128, n_starts=16, n_finalists=8)
    least = smaller(MapConfig(n_screen=4, n_starts=4, n_finalists=1))
    assert least.n_finalists <= least.n_starts <= least.n_screen


@pytest.fixture(scope="module")
def programs():
    return screener(mesh()), improver(mesh(), 5)


def search(posterior, programs, starts=None):
    config = MapConfig(n_screen=64, n_starts=8, n_finalists=1, rounds=6)
    if starts is None:
        return find_map(jax.random.key(1), posterior, config, *programs)
    config = smaller(config)
    first, info = chosen(jax.random.key(2), posterior, starts, config, mesh())
    found, more = find_map(jax.random.key(1), posterior, config, *programs, first)
    return found, more | {"init": info, "evaluations": more["evaluations"] + info["proposed"]}


@pytest.mark.parametrize("middle", [PLACE, {"source_light.0.center_x": -0.5, "source_light.0.center_y": 0.5}],
                         ids=["right", "wrong"])
def test_the_mode_is_the_same_and_costs_less(posterior, programs, middle):
    """A right network saves evaluations; a wrong one loses nothing, since half of the starts are the prior's."""
    plain, before = search(posterior, programs)
    found, after = search(posterior, programs, proposals(middle, 16))
    assert float(found.log_prob[0]) == pytest.approx(float(plain.log_prob[0]), abs=0.05)
    np.testing.assert_allclose(found.z[0], plain.z[0], atol=0.02)
    assert after["evaluations"] < 0.6 * before["evaluations"]
    assert after["init"]["model"] == "net" and after["init"]["kept"] == 1
    assert after["init"]["parameters"] == len(middle) and after["init"]["proposed"] == 16
