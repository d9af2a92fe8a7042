"""Vetting of cutouts: what is kept, what is not, and why."""

import numpy as np
import pytest

from giga.simulate.surveys.cutouts import Vetting, central, tiles, vet


def sky(n=10, side=40, bands=2, seed=0):
    """Blank cutouts of noise 2 and 5 on a sky of 100."""
    return 100.0 + np.random.default_rng(seed).normal(size=(n, side, side, bands)) * np.array([2.0, 5.0])


def test_blank_sky_is_kept_and_its_sky_taken_off():
    vetted = vet(sky())
    assert len(vetted.kept) == 10 and not vetted.counts and str(vetted) == "10 of 10 cutouts kept"
    assert vetted.cutouts.shape == (10, 40, 40, 2) and vetted.cutouts.dtype == np.float32
    np.testing.assert_allclose(np.median(vetted.cutouts, (1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(vetted.sigma, np.broadcast_to([2.0, 5.0], (10, 2)), rtol=0.1)  # 1600 pixels: 3%


def test_a_companion_off_the_centre_is_allowed():
    images = sky()
    images[3, 4:7, 30:33] += 40.0
    assert len(vet(images).kept) == 10


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda i: i[2, 5, 5].fill(np.nan), "not finite"),
    (lambda i: i[2, :, :, 1].fill(0.0), "blank or masked"),
    (lambda i: i[2, :, :4, 0].fill(0.0), "spike or star"),
    (lambda i: i[2, :, :, 0].__imul__(20.0), "untypical noise"),
    (lambda i: i[2, 3, 3].__iadd__(2000.0), "spike or star"),
    (lambda i: i[2, :12, :12].__iadd__(100.0), "rms"),
    (lambda i: i[2, :8].__iadd__(21.0), "mean"),
    (lambda i: i[2, 18:22, 18:22].__iadd__(20.0), "centre not empty"),
])
def test_what_is_rejected_says_why(spoil, reason):
    images = sky()
    spoil(images)
    vetted = vet(images, Vetting(peak=40.0) if reason == "spike or star" else Vetting(mean=0.9))
    assert vetted.counts == {reason: 1} and vetted.reasons[2] == reason
    assert list(vetted.kept) == [k for k in range(10) if k != 2]
    assert f"9 of 10 cutouts kept ({reason} 1)" == str(vetted)


def test_limits_can_be_widened():
    images = sky()
    images[:, 18:22, 18:22] += 20.0
    with pytest.raises(ValueError, match=r"none of 10 can be used \(centre not empty 10\)"):
        vet(images)
    assert len(vet(images, Vetting(centre=1000.0)).kept) == 10


def test_all_bad_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"none of 3 can be used \(not finite 3\)"):
        vet(np.full((3, 8, 8, 1), np.nan))
    with pytest.raises(ValueError, match=r"got \(8, 8\)"):
        vet(np.ones((8, 8)))


def test_tiles_cover_an_image():
    image = np.arange(7 * 9).reshape(7, 9)
    pieces = tiles(image, (3, 4))
    assert pieces.shape == (4, 3, 4, 1)
    np.testing.assert_array_equal(pieces[3, :, :, 0], image[3:6, 4:8])
    assert len(tiles(image, (3, 4), step=2)) == 3 * 3
    with pytest.raises(ValueError, match="expected at least 8 x 4"):
        tiles(image, (8, 4))


def test_the_central_part():
    images = np.arange(2 * 5 * 7).reshape(2, 5, 7, 1)
    np.testing.assert_array_equal(central(images, (3, 3)), images[:, 1:4, 2:5])
