"""The four networks of the modular pipeline: what they learn, how they are chained, how they are measured."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from giga.ellipse import ellipticity
from giga.jobs.systems import SYSTEMS
from giga.models import zoo
from giga.models.networks.chain import STAGES, Chain, ModularConfig, Stage, lens_logit, parameters
from giga.models.systems.modular import NEEDED, ModularTask, examples_of
from giga.models.systems.modular_table import TooFew, psnr, rows_of, summary, table
from giga.models.zoo import Card, save_weights
from giga.simulate.batch import Batch

TINY = ModularConfig(pixels=18, features=8, blocks=1, width=4)
IMAGES = 16


def of(stage: str, **changes) -> ModularConfig:
    return dataclasses.replace(TINY, stage=stage, **changes)


def stage(name: str, seed: int = 0, **changes) -> Stage:
    """A network with weights from NumPy: quicker than its own."""
    model, rng = shape_of(name, **changes), np.random.default_rng(seed)
    weights = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.0, 0.1, leaf.shape), leaf.dtype), weights))
    return model


def shape_of(name: str, **changes) -> Stage:
    """A stage without weights."""
    return nnx.eval_shape(lambda: Stage(of(name, **changes), rngs=nnx.Rngs(0)))


@nnx.jit
def called(model, x):
    return model(x)


class Known(nnx.Module):
    """A network whose answer is given."""

    def __init__(self, answer):
        self.answer = nnx.data(answer)

    def __call__(self, seen):
        return self.answer


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Round deflectors, and sources that are rings where there is a lens; the noise of the survey."""
    rng = np.random.default_rng(1)
    survey, label = TINY.observed, np.arange(IMAGES) % 2
    y, x = np.indices(survey.shape) - 8.5
    radius = rng.uniform(*TINY.theta_E, IMAGES)
    r = np.hypot(x, y) / 5.0
    rms = survey.background_rms
    lens = 500.0 * np.exp(-r**2) * rng.uniform(0.5, 2.0, (IMAGES, 1, 1))
    source = 30.0 * np.exp(-(r - (label * radius)[:, None, None])**2 / 0.1)
    parts = {"lens": lens[..., None] * rms, "source": source[..., None] * rms,
             "noise": rng.normal(size=(IMAGES, *survey.shape, 3)) * rms}
    parts = {name: part.astype(np.float32) for name, part in parts.items()}
    e1, e2 = ellipticity(rng.uniform(*TINY.q, IMAGES), rng.uniform(0.0, np.pi, IMAGES))
    truth = {"mass.0.theta_E": label * radius, "mass.0.e1": e1, "mass.0.e2": e2}
    return Batch(image=sum(parts.values()), parts=parts, label=jnp.asarray(label, jnp.int32), sigma=rms,
                 truth={name: jnp.asarray(value, jnp.float32) for name, value in truth.items()}, psf=np.ones((1, 1, 1)),
                 companions=0.0 * parts["lens"])


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return {name: stage(name) for name in STAGES}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, stages) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stages")
    for name, model in stages.items():
        card = Card(**SYSTEMS["modular"].card(of(name)), recipe={}, seed=0, git_hash="0a1b", command="none", metrics={},
                    images_per_s={})
        save_weights(model, folder / name, card)
    return {name: str(folder / name) for name in STAGES}


def learn(task: ModularTask, model, examples: dict, steps: int = 30) -> dict[str, np.ndarray]:
    """Losses of Adam on one fixed batch."""
    model.train()
    structure, params, rest = nnx.split(model, nnx.Param, ...)
    rule = optax.adam(3e-3)

    @jax.jit
    def step(params, moments):
        def loss(params):
            return task.loss(nnx.merge(structure, params, rest, copy=True), examples, jax.random.key(0))

        (total, terms), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = rule.update(gradient, moments)
        return optax.apply_updates(params, updates), moments, terms | {"total": total}

    moments, rows = rule.init(params), []
    for _ in range(steps):
        params, moments, row = step(params, moments)
        rows.append(row)
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("config", [of("measure", input="noisy", angle="unit"), of("joint")], ids=lambda c: c.stage)
def test_losses_fall(config, batch, stages):
    task = ModularTask(config, stages=stages)
    model = task.network(nnx.Rngs(0)) if config.stage == "joint" else stage("measure", input="noisy", angle="unit")
    found = learn(task, model, examples_of(config, batch))
    assert len(found) == (5 if config.stage == "joint" else 1)
    for values in found.values():
        assert np.isfinite(values).all()
        assert values[-5:].mean() < 0.95 * values[0]


@pytest.mark.parametrize("name", STAGES)
def test_the_loss_of_a_stage_is_its_own(name, batch, stages):
    config = of(name)
    examples = examples_of(config, batch)
    answer = called(stages[name], examples[NEEDED[name][0]])
    known: Any = Known(answer)
    loss, _ = ModularTask(config).loss(known, examples, jax.random.key(0))
    if name == "find":
        picked = jax.nn.softmax(answer)[np.arange(IMAGES), np.asarray(batch.label)]
        expected = -np.log(picked).mean()
    else:
        expected = np.abs(answer - examples[NEEDED[name][1]]).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_an_example_holds_what_its_stage_needs(stages):
    for config in (of("denoise"), of("find", input="noisy"), of("measure"), of("joint")):
        example = jax.eval_shape(ModularTask(config, stages=stages).example, jax.random.key(0))
        assert set(example) == set(NEEDED[config.stage]) | ({"noisy"} if config.input == "noisy" else set())
    assert example["blend"].shape == (18, 18, 3)
    assert example["theta"].shape == (4,)


def test_images_are_stretched_and_come_back(batch):
    found = examples_of(TINY, batch)
    parts = batch.parts
    np.testing.assert_allclose(TINY.counts(found["blend"]), parts["lens"] + parts["source"], rtol=2e-5, atol=1e-6)
    faint = np.abs(np.asarray(batch.image)) < 0.1 * TINY.observed.background_rms
    np.testing.assert_allclose(np.asarray(found["noisy"])[faint],
                               (np.asarray(batch.image) / TINY.observed.background_rms)[faint], rtol=2e-3)


def test_a_chain_is_its_stages_one_after_the_other(batch, stages):
    chain = Chain.of(of("joint"), stages)
    denoised, source, logit, found = called(chain, jnp.asarray(batch.image))
    x = called(stages["denoise"], TINY.stretch(batch.image))
    y = called(stages["deblend"], x)
    # One program and four round differently.
    near: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(denoised, TINY.counts(x), **near)
    np.testing.assert_allclose(source, TINY.counts(y), **near)
    np.testing.assert_allclose(logit, lens_logit(called(stages["find"], y)), **near)
    for name, value in parameters(TINY, called(stages["measure"], y)).items():
        np.testing.assert_allclose(found[name], value, **near)
    assert chain.denoise is not stages["denoise"]


def test_parameters_go_from_zero_to_one(batch):
    lens = np.asarray(batch.label) == 1
    unit = np.asarray(examples_of(of("measure", angle="unit"), batch)["theta"])[lens]
    assert unit.shape[1] == 3
    # theta_E and q are inverted from velocity dispersions and ellipticities in float32
    assert unit.min() > -1e-4
    assert unit.max() < 1.0 + 1e-4
    pair = np.asarray(examples_of(of("measure"), batch)["theta"])[lens]
    np.testing.assert_allclose(pair[:, :2], unit[:, :2])
    np.testing.assert_allclose(np.hypot(pair[:, 2], pair[:, 3]), 1.0, rtol=1e-6)
    phi = parameters(of("measure"), jnp.asarray(pair))["phi"]
    np.testing.assert_allclose(phi, np.pi * unit[:, 2], atol=1e-5)


def test_an_angle_that_wraps_is_near_only_as_a_pair():
    ends = {"theta_E": jnp.ones(2), "q": 0.5 * jnp.ones(2), "phi": jnp.array([0.01, np.pi - 0.01])}
    for angle, distance in (("pair", 2.0 * np.sin(0.02)), ("unit", 1.0 - 0.02 / np.pi)):
        a, b = of("measure", angle=angle).coordinates.encode(ends)
        assert float(jnp.linalg.norm(a - b)) == pytest.approx(distance, rel=1e-4)


def test_measures_of_answers_that_are_known(batch):
    seen = examples_of(TINY, batch)
    label = np.asarray(batch.label)
    logits = jnp.stack([jnp.zeros(IMAGES), jnp.where(label == 1, 1.0, -1.0)], axis=-1)

    def measures(config, answer):
        known: Any = Known(answer)
        rows = {name: np.asarray(value) for name, value in rows_of(config, known, batch).items()}
        return summary(config, rows).numbers

    assert measures(of("find"), logits)["accuracy"] == 1.0
    assert measures(of("find"), -logits)["accuracy"] == 0.0
    assert measures(of("find"), jnp.ones_like(logits))["accuracy"] == 0.5
    found = measures(of("measure"), seen["theta"])
    assert found["mae_wrapped"] < 1e-5
    # A turn that takes some angles over the end: small around it, and large as the paper counts.
    unit = of("measure", angle="unit")
    theta = examples_of(unit, batch)["theta"]
    over = measures(unit, theta.at[:, 2].set(jnp.mod(theta[:, 2] + 0.25, 1.0)))
    assert over["mae_phi_wrapped"] == pytest.approx(0.25, abs=1e-5)
    lens = label == 1
    crossed = np.asarray(theta)[lens, 2] > 0.75
    assert over["mae_phi"] == pytest.approx(np.where(crossed, 0.75, 0.25).mean(), abs=1e-5)
    assert over["mae"] == pytest.approx(over["mae_phi"] / 3.0, abs=1e-5)
    image = measures(of("denoise"), seen["noisy"])
    assert image["psnr_denoised"] == image["psnr_noisy"]


def test_psnr_in_closed_form():
    wanted = jnp.zeros((1, 4, 4, 2)).at[0, 1, 1, 0].set(3.0)
    found = wanted + 0.3
    np.testing.assert_allclose(psnr(wanted, found, jnp.array([3.0])), 20.0, rtol=1e-5)
    np.testing.assert_allclose(psnr(wanted, found, jnp.array([30.0])), 40.0, rtol=1e-5)


def test_a_set_of_one_kind_is_refused():
    with pytest.raises(TooFew, match="3 images have 3 lenses"):
        summary(TINY, {"label": np.ones(3, int), "correct": np.ones(3, bool)})


def test_the_table_says_what_is_not_measured():
    text = table({"find": {"accuracy": 0.9876}})
    assert "| b | Classification, Deblended-Sim | accuracy | 0.99 | 0.988 |" in text
    assert text.count("not measured") == text.count("\n") - 2


def test_joint_starts_from_the_weights_that_it_names(saved, stages, batch):
    config = of("joint", **saved)
    task = ModularTask(config)
    chain: Any
    twin: Any
    chain, twin = task.network(nnx.Rngs(0)), task.network(nnx.Rngs(1))
    seen = TINY.stretch(batch.image)
    np.testing.assert_array_equal(called(chain.denoise, seen), called(stages["denoise"], seen))
    np.testing.assert_array_equal(called(twin.denoise, seen), called(stages["denoise"], seen))
    # The weights count, their place does not.
    assert task.identity == ModularTask(of("joint"), stages=stages).identity
    other = stages | {"find": stage("find", seed=9)}
    assert task.identity != ModularTask(of("joint"), stages=other).identity


def test_a_stage_and_a_chain_go_on_from_a_chain(tmp_path, saved, stages, batch):
    config = of("joint", **saved)
    card = Card(**SYSTEMS["modular"].card(config), recipe={}, seed=0, git_hash="0a1b", command="none", metrics={},
                images_per_s={})
    save_weights(Chain.of(config, stages), tmp_path / "chain", card)
    place, seen = str(tmp_path / "chain"), TINY.stretch(batch.image)
    whole: Any = ModularTask(of("joint", matched=True, **dict.fromkeys(STAGES, place))).network(nnx.Rngs(0))
    alone: Any = ModularTask(of("deblend", matched=True, deblend=place)).network(nnx.Rngs(0))
    for network in (whole.deblend, alone):
        np.testing.assert_array_equal(called(network, seen), called(stages["deblend"], seen))
    assert alone.config == of("deblend", matched=True)
    from_stage = ModularTask(of("deblend", deblend=saved["deblend"]))
    assert from_stage.identity == ModularTask(of("deblend", deblend=place)).identity
    assert from_stage.identity != ModularTask(of("deblend")).identity


@pytest.mark.parametrize(("asked", "message"), [
    (lambda saved: of("find", denoise=saved["denoise"]), "denoise: given for stage 'find'; expected find alone"),
    (lambda saved: of("find", find=saved["measure"]), "find: got a network of stage 'measure'"),
    (lambda saved: of("find", find=saved["find"], width=8), "find: the network is of other images, sizes"),
    (lambda saved: of("find", find="ggsl-unet-des"), "find: ggsl-unet-des is a Separator, expected a stage"),
])
def test_weights_that_a_stage_cannot_start_from_are_refused(saved, asked, message):
    with pytest.raises(ValueError, match=message):
        ModularTask(asked(saved))


def test_a_chain_is_kept_in_the_zoo_and_comes_back(tmp_path, stages, batch):
    chain = Chain.of(of("joint"), stages)
    card = Card(**SYSTEMS["modular"].card(of("joint", denoise="a", deblend="b", find="c", measure="d")), recipe={},
                seed=0, git_hash="0a1b", command="none", metrics={}, images_per_s={})
    save_weights(chain, tmp_path / "chain", card)
    found, card = zoo.load(tmp_path / "chain")
    assert found.config == of("joint")
    assert card.flops > 0
    np.testing.assert_array_equal(called(found, batch.image)[2], called(chain, batch.image)[2])


@pytest.mark.parametrize(("changes", "message"), [
    ({"find": None}, "find: no network"),
    ({"find": shape_of("measure")}, "find: got a network of stage 'measure'"),
    ({"find": shape_of("find", input="noisy")}, "find: got a network of stage 'find' that is shown noisy"),
    ({"deblend": shape_of("deblend", features=4)}, "deblend: the network is of other images"),
    ({"measure": shape_of("measure", angle="unit")}, "measure: the network is of other images"),
])
def test_stages_that_do_not_fit_are_refused(changes, message):
    shapes = {name: shape_of(name) for name in STAGES} | changes
    given = {name: model for name, model in shapes.items() if model is not None}
    with pytest.raises(ValueError, match=message):
        Chain.of(of("joint"), given)


@pytest.mark.parametrize(("changes", "message"), [
    ({"stage": "classify"}, "stage: expected one of denoise"),
    ({"input": "noisy"}, "input: 'noisy' is a baseline"),
    ({"theta_E": (2.0, 1.0)}, "theta_E: expected a range"),
    ({"q": (0.3, 1.2)}, "q: expected a range within 0 and 1"),
    ({"pixels": 8}, "pixels: expected at least 16"),
    ({"width": -4}, "width: expected 0 or more, got -4"),
    ({"bands": ("g", "K")}, "no band 'K'"),
])
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ModularConfig(**changes)


def test_joint_without_weights_and_a_catalogue_that_is_missing_are_refused():
    with pytest.raises(ValueError, match="denoise: stage 'joint' starts from trained weights"):
        ModularTask(of("joint"))
    with pytest.raises(ValueError, match="catalogue: the configuration draws from 'lenses.txt'"):
        ModularTask(of("denoise", catalogue="lenses.txt"))
