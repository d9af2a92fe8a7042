"""The tables of Collett (2015): read, refused, and drawn from; the rows here are made up."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from giga.ellipse import axis_ratio
from giga.io.configuration.collett import read_collett
from giga.io.errors import InputError
from giga.lensing.cosmology import Cosmology
from giga.light.sersic import unit_flux
from giga.mass import EPL, Shear
from giga.mass.epl import terms_for
from giga.simulate.surveys.survey import Band, GaussianPSF
from giga.simulate.systems.collett import collett_population

HEADER = """#Lens population discoverable in a survey
#
#Each line in the table represents a single lens.
#------------------------------------
#[0] zl, lens redshift
#[1] zs, source redshift
#[2] b, Einstein radius (arcseconds)
#[3] sig_v, lens velocity dispersion (km/s)
#[4] ql, lens flattening (1=circular, q=1-e)
#[5] rl, lens half light radius (arcseconds) NB/ sersic index is 4
#[6] lens g band magnitude
#[7] lens i band magnitude
#[8] xs, source x coordinate relative, 0 is lens centre (arcseconds)
#[9] ys, source y coordinate relative, 0 is lens centre (arcseconds)
#[10] qs, source flattening (1=circular, q=1-e)
#[11] ps, source position angle (degrees)
#[12] rs, source half light radius (arcseconds) NB/ sersic index is 1
#[13] source g band magnitude
#[14] source i band magnitude
#[15] mu_s, source magnification
#[16] g band coadd seeing
#[17] g band coadd signal-to-noise of source assuming poisson limited lens subtraction
#[18] signal-to-noise in the g - i difference image
#------------------------------------
"""
ROWS = ["0.500 2.000 1.40 255.0 0.800 0.60 21.00 19.00 0.30 0.10 0.600 30.0 0.20 24.50 24.00 5.00 1.20 30.00 1.50 ",
        "0.200 1.000 1.10 220.0 0.600 1.50 18.00 17.00 -0.10 0.40 0.900 120.0 0.00 25.00 24.80 7.50 1.20 21.00 0.00 ",
        "",
        "0.800 3.000 0.90 230.0 0.950 0.40 24.00 21.50 0.05 -0.20 0.400 0.0 0.10 24.00 24.10 9.00 1.20 25.00 0.00"]


def write(tmp_path, rows=ROWS, header=HEADER):
    path = tmp_path / "lenses.txt"
    path.write_text(header + "\n".join(rows) + "\n")
    return path


def bands(*names):
    return [Band(name=name, psf=GaussianPSF(0.8), zero_point=30.0 + k, gain=1.0, exposure_time=100.0, n_exposures=1,
                 read_noise=5.0, sky_brightness=22.0) for k, name in enumerate(names)]


def draws(population, n=300):
    return jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(0), n))[1]


def test_columns_and_units(tmp_path):
    table = read_collett(write(tmp_path))
    assert len(table) == 3 and table.weights is None
    columns = table.columns
    np.testing.assert_array_equal(columns["theta_E"], [1.4, 1.1, 0.9])
    np.testing.assert_array_equal(columns["mag_source_i"], [24.0, 24.8, 24.1])
    np.testing.assert_allclose(columns["phi_source"], np.deg2rad([30.0, 120.0, 0.0]))
    np.testing.assert_array_equal(columns["R_source"], [0.2, 0.005, 0.1])  # printed as 0.00: below half a digit
    assert set(columns) >= {"mag_lens_g", "seeing_g", "snr_g", "snr_difference", "magnification", "phi_lens"}


def changed(line, column, text):
    rows = [row.split() for row in ROWS]
    rows[line][column] = text
    return [" ".join(row) for row in rows]


@pytest.mark.parametrize(("rows", "header", "message"), [
    (changed(0, 2, "-1.40"), HEADER, "lenses.txt: line 25, theta_E: got -1.4; expected a number above 0"),
    (changed(3, 4, "1.2"), HEADER, "line 28, q_lens: got 1.2; expected an axis ratio above 0, up to 1"),
    (changed(1, 1, "0.1"), HEADER, "line 26, z_source: got 0.1; expected a redshift above that of the lens"),
    (changed(1, 6, "nan"), HEADER, "line 26, mag_lens_g: got 'nan'; expected a finite number"),
    (changed(1, 6, "***"), HEADER, r"line 26, mag_lens_g: got '\*\*\*'; expected a finite number"),
    ([ROWS[0], ROWS[1][:40]], HEADER, "line 26: 7 values; expected 19, as the header has columns"),
    ([], HEADER, "no rows; expected one lens a line"),
    (ROWS, "", "no column for z_lens, z_source, .*expected lines such as"),
    (ROWS, HEADER.replace("#[3]", "#[4]"), r"line 8: column \[4\]; expected column \[3\]"),
    (ROWS, HEADER.replace("ql, lens flattening", "el, lens ellipticity"), "line 9: a column 'el, lens ellip"),
])
def test_bad_tables_are_refused(rows, header, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_collett(write(tmp_path, rows, header))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_collett(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_collett(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text"):
        read_collett(tmp_path / "binary")


def test_scenes_have_the_magnitudes_and_shapes_of_their_row(tmp_path):
    table = read_collett(write(tmp_path))
    population = collett_population(table, bands("i", "g"), center_x=0.1)
    assert population.n_bands == 2
    truth = draws(population)
    row = np.searchsorted([1.0, 1.2], np.asarray(truth["mass.0.theta_E"])) % 3  # 0.9, 1.1, 1.4
    row = np.array([2, 1, 0])[row]
    assert set(row) == {0, 1, 2}
    columns = table.columns
    np.testing.assert_allclose(truth["mag_lens"], np.stack([columns["mag_lens_i"], columns["mag_lens_g"]], 1)[row],
                               rtol=1e-6)
    per_amp = unit_flux(jnp.asarray(columns["R_source"][row]), 1.0)
    flux = np.asarray(truth["source_light.0.amp"] * per_amp[:, None])
    expected = np.stack([columns["mag_source_i"], columns["mag_source_g"]], 1)[row]
    np.testing.assert_allclose(np.array([30.0, 31.0]) - 2.5 * np.log10(flux), expected, atol=1e-4)
    np.testing.assert_array_equal(truth["mass.0.e1"], truth["lens_light.0.e1"])
    q, phi = axis_ratio(truth["mass.0.e1"], truth["mass.0.e2"])
    np.testing.assert_allclose(q, columns["q_lens"][row], rtol=1e-5)
    assert np.std(phi) > 0.5


def test_a_system_is_turned_as_a_whole(tmp_path):
    table = read_collett(write(tmp_path)).select([0])
    truth = draws(collett_population(table, bands("g")))
    x, y = truth["source_light.0.center_x"], truth["source_light.0.center_y"]
    # angles to the major axis of the lens, which the table has along +y
    _, phi_lens = axis_ratio(truth["mass.0.e1"], truth["mass.0.e2"])
    position = np.exp(2j * (np.arctan2(y, x) - phi_lens))
    np.testing.assert_allclose(position, np.exp(2j * (np.arctan2(0.1, 0.3) - np.pi / 2)), atol=1e-4)
    np.testing.assert_allclose(np.hypot(x, y), np.hypot(0.3, 0.1), rtol=1e-5)
    _, phi = axis_ratio(truth["source_light.0.e1"], truth["source_light.0.e2"])
    np.testing.assert_allclose(np.exp(2j * (phi - phi_lens)), np.exp(2j * np.deg2rad(30.0 - 90.0)), atol=1e-4)


def test_options(tmp_path):
    table = read_collett(write(tmp_path))
    shear = Shear(gamma1=dist.Normal(0.0, 0.05), gamma2=dist.Normal(0.0, 0.05))
    population = collett_population(table, bands("g", "z"), gamma=dist.Normal(2.0, 0.1), shear=shear, n_lens=3.0,
                                    cosmology=Cosmology(Om0=0.3), magnitudes={"z": "i"},
                                    extras={"label": dist.Bernoulli(0.5)})
    scene, truth = jax.jit(population.draw)(jax.random.key(1))
    assert [type(mass) for mass in scene.mass] == [EPL, Shear]
    assert scene.mass[0].terms == terms_for(0.6, 1e-5)
    assert {"mass.0.gamma", "mass.1.gamma1", "label"} <= set(population.free)
    expected = Cosmology().einstein_radius(truth["sigma_v"], truth["z_lens"], truth["z_source"])
    assert float(truth["mass.0.theta_E"]) == pytest.approx(float(expected), rel=1e-5)


def test_missing_bands_are_named(tmp_path):
    table = read_collett(write(tmp_path))
    with pytest.raises(ValueError, match=r"no column 'mag_lens_u'; expected one of .*'mag_lens_g'"):
        collett_population(table, bands("g", "u"))
    with pytest.raises(ValueError, match="bands: got none"):
        collett_population(table, [])
