"""Numbers by which fits are compared, and the command that does it."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import scipy.stats
from _factory import make_result
from _problems import blank, lens, lens_prior, observe
from typer.testing import CliRunner

from giga.bayes.points import PointImages, PointTerm
from giga.bayes.posterior import Posterior
from giga.bayes.prior import values_of
from giga.cli import app
from giga.inference.checks.comparison import against_prior, bic, data_hash, log_likelihood_of, predictive
from giga.jobs.compare import Compared, cautions, difference, read_compared
from giga.jobs.results import write_results
from giga.show.checks import checks_figure

TRUTH = lens()


@pytest.fixture(scope="module")
def posterior():
    """A posterior, and the vector of the truth that its data were made from."""
    posterior = Posterior.of(lens_prior(), [observe(TRUTH, blank(exposure=500.0), seed=3)])
    return posterior, np.asarray(posterior.prior.vector(values_of(lens_prior(), TRUTH)))


def test_replicas_of_the_truth_are_like_the_data(posterior):
    """chi2 of a replica has the chi-squared distribution, the correlation a spread of one."""
    posterior, z = posterior
    found = predictive(jax.random.key(0), posterior, np.repeat(z[None], 300, 0), 300)
    chi2, correlation = (np.array(found[name]["replicated"]) for name in ("chi2", "correlation"))
    assert scipy.stats.kstest(chi2, scipy.stats.chi2(22 * 22).cdf).pvalue > 1e-3
    assert abs(correlation.mean()) < 4.0 / np.sqrt(300) and correlation.std() == pytest.approx(1.0, abs=0.2)
    for name in ("chi2", "correlation"):
        assert 0.005 < found[name]["p_value"] < 0.995 and np.ptp(found[name]["observed"]) == 0.0
    assert found["chi2"]["observed"][0] == pytest.approx(float(posterior.chi2(z)), rel=1e-4)


def test_a_misfit_is_seen(posterior):
    """A lens that is a little off has structured residuals; a noise that is too large has a small chi2."""
    posterior, z = posterior
    off = np.repeat((z + 0.3 * np.eye(len(z))[0])[None], 50, 0)
    found = predictive(jax.random.key(0), posterior, off, 50)
    assert found["chi2"]["p_value"] == 0.0 and found["correlation"]["p_value"] == 0.0
    loud = posterior.replace(data=tuple(d.replace(variance=4.0 * d.variance) for d in posterior.data))
    assert predictive(jax.random.key(0), loud, np.repeat(z[None], 50, 0), 50)["chi2"]["p_value"] > 0.98


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.1), (1.0, 0.3), (0.0, 1.0)])
def test_overlap_with_the_prior(rng, mean, sd):
    """Against the integral of the smaller density."""
    x = np.linspace(-6, 6, 20001)
    exact = np.trapezoid(np.minimum(scipy.stats.norm(mean, sd).pdf(x), scipy.stats.norm.pdf(x)), x)
    found = against_prior(mean + sd * rng.normal(size=(4, 2000)), rng.normal(size=4000))
    assert found["overlap"] == pytest.approx(exact, abs=0.04)
    assert found["width_kept"] == pytest.approx(sd, rel=0.06)
    places = scipy.stats.norm.cdf(mean + sd * scipy.stats.norm.ppf([0.025, 0.16, 0.5, 0.84, 0.975]))
    np.testing.assert_allclose(found["places"], places, atol=0.03)


def test_bic_and_log_likelihood():
    result = make_result(n_observations=2)
    expected = sum(scipy.stats.norm(m, s).logpdf(o.image)[o.mask].sum() for o, m, s in
                   zip(result.observations, result.model_images, result.sigma_images, strict=True))
    assert log_likelihood_of(result) == pytest.approx(expected)
    assert bic(-100.0, 3, 50) == pytest.approx(3.0 * np.log(50.0) + 200.0)
    assert result.info["checks"]["bic"] == pytest.approx(bic(expected, result.n_free, result.n_pixels))


def test_hash_is_that_of_the_fitted_data():
    """Masked pixels and the PSF are not fitted; image, mask and noise are."""
    plain = blank(rms=0.02)
    mask = plain.mask.copy()
    mask[0, 0] = False
    outside = plain.image.copy()
    outside[0, 0] = np.nan
    base = data_hash([plain.replace(mask=mask)])
    assert data_hash([plain.replace(mask=mask, image=outside, psf=None)]) == base
    inside = plain.image.copy()
    inside[5, 5] = 1e-6
    others = [plain, plain.replace(mask=mask, image=inside), plain.replace(mask=mask, background_rms=0.021),
              plain.replace(mask=mask, exposure_time=10.0), plain.replace(mask=mask, noise_map=0.02 + plain.image)]
    hashes = [data_hash([o]) for o in others] + [data_hash([plain.replace(mask=mask)] * 2), base]
    images = [PointTerm(data=PointImages.of(x=[x, -1.0], y=[0.0, 0.0], sigma=0.01)) for x in (1.0, 1.1)]
    hashes += [data_hash([plain.replace(mask=mask)], [one]) for one in images]
    assert len(set(hashes)) == len(hashes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two fits of the same data, and one of other data."""
    folder = tmp_path_factory.mktemp("runs")
    result = make_result()
    for name, change in (("a", 0.0), ("b", -7.5)):
        evidence = result.info["evidence"] | {"log_evidence": -321.5 + change}
        hmc = result.info["hmc"] | {"converged": name == "a"}
        write_results(result.replace(info=result.info | {"evidence": evidence, "hmc": hmc}), folder / name, "a = 1\n",
                      draw=False)
    other = shutil.copytree(folder / "a", folder / "other") / "summary.json"
    other.write_text(other.read_text().replace(result.info["checks"]["data_hash"], "0" * 64))
    old = shutil.copytree(folder / "a", folder / "old") / "summary.json"
    old.write_text(json.dumps({k: v for k, v in json.loads(old.read_text()).items() if k != "evidence"}))
    return folder


def test_runs_are_compared(runs, monkeypatch):
    monkeypatch.chdir(runs)  # short names, which are not folded
    done = CliRunner().invoke(app, ["compare", "b", "a"], env={"COLUMNS": "160"})
    assert done.exit_code == 0
    lines = [line for line in done.output.splitlines() if "±" in line]
    assert lines[0].split()[0] == "a" and "-321.50 ± 0.02" in lines[0]
    assert "-7.50 ± 0.03" in lines[1] and "0.410" in lines[1]
    text = " ".join(done.output.split())
    assert "note: b: the sampling did not reach its targets" in text
    assert "evidence is that of the profile likelihood" in text


@pytest.mark.parametrize(("names", "said"), [
    (("a", "other"), "checks.data_hash"), (("a", "old"), "evidence: missing"), (("a", "nowhere"), "no such file")])
def test_what_cannot_be_compared_is_refused(runs, names, said):
    done = CliRunner().invoke(app, ["compare", *(str(runs / name) for name in names)])
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_difference_and_cautions(runs):
    rows = read_compared([runs / "a", runs / "b"])
    assert difference(rows[0], rows[0]) == (0.0, 0.0)
    change, error = difference(rows[1], rows[0])
    assert change == pytest.approx(-7.5) and error == pytest.approx(0.02 * np.sqrt(2.0))
    clean = dataclasses.replace(rows[0], amplitudes="marginal", converged=True)
    assert isinstance(clean, Compared) and cautions([clean]) == []


def test_the_picture_shows_what_there_is():
    result = make_result()
    figure = checks_figure(result)
    assert len(figure.axes) == 3
    texts = [text.get_text() for text in figure.axes[-1].get_yticklabels()]
    assert len(texts) == len(result.names)
    without = result.replace(info=result.info | {"checks": result.info["checks"] | {"predictive": {}}})
    assert len(checks_figure(without).axes) == 1
