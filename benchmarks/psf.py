"""The three convolution methods for several kernel sizes, ranks and supersamplings, float32.

Kernels are sums of 1, 2 or 4 separable Gaussians, and a Gaussian with noise, of full rank. The
error is against a convolution on the fine grid in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write
from scipy.signal import fftconvolve

from giga.imaging.psf import PSF, plan, rank
from giga.jobs.bench.measure import measure


def make_kernel(side: int, terms: int | None) -> np.ndarray:
    """A positive kernel of a given rank (None is full rank)."""
    rng = np.random.default_rng(1)
    axis = np.arange(side) - side // 2
    lines = [np.exp(-0.5 * (axis / (side / (6.0 + 3.0 * k))) ** 2) for k in range(terms or 1)]
    kernel = sum(np.outer(line, line[::-1]) / (1.0 + k) for k, line in enumerate(lines))
    if terms is None:
        kernel = kernel * (1.0 + 0.1 * rng.random((side, side)))
    return kernel / kernel.sum()


def error_of(convolution, phases, kernel, s: int) -> float:
    n = phases.shape[1]
    fine = phases.reshape(s, s, n, n).transpose(2, 0, 3, 1).reshape(s * n, s * n).astype(float)
    expected = fftconvolve(fine, kernel, mode="same").reshape(n, s, n, s).mean((1, 3))
    return float(np.abs(np.asarray(convolution(jnp.asarray(phases)), float) - expected).max() / expected.max())


def main() -> None:
    options = parser(__doc__, "psf").parse_args()
    n = 32 if options.smoke else 128
    cases = [(s, pixels, terms) for s in (1, 2, 3) for pixels in (3, 7, 13, 27) for terms in (1, 2, 4, None)]
    if options.smoke:
        cases = [(2, 7, 1), (2, 7, None)]
    rows = []
    for s, pixels, terms in cases:
        side = s * pixels - (s * pixels + 1) % 2
        kernel = make_kernel(side, terms)
        phases = np.random.default_rng(2).random((s * s, n, n)).astype(np.float32)
        row = dict(supersampling=s, pixels=pixels, side=side, rank=rank(kernel), image=n, methods={})
        for method in ("fft", "direct", "lowrank"):
            # What is hopeless is left out: thousands of products a pixel, or one band matrix a rank.
            if (method == "direct" and pixels * s > 30) or (method == "lowrank" and row["rank"] > 8):
                continue
            convolution = plan(PSF(kernel=kernel, supersampling=s), (n, n), np.float32, method)
            times = measure(jax.jit(lambda c, p: c(p)), convolution, jnp.asarray(phases), repeats=15, budget=0.5)
            row["methods"][method] = times | dict(error=error_of(convolution, phases, kernel, s))
        row["fastest"] = min(row["methods"], key=lambda m: row["methods"][m]["median_ms"])
        row["auto"] = plan(PSF(kernel=kernel, supersampling=s), (n, n)).method
        rows.append(row)
    write(options.out, rows)


if __name__ == "__main__":
    main()
