"""Flax networks, their training, and the zoo of weights: imported as `giga.models`.

`giga.models.load` takes a name of the zoo, a file or a folder. The package's own folder lies at the top of the
repository and is linked into `giga/` as `giga/models`.
"""

if __name__ != "giga.models":
    raise ImportError(f"this package is imported as 'giga.models', not as {__name__!r}: "
                      "write 'import giga.models' or 'from giga.models import ...'")

from giga.models.zoo import load as load
