"""How many digits of a number its error warrants: one rule for the terminal, the report and tables."""

from __future__ import annotations

import math

import numpy as np

ROUNDING = 1e-6  # of a number: an error below this is that of single precision


def places(error: float) -> int:
    """Decimals that leave an error above 0 two significant digits; negative above 100.

    >>> places(0.129), places(0.0017), places(345.0)
    (2, 4, -1)
    """
    return 1 - math.floor(math.log10(float(f"{error:.1e}")))


def rounded(value: float, error: float) -> str:
    """A number with the digits that its error warrants; five without an error, or with one that is but rounding.

    >>> rounded(2.64631, 0.129), rounded(0.129, 0.129), rounded(12345.6, 345.0), rounded(1.73904e12, 4.6e9)
    ('2.65', '0.13', '12350', '1.7390e+12')
    >>> rounded(2.0000000123, 1.3e-8)
    '2'
    """
    if not math.isfinite(value):
        return "nan"
    if not (math.isfinite(error) and error > ROUNDING * abs(value)):
        return f"{value:.5g}"
    decimals = places(error)
    if 1e-4 <= max(abs(value), error) < 1e7:
        return f"{round(value, decimals) if decimals < 0 else value:.{max(decimals, 0)}f}"
    return f"{value:.{max(math.floor(math.log10(abs(value) or error)) + decimals, 0)}e}"


def latex(low: float, middle: float, high: float) -> str:
    r"""A median with the way to the 16% and the 84% quantile, in LaTeX's mathematics.

    >>> latex(1.9, 2.0, 2.2)
    '2.00^{+0.20}_{-0.10}'
    >>> latex(2.00000001, 2.00000002, 2.00000003)
    '2'
    """
    exponent = math.floor(math.log10(abs(middle))) if middle and not 1e-4 < abs(middle) < 1e7 else 0
    low, middle, high = (value / 10.0**exponent for value in (low, middle, high))
    errors = high - middle, middle - low
    least = min((error for error in errors if error > ROUNDING * abs(middle)), default=0.0)
    text = rounded(middle, least) if not least else \
        f"{rounded(middle, least)}^{{+{rounded(errors[0], least)}}}_{{-{rounded(errors[1], least)}}}"
    return rf"({text}) \times 10^{{{exponent}}}" if exponent else text


def moments(draws: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and quantiles of draws, any shape; NaN where none is a number."""
    flat = np.asarray(draws, float).ravel()
    flat = flat[np.isfinite(flat)]
    if len(flat) < 2:
        return dict.fromkeys(("mean", "sd", "q16", "q50", "q84"), math.nan)
    q16, q50, q84 = np.quantile(flat, [0.16, 0.5, 0.84])
    return {"mean": float(flat.mean()), "sd": float(flat.std(ddof=1)), "q16": float(q16), "q50": float(q50),
            "q84": float(q84)}
