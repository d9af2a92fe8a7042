"""A small synthetic fit, made with the real renderer and without any inference."""

from pathlib import Path

import numpy as np
import numpyro.distributions as dist
from astropy.io import fits
from astropy.wcs import WCS

from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF
from giga.imaging.render import render_data
from giga.inference.amplitudes import Solved
from giga.inference.checks.comparison import checks
from giga.inference.modes.modes import sentence
from giga.inference.result import Result
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL, Shear

TRUTH = {"mass.0.theta_E": 1.05, "mass.0.gamma": 1.95, "mass.0.e1": 0.12, "mass.0.e2": -0.06,
         "mass.1.gamma1": 0.03, "mass.1.gamma2": -0.02, "lens_light.0.R_sersic": 0.6,
         "source_light.0.center_x": 0.06, "source_light.0.center_y": -0.04}
WIDTH = {"mass.0.theta_E": 0.004, "mass.0.gamma": 0.05, "lens_light.0.R_sersic": 0.02}


def make_scene(values=TRUTH) -> Scene:
    """The lens with numbers on its leaves."""
    v = values
    return Scene(
        mass=[EPL(theta_E=v["mass.0.theta_E"], gamma=v["mass.0.gamma"], e1=v["mass.0.e1"], e2=v["mass.0.e2"]),
              Shear(gamma1=v["mass.1.gamma1"], gamma2=v["mass.1.gamma2"])],
        lens_light=[Sersic(amp=4.0, R_sersic=v["lens_light.0.R_sersic"], n_sersic=3.0, e1=0.1, e2=-0.05)],
        source_light=[Sersic(amp=12.0, R_sersic=0.12, n_sersic=1.0, e1=0.15, e2=0.1,
                             center_x=v["source_light.0.center_x"], center_y=v["source_light.0.center_y"])])


def make_wcs(size: int, pixel_scale: float) -> WCS:
    """A tangent-plane WCS turned by 30 degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [146.5, 10.1]
    wcs.wcs.crpix = [0.5 * (size + 1), 0.5 * (size + 1)]
    angle = np.deg2rad(30.0)
    wcs.wcs.cd = pixel_scale / 3600.0 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.set()
    return wcs


def make_observation(scene: Scene, size: int, pixel_scale: float, seed: int, header: bool = True,
                     rms: float = 0.01, **grid) -> Observation:
    """A noisy image of a scene whose outer ring is masked, with one NaN in the ring."""
    axis = (np.arange(size) - 0.5 * (size - 1)) * pixel_scale
    mask = np.hypot(axis[:, None], axis[None, :]) < 0.5 * size * pixel_scale
    text = make_wcs(size, pixel_scale).to_header(relax=True).tostring(sep="\n") if header else ""
    clean = Observation(image=np.zeros((size, size)), grid=Grid(shape=(size, size), pixel_scale=pixel_scale, **grid),
                        psf=PSF.gaussian(0.12, pixel_scale, 5, supersampling=2), background_rms=rms,
                        exposure_time=500.0, mask=mask, header=text)
    model = np.asarray(render_data(scene, clean.data(trim=False)), float)
    sigma = np.sqrt(rms**2 + model / 500.0)
    image = model + sigma * np.random.default_rng(seed).normal(size=model.shape)
    image[0, 0] = np.nan
    return clean.replace(image=image)


def make_result(size: int = 24, pixel_scale: float = 0.15, n_observations: int = 1, draws: int = 100,
                truth: bool = True, header: bool = True, **changes) -> Result:
    """A fit whose best value is the truth and whose samples are Gaussian around it."""
    scene, rng = make_scene(), np.random.default_rng(7)
    observations = [make_observation(scene, size, pixel_scale, seed=k, header=header and k == 0,
                                     **({"rotation": 0.4, "center_x": 0.1} if k else {}))
                    for k in range(n_observations)]
    models = [np.asarray(render_data(scene, o.data(trim=False)), float) for o in observations]
    sigmas = [np.sqrt(o.background_rms**2 + m / 500.0) for o, m in zip(observations, models, strict=True)]
    chi2 = sum(float((((o.image - m) / s)[o.mask] ** 2).sum())
               for o, m, s in zip(observations, models, sigmas, strict=True))
    shape = (4, draws)
    width = {name: WIDTH.get(name, 0.01) for name in TRUTH}
    samples = {name: value + width[name] * (0.3 + rng.normal(size=shape)) for name, value in TRUTH.items()}
    samples["mass.0.e2"] = samples["mass.0.e2"] + 0.7 * (samples["mass.0.e1"] - TRUTH["mass.0.e1"])
    diagnostics = {name: {"rhat": 1.003, "rhat_gelman_rubin": 1.002, "ess_bulk": 1500.0, "ess_tail": 1200.0}
                   for name in TRUTH}
    diagnostics["mass.0.gamma"] = {"rhat": 1.04, "rhat_gelman_rubin": 1.03, "ess_bulk": 210.0, "ess_tail": 180.0}
    fields = dict(
        prior=scene.replace(mass=[EPL(theta_E=dist.Normal(1.0, 0.1)), Shear(gamma1=0.0, gamma2=0.0)]),
        observations=observations, scenes=[scene] * n_observations, best=dict(TRUTH), samples=samples,
        vi_samples={name: value + 1.3 * width[name] * rng.normal(size=4 * draws) for name, value in TRUTH.items()},
        prior_samples={name: value + 0.2 * rng.normal(size=50) for name, value in TRUTH.items()},
        sample_stats={"lp": rng.normal(size=shape) - 300.0, "acceptance_rate": rng.uniform(0.6, 1.0, shape),
                      "diverging": np.zeros(shape, bool), "energy": rng.normal(size=shape) + 300.0,
                      "n_steps": rng.integers(4, 16, shape)},
        log_likelihood=rng.normal(size=shape) - 290.0, model_images=models, sigma_images=sigmas, chi2=chi2,
        n_pixels=sum(int(o.mask.sum()) for o in observations), n_free=len(TRUTH) + 2, diagnostics=diagnostics,
        timings_s={"compile": 21.4, "map": 8.1, "svi": 5.2, "hmc": 31.9},
        evaluations={"map": 40000, "svi": 16000, "hmc": 120000},
        info={"map": {"starts": 64, "dead_lanes": 0, "agreement": 0.83,
                      "chi2_of_starts": [chi2, chi2 + 0.1, chi2 + 31.0]},
              "svi": {"steps": 500, "elbo": (-400.0 + 90.0 * (1.0 - np.exp(-np.arange(60) / 9.0))).tolist(),
                      "note": "full-rank <Gaussian>"},
              "hmc": {"acceptance": 0.81, "divergences": 0, "step_size": 0.42, "evidence": float("nan")}},
        truth=dict(TRUTH) if truth else None, seed=42, devices=["cpu:0"],
        versions={"giga": "0.1.0", "jax": "0.10.2", "numpyro": "0.22"})
    of, series = np.arange(0, draws, 10), rng.uniform(0.0, 2.0, (shape[0], -(-draws // 10), 3))
    fields["amplitudes"] = Solved(
        {"lens_light.0.amp": -2.0 + 0.1 * rng.normal(size=series.shape[:2]), "lens_light.1.amp": series},
        {"lens_light.0.amp": np.array(-2.0), "lens_light.1.amp": np.array([1.0, 0.0, 0.5])},
        {"lens_light.0.amp": "ct / (s arcsec2)", "lens_light.1.amp": "ct / s"}, of)
    result = Result(**{**fields, **changes})
    drawn = {name: {"p_value": 0.41, "observed": list(middle + 0.1 * rng.normal(size=40)),
                    "replicated": list(middle + rng.normal(size=40))}
             for name, middle in (("chi2", 400.0), ("correlation", 0.0))}
    evidence = {"log_evidence": -321.5, "error": 0.02, "method": "bridge", "evaluations": 512, "dead_proposals": 0}
    row = {"log_prob": -300.0, "starts": 8, "laplace_weight": 1.0, "distance": 0.0, "barrier": None, "sampled": True,
           "weight": 1.0, "log_evidence": -321.5, "log_evidence_error": 0.02}
    found = result.info["map"] | {"modes": [row], "modes_sentence": sentence([row])}
    return result.replace(info=result.info | {"map": found, "evidence": evidence,
                                              "checks": checks(result, "profile", drawn)})


# A fit of few parameters on few pixels, for an image of `write_image`.
FIT = """
[[observation]]
background_rms = 0.02
pixel_scale = 0.12
psf_fwhm = 0.15
psf_size = 5

[[mass]]
profile = "SIE"
theta_E = {dist = "LogNormal", loc = 0.0, scale = 0.1}

[[source_light]]
profile = "Sersic"
R_sersic = {dist = "LogNormal", loc = -1.6, scale = 0.3}
n_sersic = 1.0
center_x = 0.05
"""


def write_image(path: Path, seed: int) -> None:
    """A bright square in noise."""
    image = np.random.default_rng(seed).normal(0.0, 0.02, (24, 24))
    image[8:16, 8:16] += 0.5
    fits.PrimaryHDU(image).writeto(path)
