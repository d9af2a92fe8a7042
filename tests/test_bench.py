"""The benchmark suite: what is timed and counted, the files, the table and the figure."""

import json
import stat
import time

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank
from rich.console import Console
from typer.testing import CliRunner

import giga.jobs.bench.suite
from giga.cli import app
from giga.inference.result import Result
from giga.io.errors import InputError
from giga.jobs.bench.energy import EnergyMeter
from giga.jobs.bench.measure import measure, peak_memory, significant
from giga.jobs.bench.plot import bench_figure
from giga.jobs.bench.stages import FUNCTIONS, SMOKE, evaluations, fits, of_result
from giga.jobs.bench.suite import FORMAT, Settings, read, run
from giga.jobs.bench.table import bench_table, fit_of
from giga.jobs.problems import Problem, simulate
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.runtime import parallel
from giga.runtime.environment import environment


def small(n: int = 2) -> list[Problem]:
    """Lenses of one free parameter on 12 x 12 pixels."""
    prior = Scene(lens_light=[Sersic(amp=dist.Normal(10.0, 2.0), R_sersic=0.5, n_sersic=1.0)])
    truths = [Scene(lens_light=[Sersic(amp=9.0 + k, R_sersic=0.5, n_sersic=1.0)]) for k in range(n)]
    observations = simulate(truths, blank(size=12, rms=0.3, ss=1), seed=1)
    return [Problem(f"small{k}", prior, (observation,), truth)
            for k, (observation, truth) in enumerate(zip(observations, truths, strict=True))]


def test_time_is_measured_with_compiling_apart():
    row = measure(jax.jit(lambda x: x @ x), np.ones((64, 64), np.float32), repeats=5, per=2)
    assert row["runs"] >= 3
    assert 0.0 < row["min_ms"] <= row["median_ms"]
    assert row["compile_s"] > 1e-3 * row["median_ms"]
    assert significant(123456.0, 2) == 120000.0


def test_the_environment_says_where_and_when():
    found = environment()
    assert found["devices"][0].startswith(jax.devices()[0].platform)
    assert found["versions"]["jax"] == jax.__version__ and found["date"].startswith("20")
    peak = peak_memory(jax.devices())
    held = np.ones(30_000_000)
    assert peak_memory(jax.devices())["bytes"] >= peak["bytes"] > 1e7 and held[0] == 1.0


def test_evaluations_are_timed_at_each_batch():
    said = []
    found = evaluations(small(2), parallel.mesh(jax.devices()[:1]), (1, 3), 4, 0.01, said.append)
    for name in ("forward", "value_and_gradient", "jacobian"):
        assert [row["total"] for row in found[name]] == [1, 3, 4]
        for row in found[name]:
            assert row["rate"] == pytest.approx(1e3 * row["total"] / row["median_ms"], rel=1e-3)
            assert row["rate_per_device"] == row["rate"]  # one device
    assert len(said) == 9
    assert "joules" in found["energy"]


def test_an_exhausted_memory_ends_the_larger_batches(monkeypatch):
    monkeypatch.setattr("giga.jobs.bench.stages.FUNCTIONS", {"forward": FUNCTIONS["forward"]})
    def run_times(compiled, *arguments, **_):
        if len(arguments[-1]) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return dict(median_ms=1.0)

    monkeypatch.setattr("giga.jobs.bench.stages.run_times", run_times)
    found = evaluations(small(1), parallel.mesh(jax.devices()[:1]), (1, 2, 4), 8, 0.01, lambda line: None)
    assert [row.get("failed") for row in found["forward"]] == [None, "out of memory"]


@pytest.mark.slow
def test_fits_are_timed_and_counted():
    over, said = parallel.mesh(jax.devices()[:1]), []
    (row,) = fits(small(1), over, ["hmc"], 1, SMOKE, said.append)
    assert set(row["timings_s"]) >= {"compile", "map", "svi", "hmc"}
    assert row["evaluations"]["map"] > 0 and row["seconds_to_target"] is None and not row["converged"]
    assert row["ess_per_gradient"] == pytest.approx(row["smallest_ess_bulk"] / row["evaluations"]["hmc"], rel=1e-3)
    (part,) = fits(small(1), over, ["map"], 1, SMOKE, said.append)
    assert part["until"] == "map" and 0.0 < part["wall_s"] < row["wall_s"]
    (fleet,) = fits(small(2), over, ["hmc"], 1, SMOKE, said.append)
    assert fleet["lenses"] == 2 and fleet["failed"] == []
    assert fleet["evaluations"]["map"] == 2 * row["evaluations"]["map"]
    json.dumps([row, part, fleet], allow_nan=False)


def test_what_is_no_number_is_none():
    result = Result(
        prior=Scene(), observations=[], scenes=[], best={}, samples={}, vi_samples={}, prior_samples={},
        sample_stats={}, log_likelihood=np.zeros(0), model_images=[], sigma_images=[], chi2=1.0, n_pixels=2, n_free=1,
        diagnostics={"a": {"rhat": float("nan"), "ess_bulk": 5.0}, "b": {"rhat": 1.0, "ess_bulk": 20.0}},
        timings_s={"compile": 1.0, "hmc": 2.0}, evaluations={"hmc": 50},
        info={"hmc": {"chains": 4, "divergences": 0, "converged": False}})
    row = of_result(result)
    assert (row["worst_rhat"], row["smallest_ess_bulk"], row["ess_per_second"]) == (None, 5.0, 2.5)
    assert row["ess_per_gradient"] == 0.1


class Device:
    """What the meter asks of a JAX device."""

    def __init__(self, platform: str, number: int = 0):
        self.platform, self.id, self.local_hardware_id = platform, number, number


def test_energy_of_a_cpu_is_that_of_its_counters(tmp_path):
    for zone, value in (("intel-rapl:0", 10_000_000), ("intel-rapl:1", 900), ("intel-rapl:0:0", 5)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{value}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("1000\n")
    with EnergyMeter([Device("cpu")], tmp_path) as meter:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("13000000\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("400\n")  # wrapped around
    assert meter.result["joules"] == pytest.approx(3.0 + 500e-6)
    with EnergyMeter([Device("cpu")], tmp_path / "none") as meter:
        pass
    assert meter.result["joules"] is None and "no RAPL counter" in meter.result["reason"]


@pytest.mark.parametrize(("script", "watts", "lines"), [
    ("while true; do echo 250.5; echo 349.5; sleep 0.05; done", 600.0, 8), ("echo Failed to initialize NVML", None, 1)])
def test_energy_of_a_gpu_is_what_its_driver_says(tmp_path, monkeypatch, script, watts, lines):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with EnergyMeter([Device("gpu", 0), Device("gpu", 1)]) as meter:
        while len(meter._meter._said) < lines:
            assert meter._meter._thread.is_alive() or lines == 1
            time.sleep(0.01)
    if watts is None:
        assert meter.result == {"joules": None, "reason": "nvidia-smi: Failed to initialize NVML"}
    else:
        assert meter.result["watts"] == pytest.approx(watts, rel=0.1)
        assert meter.result["joules"] == pytest.approx(meter.result["watts"] * meter.result["seconds"])


def made_row(problem: str = "demo60", count: int = 1, platform: str = "cpu", speed: float = 1.0,
             converged: bool = True, **devices) -> dict:
    """A row as a worker makes it."""
    sizes = (1, 16) if platform == "cpu" else (1, 16, 256, 4096)
    totals = sorted({size * count for size in sizes} | {-(-64 // count) * count})

    def rates(scale):
        return [dict(per_device=t // count, total=t, compile_s=1.0, median_ms=1.0,
                     rate=scale * speed * count**0.9 * (t / count) ** 0.2,
                     rate_per_device=scale * speed * count**-0.1 * (t / count) ** 0.2) for t in totals]

    slow = {"demo60": 1.0, "foundry128": 8.0, "fleet": 2.0}[problem]
    fit = dict(timings_s=dict(compile=12.0, map=2.0 * slow / speed, svi=1.0 * slow / speed, hmc=9.0 * slow / speed,
                              evidence=0.37),
               evaluations=dict(map=4000, svi=1000, hmc=24000), worst_rhat=1.006 if converged else None,
               smallest_ess_bulk=2400.0, ess_per_second=270.0 * speed / slow, ess_per_gradient=0.1 / slow**0.5,
               converged=converged, wall_s=24.0, memory=dict(bytes=2**30, of="test"))
    return dict(problem=problem, lenses=1, parameters=22, pixels=3600,
                devices=dict(dict(count=count, platform=platform, kind="cpu", simulated=platform == "cpu", cores=2,
                                  oversubscribed=platform == "cpu" and count > 2), **devices),
                environment=dict(cpu="AMD EPYC", cores=2, load_1min=0.3),
                eval=dict(strong_total=64, forward=rates(2500.0 / slow), value_and_gradient=rates(900.0 / slow),
                          jacobian=rates(300.0 / slow), memory=dict(bytes=2**29, of="test"),
                          energy=dict(joules=1.0, joules_per_gradient=0.004)), fits=[fit])


def made_rows() -> list[dict]:
    cpu = [made_row(problem, count, converged=problem != "foundry128") for problem in ("demo60", "foundry128", "fleet")
           for count in (1, 2, 4)]
    return [*cpu, *(made_row(problem, 1, "gpu", 200.0, kind="NVIDIA H200") for problem in ("demo60", "foundry128"))]


def write(path, rows, **changes):
    path.write_text(json.dumps(dict(format=FORMAT, settings=dict(smoke=False), rows=rows) | changes))
    return path


def call(*words: object):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def test_table_and_figure_hold_every_row(tmp_path):
    first, second = write(tmp_path / "a.json", made_rows()[:9]), write(tmp_path / "b.json", made_rows()[9:])
    rows = read([first, second])
    console = Console(width=200, record=True)
    console.print(bench_table(rows))
    text = console.export_text()
    assert text.count("demo60") == 4 and "1 x NVIDIA H200" in text and "AMD EPYC, 4 devices on 2 cores" in text
    assert "simulated" in text and "0.004" in text
    figure = bench_figure(rows)
    rate, times, worth, scaling = figure.axes
    assert len(rate.lines) == 5  # the fewest devices of each problem and machine
    assert len(times.get_yticklabels()) == len(worth.lines) == 11
    assert len(scaling.lines) == 2 * 3 + 1
    shown = call(first, second, "--table", "--plot", tmp_path / "out.png")
    assert shown.exit_code == 0 and "foundry128" in shown.output
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"


def test_every_stage_of_a_fit_is_in_table_and_figure():
    row = made_row()
    console = Console(width=200, record=True)
    console.print(bench_table([row]))
    head, text = console.export_text().split("demo60")
    assert head.split().count("ln") == 1 and text.splitlines()[0].split()[-10:-6] == ["2", "1", "9", "0.37"]
    times = bench_figure([row]).axes[1]
    assert sum(bar.get_width() for bar in times.patches) == pytest.approx(sum(row["fits"][0]["timings_s"].values()))
    assert [text.get_text() for text in times.get_legend().get_texts()][-1] == "evidence"
    assert len(bench_table([{key: value for key, value in row.items() if key != "fits"}]).columns) == 17


def test_the_fit_that_stands_for_a_row_has_not_paid_for_compiling():
    row = made_row()
    row["fits"] = [row["fits"][0] | dict(wall_s=wall) for wall in (30.0, 9.0, 11.0, 10.0)]
    assert fit_of(row)["wall_s"] == 10.0
    assert fit_of(row | dict(fits=row["fits"][:1]))["wall_s"] == 30.0
    assert fit_of(row | dict(fits=[dict(until="map", wall_s=3.0)])) is None


def test_a_row_of_one_stage_is_shown():
    alone = {key: value for key, value in made_row().items() if key != "fits"}
    fitted = {key: value for key, value in made_row().items() if key != "eval"}
    console = Console(width=200, record=True)
    console.print(bench_table([alone, fitted]))
    assert console.export_text().count("demo60") == 2
    assert len(bench_figure([alone, fitted]).axes) == 4


def test_the_suite_runs_each_problem_on_each_number_of_devices(tmp_path, monkeypatch):
    jobs = []

    def work(job):
        jobs.append((job["problem"], job["devices"]))
        return made_row(job["problem"], job["devices"] or 1)

    monkeypatch.setattr(giga.jobs.bench.suite, "_work", work)
    assert call("demo60", "fleet", "--devices", "1,4", "--out", tmp_path / "b.json").exit_code == 0
    assert jobs == [("demo60", 4), ("demo60", 1), ("fleet", 4), ("fleet", 1)]
    assert [row["problem"] for row in read([tmp_path / "b.json"])] == ["demo60", "demo60", "fleet", "fleet"]
    assert len([held for held in run(Settings(problems=["demo60"]))]) == 1


@pytest.mark.parametrize(("words", "message"), [
    (["demo61"], "nearest: 'demo60'"), (["--stages", "eval,hcm"], "nearest: 'hmc'"), (["--devices", "a"], "got 'a'"),
    (["--devices", "0"], "--devices: got 0"), (["--repeat", "0"], "--repeat: got 0"), (["--lenses", "1"], "2 or more"),
    (["--table"], "no file"), (["none.json", "--table"], "no such file"), (["--out", "none/b.json"], "no folder none")])
def test_bad_input_is_one_line(words, message):
    result = call(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_files_of_others_are_refused(tmp_path):
    with pytest.raises(InputError, match="format: got 'other'"):
        read([write(tmp_path / "a.json", [], format="other")])
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(InputError, match="format: got None"):
        read([tmp_path / "b.json"])


@pytest.mark.slow
def test_a_worker_does_a_job_in_a_process_of_its_own(tmp_path):
    result = call("demo60", "--stages", "eval", "--devices", "2", "--smoke", "--out", tmp_path / "b.json")
    assert result.exit_code == 0, result.output
    (row,) = read([tmp_path / "b.json"])
    assert row["devices"]["count"] == 2 and row["devices"]["simulated"] and row["parameters"] == 22
    assert [r["total"] for r in row["eval"]["jacobian"]] == [2]
