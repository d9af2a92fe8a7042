"""Devices and meshes, in processes of their own: eight CPU devices, and two processes that work as one."""

import socket

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _processes import devices, python, pythons

from giga.runtime.parallel import DeviceError, batched, cores, describe, mesh, start

EIGHT = devices(8)

SHARDED = """
    from giga.runtime.parallel import DeviceError, start
    assert len(start("cpu")) == 8, "devices chosen by the environment are kept"
    assert len(start("cpu", n_devices=3)) == 3
    try:
        start("cpu", n_devices=9)
    except DeviceError as error:
        print(error)
    import jax, jax.numpy as jnp, numpy as np
    from giga.runtime.parallel import batched, describe, mesh, partitioned, sharded
    assert len(jax.devices()) == 8 and describe() == "8 x cpu", describe()

    def one(scale, x, key):
        return {"y": jnp.sin(scale * x), "n": jax.random.normal(key), "sum": jnp.sum(x)}

    over = mesh()
    run, kept = (jax.jit(spread(batched(one, over), over)) for spread in (sharded, partitioned))
    for size in (1, 3, 8, 13, 16):
        x = jnp.arange(5.0 * size).reshape(size, 5)
        keys = jax.random.split(jax.random.key(0), size)
        found, plain = run(2.0, x, keys), jax.vmap(one, (None, 0, 0))(2.0, x, keys)
        for name in plain:
            assert found[name].shape == plain[name].shape, (name, size)
            np.testing.assert_allclose(found[name], plain[name], rtol=1e-6)
            np.testing.assert_array_equal(kept(2.0, x, keys)[name], found[name])
        if size == 8:
            assert found["y"].is_fully_replicated and not kept(2.0, x, keys)["y"].is_fully_replicated
            mapped = jax.pmap(one, in_axes=(None, 0, 0))(2.0, x, keys)
            for name in plain:
                np.testing.assert_allclose(found[name], mapped[name], rtol=1e-6)
            assert len(found["y"].sharding.device_set) == 8
    eager = sharded(jax.vmap(lambda x: 2.0 * x), over, 0)(jnp.arange(11.0))
    np.testing.assert_array_equal(eager, 2.0 * np.arange(11.0))
    half = mesh(jax.devices()[:4])
    np.testing.assert_array_equal(sharded(jax.vmap(lambda x: 2.0 * x), half, 0)(jnp.arange(7.0)), 2.0 * np.arange(7.0))
    """


def test_eight_devices():
    """They are kept where the environment made them, no more are found, and sharded equals plain and pmap on them."""
    assert python(SHARDED, bare=True, **EIGHT).strip() == "n_devices: 9 were asked for, but JAX sees only 8 x cpu"


FIT = """
    import sys
    import jax, numpy as np, numpyro.distributions as dist
    from _problems import blank, observe
    from giga.inference.pipeline import FitConfig, fit
    from giga.light import Sersic
    from giga.runtime.parallel import mesh
    from giga.lensing.scene import Scene

    jax.config.update("jax_enable_x64", True)
    truth = Scene(lens_light=[Sersic(amp=4.0, R_sersic=0.5, n_sersic=1.0)])
    observation = observe(truth, blank(size=14, pixel_scale=0.2))
    prior = Scene(lens_light=[Sersic(amp=dist.LogNormal(1.0, 0.5), R_sersic=dist.LogNormal(-0.7, 0.3), n_sersic=1.0,
                                     center_x=dist.Normal(0.0, 0.1))])
    config = FitConfig(derived=False, n_predictive=0,
                       n_screen=12, n_starts=6, n_finalists=6, map_rounds=2, vi_steps=4, vi_samples=12, n_chains=6,
                       n_block=40, n_pilot=1, min_iterations=40, max_iterations=40)
    results = []
    for devices in (jax.devices()[:1], jax.devices()):
        result = fit(prior, [observation], config=config, precision="float64", over=mesh(devices), seed=3)
        assert len(result.devices) == len(devices)
        results.append(result)
    first, second = results
    for name in first.samples:
        assert first.samples[name].shape == (6, 40)
        np.testing.assert_allclose(second.samples[name], first.samples[name], rtol=1e-6, atol=1e-8)
        assert first.best[name] == np.float64(second.best[name]) or abs(first.best[name] / second.best[name] - 1) < 1e-6
    """


@pytest.mark.slow
def test_a_fit_does_not_depend_on_the_number_of_devices():
    python(FIT, **EIGHT)


TWO = """
    import sys
    import jax, numpy as np
    from giga.runtime.parallel import AXIS, describe, mesh, on_host, partitioned, sharded, start_nodes
    start_nodes(sys.argv[1], 2, int(sys.argv[2]), 600.0)
    import jax.numpy as jnp
    assert jax.process_count() == 2 and len(jax.local_devices()) == 2 and len(jax.devices()) == 4
    over = mesh()
    assert over.devices.size == 4 and over.axis_names == (AXIS,)
    x = np.arange(30.0, dtype=np.float32).reshape(10, 3)  # ten over four devices: padded

    @jax.jit
    def total(x):
        return sharded(jax.vmap(lambda row: jnp.sum(row**2)), over, 0)(x).sum()

    for rows in (x, x[:8]):
        kept = on_host(jax.jit(partitioned(jax.vmap(lambda row: 2.0 * row), over, 0))(rows))
        np.testing.assert_array_equal(kept, 2.0 * rows)
    print(float(total(x)), describe())
    """


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def two_processes(code: str, *arguments: object, bare: bool = False) -> list[str]:
    address = f"127.0.0.1:{free_port()}"
    return pythons(code, [(address, k, *arguments) for k in range(2)], [devices(2)] * 2, bare)


def test_two_processes_work_as_one():
    expected = float(np.sum(np.arange(30.0) ** 2))
    assert [out.splitlines()[-1] for out in two_processes(TWO, bare=True)] == [f"{expected} 4 x cpu"] * 2


FIT_TWO = """
    import shutil, sys
    from pathlib import Path
    import jax, numpy as np, numpyro.distributions as dist
    from giga.runtime.parallel import everywhere, from_first, is_first, mesh, start_nodes
    launch = start_nodes(sys.argv[1], 2, int(sys.argv[2]), 600.0)
    jax.config.update("jax_enable_x64", True)
    from _problems import blank
    from giga.runtime.checkpoint import Store
    from giga.inference.pipeline import FitConfig, fit
    from giga.light import Sersic
    from giga.lensing.scene import Scene

    assert launch.process == jax.process_index() and is_first() == (launch.process == 0)
    assert everywhere("ab" * launch.process) == ["", "abab"[:2]]
    assert from_first(b"" if launch.process else b"xyz") == b"xyz" and from_first(b"") == b""
    blank = blank(size=14, pixel_scale=0.2)
    y, x = np.mgrid[:14, :14] - 6.5
    observation = blank.replace(image=np.exp(-0.1 * (x**2 + y**2)))
    prior = Scene(lens_light=[Sersic(amp=dist.LogNormal(1.0, 0.5), R_sersic=dist.LogNormal(-0.7, 0.3), n_sersic=1.0)])
    config = FitConfig(derived=False, n_predictive=0,
                       n_screen=8, n_starts=4, n_finalists=4, map_rounds=2, vi_steps=2, vi_samples=8, n_chains=4,
                       n_block=20, n_pilot=1, min_iterations=20, max_iterations=20)
    folder, told = Path(sys.argv[3]) / str(launch.process), []

    def run(over=None):
        store = Store(folder, "abc", 0.0)
        return fit(prior, [observation], config=config, seed=3, precision="float64", store=store, over=over,
                   report=lambda stage, numbers: told.append(numbers.get("note")))

    first = run()
    parts = sorted(folder.glob("part-*.json"))
    assert len(first.devices) == 4 and bool(parts) == is_first()  # process 1 keeps nothing
    if is_first():  # killed in the last block, and a part is damaged
        parts[-1].unlink()
        shutil.rmtree(parts[2].with_suffix(""))
    second = run()
    assert sum(note is not None for note in told) == is_first()
    shutil.rmtree(folder)
    alone = run(mesh(jax.local_devices()[:1]))
    assert len(alone.devices) == 1
    for name, values in first.samples.items():
        np.testing.assert_array_equal(second.samples[name], values)
        np.testing.assert_allclose(alone.samples[name], values, rtol=1e-7)
    print(*(repr(float(values.sum())) for values in first.samples.values()))
    """


@pytest.mark.slow
def test_a_fit_over_two_processes(tmp_path):
    """The samples of one process to rounding, the same in both; one of them writes, and both go on from it."""
    first, second = (out.splitlines()[-1] for out in two_processes(FIT_TWO, tmp_path))
    assert first == second


ABSENT = """
    from giga.runtime.parallel import DeviceError, start
    try:
        start("gpu")
    except DeviceError as error:
        print(error)
    """


def test_a_gpu_that_is_not_there():
    out = python(ABSENT, bare=True)
    assert out.startswith("devices: gpu was asked for, but JAX sees only ")
    assert " x cpu; install giga[gpu] on a machine with an NVIDIA driver, or ask for cpu" in out


CHOOSE = """
    import giga
    from giga.runtime.parallel import describe, start
    assert [d.platform for d in start("cpu", 3)] == ["cpu"] * 3
    assert describe() == "3 x cpu"
    """


def test_devices_can_be_chosen_after_the_import():
    python(CHOOSE)


def test_start_after_the_first_computation():
    jax.devices()
    assert start() == jax.devices()
    if jax.devices()[0].platform == "cpu":
        with pytest.raises(DeviceError, match="99 CPU devices were asked for after JAX had started with"):
            start("cpu", 99)


def test_an_unknown_platform():
    with pytest.raises(DeviceError, match="expected auto, cpu or gpu, got 'tpu'"):
        start("tpu")


def test_describe_and_cores():
    assert cores() >= 1
    device = jax.devices()[0]
    assert describe([device, device]) == f"2 x {device.device_kind}"


def test_batched_equals_vmap():
    over = mesh()
    x = jnp.arange(12.0).reshape(4, 3)
    found = batched(lambda scale, row: (scale * row, row.sum()), over)(3.0, x)
    np.testing.assert_allclose(found[0], 3.0 * x)
    np.testing.assert_allclose(found[1], x.sum(1))
