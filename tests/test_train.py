"""Training: it learns, keeps to its keys, does not depend on the devices, and stops where it must."""

import dataclasses
import json
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from _processes import devices, python
from _toy import SIZE, Toy, ToyConfig, ToyTask, toy_config
from flax import nnx

from giga.models.training import loop as loop_module
from giga.models.training.config import at_validation, averaged, optimiser, plateaus, schedule
from giga.models.training.loop import Loop
from giga.models.training.metrics_log import MetricsLog, read_metrics
from giga.models.training.state import start
from giga.models.training.train import TrainConfig, train
from giga.models.training.validation import draw_sets
from giga.runtime.parallel import mesh

PLAIN = ToyTask(ToyConfig(norm=False))


def one_device():
    return mesh(jax.devices()[:1])


def make_loop(task=PLAIN, **changes):
    config = toy_config(**changes)
    rule = optimiser(config)
    network, state = start(task, config, rule)
    return Loop(task, config, network, rule, one_device()), state


def close(found, expected, rtol=2e-5, atol=1e-6):
    """Equal but for the order of float32 sums."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("run"), []
    config = toy_config(steps=200, chunk=50, validate_every=100, checkpoint_every=200, measure_rates=True)
    return train(ToyTask(), config, folder, over=one_device(), tensorboard=True, report=rows.append), rows, folder


def test_it_learns(trained):
    """Far below the variance of the flux, 1/12; the noise allows 0.1^2 / (pi 1.5^2) = 0.0014 for a known spot."""
    result, rows, _ = trained
    losses = {row["step"]: row["loss"] for row in rows if row["kind"] == "train"}
    assert list(losses) == [50, 100, 150, 200] and losses[200] < 1 / 12 / 5
    last = [row for row in rows if row["kind"] == "validation"][-1]
    assert last["fixed_loss"] < 1 / 12 / 5
    assert last["shifted_bias"] > 0.05  # a wider spot passes for a brighter one
    assert not result.stopped_early and float(result.best.loss) == pytest.approx(last["best_loss"])


def test_the_best_model_is_called_in_eval_mode(trained):
    result, _, _ = trained
    sample = jax.vmap(ToyTask().example)(jax.random.split(jax.random.key(9), 64))
    model = result.model()
    together = model(sample["image"])
    assert float(jnp.mean((together - sample["flux"])**2)) < 1 / 12 / 5
    np.testing.assert_allclose(model(sample["image"][:1]), together[:1], rtol=1e-5)  # no statistics of a batch


def test_metrics_are_written_as_reported(trained):
    result, rows, folder = trained
    assert read_metrics(folder / "metrics.jsonl") == json.loads(json.dumps(rows))
    assert [row["kind"] for row in rows[:2]] == ["start", "rates"]
    assert rows[0]["validation"] == result.sets and set(result.sets) == {"fixed", "shifted"}
    rates = result.rates
    assert rates["joint_over_network"] == rates["joint"] / rates["network"] and min(rates.values()) > 0.0
    assert rates["reuse"] == 1
    assert list((folder / "tensorboard").iterdir())


def test_an_example_has_the_key_of_its_step_and_number():
    loop, _ = make_loop(accumulate=2)
    batch = loop.examples()(5, 3, 1)
    key = jax.random.fold_in(jax.random.key(5), 3)
    expected = jax.vmap(lambda i: PLAIN.example(jax.random.fold_in(key, i)))(jnp.arange(8, 16))
    close(batch, expected, rtol=1e-6)


def test_a_step_is_that_of_optax_on_the_mean_loss():
    loop, state = make_loop(ema=0.0)
    batch = loop.examples()(loop.config.seed, 0, 0)

    def loss(params):
        return PLAIN.loss(loop.network.model(params, state.stats), batch, jax.random.key(0))[0]

    value, gradient = jax.value_and_grad(loss)(state.params)
    moves, _ = loop.optimiser.update(gradient, state.moments, state.params)
    expected = optax.apply_updates(state.params, moves)
    found, metrics = loop.chunk(1)(state)
    close((found.params, found.ema), (expected, expected))
    close((metrics["loss"][0], metrics["gradient_norm"][0]), (value, optax.tree.norm(gradient)))
    close(loop.chunk(2)(found)[0].step, 3)  # the weights and their mean are two buffers: both are donated


def test_micro_batches_add_up_to_the_batch():
    whole, state = make_loop()
    parts, same = make_loop(accumulate=4)
    close(parts.chunk(3)(same), whole.chunk(3)(state))


def test_a_scan_of_steps_is_the_steps_one_by_one(monkeypatch):
    """On an accelerator a chunk is one program."""
    single, state = make_loop(ToyTask())
    expected = single.chunk(3)(state)
    monkeypatch.setattr(loop_module, "one_by_one", lambda over: False)
    scanned, state = make_loop(ToyTask())
    close(scanned.chunk(3)(state), expected)


def test_large_arrays_of_a_task_are_no_constants_of_its_programs(monkeypatch, tmp_path):
    """A bank of cutouts is an argument: a constant is copied by the compiler, and held by every program."""
    bank = jnp.asarray(np.random.default_rng(1).normal(0.0, 0.1, (500, SIZE, SIZE)), jnp.float32)

    @dataclasses.dataclass(frozen=True)
    class Banked(ToyTask):
        arrays: Any = None

        def holding(self, arrays):
            return dataclasses.replace(self, arrays=arrays)

        def finish(self, key, geometry):
            return super().finish(key, (geometry[0], geometry[1] + self.arrays[jax.random.randint(key, (), 0, 500)]))

    monkeypatch.setattr(loop_module, "one_by_one", lambda over: False)  # one program a chunk
    limit = jax.config.jax_captured_constants_warn_bytes
    jax.config.update("jax_captured_constants_warn_bytes", bank.nbytes // 2)
    try:
        for reuse in (1, 2):
            config = toy_config(steps=4, validate_every=4, reuse=reuse, measure_rates=True)
            train(Banked(arrays=bank), config, tmp_path / str(reuse), over=one_device())
    finally:
        jax.config.update("jax_captured_constants_warn_bytes", limit)


def test_dropout_differs_from_step_to_step():
    class Dropping(ToyTask):
        def network(self, rngs):
            model = Toy(self.config, rngs=rngs)
            model.dropout.rate = 0.5
            return model

        def loss(self, model, batch, key):
            first, second = model(batch["image"][:1])[0], model(batch["image"][:1])[0]
            return jnp.mean((first - batch["flux"][0])**2), {"first": first, "second": second}

    loop, state = make_loop(Dropping(ToyConfig(norm=False, channels=16)), learning_rate=1e-30)
    fixed = loop.examples()(0, 0, 0)
    _, metrics = loop.chunk(3, simulated=False)(state, fixed)
    values = np.concatenate([metrics["first"], metrics["second"]])
    assert len(set(values.tolist())) == 6


EIGHT = """
import sys
from _toy import ToyTask, toy_config
import jax, numpy as np
from giga.models.training.train import train
from giga.runtime.parallel import mesh
assert len(jax.devices()) == 8
for reuse in (1, 4):
    config, found = toy_config(steps=8, chunk=4, validate_every=8, checkpoint_every=8, reuse=reuse), []
    for devices in (jax.devices()[:1], jax.devices()):
        rows = []
        result = train(ToyTask(), config, f"{sys.argv[1]}/{reuse}/{len(devices)}", over=mesh(devices),
                       report=rows.append)
        found.append((result, [row["loss"] for row in rows if row["kind"] == "train"]))
    (one, losses), (eight, same) = found
    np.testing.assert_allclose(same, losses, rtol=2e-5)
    assert one.sets == eight.sets, "the validation sets are the same to the bit"
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(eight.state), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-6)  # AdamW divides by small gradients
    np.testing.assert_allclose(eight.best.loss, one.best.loss, rtol=2e-5)
"""


def test_losses_do_not_depend_on_the_number_of_devices(tmp_path):
    """Batch statistics included: they are those of the batch on all devices. With new scenes, or with old."""
    python(EIGHT, tmp_path, bare=True, **devices(8))


def test_an_uneven_share_is_refused():
    with pytest.raises(ValueError, match=r"batch_size: got 16, expected a micro-batch .* 3 devices share evenly"):
        toy_config().check_devices(3)


def test_validation_sets_are_fixed_by_their_seed():
    first, cut, other = (draw_sets(make_loop(**changes)[0]) for changes in
                         ({}, {"accumulate": 2, "seed": 7}, {"validation_seed": 2}))
    assert [each.name for each in first] == ["fixed", "shifted"] and len(cut[0].batches) == 2 * len(first[0].batches)
    assert [each.sha256 for each in first] == [each.sha256 for each in cut]
    assert len({each.sha256 for each in (*first, *other)}) == 4
    assert draw_sets(make_loop(validation_size=0)[0]) == ()


def test_patience_ends_a_run_that_does_not_get_better(tmp_path):
    config = toy_config(learning_rate=1e-30, weight_decay=0.0, validate_every=4, patience=2, steps=100, warmup=0,
                        ema=0.0)
    result = train(PLAIN, config, tmp_path, over=one_device())
    assert result.stopped_early and int(result.state.step) == 12 and int(result.best.step) == 4
    again = train(PLAIN, config, tmp_path, over=one_device(), resume=True)
    assert again.stopped_early and int(again.state.step) == 12


def test_the_learning_rate_warms_up_and_falls():
    rate = schedule(toy_config(steps=100, warmup=10, learning_rate=0.2, final=0.1))
    assert float(rate(0)) == 0.0 and float(rate(5)) == pytest.approx(0.1) and float(rate(10)) == pytest.approx(0.2)
    assert float(rate(55)) == pytest.approx(0.02 + 0.09, rel=1e-5) and float(rate(100)) == pytest.approx(0.02)
    level = schedule(toy_config(steps=100, warmup=0, learning_rate=0.2, final=1.0))
    assert float(level(0)) == float(level(70)) == pytest.approx(0.2)


@pytest.mark.parametrize(("changes", "expected"), [
    ({"schedule": "constant"}, {5: 0.1, 10: 0.2, 99: 0.2}),
    ({"schedule": "step", "decay": 0.1, "decay_every": 20}, {5: 0.1, 29: 0.2, 30: 0.02, 99: 2e-5}),
    ({"schedule": "step", "decay": 0.1, "decay_every": 20, "warmup": 0}, {0: 0.2, 20: 0.02}),
    ({"schedule": "plateau"}, {5: 0.1, 10: 0.2, 99: 0.2})])
def test_other_schedules(changes, expected):
    rate = schedule(toy_config(**{"steps": 100, "warmup": 10, "learning_rate": 0.2} | changes))
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("name", "twin"), [
    ("adamw", lambda: optax.adamw(0.1, weight_decay=0.0)), ("adadelta", lambda: optax.adadelta(0.1)),
    ("sgd", lambda: optax.sgd(0.1, 0.9, nesterov=True))])
def test_optimisers_are_those_of_optax(name, twin):
    config = toy_config(optimiser=name, schedule="constant", warmup=0, clip=0.0, weight_decay=0.0, learning_rate=0.1)
    params = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]])}
    found, wanted = [], []
    for rule, moves in ((optimiser(config), found), (twin(), wanted)):
        state, weights = rule.init(params), params
        for _ in range(3):
            update, state = rule.update(jax.tree.map(lambda a: 2.0 * a, weights), state, weights)
            weights = optax.apply_updates(weights, update)
            moves.append(weights["kernel"])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert not np.allclose(found[0], params["kernel"], rtol=1e-6, atol=0.0)


def test_a_plateau_lowers_the_learning_rate():
    """After `plateau` validations in a row that are no better; steps between them leave the factor as it is."""
    config = toy_config(schedule="plateau", plateau=2, decay=0.1, warmup=0, optimiser="sgd", clip=0.0,
                        weight_decay=0.0, learning_rate=1.0)
    rule, params = optimiser(config), jnp.zeros(2)
    state, factors = rule.init(params), []
    for loss in (1.0, 0.5, 0.6, 0.7, 0.4, 0.4, 0.4):
        _, state = rule.update(jnp.ones(2), state, params)
        state = at_validation(config, state, loss)
        factors.append(plateaus(state))
    assert factors == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01])
    fresh = rule.init(params)
    full, _ = rule.update(jnp.ones(2), fresh, params)
    less, _ = rule.update(jnp.ones(2), (fresh[0], state[1]), params)
    np.testing.assert_allclose(less, 0.01 * full, rtol=1e-6)
    plain = optimiser(toy_config()).init(params)
    assert at_validation(toy_config(), plain, 1.0) == plain and plateaus(plain) == 1.0


def test_what_has_no_effect_is_no_part_of_a_run():
    assert toy_config(decay=0.1, plateau=3, decay_every=7).what == toy_config().what
    assert "optimiser" not in toy_config().what and toy_config(optimiser="sgd").what["optimiser"] == "sgd"
    assert toy_config(schedule="plateau", plateau=3).what != toy_config(schedule="plateau").what
    assert toy_config(schedule="plateau", final=0.3).what == toy_config(schedule="plateau").what


def test_gradients_are_clipped_and_biases_do_not_decay():
    config = toy_config(warmup=0, clip=1.0, weight_decay=0.5, learning_rate=0.1)
    rule, params = optimiser(config), {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 2.0)}
    zero = jax.tree.map(jnp.zeros_like, params)
    moves, _ = rule.update(zero, rule.init(params), params)
    np.testing.assert_allclose(moves["kernel"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_array_equal(moves["bias"], 0.0)
    large = jax.tree.map(lambda a: 1e3 * a, params)
    _, state = rule.update(large, rule.init(params), params)
    means = optax.tree.get(state, "mu")
    assert float(optax.tree.norm(means)) == pytest.approx(0.1, rel=1e-5)  # (1 - beta1) times the norm 1


def test_the_mean_of_the_weights():
    assert float(averaged(1.0, 0.0, jnp.int32(0), 0.99)) == pytest.approx(0.1)
    assert float(averaged(1.0, 0.0, jnp.int32(10_000), 0.99)) == pytest.approx(0.99)
    assert averaged(1.0, 0.5, jnp.int32(10), 0.0) == 0.5


def test_the_network_that_training_starts_from_is_left_as_it_is(tmp_path):
    """A task may give a network that was loaded, or one and the same twice: its steps must not take its arrays."""
    loaded = Toy(ToyConfig(), rngs=nnx.Rngs(3))

    class Tuned(ToyTask):
        def network(self, rngs):
            return loaded

    before = jax.tree.map(np.array, nnx.state(loaded, nnx.Any(nnx.Param, nnx.BatchStat)))
    task, config = Tuned(), toy_config(steps=4, validation_size=0, validate_every=4)
    first, second = (train(task, config, tmp_path / name, over=one_device()) for name in ("a", "b"))
    close(second.state.params, first.state.params, rtol=0, atol=0)
    assert not np.array_equal(first.state.params["conv"]["kernel"][...], before["conv"]["kernel"][...])
    close(nnx.state(loaded, nnx.Any(nnx.Param, nnx.BatchStat)), before, rtol=0, atol=0)
    assert np.isfinite(loaded(jnp.ones((1, SIZE, SIZE, 1)))).all()


def test_weights_of_half_precision_are_refused():
    class Half(ToyTask):
        def network(self, rngs):
            return nnx.Linear(SIZE, 1, param_dtype=jnp.bfloat16, rngs=rngs)

    with pytest.raises(ValueError, match="network: weight bias is bfloat16, expected float32"):
        make_loop(Half())


@pytest.mark.parametrize(("changes", "message"), [
    ({"steps": 0}, "steps: got 0, expected a number above 0"),
    ({"warmup": 12}, "warmup: got 12, expected less than the 12 steps"),
    ({"ema": 1.0}, "ema: got 1.0, expected a number from 0 to below 1"),
    ({"accumulate": 3}, "batch_size: got 16, expected a multiple of accumulate, 3"),
    ({"validation_size": 20}, "validation_size: got 20, expected a multiple of the micro-batch, 16"),
    ({"validate_every": 6}, "validate_every: got 6, expected a multiple of chunk, 4"),
    ({"patience": 1, "validation_size": 0}, "patience: got 1, expected 0, since validation_size is 0"),
    ({"learning_rate": math.nan}, "learning_rate: got nan, expected a number above 0"),
    ({"optimiser": "adam"}, "optimiser: got adam, expected one of adamw, adadelta, sgd"),
    ({"schedule": "plateau", "validation_size": 0}, "schedule: got plateau, expected another one, since"),
    ({"decay": 1.0}, "decay: got 1.0, expected a number between 0 and 1"),
    ({"seed": 2**32}, r"seed: got 4294967296, expected an integer below 2\*\*32"),
])
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        toy_config(**changes)


def test_the_defaults_are_settings_that_can_be():
    assert TrainConfig().micro == 32


def test_the_log_drops_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        for step in (1, 2, 3):
            log.write("train", step, {"loss": math.nan if step == 3 else 0.5})
    assert read_metrics(path)[-1] == {"kind": "train", "step": 3, "loss": "nan"}
    path.write_text(path.read_text() + '{"kind": "tra')
    with MetricsLog(path, step=2) as log:
        log.write("train", 4, {"loss": 0.1})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 4]
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2: got 'nonsense', expected a JSON object with a step"):
        MetricsLog(path, step=2)


@pytest.mark.parametrize(("option", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_what_is_not_installed_is_named(tmp_path, monkeypatch, option, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"need {package}: install giga\[{option}\]"):
        MetricsLog(tmp_path / "metrics.jsonl", **{option: True})


def test_weights_and_biases_without_a_network(tmp_path, monkeypatch):
    """Offline, the rows are in one run of the folder, also when it goes on."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    path = tmp_path / "finder" / "metrics.jsonl"
    path.parent.mkdir()
    for step in (0, 4):
        with MetricsLog(path, step, wandb=True) as log:
            log.write("train", step + 4, {"loss": 0.125, "text": "no number"})
    runs = sorted((path.parent / "wandb").glob("offline-run-*/*.wandb"))
    assert len({run.name for run in runs}) == 1
    assert b"train/loss" in runs[0].read_bytes() and b"0.125" in runs[0].read_bytes()
    assert [row["step"] for row in read_metrics(path)] == [4, 8]
