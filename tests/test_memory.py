"""Batches that fit a device's memory; the CPU stands in for an accelerator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.runtime import parallel
from giga.runtime.calls import Alone, Program
from giga.runtime.memory import Fitting, MemoryNote, entries_that_fit, group_size, out_of_memory, tracing

SIDE = 64


@pytest.fixture
def accelerator(monkeypatch):
    """Entries go together, as on an accelerator."""
    monkeypatch.setattr(parallel, "one_by_one", lambda over: False)
    yield parallel.mesh(jax.devices()[:1])
    parallel.limit_memory(None)


def heavy(scale, x):
    """Needs SIDE^2 numbers an entry."""
    return jnp.sum(jnp.linalg.matrix_power(jnp.sin(scale * jnp.outer(x, x)) / SIDE, 3), 0)


def expected(x):
    return jax.vmap(heavy, (None, 0))(2.0, x)


def test_groups_are_even():
    with tracing(None) as seen:
        assert group_size(7) == 7
    assert seen == [7]
    with tracing(4):
        assert [group_size(n) for n in (3, 4, 5, 9, 16)] == [3, 4, 3, 3, 4]
    assert group_size(9) == 9


@pytest.mark.parametrize("fixed, each", [(0, 7), (1000, 7), (12345, 100), (0, 1)])
@pytest.mark.parametrize("limit", [1500, 13000, 99999])
def test_entries_that_fit_stay_within_the_limit(fixed, each, limit):
    found = entries_that_fit(8, fixed + 8 * each, 32, fixed + 32 * each, limit)
    assert found == 1 or fixed + found * each <= limit < fixed + (found + 1) * each


def test_memory_that_does_not_grow():
    assert entries_that_fit(8, 100, 32, 100, 100) == 32
    assert entries_that_fit(8, 100, 32, 100, 99) == 1


def used(program, x, most):
    """Bytes that a program needs, by the same analysis as `Fitting`."""
    return Fitting(program, lambda: None)._needed(jax.jit(lambda *a: program(*a)), (2.0, x), most)[0]


@pytest.mark.parametrize("share", [1.1, 0.6, 0.3, 0.08])
def test_a_program_is_kept_within_a_limit(accelerator, share):
    run = parallel.sharded(parallel.batched(heavy, accelerator), accelerator)
    x = np.random.default_rng(1).normal(size=(37, SIDE)).astype(np.float32)
    limit = int(share * used(run, x, None))
    parallel.limit_memory(1e-9 * limit)
    program = parallel.compiled(run, accelerator)
    assert isinstance(program, Fitting)
    if share > 1.0:
        found = program(2.0, x)
    else:
        with pytest.warns(MemoryNote, match="37 entries at a time need .* going on with"):
            found = program(2.0, x)
    ((_, most, _),) = program._known.values()
    assert (most is None) == (share > 1.0)
    assert used(run, x, most) <= 1.001 * limit
    np.testing.assert_allclose(found, expected(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(program(2.0, x), found)  # without another note


def test_out_of_memory_is_halved_with_a_note(accelerator):
    """The error is XLA's own: an array that no machine holds is asked for while more than five entries go together."""
    asked = []

    def program(x):
        def one(group):
            asked.append(group.shape[0])
            if group.shape[0] > 5:
                with jax.ensure_compile_time_eval():
                    jnp.zeros((1 << 55,), jnp.uint8).block_until_ready()
            return 2.0 * group

        together = parallel._in_groups(one, (x,))
        return together

    x = np.arange(20.0)
    fitting = Fitting(program, lambda: None)
    with pytest.warns(MemoryNote) as notes:
        np.testing.assert_array_equal(fitting(x), 2.0 * x)
    told = [str(note.message).split(" entries")[0] for note in notes]
    assert told == ["out of memory with 20", "out of memory with 10"]
    assert asked[0] == 20 and asked[-1] == 5
    count = len(asked)
    np.testing.assert_array_equal(fitting(x + 1.0), 2.0 * x + 2.0)
    assert len(asked) == count  # the program that fits is kept


@pytest.mark.parametrize("limit", [None, 1 << 60])
def test_out_of_memory_after_a_call_that_fitted_is_halved(accelerator, monkeypatch, limit):
    """A program is not traced again then, so the size of its batch must be known from before."""
    asked, calls = [], []

    class Second:
        """A jitted function that runs out of memory in the second of all calls."""

        def __init__(self, function):
            self.jitted = jax.jit(lambda x: function(x))
            self.lower = self.jitted.lower

        def __call__(self, x):
            calls.append(1)
            if len(calls) == 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes.")
            return self.jitted(x)

    def program(x):
        def one(group):
            asked.append(group.shape[0])
            return 2.0 * group

        return parallel._in_groups(one, (x,))

    monkeypatch.setattr(Fitting, "_compilable", lambda self: Second(self._function))
    fitting, x = Fitting(program, lambda: limit), np.arange(20.0)
    np.testing.assert_array_equal(fitting(x), 2.0 * x)
    assert set(asked) == {20}
    with pytest.warns(MemoryNote, match="out of memory with 20 entries at a time on a device; going on with 10"):
        np.testing.assert_array_equal(fitting(x + 1.0), 2.0 * x + 2.0)
    assert asked[-1] == 10
    count = len(asked)
    np.testing.assert_array_equal(fitting(x + 2.0), 2.0 * x + 4.0)
    assert len(asked) == count and len(calls) == 4


class Late:
    """An array that is not there yet: that the memory did not suffice is seen by whoever waits for it."""

    def block_until_ready(self):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes.")

    __array__ = block_until_ready


def test_out_of_memory_seen_when_a_result_is_fetched_is_halved(accelerator, monkeypatch):
    """A single fit waits inside of what guards the call, for every call and not for the first alone."""
    calls = []

    class Second:
        """A jitted function whose second result does not arrive."""

        def __init__(self, function):
            self.jitted = jax.jit(lambda *arguments: function(*arguments))
            self.lower = self.jitted.lower

        def __call__(self, *arguments):
            calls.append(1)
            return Late() if len(calls) == 2 else self.jitted(*arguments)

    monkeypatch.setattr(Fitting, "_compilable", lambda self: Second(self._function))
    double = parallel.spread(lambda held, own, x: held * x, accelerator)
    program = Program("double", Fitting(lambda held, slots, active, x: double(held, slots, active, None, x),
                                        lambda: None), lambda x: 0)
    call, held, x = Alone(accelerator), np.float32(2.0), np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(call(program, held, x), 2.0 * x)
    with pytest.warns(MemoryNote, match="out of memory with 6 entries at a time on a device; going on with 3"):
        np.testing.assert_array_equal(call(program, held, x + 1.0), 2.0 * x + 2.0)
    np.testing.assert_array_equal(call(program, held, x), 2.0 * x)
    assert len(calls) == 4


def test_an_entry_that_does_not_fit_alone_is_an_error():
    def program(x):
        with jax.ensure_compile_time_eval():
            jnp.zeros((1 << 55,), jnp.uint8).block_until_ready()
        return x[:group_size(len(x))]

    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        Fitting(program, lambda: None)(np.zeros(1))
    assert out_of_memory(raised.value)
    assert not out_of_memory(ValueError("RESOURCE_EXHAUSTED"))


def test_a_limit_is_the_users_or_the_devices(accelerator, monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 1000}

    class Over:
        local_devices = (Device(), Device())

    assert parallel.memory_limit(Over()) == 900
    parallel.limit_memory(2.0)
    assert parallel.memory_limit(Over()) == 2_000_000_000
    parallel.limit_memory(None)
    assert parallel.memory_limit(accelerator) is None  # a CPU does not tell
