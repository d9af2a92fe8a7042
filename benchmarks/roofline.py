"""Operations and bytes of one value and gradient, what a device can do at most, and what it does.

Counts are those of XLA's cost analysis of the compiled program, but for the Fourier transforms, and to check them
those of the main terms by hand. Peaks are measured: a matrix product, multiply-adds and elementary functions in
cache, and a triad in memory; on a CPU all on one core, as one device of a fit is. --counts leaves out every timing,
for a machine that is busy. --markdown writes the tables of docs/performance.md from the JSON, and runs nothing.
"""

import json
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import HERE, parser, write

from giga.bayes.posterior import Posterior
from giga.bayes.prior import values_of
from giga.imaging.render import sampling
from giga.jobs.bench.measure import compile_apart, run_times, significant
from giga.jobs.bench.stages import FUNCTIONS
from giga.jobs.problems import demo60, foundry128, gigalens80
from giga.light import Sersic, Shapelets
from giga.mass.epl import SERIES
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.parallel import batched

FITS, ON_H200, FOUNDRY = (HERE / "results" / f"{name}.json" for name in ("fits", "h200", "foundry_h200"))
TABLES = HERE.parent / "docs" / "roofline.md"
H200 = dict(flops=67e12, bytes_per_second=4.8e12)  # data sheet: float32 outside tensor cores, HBM3e
# CUDA C++ Programming Guide, arithmetic throughput, compute capability 9.0: 128 float32 multiply-adds, which are 256
# operations, or 16 special functions a clock and multiprocessor.
OPERATIONS_PER_FUNCTION = 16
CHAIN = 64


def peaks(on_cpu: bool, budget: float) -> dict[str, float]:
    """Rates that nothing in float32 exceeds here: operations, elementary functions and bytes a second."""
    side, small, large = (1024, 2**14, 2**24) if on_cpu else (8192, 2**24, 2**28)
    out = {}

    def seconds(function, *arguments) -> float:
        compiled, _ = compile_apart(jax.jit(function), *arguments)
        return 1e-3 * run_times(compiled, *arguments, repeats=50, budget=budget)["min_ms"]

    a = jnp.ones((side, side), jnp.float32)
    out["matmul_flops"] = 2.0 * side**3 / seconds(lambda a: jnp.matmul(a, a, precision="highest"), a)
    x = jnp.linspace(0.1, 0.9, small, dtype=jnp.float32)

    def chain(step):
        def function(x, b):
            return jax.lax.fori_loop(0, CHAIN, lambda _, y: step(step(step(step(y, b), b), b), b), x)
        return small * 4 * CHAIN / seconds(function, x, jnp.float32(0.7))

    out["multiply_add_flops"] = 2.0 * chain(lambda y, b: y * b + b)
    for name, step in dict(exp=lambda y, b: jnp.exp(-y), log=lambda y, b: jnp.log(y + 1.5)).items():
        out[f"{name}_per_second"] = chain(step)
    for name, size in (("memory", large), ("cache", small)):
        b, c = jnp.ones(size, jnp.float32), jnp.ones(size, jnp.float32)
        sweeps = max(4, 2**20 // size)

        def triad(b, c, sweeps=sweeps):
            return jax.lax.fori_loop(0, sweeps, lambda _, b: 0.5 * b + c, b)

        out[f"{name}_bytes_per_second"] = 12.0 * size * sweeps / seconds(triad, b, c)
    return {key: significant(value, 4) for key, value in out.items()}


def counted(lowered) -> dict[str, float]:
    """Operations, elementary functions and bytes of a program, as traced and as compiled.

    The compiler repeats operations where that spares a trip through memory, so that the compiled program has more
    of them and touches fewer bytes. XLA takes the product of the logarithms of a transform's sides where their sum
    belongs: transforms, all real here, are counted anew, with 2.5 N log2 N operations.
    """
    compiled = lowered.compile()
    memory, out = compiled.memory_analysis(), {}
    for name, stage, text in (("traced", lowered, lowered.as_text(dialect="hlo")),
                              ("compiled", compiled, compiled.as_text())):
        theirs, ours, number = 0.0, 0.0, 0
        for kind, lengths, shape in transforms(text):
            batch, points = int(np.prod(shape[:-len(lengths)], initial=1)), int(np.prod(lengths))
            seen = points if kind == "RFFT" else points // lengths[-1] * (lengths[-1] // 2 + 1)  # of its input
            theirs += 8.0 * np.prod([np.floor(np.log2(n)) for n in lengths]) * batch * seen
            ours += 2.5 * batch * points * np.log2(points)
            number += batch
        cost = stage.cost_analysis()
        out[name] = dict(operations=cost["flops"] - theirs + ours, functions=cost["transcendentals"],
                         bytes=cost["bytes accessed"], transforms=number)
    return out | dict(arguments=memory.argument_size_in_bytes, temporary=memory.temp_size_in_bytes)


def transforms(text: str) -> list[tuple[str, list[int], list[int]]]:
    """Kind, lengths and shape of the result of each Fourier transform in a compiled program."""
    found = re.findall(r"= \w+\[([\d,]*)\]\S* fft\(.*?fft_type=(\w+), fft_length=\{([\d,]+)\}", text)
    return [(kind, [int(n) for n in lengths.split(",")], [int(n) for n in shape.split(",")])
            for shape, kind, lengths in found]


def by_hand(posterior: Posterior, scene) -> dict[str, float]:
    """The main terms of value and gradient, operations, from the formulas of the profiles.

    A multiply-add is two. Reverse mode through a formula costs about twice the formula more; that of the
    EPL's series takes two more polynomials instead. What is solved is solved without derivatives.
    """
    (data,) = posterior.data
    s, pixels = data.convolution.supersampling, data.image.size
    padded = int(np.prod(data.convolution.padded))
    out = dict(epl=0.0, sersic=0.0, shapelets=0.0, transforms=0.0, linear=0.0, likelihood=3.0 * 12.0 * pixels)
    columns = sum(profile.n_amp for profile in scene.light if profile.is_linear)
    rays = pixels * s**2
    terms = scene.mass[0].terms or SERIES  # what the priors of the problems allow
    out["epl"] = rays * (12.0 * terms + 3.0 * 40.0) + rays * 3.0 * 8.0
    if columns:  # traced once more for the basis, without derivatives
        out["epl"] += rays * (4.0 * terms + 40.0 + 8.0)
    for profile in scene.light:
        points = pixels * sampling(profile, s) ** 2
        passes = 3.0 + bool(columns and profile.is_linear)
        if isinstance(profile, Sersic):
            out["sersic"] += passes * points * 20.0
        if isinstance(profile, Shapelets):
            orders = profile.n_max + 1
            out["shapelets"] += passes * points * (2.0 * 4.0 * orders + 2.0 * profile.n_amp + 2.0 * orders)
    one = 2.5 * padded * np.log2(padded)
    out["transforms"] = one * (s**2 + 1) * (2 + columns)  # forward, its transpose, and each column
    out["linear"] = 2.0 * columns**2 * pixels + 4.0 * columns * pixels + columns**3 / 3.0
    return {name: float(value) for name, value in out.items()} | dict(total=float(sum(out.values())))


def problem_row(problem, on_cpu: bool, timed: bool, budget: float) -> dict:
    """Counts, and the time of one of a batch, of a problem."""
    posterior = Posterior.of(problem.prior, problem.observations)
    z = posterior.prior.vector(values_of(problem.prior, problem.truth))
    function = FUNCTIONS["value_and_gradient"]
    lowered = jax.jit(function).lower(posterior, z)
    row = dict(problem=problem.name.removesuffix("_0"), parameters=posterior.prior.size, counts=counted(lowered),
               by_hand=by_hand(posterior, problem.prior))
    if timed and on_cpu:
        row["seconds"] = 1e-3 * run_times(lowered.compile(), posterior, z, repeats=200, budget=budget)["median_ms"]
    elif timed:
        count = 1024
        over = parallel.mesh(jax.devices()[:1])
        many = jnp.tile(z, (count, 1))
        compiled, _ = compile_apart(jax.jit(batched(function, over)), posterior, many)
        row["seconds"] = 1e-3 * run_times(compiled, posterior, many, budget=budget)["median_ms"] / count
    return row


def markdown(held: dict) -> str:
    """The tables of the documentation."""
    found, environment = held["results"], held["environment"]
    peak, rows = found["peaks"], found["problems"]
    names = {"epl": "EPL and shear", "sersic": "Sersics", "shapelets": "shapelets", "transforms": "Fourier transforms",
             "linear": "normal equations", "likelihood": "likelihood"}
    out = ["| one value and gradient | " + " | ".join(row["problem"] for row in rows) + " |",
           "|---|" + "---|" * len(rows)]

    def line(title: str, values: list[str]) -> None:
        out.append(f"| {title} | " + " | ".join(values) + " |")

    line("parameters", [str(row["parameters"]) for row in rows])
    line("operations of the formulas, by hand [million]", [f"{1e-6 * row['by_hand']['total']:.3g}" for row in rows])
    for key, title in names.items():
        line(f"- {title}", [f"{1e-6 * row['by_hand'][key]:.3g}" for row in rows])
    for stage in ("traced", "compiled"):
        for key, title in (("operations", "operations [million]"), ("functions", "elementary functions [million]"),
                           ("bytes", "bytes touched [MB]")):
            line(f"{title}, as {stage}", [f"{1e-6 * row['counts'][stage][key]:.3g}" for row in rows])
    line("data and kernels [MB]", [f"{1e-6 * row['counts']['arguments']:.3g}" for row in rows])
    line("intermediate arrays [MB]", [f"{1e-6 * row['counts']['temporary']:.3g}" for row in rows])
    out += ["", f"### On one device of {environment['devices'][0].partition(':')[2]} ({environment['cpu']})", ""]
    if peak is None:
        out += ["Not measured yet: the counts were made on a machine that was busy. `benchmarks/roofline.py` measures."]
    else:
        out += ["| peak, measured | |", "|---|---|"]
        for key, title, unit in (("matmul_flops", "matrix product", "GFLOP/s"),
                                 ("multiply_add_flops", "multiply-adds in cache", "GFLOP/s"),
                                 ("exp_per_second", "exponentials", "G/s"), ("log_per_second", "logarithms", "G/s"),
                                 ("cache_bytes_per_second", "triad in cache", "GB/s"),
                                 ("memory_bytes_per_second", "triad in memory", "GB/s")):
            line(title, [f"{1e-9 * peak[key]:.3g} {unit}"])
        out += ["", "| | " + " | ".join(row["problem"] for row in rows) + " |", "|---|" + "---|" * len(rows)]
        limits = [limit_of(row["counts"], peak) for row in rows]
        line("limit by operations [ms]", [f"{1e3 * one['operations']:.3g}" for one in limits])
        line("limit by bytes, from cache [ms]", [f"{1e3 * one['bytes']:.3g}" for one in limits])
        line("measured [ms]", [f"{1e3 * row['seconds']:.3g}" for row in rows])
        line("achieved GFLOP/s", [f"{1e-9 * row['counts']['compiled']['operations'] / row['seconds']:.3g}"
                                  for row in rows])
        line("share of the limit", [f"{max(one.values()) / row['seconds']:.0%}"
                                    for one, row in zip(limits, rows, strict=True)])
    out += ["", "### On one NVIDIA H200: estimate, and what was measured", "",
            f"Two numbers of its data sheet, {1e-12 * H200['flops']:.0f} TFLOP/s in float32 and "
            f"{1e-12 * H200['bytes_per_second']:.1f} TB/s, and {OPERATIONS_PER_FUNCTION} operations for an elementary "
            "function (the ratio of their throughputs).", "",
            "| | " + " | ".join(row["problem"] for row in rows) + " |", "|---|" + "---|" * len(rows)]
    limits = [limit_of(row["counts"], None) for row in rows]
    line("limit by operations [microseconds]", [f"{1e6 * one['operations']:.3g}" for one in limits])
    line("limit by bytes, all from memory [microseconds]", [f"{1e6 * one['bytes']:.3g}" for one in limits])
    line("limit by operations, gradients a second", [rounded(1.0 / one["operations"]) for one in limits])
    line("limit by bytes, gradients a second", [rounded(1.0 / one["bytes"]) for one in limits])
    return "\n".join([*out, *goals({row["problem"]: one for row, one in zip(rows, limits, strict=True)})]) + "\n"


def goals(limits: dict[str, dict[str, float]]) -> list[str]:
    """What is wanted of a GPU, beside what the two limits allow."""
    fits = json.loads(FITS.read_text())["results"]
    gradients = float(np.median([sum(row["evaluations"].values()) for row in fits]))
    worth = float(np.median([row["smallest_ess_bulk"] / row["evaluations"]["hmc"] for row in fits]))

    def span(problem: str, count: float, kind: str) -> str:
        seconds = {key: count * value for key, value in limits[problem].items()}
        values = (1.0 / seconds[key] if kind == "rate" else seconds[key] for key in ("operations", "bytes"))
        return " by operations, ".join(map(rounded, values)) + " by bytes"

    on_h200 = json.loads(ON_H200.read_text())["results"]
    sampled = [row for row in json.loads(FOUNDRY.read_text())["results"]["trail"] if row["stage"] == "hmc"]
    begun, last = sampled[0], sampled[-1]
    row = on_h200["demo60"]["value_and_gradient"][0]
    gradient = f"{rounded(row['rate'])} in batches of {row['entries']:,}"
    worth_a_second = last["ess"] / (last["wall_s"] - begun["wall_s"])
    return [
        "", f"A fit is taken as {rounded(gradients)} gradients and a gradient of HMC as {worth:.2f} effective samples, "
        "medians of `benchmarks/results/fits.json`; whole times count gradients alone, neither compiling nor the host.",
        "", "| one NVIDIA H200 | reach | limit, estimated | measured |", "|---|---|---|---|",
        f"| `demo60`, gradients a second | 1,000,000 | {span('demo60', 1.0, 'rate')} | {gradient} |",
        f"| `foundry128`, ESS a second of HMC | 1,000 | {span('foundry128', 1.0 / worth, 'rate')} | "
        f"{rounded(worth_a_second)}, 64 chains |",
        f"| `foundry128` to ESS 10,000 [s] | 60 | {span('foundry128', 1e4 / worth, 'time')} | "
        f"{last['wall_s']:.0f}, compiled before |",
        f"| 60 lenses like `gigalens80` to ESS 1,000 [s] | 300 | {span('gigalens80', 60 * gradients, 'time')} | "
        "not measured |"]


def rounded(value: float) -> str:
    """Two digits, and separators."""
    value = float(f"{value:.2g}")
    return f"{value:,.0f}" if value >= 10.0 else f"{value:g}"


def limit_of(counts: dict, peak: dict | None) -> dict[str, float]:
    """Least seconds by operations and by bytes of the compiled program: by the peaks measured, or an H200's."""
    counts = counts["compiled"]
    if peak is None:
        work = counts["operations"] + OPERATIONS_PER_FUNCTION * counts["functions"]
        return dict(operations=work / H200["flops"], bytes=counts["bytes"] / H200["bytes_per_second"])
    functions = counts["functions"] * 0.5 * (1.0 / peak["exp_per_second"] + 1.0 / peak["log_per_second"])
    return dict(operations=counts["operations"] / peak["multiply_add_flops"] + functions,
                bytes=counts["bytes"] / peak["cache_bytes_per_second"])


def main() -> None:
    arguments = parser(__doc__, "roofline")
    arguments.add_argument("--counts", action="store_true", help="no timings")
    arguments.add_argument("--markdown", action="store_true", help="write the tables from --out, and run nothing")
    options = arguments.parse_args()
    if options.markdown:
        write_text(Path(TABLES), markdown(json.loads(options.out.read_text())))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX makes its threads
    parallel.start("auto", 1)
    on_cpu, timed, budget = jax.devices()[0].platform == "cpu", not options.counts, 0.2 if options.smoke else 5.0
    problems = [demo60()] if options.smoke else [demo60(), gigalens80(1).systems()[0], foundry128()]
    write(options.out, dict(peaks=peaks(on_cpu, budget) if timed else None,
                            problems=[problem_row(problem, on_cpu, timed, budget) for problem in problems]))


if __name__ == "__main__":
    main()
