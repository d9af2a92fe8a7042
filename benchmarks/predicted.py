"""Coverage of the posteriors that a network predicts, on systems that another code has simulated.

The folder holds standard80.npz, standard80.yaml and psf.npy, as for gigalens_sims.py. For each parameter: in how many
of the systems the central 68% and 95% of the predicted draws hold the truth, and how far the draws' mean is from it, in
standard deviations of the prior (who does nothing is 1 off). Beside it the draws of the prior itself, which are
calibrated and know nothing. Of a network that is calibrated 60 systems find 68% +- 6% in each parameter, so
`expected_outside` of the parameters lie outside of 60 to 76% by chance.

The network of the zoo has learned another PSF, that of the problem gigalens80. With --write-fit FOLDER the
configuration of a fit of one of these systems is written, with its image and PSF, and one for `giga train` that learns
its posterior:

    python benchmarks/predicted.py DIR --write-fit runs/their
    giga train runs/their/train.toml --out runs/their/trained
    python benchmarks/predicted.py DIR --model runs/their/trained/model
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from _common import HERE, parser, write
from astropy.io import fits
from gigalens_sims import BACKGROUND_RMS, EXPOSURE_TIME, lenses, load
from scipy.stats import binom

from giga.bayes.prior import constrained, prior_draws
from giga.inference.checks.calibration import covered
from giga.io.configuration.toml import read_toml
from giga.io.exchange.tables import scene_tables
from giga.io.tables import write_toml
from giga.jobs.amortised import Predictor
from giga.jobs.problems import gigalens_prior

LOW, HIGH = 0.60, 0.76  # of the systems, within which the coverage of a 68% interval is asked to be
POSTERIOR = HERE.parent / "examples" / "posterior" / "config.toml"


def write_fit(folder: Path, out: Path) -> None:
    """The configuration of a fit of the first system and one for `giga train`, with the image and the PSF."""
    images, _, kernel = load(folder, 1)
    out.mkdir(parents=True, exist_ok=True)
    for name, values in (("image", images[0]), ("psf", kernel)):
        fits.PrimaryHDU(np.asarray(values, np.float32)).writeto(out / f"{name}.fits", overwrite=True)
    observation = {"image": "image.fits", "units": "counts/s", "pixel_scale": 0.065, "psf": "psf.fits",
                   "supersampling": 2, "psf_resampling": "lenstronomy", "background_rms": BACKGROUND_RMS,
                   "exposure_time": EXPOSURE_TIME}
    profiles, _ = scene_tables(gigalens_prior(), lambda path, image: out)
    (out / "fit.toml").write_text(write_toml({"observation": [observation]} | profiles), encoding="utf-8")
    training = read_toml(POSTERIOR)
    training["system"] = {key: value for key, value in training["system"].items() if key != "problem"} | {
        "fit": "fit.toml"}
    (out / "train.toml").write_text(write_toml(training), encoding="utf-8")


def row(below: np.ndarray, off: np.ndarray) -> dict[str, float]:
    """Of one parameter: shares of truths within the central intervals, and the root mean square of what is left."""
    return {"coverage_68": round(float(covered(below, 0.68).mean()), 3),
            "coverage_95": round(float(covered(below, 0.95).mean()), 3),
            "error": round(float(np.sqrt(np.mean(off**2))), 3)}


def table(names: list[str], below: np.ndarray, off: np.ndarray) -> dict[str, Any]:
    """Rows of all parameters, and the worst; `below` and `off` have shape (systems, parameters)."""
    rows = {name: row(below[:, k], off[:, k]) for k, name in enumerate(names)}
    found = np.array([one["coverage_68"] for one in rows.values()])
    worst = names[int(np.argmax(np.abs(found - 0.68)))]
    return {"worst": worst, "worst_coverage_68": rows[worst]["coverage_68"], "mean_coverage_68": round(found.mean(), 3),
            "outside": int(np.sum((found < LOW) | (found > HIGH))), "median_error": float(np.median(
                [one["error"] for one in rows.values()])), "rows": rows}


def main() -> None:
    arguments = parser(__doc__ or "", "predicted")
    arguments.add_argument("folder", type=Path, help="folder with standard80.npz, standard80.yaml and psf.npy")
    arguments.add_argument("--model", default="posterior-gigalens80")
    arguments.add_argument("--draws", type=int, default=2000)
    arguments.add_argument("--write-fit", type=Path, help="write a configuration for `giga train`, and nothing else")
    options = arguments.parse_args()
    if options.write_fit is not None:
        write_fit(options.folder, options.write_fit)
        return
    predictor, systems = Predictor.of(options.model), lenses(options.folder, range(4 if options.smoke else 60))
    names = list(predictor.config.parameters)
    prior = predictor.prior
    order = [prior.names.index(name) for name in names]
    unknowing = np.asarray(constrained(prior, prior_draws(prior, jax.random.key(1), options.draws)))[:, order]
    below: dict[str, list] = {"network": [], "prior": []}
    off: dict[str, list] = {"network": [], "prior": []}
    for lens in systems:
        truth = np.array([(lens.truth or {})[name] for name in names])
        drawn = predictor.draws(np.asarray(lens.observations[0].image)[..., None], options.draws, lens.seed)
        for name, draws in (("network", np.stack([drawn[one] for one in names], 1)), ("prior", unknowing)):
            below[name].append((draws < truth).mean(0))
            off[name].append((draws.mean(0) - truth) / unknowing.std(0))
    n = len(systems)
    inside = binom.cdf(np.floor(HIGH * n), n, 0.68) - binom.cdf(np.ceil(LOW * n) - 1, n, 0.68)
    write(options.out, {"model": options.model, "sha256": predictor.sha256, "systems": n, "draws": options.draws,
                        "expected_outside": round(len(names) * (1.0 - float(inside)), 1),
                        **{name: table(names, np.stack(below[name]), np.stack(off[name])) for name in below}})


if __name__ == "__main__":
    main()
