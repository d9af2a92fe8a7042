"""What a simulator hands to a network."""

from __future__ import annotations

from giga.component import AnyArray, Component


class Batch(Component):
    """Simulated images with all that they are made of. Channels last; one example has no leading axis.

    Attributes:
        image: The sum of the parts, shape (n, ny, nx, bands) [counts / s].
        parts: "lens", "source" and "noise", each of the shape of `image`. Light of companions belongs to the noise.
        companions: That light alone, of the shape of `image`.
        truth: Parameters of the scenes by name, shape (n,) or (n, bands) each.
        label: 1 where a source is lensed, shape (n,), int32.
        sigma: Standard deviation of the noise, shape of `image` [counts / s].
        psf: The PSFs at the pixel scale, shape (n, bands, k, k).
    """

    image: AnyArray
    parts: dict[str, AnyArray]
    companions: AnyArray
    truth: dict[str, AnyArray]
    label: AnyArray
    sigma: AnyArray
    psf: AnyArray
