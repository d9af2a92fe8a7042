"""The section [[points]]: images of point sources that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from giga.bayes.points import NO_FINDER, PointImages, PointTerm
from giga.io.tables import above, at_least
from giga.lensing.images import Finder


@dataclass(frozen=True)
class PointsConfig:
    """Section [[points]]: the images of one point source."""

    x: tuple[float, ...]  # positions in the angles of the scene [arcsec]
    y: tuple[float, ...]
    sigma: float | tuple[float, ...]  # standard deviation of each coordinate, of all or of each [arcsec]
    flux: tuple[float, ...] | None = None  # fluxes in any unit; their ratios count
    flux_sigma: float | tuple[float, ...] | None = None  # standard deviations of the fluxes
    delay: tuple[float, ...] | None = None  # of the second image and further ones against the first [days]
    delay_sigma: float | tuple[float, ...] | None = None  # standard deviations of the delays [days]
    plane: int | None = at_least(0, None)  # plane of the source, in a scene of several; none is the last
    source: int | None = at_least(0, None)  # of the source_light in whose centre it is; none is the best place
    images: tuple[int, ...] = ()  # numbers of the Points in lens_light that are its images, in the order of x and y
    ladder: Literal["source", "image"] = "source"  # plane in which positions are compared
    half_width: float | None = above(0.0, None)  # of the square about the origin that images are looked for in [arcsec]

    def __post_init__(self) -> None:
        self.term()  # raises ValueError that begins with the field
        if self.ladder == "image" and self.half_width is None:
            raise ValueError(NO_FINDER.replace("finder: missing", "half_width: missing"))
        for name in ("x", "y"):
            furthest = max(getattr(self, name), key=abs)
            if self.half_width is not None and abs(furthest) > self.half_width:
                raise ValueError(f"{name}: got {furthest:g}; expected places within half_width, {self.half_width:g}")

    def term(self) -> PointTerm:
        """The term of a posterior. Raises ValueError."""
        data = PointImages.of(self.x, self.y, self.sigma, flux=self.flux, flux_sigma=self.flux_sigma, delay=self.delay,
                              delay_sigma=self.delay_sigma, plane=-1 if self.plane is None else self.plane)
        finder = None if self.half_width is None else Finder(half_width=self.half_width)
        return PointTerm(data=data, finder=finder, ladder=self.ladder, source=self.source,
                         images=self.images)
