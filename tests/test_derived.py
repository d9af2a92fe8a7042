"""Numbers for a paper from the draws of a fit."""

import json

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _factory import make_result

from giga.bayes.prior import Prior
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.inference.amplitudes import Solved
from giga.inference.derived import Derived, derive
from giga.inference.digits import latex, rounded
from giga.io.results.folder import read_results, summary
from giga.jobs.results import write_results
from giga.lensing.cosmology import ARCSEC, Cosmology
from giga.lensing.magnification import Square, lensed, magnifications
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.light import LensedPoint, Sersic, UniformSky
from giga.mass import EPL, SIE, SIS, Shear

CHAINS, DRAWS = 2, 20


def scene(theta_E, x, amp=None) -> Scene:
    return Scene(mass=[EPL(theta_E=theta_E, gamma=2.1, e1=0.1), Shear(gamma1=0.03, gamma2=0.0)],
                 lens_light=[UniformSky(amp=1.0)],
                 source_light=[Sersic(amp=amp, R_sersic=0.15, n_sersic=1.0, e1=0.2, center_x=x, center_y=0.05)])


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(3)
    prior = scene(dist.LogNormal(0.0, 0.1), dist.Normal(0.0, 0.1))
    samples = {"mass.0.theta_E": rng.normal(1.1, 0.01, (CHAINS, DRAWS)),
               "source_light.0.center_x": rng.normal(0.1, 0.005, (CHAINS, DRAWS))}
    amp = rng.normal(20.0, 0.5, (CHAINS, DRAWS))
    grid = Grid(shape=(50, 50), pixel_scale=0.1)
    observation = Observation(image=np.zeros((50, 50)), grid=grid, background_rms=1.0, zero_point=25.0)
    result = make_result(prior=prior, samples=samples, observations=[observation], scenes=[scene(1.1, 0.1, 20.0)],
                         amplitudes=Solved({"source_light.0.amp": amp}, {"source_light.0.amp": np.array(20.0)},
                                           {"source_light.0.amp": "ct / (s arcsec2)"}, np.arange(DRAWS)),
                         best={"mass.0.theta_E": 1.1, "source_light.0.center_x": 0.1},
                         diagnostics={name: dict(rhat=1.0, rhat_gelman_rubin=1.0, ess_bulk=1e3, ess_tail=1e3)
                                      for name in samples},
                         prior_samples={name: v.ravel() for name, v in samples.items()},
                         vi_samples={name: v.ravel() for name, v in samples.items()},
                         model_images=[np.zeros((50, 50))], sigma_images=[np.ones((50, 50))], truth=None)
    return result, derive(Prior.of(prior), result)


def test_numbers_of_a_power_law(made):
    result, derived = made
    theta_E = result.samples["mass.0.theta_E"]
    ratio = derived.draws["einstein_radius"] / theta_E
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)  # a lens of one shape scales with theta_E
    np.testing.assert_allclose(derived.draws["slope"], 2.1, rtol=1e-5)
    np.testing.assert_allclose(derived.draws["source.half_light_radius"], 0.15, rtol=3e-3)
    np.testing.assert_allclose(derived.draws["source.axis_ratio"], 0.8 / 1.2, rtol=5e-3)
    flux = np.asarray(result.scenes[0].source_light[0].replace(amp=1.0).flux())
    expected = 25.0 - 2.5 * np.log10(result.amplitudes.draws["source_light.0.amp"] * flux)
    np.testing.assert_allclose(derived.draws["source.magnitude"], expected, atol=1e-4)
    three = [derived.best[f"source.magnification_{method}"] for method in ("counts", "hulls", "points")]
    # The mean of the pointwise magnification has no upper bound where an arc crosses the critical curve.
    assert 1.0 < three[0] == pytest.approx(three[1], rel=0.1) and three[2] > three[0]
    assert derived.best["source.magnification_spread"] == pytest.approx(max(three) - min(three))
    assert "lens_light.0.magnitude" not in derived.draws  # a sky has no end


def test_without_redshifts_it_says_so_and_with_them_it_computes(made):
    _, derived = made
    assert derived.missing["einstein_mass"] == "lens.z_lens and lens.z_source missing"
    assert "einstein_mass" not in derived.draws
    z = Redshifts(0.5, 1.5)
    known = derived.at(z)
    assert not known.missing
    np.testing.assert_allclose(known.draws["einstein_radius_kpc"], z.kpc_lens * derived.draws["einstein_radius"])
    mass = np.pi * derived.draws["einstein_radius"] ** 2 * z.mass_per_arcsec2
    np.testing.assert_allclose(known.draws["einstein_mass"], mass, rtol=0.02)  # convergence of one on average
    assert "source.half_light_radius_kpc" in derived.at(Redshifts(z_source=1.5)).draws


def test_files_hold_them_and_read_back(made, tmp_path):
    result, derived = made
    result = result.replace(derived=derived.at(Redshifts(0.5)))
    write_results(result, tmp_path, "", draw=False)
    known = json.loads((tmp_path / "summary.json").read_text())
    assert known["derived"]["einstein_mass"] is None
    assert known["derived_missing"]["lens.z_source missing"] == ["source.half_light_radius_kpc", "einstein_mass"]
    assert known["derived"]["slope"]["mean"] == pytest.approx(2.1, rel=1e-5)
    assert set(known["checks"]["predictive"]["chi2"]) == {"p_value", "draws"}
    again, _ = read_results(tmp_path)
    np.testing.assert_array_equal(again.derived.draws["slope"], result.derived.draws["slope"])
    for name, row in result.info["checks"]["predictive"].items():
        assert row.items() <= again.info["checks"]["predictive"][name].items()
    assert summary(again)["derived"] == known["derived"]
    head, row = (tmp_path / "table.csv").read_text().split()
    assert len(head.split(",")) == len(row.split(",")) and "einstein_radius_q50" in head
    tex = (tmp_path / "table.tex").read_text()
    assert r"einstein mass & \nodata & \\ % lens.z_source missing" in tex
    assert tex.splitlines()[0].startswith(r"$\theta_{\rm E}$ & $1.") and r"\arcsec" in tex


def test_magnification_of_a_disc_behind_an_isothermal_sphere(x64):
    """A round source of radius r on the axis of an SIS has a ring of area 4 pi theta_E r, mu = 4 theta_E / r."""
    disc = Sersic(amp=1.0, R_sersic=0.1, n_sersic=1.0)
    share, square = 0.5, Square(x=0.0, y=0.0, side=3.0)
    found = lensed(Scene(mass=[SIS(theta_E=1.0)], source_light=[disc]), square, share, 600, 300)
    # above share of the peak, which pixels next to the axis miss a little: the area counted tells the radius
    r = np.sqrt(float(found.source_area) / np.pi)
    counts, hulls, _ = magnifications(found, (3.0 / 600) ** 2).totals
    # r ~ 0.04 arcsec against pixels of 0.005: 2%; the ring lies once on the source
    assert counts == pytest.approx(4.0 / r, rel=0.03) and hulls == pytest.approx(4.0 / r, rel=0.05)


def test_hulls_of_coarse_pixels(x64):
    """The rim between pixels is part of the hull: that of the centres alone is far too small for small arcs."""
    spot = Sersic(amp=1.0, R_sersic=0.2, n_sersic=1.5, e1=0.1, e2=0.1, center_x=0.04, center_y=0.03)
    scene = Scene(mass=[SIE(theta_E=1.2, e1=0.15, e2=0.05)], source_light=[spot])
    coarse, fine = (magnifications(lensed(scene, Square(x=0.0, y=0.0, side=5.0), 0.65, n), (5.0 / n) ** 2).totals[1]
                    for n in (192, 1536))
    assert coarse == pytest.approx(fine, rel=0.1)


def test_far_outside_nothing_is_magnified(x64):
    spot = Sersic(amp=1.0, R_sersic=0.3, n_sersic=0.5, center_x=200.0)
    square = Square(x=jnp.asarray(200.0), y=jnp.asarray(0.0), side=jnp.asarray(3.0))
    found = lensed(Scene(mass=[EPL(theta_E=0.5, gamma=2.9)], source_light=[spot]), square, 0.5, 200, 200)
    np.testing.assert_allclose(magnifications(found, (3.0 / 200) ** 2).totals, 1.0, rtol=0.03)  # pixels at the edge


@pytest.mark.parametrize(("value", "error", "text"), [
    (2.64631, 0.129, "2.65"), (0.129, 0.129, "0.13"), (2.6463, 0.0017, "2.6463"), (1.7390e12, 4.6e9, "1.7390e+12"),
    (345.6, 99.6, "350"), (1.0, 0.0, "1"),
    (-3.21e-20, 4.4e-22, "-3.210e-20")])
def test_digits(value, error, text):
    assert rounded(value, error) == text


def test_digits_in_latex():
    assert latex(1.7347e12, 1.7390e12, 1.7436e12) == r"(1.7390^{+0.0046}_{-0.0043}) \times 10^{12}"


def test_each_source_plane_has_its_numbers():
    """Behind one lens a nearer and a farther source, which the free redshift moves: sizes in arcsec and kpc, and
    magnifications. A point among them has a magnitude of its own, and none of the source's."""
    def two(z, theta_E):
        source = dict(n_sersic=1.0, amp=5.0, center_x=0.1)
        return Scene(mass=[SIS(theta_E=theta_E)],
                     source_light=[Sersic(R_sersic=0.2, plane=1, **source), Sersic(R_sersic=0.1, **source),
                                   LensedPoint(amp=3.0, center_x=0.1, center_y=0.0, x=(1.0,), y=(0.0,))],
                     planes=Planes(redshifts=[0.3, 0.6, z]))

    prior = two(dist.Uniform(1.0, 3.0), dist.Normal(1.2, 0.1))
    samples = {"mass.0.theta_E": np.array([[1.19, 1.2, 1.21]] * 2),
               "planes.redshifts.2": np.array([[1.5, 2.0, 2.5]] * 2)}
    observation = Observation(image=np.zeros((40, 40)), grid=Grid(shape=(40, 40), pixel_scale=0.1), background_rms=1.0,
                              zero_point=25.0)
    result = make_result(prior=prior, samples=samples, observations=[observation], scenes=[two(2.0, 1.2)],
                         amplitudes=Solved(), best={"mass.0.theta_E": 1.2, "planes.redshifts.2": 2.0}, truth=None,
                         model_images=[np.zeros((40, 40))], sigma_images=[np.ones((40, 40))],
                         prior_samples={name: values.ravel() for name, values in samples.items()})
    found = derive(Prior.of(prior), result)
    for name, radius in (("source_plane_1", 0.2), ("source", 0.1)):
        np.testing.assert_allclose(found.draws[f"{name}.half_light_radius"], radius, rtol=5e-3)
        assert found.best[f"{name}.magnification"] > 1.0
    assert found.best["source.magnification"] > found.best["source_plane_1.magnification"]  # nearer the ring's centre
    scale = 1e3 * ARCSEC * float(Cosmology().angular_diameter_distance(0.6))
    np.testing.assert_allclose(found.draws["source_plane_1.half_light_radius_kpc"], 0.2 * scale, rtol=5e-3)
    each = [1e3 * ARCSEC * float(Cosmology().angular_diameter_distance(z)) for z in (1.5, 2.0, 2.5)]
    np.testing.assert_allclose(found.draws["source.half_light_radius_kpc"], 0.1 * np.array([each] * 2), rtol=5e-3)
    assert found.best["source.half_light_radius_kpc"] == pytest.approx(0.1 * each[1], rel=5e-3)
    assert found.missing["einstein_mass"] == "lens.z_lens missing"  # of the planes, which a configuration fills
    assert found.best["source_light.2.magnitude"] == pytest.approx(25.0 - 2.5 * np.log10(3.0), abs=1e-4)
    host = sum(float(light.flux()) for light in two(2.0, 1.2).source_light[:2])
    assert found.best["source.magnitude"] == pytest.approx(25.0 - 2.5 * np.log10(host), abs=1e-4)


H0, OM, Z_LENS, Z_SOURCE = (np.array(row) for row in ([[60.0, 70.0], [75.0, 90.0]], [[0.2, 0.3], [0.35, 0.4]],
                                                      [[0.4, 0.45], [0.5, 0.6]], [[1.2, 1.5], [2.0, 3.0]]))
FREE = {"H0": {"H0": H0}, "H0 and Om0": {"H0": H0, "Om0": OM}, "w0": {"w0": -OM * 3.0}, "z_lens": {"z_lens": Z_LENS},
        "z_source": {"z_source": Z_SOURCE}, "all": {"H0": H0, "Om0": OM, "z_lens": Z_LENS, "z_source": Z_SOURCE}}


@pytest.mark.parametrize("name", FREE)
def test_lengths_and_masses_are_by_the_distances_of_each_draw(name, x64):
    """Expected: what the redshifts and the cosmology of one draw give, one draw after the other."""
    free = FREE[name]
    rows = {"einstein_radius": np.full((2, 2), 1.5), "einstein_mass_over_critical": np.full((2, 2), 7.0),
            "source.half_light_radius": np.full((2, 2), 0.2)}
    derived = Derived(draws=rows, best={key: values[0, 0] for key, values in rows.items()},
                      free={key: (values, float(values[1, 0])) for key, values in free.items()})
    known = Redshifts(*(None if key in free else z for key, z in (("z_lens", 0.5), ("z_source", 1.5))))
    assert known.missing == tuple(key for key in ("z_lens", "z_source") if key in free)
    found = derived.at(known)
    assert not found.missing

    def of(at):
        changed = {key: values[at] for key, values in free.items()}
        ends = [changed.pop(key, z) for key, z in (("z_lens", 0.5), ("z_source", 1.5))]
        return Redshifts(*ends, Cosmology(**changed))

    for new, old, key in (("einstein_radius_kpc", "einstein_radius", "kpc_lens"),
                          ("einstein_mass", "einstein_mass_over_critical", "mass_per_arcsec2"),
                          ("source.half_light_radius_kpc", "source.half_light_radius", "kpc_source")):
        expected = np.array([[rows[old][i, j] * getattr(of((i, j)), key) for j in (0, 1)] for i in (0, 1)])
        np.testing.assert_allclose(found.draws[new], expected, rtol=1e-10, err_msg=new)
        assert found.best[new] == pytest.approx(expected[1, 0], rel=1e-10)
    if name == "H0":
        np.testing.assert_allclose(found.draws["einstein_mass"] * H0, found.draws["einstein_mass"][0, 0] * 60.0)
    elif name == "z_lens":  # one that is given goes before
        assert np.ptp(derived.at(Redshifts(0.5, 1.5)).draws["einstein_radius_kpc"]) == 0.0
