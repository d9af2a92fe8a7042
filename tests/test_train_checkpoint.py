"""Checkpoints of training: the run that goes on is the unbroken one, bit for bit, and nothing else is gone on from."""

import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _toy import ToyConfig, ToyTask, toy_config

from giga.models.training.config import optimiser, schedule
from giga.models.training.loop import Loop
from giga.models.training.metrics_log import read_metrics
from giga.models.training.state import nothing_yet, start
from giga.models.training.train import run_identity as identity
from giga.models.training.train import train
from giga.runtime.checkpoint import CheckpointError, ForeignCheckpoint, Store
from giga.runtime.parallel import mesh

TASK, CONFIG = ToyTask(), toy_config()  # 12 steps in chunks of 4, a checkpoint after each


class Killed(Exception):
    """What ends a run from outside."""


def run(folder, task=TASK, config=CONFIG, **options):
    return train(task, config, folder, over=mesh(jax.devices()[:1]), **options)


def killed(folder, step, **options):
    def report(row):
        if row["kind"] == "train" and row["step"] == step:
            raise Killed

    with pytest.raises(Killed):
        run(folder, report=report, **options)


def numbers(folder):
    """The rows of metrics without what the clock says."""
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] in ("train", "validation")]
    return [{name: value for name, value in row.items() if name != "images_per_s"} for row in rows]


def same(found, expected):
    """Equal to the bit: state of the step and of the best validation."""
    for a, b in zip(jax.tree.leaves((found.state, found.best)), jax.tree.leaves((expected.state, expected.best)),
                    strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return run(folder), folder


def damage(folder, step):
    """Turn around one byte of each large file of a checkpoint."""
    files = [path for path in (folder / "checkpoint" / f"step-{step:09d}").rglob("*") if path.is_file()]
    for path in files:
        content = bytearray(path.read_bytes())
        if content:
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(bytes(content))
    assert files


def test_a_run_that_goes_on_is_the_unbroken_one(tmp_path, unbroken):
    """Killed in the third chunk: the second's row and state are kept, what the third wrote is dropped."""
    expected, folder = unbroken
    killed(tmp_path, 12)
    assert [row["step"] for row in numbers(tmp_path)] == [4, 8, 8, 12]
    same(run(tmp_path, resume=True), expected)
    assert numbers(tmp_path) == numbers(folder)


def test_a_run_with_plateaus_and_patience_goes_on_as_the_unbroken_one(tmp_path):
    """The factor of the learning rate and the validations that were waited are in the state."""
    config = toy_config(optimiser="adadelta", schedule="plateau", plateau=1, decay=0.1, learning_rate=1e3, warmup=0,
                        steps=48, validate_every=4, patience=2)
    expected = run(tmp_path / "unbroken", config=config)
    rates = [row["learning_rate"] for row in numbers(tmp_path / "unbroken") if row["kind"] == "train"]
    assert expected.stopped_early and min(rates) < 1e3, "else nothing is tested"
    killed(tmp_path / "broken", 4 * (len(rates) - 1), config=config)
    same(run(tmp_path / "broken", config=config, resume=True), expected)
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "unbroken")
    best = min((row for row in numbers(tmp_path / "unbroken") if row["kind"] == "validation"),
               key=lambda row: row["fixed_loss"])
    assert int(expected.best.step) == best["step"] < int(expected.state.step)


def test_ctrl_c_saves_the_step_that_it_has_reached(tmp_path, unbroken, monkeypatch):
    """In the sixth step, the second of its chunk: nothing of it is lost, and the run goes on to the same bits."""
    expected, _ = unbroken
    made, calls = Loop._program, []

    def program(self, steps, simulated):
        def called(*arguments):
            calls.append(0)
            if len(calls) == 6:
                signal.raise_signal(signal.SIGINT)
            return made(self, steps, simulated)(*arguments)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_program", program)
        with pytest.raises(KeyboardInterrupt, match="the state after step 6 is saved as step-000000006"):
            run(tmp_path)
    assert len(calls) == 6 and [row["step"] for row in numbers(tmp_path)] == [4, 6]
    same(run(tmp_path, resume=True), expected)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_that_uses_scenes_again_goes_on_as_the_unbroken_one(tmp_path):
    """What a chunk's scenes are follows from its steps: no checkpoint holds them."""
    config = toy_config(reuse=4)
    expected = run(tmp_path / "unbroken", config=config)
    killed(tmp_path / "broken", 12, config=config)
    same(run(tmp_path / "broken", config=config, resume=True), expected)
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "unbroken")


def test_a_run_that_is_done_is_left_as_it_is(unbroken):
    expected, folder = unbroken
    before = numbers(folder)
    same(run(folder, resume=True), expected)
    assert numbers(folder) == before


def test_the_last_few_are_kept(unbroken):
    _, folder = unbroken
    store = Store(folder / "checkpoint", identity(TASK, CONFIG))
    assert store.names("step-") == ["step-000000008", "step-000000012"]
    assert not (folder / "checkpoint" / "step-000000004").exists()


def test_a_damaged_one_is_refused_and_the_one_before_is_used(tmp_path, unbroken):
    expected, _ = unbroken
    killed(tmp_path, 12)
    damage(tmp_path, 8)
    rows = []
    same(run(tmp_path, resume=True, report=rows.append), expected)
    assert rows[0]["kind"] == "note" and rows[0]["step"] == 4
    assert "step-000000008: damaged checkpoint" in rows[0]["text"]
    damage(tmp_path, 8)
    damage(tmp_path, 12)
    with pytest.raises(CheckpointError, match="checkpoint: all 2 checkpoints are damaged"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(("task", "config"), [
    (TASK, toy_config(learning_rate=0.02)), (TASK, toy_config(seed=1)), (replace(TASK, config=ToyConfig(5)), CONFIG),
])
def test_one_of_another_configuration_is_refused(unbroken, task, config):
    _, folder = unbroken
    with pytest.raises(ForeignCheckpoint, match="belongs to other data or another configuration"):
        run(folder, task, config, resume=True)


@pytest.mark.parametrize("at", [12, 8, 6], ids=["that had ended", "that was cut short", "of steps that end in a chunk"])
def test_a_run_goes_on_with_more_steps(tmp_path, unbroken, at):
    """The rates of the steps that were made stay; those that follow are of a run of 20 steps."""
    expected, folder = unbroken
    first = replace(CONFIG, steps=6, validate_every=6, checkpoint_every=8) if at == 6 else CONFIG
    longer = replace(first, steps=20, validate_every=20 if at == 6 else CONFIG.validate_every)
    first = replace(first, validate_every=longer.validate_every)
    if at == 8:
        killed(tmp_path, 12, config=first)
    else:
        run(tmp_path, config=first)
    before, rows = numbers(tmp_path), []
    result = run(tmp_path, config=longer, resume=True, report=rows.append)
    assert int(result.state.step) == 20
    assert rows[0]["text"] == (f"the run of {first.steps} steps goes on after step {at} with the learning rate of one "
                               "of 20")
    after = numbers(tmp_path)
    kept = [row for row in before if row["step"] <= at]
    assert after[:len(kept)] == kept
    made = [row for row in after if row["kind"] == "train"]
    assert [row["step"] for row in made] == [*range(4, at, 4), *sorted({at, *range(at - at % 4 + 4, 21, 4)})]
    for row in made:
        whole = schedule(first if row["step"] <= at else longer)
        assert row["learning_rate"] == pytest.approx(float(whole(row["step"] - 1)), rel=1e-6)
    same(run(tmp_path, config=longer, resume=True), result)  # and is then as any other
    with pytest.raises(ForeignCheckpoint, match="train.steps: got 12, expected at least the 20"):
        run(tmp_path, config=replace(longer, steps=12), resume=True)


def test_a_run_that_goes_on_goes_on_again_when_it_is_killed(tmp_path):
    longer = replace(CONFIG, steps=20)
    run(tmp_path / "one")
    expected = run(tmp_path / "one", config=longer, resume=True)
    run(tmp_path / "two")
    killed(tmp_path / "two", 20, config=longer, resume=True)
    same(run(tmp_path / "two", config=longer, resume=True), expected)
    assert numbers(tmp_path / "two") == numbers(tmp_path / "one")


def test_patience_that_has_ended_begins_anew_with_more_steps(tmp_path):
    config = toy_config(patience=1, learning_rate=1e-12, warmup=0, ema=0.0)
    stopped = run(tmp_path, config=config)
    assert stopped.stopped_early
    assert int(run(tmp_path, config=replace(config, steps=40), resume=True).state.step) > int(stopped.state.step)


def test_a_refusal_names_what_has_changed(unbroken):
    _, folder = unbroken
    with pytest.raises(ForeignCheckpoint) as caught:
        run(folder, config=toy_config(learning_rate=0.02), resume=True)
    assert caught.value.changes == (f"train.learning_rate: {CONFIG.learning_rate} -> 0.02",)


def test_how_a_run_is_kept_may_change():
    assert identity(TASK, CONFIG) == identity(TASK, toy_config(keep=5, checkpoint_every=8, measure_rates=True))
    assert identity(TASK, CONFIG) != identity(TASK, toy_config(ema=0.8))
    assert identity(TASK, CONFIG) != identity(TASK, toy_config(reuse=2))


def test_a_folder_with_a_run_is_not_written_over(unbroken):
    _, folder = unbroken
    with pytest.raises(ValueError, match="holds a run; go on with resume, or choose another folder"):
        run(folder)


def test_a_loss_that_is_not_finite_stops_with_the_state_before_it(tmp_path, unbroken):
    """The brightest example of the first four steps is the brightest allowed."""
    _, folder = unbroken
    steps = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(CONFIG.seed), s))(jnp.arange(12))
    keys = jax.vmap(lambda k: jax.vmap(lambda i: jax.random.fold_in(k, i))(jnp.arange(CONFIG.batch_size)))(steps)
    brightest = np.asarray(jax.vmap(jax.vmap(TASK.example))(keys)["flux"]).max(1)
    bad = int(np.argmax(brightest > brightest[:4].max()))
    assert 4 <= bad < 8
    task = ToyTask(poison=float(brightest[:4].max()))
    message = rf"step {bad + 1}: not finite \(.*loss nan.*\); the state after step 4 is saved as step-000000004"
    with pytest.raises(FloatingPointError, match=message):
        run(tmp_path, task)
    _, state = start(task, CONFIG, optimiser(CONFIG))
    store = Store(tmp_path / "checkpoint", identity(task, CONFIG))
    saved, _ = store.load("step-000000004", (state, nothing_yet(state)))
    assert int(saved[0].step) == 4 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved[0]))
    assert numbers(tmp_path) == numbers(folder)[:1]
