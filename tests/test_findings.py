"""What is said of a fit before its numbers are used, and where."""

import json
from dataclasses import fields

import numpy as np
import numpyro.distributions as dist
import pytest
from _factory import TRUTH, make_result
from astropy.table import Table
from rich.console import Console
from scipy.stats import norm

from giga.inference.checks.findings import at_bound, findings, neighbours
from giga.inference.result import Found
from giga.io.results.fleet import FleetFolder
from giga.io.results.folder import summary
from giga.jobs.compare import cautions, read_compared
from giga.jobs.results import write_results
from giga.lensing.scene import Scene
from giga.mass import EPL
from giga.show.report import report_page
from giga.show.terminal import show_result

RESULT = make_result()
HMC = {"converged": True, "chains": 4, "dead_chains": 0, "divergences": 0, "acceptance": 0.8, "worst_rhat": 1.002,
       "smallest_ess_bulk": 1500.0, "iterations": 100}


def kinds(result) -> list[str]:
    return [row["kind"] for row in findings(result)]


def text(result) -> str:
    return "\n".join(row["text"] for row in findings(result))


def changed(**stages):
    """A fit whose stages report something else."""
    info = {name: {**RESULT.info.get(name, {}), **notes} for name, notes in stages.items()}
    return RESULT.replace(info={**RESULT.info, **info})


def test_a_good_fit_has_nothing_to_say():
    assert findings(changed(hmc=HMC)) == []


@pytest.mark.parametrize(("stages", "kind", "says"), [
    ({"hmc": {**HMC, "converged": False}}, "not converged", "not converged: worst R-hat 1.002, smallest ESS 1500"),
    ({"hmc": {**HMC, "dead_chains": 2}}, "dead chains", "2 of 4 chains"),
    ({"map": {"dead_lanes": 20}}, "dead lanes", "20 of 64 starts"),
    ({"map": {"agreeing_finalists": 1, "finalists": 16, "rounds": 40}}, "search", "one lane alone of 16"),
    ({"svi": {"scale": 0.125}}, "rough posterior", "at 0.12 of the width"),
    ({"evidence": {"failed": "no bridge"}}, "evidence", "no evidence (no bridge)"),
    ({"map": {"modes": [{"sampled": True}] * 2, "modes_sentence": "two"}}, "modes", "several modes (two)")])
def test_what_stages_report(stages, kind, says):
    assert kinds(changed(**stages)) == [kind] and says in text(changed(**stages))


def test_a_search_says_what_needs_no_draws():
    """Before the chains, with the best fit, a fleet's gallery shows where another search may find a better one."""
    lone = changed(map={"agreeing_finalists": 1, "finalists": 16})
    found = Found(**{field.name: getattr(lone, field.name) for field in fields(Found)})
    assert kinds(found) == ["search"] and kinds(lone.replace(prior=Scene())) == ["search"]
    assert not findings(found.replace(info={**lone.info, "map": {"agreeing_finalists": 1, "finalists": 2}}))


@pytest.mark.parametrize(("p", "says"), [(0.0, "of chi2 < 1/40"), (1.0, "of chi2 > 1 - 1/40")])
def test_p_values_are_no_more_than_their_replicas_tell(p, says):
    row = RESULT.info["checks"]["predictive"]["chi2"] | {"p_value": p}
    result = changed(checks={"predictive": {"chi2": row}})
    assert kinds(result) == ["p-value"] and says in text(result)


def test_divergences_are_told_as_a_share():
    diverging = np.zeros((4, 100), bool)
    diverging[0, :8] = True
    result = RESULT.replace(sample_stats={**RESULT.sample_stats, "diverging": diverging})
    assert kinds(result) == ["divergences"] and "8 of 400 draws (2%)" in text(result)


@pytest.mark.parametrize(("place", "found"), [(0.0, True), (1.0, True), (3.0, False), (30.0, False)])
def test_a_gaussian_is_cut_off_up_to_a_width_from_the_bound(place, found):
    """The posterior of a Gaussian likelihood whose peak lies so many of its widths above the bound of a flat prior."""
    draws = norm.isf(norm.sf(-place) * np.random.default_rng(0).uniform(size=4000), loc=place)
    assert (at_bound(draws, 0.0) > 0.02) == found
    assert at_bound(-draws, 0.0) == at_bound(draws, 0.0)


@pytest.mark.parametrize(("low", "high", "says"), [
    (1.0, TRUTH["mass.0.gamma"] + 1e-3, "mass.0.gamma is at the upper bound of its prior, 1.951"),
    (1.96, 3.0, "mass.0.gamma is at the lower bound of its prior, 1.96"), (1.0, 3.0, "")])
def test_parameters_at_the_bounds_of_their_priors(low, high, says):
    samples = {**RESULT.samples, "mass.0.gamma": np.clip(RESULT.samples["mass.0.gamma"], low, high)}
    prior = Scene(mass=[EPL(theta_E=dist.LogNormal(0.0, 0.2), gamma=dist.Uniform(low, high))])
    result = RESULT.replace(samples=samples, prior=prior)
    assert kinds(result) == ["prior bound"] * bool(says) and says in text(result)


@pytest.mark.parametrize(("n_sersic", "softening", "found"), [(1.0, 0.0, False), (4.0, 0.0, True), (4.0, 0.05, False)])
def test_a_source_that_is_steeper_than_its_samples(n_sersic, softening, found):
    (scene,) = RESULT.scenes
    (source,) = scene.source_light
    steep = scene.replace(source_light=[source.replace(R_sersic=0.3, n_sersic=n_sersic, softening=softening)])
    assert kinds(RESULT.replace(scenes=[steep])) == ["cusp"] * found


@pytest.mark.parametrize("size", [0.5, 1.0, 4.0])
def test_a_source_that_is_smaller_than_its_softening(size):
    """Half of the flux is left where they are alike."""
    (scene,) = RESULT.scenes
    (source,) = scene.source_light
    small = scene.replace(source_light=[source.replace(R_sersic=0.05 * size, softening=0.05)])
    found = RESULT.replace(scenes=[small])
    assert kinds(found) == ["softened"] * (size < 2.0)
    assert size != 1.0 or "softening = 0.05 arcsec R_sersic = 0.05" in text(found)
    assert size != 1.0 or "50% of the flux" in text(found)


@pytest.mark.parametrize(("prior", "value", "off"), [
    (dist.Normal(0.0, 0.05), -0.35, 7.0), (dist.LogNormal(np.log(1.2), 0.2), 1.2 * np.exp(0.9), 4.5),
    (dist.Normal(0.0, 0.05), 0.19, 0.0), (dist.Uniform(0.0, 1.0), 1.0, 0.0)])
def test_values_far_out_of_their_priors(prior, value, off):
    """As a shear of 0.35 that makes up for light that the model has not."""
    scene = Scene(mass=[EPL(theta_E=prior, gamma=2.0)])
    lone = RESULT.replace(prior=scene, best={**RESULT.best, "mass.0.theta_E": value})
    found = Found(**{field.name: getattr(lone, field.name) for field in fields(Found)})
    assert kinds(found) == ["against the prior"] * bool(off)
    assert not off or f"mass.0.theta_E = {value:.3g} ({off:.1f})" in text(found)


def test_structure_has_its_place():
    """A knot of five sigma in each of nine pixels, 15 sigma together."""
    (observation,) = RESULT.observations
    image, sigma = observation.image.copy(), RESULT.sigma_images[0]
    image[14:17, 9:12] += 5.0 * sigma[14:17, 9:12]
    lit = observation.replace(image=image)
    residual = np.where(lit.mask, (image - RESULT.model_images[0]) / sigma, 0.0)
    result = RESULT.replace(observations=[lit], chi2=float(np.sum(residual**2)))
    assert kinds(result) == ["chi2", "structure", "structure"]
    x, y = (float(np.asarray(axis)[15, 10]) for axis in lit.grid.coordinates())
    assert f"around x = {x:.2f}, y = {y:.2f} arcsec (pixel [y=15, x=10])" in text(result)
    assert "sigma brighter than the model" in text(result)
    assert neighbours(np.ones((4, 4)), np.ones((4, 4), bool))[0] == 1.0


def test_findings_are_said_where_one_looks(tmp_path):
    worse = changed(hmc={**HMC, "dead_chains": 1})
    result = worse.replace(info={**worse.info, "findings": findings(worse)})
    said = result.findings[0]
    assert "1 of 4 chains" in said and said in result.summary()
    assert summary(result)["findings"] == findings(worse)
    folder = FleetFolder(tmp_path)
    write_results(result, folder.lens("one"), "# config", draw=False)
    write_results(changed(hmc=HMC), folder.lens("old"), "# config", draw=False)  # as earlier versions left it
    assert json.loads((folder.lens("one") / "summary.json").read_text())["findings"][0]["text"] == said
    folder.write_table({"one": ("done", ""), "old": ("done", ""), "none": ("failed", "é")})
    for name in ("summary.fits", "summary.csv"):
        table = Table.read(tmp_path / name)
        assert table["findings"][0] == 1 and str(table["look_at"][0]) == said
        assert np.ma.is_masked(table["findings"][1]) and np.ma.is_masked(table["findings"][2])
    assert said in folder.says("one") and "look" not in folder.says("old")
    assert cautions(read_compared([folder.lens("one")]))[0].endswith(said)
    console = Console(record=True, width=100)
    show_result(result, tmp_path, console)
    assert said in " ".join(console.export_text().split())
    page = report_page(result, [], {"fit": b"", "corner": b""}, "", [])
    assert "Look at this first" in page and said in page
