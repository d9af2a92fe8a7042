"""Separate real images: lenses, and DES galaxies that lens nothing.

--lens takes the image of a lens: one FITS file with all bands, or one a band in the order of the network's; of a larger
one than the network learned the middle is taken. It may be given several times, with one --lens-model each. --des is a
folder with a file a band, g.fits to Y.fits, each a stack (n, ny, nx) of galaxies. What a network calls a source in a
galaxy that lenses nothing is false: its flux is given relative to the deflector's, the median and the 95th percentile
over the galaxies, and the share of them that the finder of eq. 16 calls a lens at the threshold of the network's card.
Pictures are left beside the JSON. --chain, which may be given again, takes the same galaxies through a chain like
modular-lsst, cut to its pixels and in its survey's counts: given is how many it calls a lens. Their noise is some ten
times that of the images such a chain learned.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from _common import parser, write
from astropy.io import fits

from giga.io.images.cube import Cube, background_rms, read_cube
from giga.jobs.chained import analyse
from giga.models import zoo
from giga.models.networks.chain import Chain
from giga.models.networks.separator import Separator, separate
from giga.models.systems.separation_metrics import chi2
from giga.runtime import parallel
from giga.runtime.atomic import write_bytes
from giga.show.plot import png
from giga.show.separation import separation_figure

SHOWN = 6  # DES galaxies in the picture, those of the most false flux
DES_BANDS = "grizY"
DES_ZERO_POINT = 30.0  # of the galaxies' counts, see their README


def separated(model: Separator, cubes: list[Cube]) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Images, their parts, and the noise of the sky, shape (n, 1, 1, bands)."""
    bands = [band.name for band in model.config.observed.bands]
    images, rms = np.stack([cube.image for cube in cubes]), np.stack([background_rms(cube, bands) for cube in cubes])
    parts = separate(model, jnp.asarray(images, jnp.float32), jnp.asarray(rms, jnp.float32))
    return images, {name: np.asarray(part) for name, part in parts.items()}, rms[:, None, None, :]


def unlensed(model: Separator, threshold: float, folder: Path, out: Path) -> dict:
    """What a network finds in galaxies that lens nothing."""
    images = np.stack([fits.getdata(folder / f"{band}.fits").astype(float) for band in DES_BANDS], -1)
    images = images - np.median(images, axis=(1, 2), keepdims=True)
    images, parts, sigma = separated(model, [Cube(image, fits.Header(), folder) for image in images])
    bands = range(len(DES_BANDS))
    share = {DES_BANDS[k]: parts["source"][..., k].sum((1, 2)) / np.maximum(parts["lens"][..., k].sum((1, 2)), 1e-9)
             for k in bands}
    whole = parts["source"].sum((1, 2, 3)) / parts["lens"].sum((1, 2, 3))
    first, second = chi2(images, parts["lens"], parts["source"], sigma)
    worst = np.argsort(-whole)[:SHOWN]
    figure = separation_figure(images[worst], {name: part[worst] for name, part in parts.items()}, sigma[worst],
                               colours=[DES_BANDS.index(band) for band in "irg"])
    write_bytes(out, png(figure))
    return dict(
        galaxies=len(images), called_lenses=float(np.mean(np.asarray(first - second) > threshold)),
        threshold=threshold, false_source_median=float(np.median(whole)),
        false_source_95=float(np.percentile(whole, 95.0)), share_of_each=[round(float(v), 5) for v in whole],
        by_band={band: dict(median=float(np.median(v)), highest=float(np.max(v))) for band, v in share.items()})


def called(model: Chain, folder: Path) -> dict:
    """How likely a chain takes galaxies that lens nothing for lenses."""
    survey = model.config.observed
    images = np.stack([fits.getdata(folder / f"{band.name}.fits").astype(float) for band in survey.bands], -1)
    factor = 10.0 ** (0.4 * (survey.zero_points - DES_ZERO_POINT))
    likely = [analyse(model, factor * Cube(image, fits.Header(), folder).window(survey.shape).image).lens
              for image in images]
    return dict(galaxies=len(images), called_lenses=int(np.sum(np.array(likely) > 0.5)),
                lens=[round(one, 3) for one in likely])


def lens(model: Separator, files: list[Path], out: Path) -> dict:
    """What a network finds in the image of a lens."""
    bands = [band.name for band in model.config.observed.bands]
    cube = read_cube(files, bands)
    ny, nx = (min(size, learned) for size, learned in zip(cube.image.shape, model.config.observed.shape, strict=False))
    image, parts, sigma = separated(model, [cube.window((ny, nx))])
    first, second = (float(value[0]) for value in chi2(image, parts["lens"], parts["source"], sigma))
    flux = {name: parts[name].sum((0, 1, 2)) for name in ("lens", "source")}
    colours = [bands.index(band) for band in "irg"] if set("gri") <= set(bands) else (0, 0, 0)
    write_bytes(out, png(separation_figure(image, parts, sigma, colours=colours)))
    return dict(source_over_lens={band: round(float(flux["source"][k] / flux["lens"][k]), 4)
                                  for k, band in enumerate(bands)},
                chi2_without_source=first, chi2_with_source=second)


def main() -> None:
    arguments = parser(__doc__ or "", "real_images")
    arguments.add_argument("--lens", type=Path, nargs="+", action="append", default=[],
                           help="image of a lens, one file or one a band; may be given again")
    arguments.add_argument("--lens-model", action="append", default=[], help="network for it, by name or path")
    arguments.add_argument("--des", type=Path, help="folder with g.fits, r.fits, i.fits, z.fits and Y.fits")
    arguments.add_argument("--des-model", default="ggsl-unet-des", help="network for them, by name or path")
    arguments.add_argument("--chain", action="append", default=[], help="chain for them, by name or path")
    options = arguments.parse_args()
    if len(options.lens) != len(options.lens_model):
        arguments.error(f"{len(options.lens)} --lens and {len(options.lens_model)} --lens-model; expected one each")
    parallel.start()
    results = {}
    for files, name in zip(options.lens, options.lens_model, strict=True):
        model, card = zoo.load(name)
        results[f"lens, {name}"] = dict(weights=card.sha256, files=[path.name for path in files]) | lens(
            model, files, options.out.with_suffix(f".{Path(name).name}.png"))
    if options.des is not None:
        model, card = zoo.load(options.des_model)
        threshold = card.metrics["half empty"]["finder_threshold"]
        results[f"galaxies, {options.des_model}"] = dict(weights=card.sha256) | unlensed(
            model, threshold, options.des, options.out.with_suffix(".des.png"))
        for name in options.chain:
            chain, card = zoo.load(name)
            results[f"galaxies, {Path(name).parent.name or name}"] = dict(weights=card.sha256) | called(
                chain, options.des)  # pyright: ignore[reportArgumentType]
    write(options.out, results)


if __name__ == "__main__":
    main()
