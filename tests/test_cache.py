"""Compiled programs kept between runs: where, how much, by several processes, and what the command line says."""

import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from _processes import BARE, environment, together
from jax.experimental.compilation_cache import compilation_cache
from rich.console import Console
from typer.testing import CliRunner

from giga.cli import app
from giga.runtime import cache
from giga.runtime.cache import enable_cache, kept

SETTINGS = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size", "jax_persistent_cache_min_compile_time_secs",
            "jax_persistent_cache_min_entry_size_bytes")
# A prior drawn from, a solver of LAPACK and a transform, with two CPU devices, as a fit has them. Prints a value, and
# how many programs were not found on disk. The second argument is a number of the prior.
RUN = f"{BARE}\n" + textwrap.dedent("""
    import sys
    import jax
    import jax.numpy as jnp
    import numpyro.distributions as dist
    from giga.bayes.prior import Prior, prior_draws
    from giga.lensing.scene import Scene
    from giga.mass import EPL
    from giga.runtime.cache import enable_cache
    enable_cache(sys.argv[1])
    jax.config.update("jax_num_cpu_devices", 2)
    seen = []
    jax.monitoring.register_event_listener(lambda event, **_: seen.append(event.rpartition("/")[2]))
    @jax.jit
    def one(prior, z):
        x = jax.vmap(prior.constrain)(z)
        return jnp.linalg.cholesky(x.T @ x + jnp.eye(2)).sum() + jnp.abs(jnp.fft.rfft2(x)).sum()
    prior = Prior.of(Scene(mass=[EPL(theta_E=dist.LogNormal(float(sys.argv[2]), 0.2),
                                     gamma=dist.TruncatedNormal(2.0, 0.25, low=1.2, high=2.8))]))
    value = float(one(prior, prior_draws(prior, jax.random.key(1), 8)))
    print(value, seen.count("compile_requests_use_cache") - seen.count("cache_hits"))
""")


@pytest.fixture
def settings():
    """JAX's settings without a cache, and as they were once the test is done: the tests keep programs of their own."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_compilation_cache_max_size", -1)
    compilation_cache.reset_cache()
    yield {name: getattr(jax.config, name) for name in SETTINGS}
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def runs(folder: Path, *numbers: float) -> list[tuple[float, int]]:
    """What processes beside each other computed, and how many programs each compiled; their error streams are empty."""
    found = []
    for code, out, errors in together(*[(sys.executable, "-c", RUN, folder, number) for number in numbers],
                                      envs=[environment()] * len(numbers)):
        assert code == 0 and not errors, errors
        value, missed = out.split()
        found.append((float(value), int(missed)))
    return found


def test_processes_share_a_folder_and_a_later_one_compiles_nothing(tmp_path):
    """Not even for another prior of the same structure."""
    first, second = runs(tmp_path, 0.2, 0.2)
    assert first[1] > 0 and first[0] == second[0]
    ((value, missed),) = runs(tmp_path, 0.7)
    assert missed == 0 and value > first[0]


@pytest.mark.parametrize(("variables", "expected"), [
    ({"GIGA_CACHE": "off"}, None),
    ({"GIGA_CACHE": "/there"}, Path("/there")),
    ({"GIGA_CACHE": "", "XDG_CACHE_HOME": "/caches"}, Path("/caches/giga")),
    ({"GIGA_CACHE": "", "XDG_CACHE_HOME": "relative", "HOME": "/home/her"}, Path("/home/her/.cache/giga")),
    ({"GIGA_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/home/her"}, Path("/home/her/.cache/giga")),
])
def test_where_programs_are_kept(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache._root(None) == expected
    assert cache._root("/given") == Path("/given")


def test_off_and_chosen_before(monkeypatch, settings, tmp_path):
    monkeypatch.setenv("GIGA_CACHE", "off")
    assert enable_cache() is None and kept().folder is None
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))  # as JAX's own variable does
    monkeypatch.setenv("GIGA_CACHE", str(tmp_path / "other"))
    assert enable_cache() == tmp_path and not (tmp_path / "other").exists()


def test_the_folder_stays_within_its_limit(settings, tmp_path):
    place = enable_cache(tmp_path, limit_gb=1e-5)
    assert place is not None and place.parent == tmp_path
    for k in range(12):
        jax.jit(lambda x, k=k: jnp.cumsum(x) + k)(jnp.arange(7.0))
    found = kept()
    assert found.folder == place and found.limit == 10_000
    assert 0 < found.programs < 12 and 0 < found.size <= found.limit
    with pytest.raises(ValueError, match="limit_gb: expected a positive number of gigabytes, got 0"):
        enable_cache(tmp_path, limit_gb=0.0)


def test_what_a_killed_process_left_is_removed(settings, tmp_path):
    place = enable_cache(tmp_path)
    assert place is not None
    for name in ("whole-cache", "whole-atime", "torn-cache"):
        (place / name).write_bytes(bytes(8))
    enable_cache(tmp_path)
    assert sorted(file.name for file in place.iterdir() if file.suffix == "") == [".lockfile", "whole-atime",
                                                                                  "whole-cache"]


def test_a_folder_that_cannot_be_used_changes_nothing(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        enable_cache(tmp_path / "file")
    assert {name: getattr(jax.config, name) for name in SETTINGS} == settings


def doctor(monkeypatch, place: Path | str, *words: str) -> tuple[str, str]:
    """What `giga doctor` prints with programs kept at a place: on its output, and on its error stream."""
    monkeypatch.setenv("GIGA_CACHE", str(place))
    monkeypatch.setattr("giga.cli.doctor.console", Console(width=300))
    result = CliRunner().invoke(app, ["doctor", *words])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_the_command_line_keeps_programs(monkeypatch, settings, tmp_path):
    (tmp_path / "file").write_text("")
    out, errors = doctor(monkeypatch, tmp_path / "file")
    assert "not kept between runs" in out
    assert errors.startswith("note: compiled programs are not kept: ") and errors.count("\n") == 1
    out, errors = doctor(monkeypatch, tmp_path / "file", "--no-cache")
    assert "not kept between runs" in out and not errors
    assert "not kept between runs" in doctor(monkeypatch, "off")[0]
    out, errors = doctor(monkeypatch, tmp_path / "here")
    assert str(kept().folder) in out and not errors
