"""Pictures: what is on them, and that they draw without a warning."""

import threading

import numpy as np
import pytest
from _factory import TRUTH, make_result
from matplotlib import pyplot
from matplotlib.text import Text

from giga.inference.pictures import pictures
from giga.lensing.labels import labels, unit
from giga.show.corner import corner_figure, default_names
from giga.show.plot import fit_figure, png, trace_figure


@pytest.fixture(scope="module")
def result():
    return make_result()


@pytest.fixture(scope="module")
def drawn(result):
    return pictures(result)


def words(figure):
    """All text of a figure in one string."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def size(image):
    """Width and height of a PNG file."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")


def test_parts_add_up_to_the_model(drawn, result):
    picture = drawn[0]
    np.testing.assert_allclose(picture.lens_light + picture.lensed_source, picture.model, rtol=1e-4, atol=1e-6)
    assert picture.chi2 == pytest.approx(result.chi2, rel=1e-6)
    assert np.isnan(picture.residual[~picture.mask]).all()
    assert picture.source.max() == picture.source[40:120, 40:120].max() > 0.0


def test_source_plane_holds_the_caustic(drawn):
    left, right, bottom, top = drawn[0].source_grid.extent
    caustic = next(curve.caustic for curve in drawn[0].curves if curve.kind == "tangential")
    assert left < caustic[:, 0].min() and caustic[:, 0].max() < right
    assert bottom < caustic[:, 1].min() and caustic[:, 1].max() < top


def test_fit_figure(result, drawn):
    figure = fit_figure(result, drawn)
    width, height = size(png(figure, dpi=60))
    assert width == pytest.approx(900, abs=2) and height > 200
    text = words(figure)
    assert f"chi^2={result.chi2:.1f}" in text and f"{result.reduced_chi2:.3f}" in text
    for word in ("Data", "Model", "Source plane", "[arcsec]", "counts", "N", "E"):
        assert word in text
    residual = next(axis for axis in figure.axes if "noise" in axis.get_title())
    assert residual.images[0].origin == "lower"
    np.testing.assert_array_equal(np.ma.getmaskarray(residual.images[0].get_array()), ~drawn[0].mask)


def test_a_row_for_each_observation():
    result = make_result(n_observations=2)
    figure = fit_figure(result)
    assert len(figure.axes) == 8 and "all observations" in words(figure)
    png(figure, dpi=40)


@pytest.mark.parametrize("empty", ["lens_light", "source_light", "mass"])
def test_scene_without_a_part(empty):
    result = make_result(truth=False)
    scene = result.scenes[0].replace(**{empty: []})
    drawn = pictures(result.replace(scenes=[scene]))
    png(fit_figure(result, drawn), dpi=40)
    if empty != "mass":
        part = {"lens_light": drawn[0].lens_light, "source_light": drawn[0].lensed_source}[empty]
        assert not part.any()
    else:
        assert drawn[0].curves == []


def test_curves_follow_a_turned_grid():
    result = make_result(n_observations=2)
    drawn = pictures(result)
    figure = fit_figure(result, drawn)
    turned = figure.axes[4]
    grid = drawn[1].observation.grid
    points = drawn[1].curves[0].critical
    column, row = grid.to_pixel(points[:, 0], points[:, 1])
    drawn_points = turned.lines[0].get_xydata()
    half = 0.5 * grid.shape[0] * float(grid.pixel_scale)
    expected = (np.stack([column, row], 1) + 0.5) * float(grid.pixel_scale) - half
    np.testing.assert_allclose(drawn_points, expected, atol=1e-5)


@pytest.mark.parametrize("names", [None, ["mass.0.gamma"], ["mass.0.e1", "mass.0.e2", "source_light.0.center_x"]])
def test_corner_figure(result, names):
    figure = corner_figure(result, names)
    n = len(names or result.names)
    assert len(figure.axes) == n * n
    png(figure, dpi=30)
    assert all(word in words(figure) for word in ("HMC", "variational", "truth"))


def test_corner_of_constant_and_few_samples():
    result = make_result(draws=3)
    frozen = {**result.samples, "mass.0.e1": np.full((4, 3), 0.12)}
    png(corner_figure(result.replace(samples=frozen, truth=None), list(TRUTH)[:3]), dpi=30)


def test_corner_names_an_unknown_parameter(result):
    with pytest.raises(ValueError, match=r"unknown parameter 'mass\.0\.thetaE'"):
        corner_figure(result, ["mass.0.thetaE"])


def test_many_parameters_show_the_mass():
    result = make_result()
    assert default_names(result) == result.names
    more = {f"source_light.0.extra{k}": np.zeros((4, 9)) for k in range(8)}
    mass = [name for name in TRUTH if name.startswith("mass")]
    best = dict(result.best) | dict.fromkeys(more, 0.0)
    assert default_names(result.replace(samples={**result.samples, **more}, best=best)) == mass


def test_trace_figure(result):
    figure = trace_figure(result)
    png(figure, dpi=30)
    assert "log posterior" in words(figure)


def test_no_global_state(result, drawn):
    before = pyplot.get_fignums()
    out = []
    threads = [threading.Thread(target=lambda: out.append(png(fit_figure(result, drawn), dpi=40))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(out) == 2 and out[0] == out[1] and pyplot.get_fignums() == before


def test_labels():
    text = labels(["mass.0.theta_E", "mass.0.e1", "mass.1.gamma1", "lens_light.0.e1", "lens_light.1.e1",
                   "source_light.0.beta"])
    assert list(text.values()) == [
        r"$\theta_{\rm E}$", r"$e_1^{\rm lens}$", r"$\gamma_{{\rm ext},1}$", r"$e_1^{\rm light\,1}$",
        r"$e_1^{\rm light\,2}$", r"$\beta^{\rm source}$"]
    assert unit("mass.0.center_x") == "arcsec" and unit("mass.0.gamma") == ""
    assert labels(["mass.0.new_field"])["mass.0.new_field"] == r"${\rm new\,field}$"
