"""The table of point images of a fit: an isothermal sphere in closed form, its draws, and the files that hold it."""

import json

import numpy as np
import numpyro.distributions as dist
import pytest
from _factory import make_result
from astropy.io import fits

from giga.bayes.points import PointImages, PointTerm
from giga.bayes.prior import Prior
from giga.inference.digits import moments
from giga.inference.point_images import PointTable, delay_distances, point_images
from giga.io.results.folder import read_results, summary
from giga.jobs.results import write_results
from giga.lensing.cosmology import Cosmology
from giga.lensing.delays import days
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import SIS
from giga.mass.base import MassProfile

Z_LENS, Z_SOURCE = 0.5, 1.5
SEEN = dict(x=[1.5, -0.9], y=[0.01, 0.0], sigma=0.01, flux=[10.0, 5.0], flux_sigma=[0.5, 0.3])
DELAY = dict(delay=[30.0], delay_sigma=1.0)
FREE = {"theta_E": dist.Normal(1.2, 0.1), "beta": dist.Normal(0.3, 0.1), "H0": dist.Normal(70.0, 5.0)}


def prior_of(planes: bool, dtype=np.float32, mass=None) -> Prior:
    mass = [SIS(theta_E=FREE["theta_E"])] if mass is None else mass
    source = Sersic(amp=1.0, R_sersic=0.1, n_sersic=1.0, center_x=FREE["beta"])
    cosmology = Cosmology(H0=FREE["H0"])
    where = Planes(redshifts=[Z_LENS, Z_SOURCE], cosmology=cosmology) if planes else ()
    return Prior.of(Scene(mass=mass, source_light=[source], planes=where), dtype)


def draws_of(prior: Prior, count: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    drawn = {"mass.0.theta_E": rng.normal(1.2, 0.02, count), "source_light.0.center_x": rng.normal(0.3, 0.01, count),
             "planes.cosmology.H0": rng.normal(70.0, 4.0, count)}
    return {name: drawn[name] for name in prior.names}


def distance(h0):
    return float(Cosmology(H0=1.0).time_delay_distance(Z_LENS, Z_SOURCE)) / h0


def expected(theta_E, beta):
    """Of both images: x, y, signed magnification, flux, Fermat potential over the first's."""
    mu = np.stack([1.0 + theta_E / beta, 1.0 - theta_E / beta])
    weight, flux = 1.0 / np.square(SEEN["flux_sigma"]), np.array(SEEN["flux"])
    scale = np.tensordot(weight * flux, np.abs(mu), 1) / np.tensordot(weight, mu**2, 1)
    return {"x": np.stack([beta + theta_E, beta - theta_E]), "y": np.zeros_like(mu), "magnification": mu,
            "flux": scale * np.abs(mu), "fermat_potential": np.stack([0.0 * beta, 2.0 * theta_E * beta])}


@pytest.mark.parametrize("planes", [True, False])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_images_of_an_isothermal_sphere_are_those_of_its_draws(planes, precision):
    """The fit may be in float32: its images are in float64."""
    prior = prior_of(planes, precision)
    term = PointTerm(data=PointImages.of(**SEEN, **(DELAY if planes else {}), dtype=precision), source=0)
    drawn = draws_of(prior)
    best = np.array([{"mass.0.theta_E": 1.21, "source_light.0.center_x": 0.31, "planes.cosmology.H0": 71.0}[name]
                     for name in prior.names])
    table = point_images(prior, [term], best, np.stack([drawn[name] for name in prior.names], 1))
    assert (table.notes, table.count, len(table.rows)) == ((), 60, 2)
    if not planes:
        assert "delay" not in table.rows[0].numbers and table.at(Redshifts(z_lens=0.5)) is table
        table = table.at(Redshifts(Z_LENS, Z_SOURCE, Cosmology(H0=71.0)))
        assert table.time_delay_distance == pytest.approx(distance(71.0), rel=1e-6)
        drawn["planes.cosmology.H0"] = np.full(60, 71.0)
    of_draws = expected(drawn["mass.0.theta_E"], drawn["source_light.0.center_x"])
    of_best = expected(np.array(1.21), np.array(0.31))
    for at, h0 in ((of_draws, drawn["planes.cosmology.H0"]), (of_best, 71.0)):
        at["delay"] = np.asarray(days(distance(h0), at["fermat_potential"]))
    for i, row in enumerate(table.rows):
        assert (row.source, row.seen, row.parity, row.draws) == (0, i, (1, -1)[i], 1.0)
        assert set(row.numbers) == set(of_draws)
        for name, values in of_draws.items():
            # Cosmology alone is in float32 without planes, and what the table holds of float32 numbers of the prior.
            rtol = 1e-6 if precision == np.float32 or name == "delay" else 1e-9
            got = row.numbers[name]
            np.testing.assert_allclose(got["best"], of_best[name][i], rtol=rtol, atol=1e-8, err_msg=name)
            for key, value in moments(values[i]).items():
                np.testing.assert_allclose(got[key], value, rtol=rtol, atol=1e-8, err_msg=f"{name} {key}")
    measured = {name: (row["observed"], row["sigma"]) for name, row in table.rows[1].numbers.items()
                if "observed" in row}
    wanted = {"x": (-0.9, 0.01), "y": (0.0, 0.01), "flux": (5.0, 0.3)} | ({"delay": (30.0, 1.0)} if planes else {})
    assert set(measured) == set(wanted)
    for name, pair in wanted.items():
        np.testing.assert_allclose(measured[name], pair, rtol=1e-6)


def test_images_that_nobody_has_seen_that_are_not_there_and_that_vanish():
    """Three places of which the sphere has two; and of a source that leaves the circle the second image vanishes."""
    prior = prior_of(False, np.float64)
    three = PointImages.of([1.5, -0.9, 0.2], [0.0, 0.0, 1.4], 0.01)
    best = np.array([1.2, 0.3])
    drawn = np.array([[1.2, 0.3], [1.2, 1.3], [1.2, 1.5], [1.2, 0.2]])
    table = point_images(prior, [PointTerm(data=three, source=0)], best, drawn)
    assert [row.parity for row in table.rows] == [1, -1, 0]
    assert table.rows[1].draws == 0.5 and table.rows[0].draws == 1.0
    assert table.rows[1].numbers["x"]["mean"] == pytest.approx(-0.95)
    assert np.isnan(table.rows[2].numbers["x"]["best"]) and table.rows[2].numbers["x"]["observed"] == 0.2
    assert table.notes == ("points.0: the best fit has no image for those seen with the numbers 2",
                           "points.0: an image of the best fit is missing in 2 of 4 draws")
    unseen = PointTerm(data=PointImages(x=np.array([1.5]), y=np.array([0.0]), sigma=np.array([0.01])), source=0)
    table = point_images(prior, [unseen], best)
    assert [(row.seen, row.parity) for row in table.rows] == [(0, 1), (None, -1)]
    assert table.notes == ("points.0: the best fit has 1 image that nobody has seen",)


class Bare(SIS):
    """An isothermal sphere that does not tell its potential."""

    potential = MassProfile.potential


def test_a_mass_without_a_potential_has_no_times():
    prior = prior_of(True, mass=[Bare(theta_E=FREE["theta_E"])])
    best = np.array([{"mass.0.theta_E": 1.2, "source_light.0.center_x": 0.3}.get(name, 70.0) for name in prior.names])
    table = point_images(prior, [PointTerm(data=PointImages.of(**SEEN), source=0)], best)
    assert table.notes == tuple(f"points.0: no {name}: Bare has no closed-form potential"
                                for name in ("fermat potential", "delay"))
    assert set(table.rows[0].numbers) == {"x", "y", "magnification", "flux"}


def test_the_time_delay_distance_is_that_of_each_draw():
    prior = prior_of(True)
    x = np.stack(list(draws_of(prior).values()), 1).astype(np.float32)
    found = delay_distances(prior, [PointTerm(data=PointImages.of(**SEEN))], x)
    assert set(found) == {"time_delay_distance"}
    np.testing.assert_allclose(found["time_delay_distance"], distance(x[:, prior.names.index("planes.cosmology.H0")]),
                               rtol=1e-5)
    assert not delay_distances(prior_of(False), [PointTerm(data=PointImages.of(**SEEN))], x)


def test_files_hold_the_table_and_read_back(tmp_path):
    prior = prior_of(False)
    term = PointTerm(data=PointImages.of(**SEEN), source=0)
    drawn = draws_of(prior)
    table = point_images(prior, [term], np.array([1.2, 0.3]), np.stack(list(drawn.values()), 1))
    result = make_result(point_images=table.at(Redshifts(Z_LENS, Z_SOURCE)))
    result = result.replace(points=type(result.points)(1.0, 4, -2.0))
    write_results(result, tmp_path, "")
    known = json.loads((tmp_path / "summary.json").read_text())
    row = known["points"]["images"][1]
    assert row["parity"] == -1 and row["x"]["observed"] == -0.9 and row["delay"]["sd"] > 0.0
    again, _ = read_results(tmp_path)
    assert isinstance(again.point_images, PointTable)
    assert summary(again)["points"] == known["points"]
    with fits.open(tmp_path / "model.fits") as file:
        saved = file["POINT_IMAGES"]
        assert saved.columns["delay"].unit == "d" and saved.data["seen"].tolist() == [0, 1]
        np.testing.assert_array_equal(saved.data["x_sd"], [r.numbers["x"]["sd"] for r in table.rows])
    page = (tmp_path / "report.html").read_text()
    assert "Images of point sources" in page and "time-delay distance" in page
