"""The one error that bad input gives: file, field, value seen, expectation."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike


class InputError(ValueError):
    """Bad input, said in one line: `file: field: seen; expected ...`.

    The command line prints the message alone and exits with code 2.

    >>> print(InputError("fit.toml", "mass.0.theta_E", "got -1", "a number above 0"))
    fit.toml: mass.0.theta_E: got -1; expected a number above 0

    Attributes:
        file: The file that is wrong, or an empty string.
        field: The field in it, as its path.
        seen: What is there.
        expected: What should be; may be left out when `seen` says it.
    """

    def __init__(self, file: str | PathLike[str], field: str, seen: str, expected: str = "") -> None:
        self.file, self.field, self.seen, self.expected = str(file), field, seen, expected
        place = "".join(f"{part}: " for part in (self.file, field) if part)
        super().__init__(f"{place}{seen}; expected {expected}" if expected else f"{place}{seen}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """As it was made, for it comes from workers too."""
        return type(self), (self.file, self.field, self.seen, self.expected)


def nearest(name: str, valid: Iterable[str]) -> str:
    """List the valid names and the one nearest to a misspelt name.

    >>> nearest("SIS", ["EPL", "SIE"])
    "one of 'EPL', 'SIE' (nearest: 'SIE')"
    """
    folded = {candidate.lower(): candidate for candidate in valid}
    if not folded:
        return "none"
    best = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.0)
    listed = ", ".join(repr(candidate) for candidate in folded.values())
    return f"one of {listed} (nearest: {folded[best[0]]!r})"


def check_pixel_scale(found: float, expected: float, tolerance: float, whose: str, file: str | PathLike[str],
                      field: str) -> None:
    """Refuse pixels of another size, both in arcsec.

    Args:
        found, expected: Side of a pixel [arcsec].
        tolerance: Largest difference, of the expected one.
        whose: Whose pixels are expected, in words.
        file, field: Where the pixels are from, as for `InputError`.

    Raises:
        InputError: They differ by more.
    """
    if not abs(found / expected - 1.0) <= tolerance:
        raise InputError(file, field, f"pixels of {found:.6g} arcsec", f"{expected:g} within {tolerance:.0%}, {whose}")
