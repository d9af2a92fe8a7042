"""Catalogues: what a column sets, and the one clear error of each fault, before anything is computed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from giga.inference.settings import FitConfig
from giga.io.configuration.catalogue import configure, read_catalogue
from giga.io.configuration.toml import read_toml
from giga.io.errors import InputError
from giga.jobs.fleet import plan_fleet

CONFIG = """
[[observation]]
background_rms = 0.1
psf_fwhm = 0.1
psf_size = 5
pixel_scale = 0.1

[[mass]]
profile = "EPL"
theta_E = {dist = "LogNormal", loc = 0.2, scale = 0.3}
gamma = 2.0

[[source_light]]
profile = "Sersic"
R_sersic = 0.2
n_sersic = {dist = "Uniform", low = 0.5, high = 4.0}
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a configuration and three images, the last of another shape."""
    (tmp_path / "fleet.toml").write_text(CONFIG)
    for name, side in (("a", 12), ("b", 12), ("c", 16)):
        fits.PrimaryHDU(np.ones((side, side))).writeto(tmp_path / f"{name}.fits")
    return tmp_path


def plan(folder, text, name="catalogue.csv", **options):
    if text is not None:
        (folder / name).write_text(text)
    return plan_fleet(folder / name, folder / "fleet.toml", **options)


def refused(folder, text, *words, **options):
    with pytest.raises(InputError) as caught:
        plan(folder, text, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in ("catalogue.csv", *words):
        assert word in message
    return message


def test_columns_set_values_of_their_lens(folder):
    fleet = plan(folder, "name,image,exposure_time,seed,mass.0.theta_E.loc,mass.0.gamma,cutout.size,"
                         "observation.0.band\n0946,a.fits,1e3,7,-.5,1.9,,814\nJ2+x,c.fits,,,,,9,\n")
    one, two = fleet.configs["0946"], fleet.configs["J2+x"]
    assert one.observation[0].image == folder / "a.fits"
    assert one.observation[0].exposure_time == 1000.0 and one.observation[0].band == "814" and one.run.seed == 7
    parameters = dict(one.mass[0].parameters)
    assert dict(parameters["theta_E"].arguments)["loc"] == -0.5 and parameters["gamma"] == 1.9
    assert one.observation[0].background_rms == 0.1 and one.observation[0].cutout is None
    assert two.observation[0].exposure_time is None and two.run.seed == 0 and two.observation[0].cutout.size == 9
    assert dict(dict(two.mass[0].parameters)["theta_E"].arguments)["loc"] == 0.2
    assert not fleet.missing


@pytest.mark.parametrize(("data", "image", "psf"), [(None, "lists/a.fits", "psf.fits"),
                                                    ("data", "data/a.fits", "data/psf.fits")])
def test_paths_start_from_their_own_file_or_from_the_data(folder, data, image, psf):
    (folder / "fleet.toml").write_text(CONFIG.replace("psf_fwhm = 0.1\npsf_size = 5\n", 'psf = "psf.fits"\n'))
    (folder / "lists").mkdir()
    (folder / "lists" / "catalogue.csv").write_text("name,image\na,a.fits\n")
    rows = read_catalogue(folder / "lists" / "catalogue.csv")
    (config,) = configure(rows, folder / "lists" / "catalogue.csv", read_toml(folder / "fleet.toml"),
                          folder / "fleet.toml", FitConfig, data and folder / data)
    assert config.observation[0].files() == [folder / image, folder / psf]


def test_a_second_observation_and_overrides_for_all(folder):
    (folder / "fleet.toml").write_text(CONFIG.replace("[[mass]]", "[[observation]]\nbackground_rms = 0.2\n[[mass]]"))
    fleet = plan(folder, "name,image,observation.1.image\na,a.fits,b.fits\n", overrides={"inference.n_chains": 8})
    assert [o.image.name for o in fleet.configs["a"].observation] == ["a.fits", "b.fits"]
    assert fleet.configs["a"].inference.n_chains == 8


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".vot"])
def test_tables_with_types_units_and_empty_cells(folder, suffix):
    table = Table({"name": ["a", "b"], "image": ["a.fits", "b.fits"], "seed": [3, 4]})
    table["exposure_time"] = MaskedColumn([0.5, 0.0], mask=[False, True], unit="h")
    table["mass.0.gamma"] = [1.9, 2.1]
    table["psf_fwhm"] = MaskedColumn([120.0, 80.0], unit="mas")
    table.write(folder / f"catalogue{suffix}", format={".vot": "votable"}.get(suffix))
    fleet = plan(folder, None, f"catalogue{suffix}")
    one, two = (fleet.configs[name] for name in "ab")
    assert one.observation[0].exposure_time == pytest.approx(1800.0) and two.observation[0].exposure_time is None
    assert one.observation[0].psf_fwhm == pytest.approx(0.12) and one.run.seed == 3
    assert dict(two.mass[0].parameters)["gamma"] == 2.1


def test_a_unit_that_does_not_convert(folder):
    table = Table({"name": ["a"], "image": ["a.fits"]})
    table["exposure_time"] = MaskedColumn([1.0], unit="arcsec")
    table.write(folder / "catalogue.ecsv")
    with pytest.raises(InputError, match=r"row 1 \(a\): exposure_time: unit arcsec; expected s"):
        plan(folder, None, "catalogue.ecsv")


@pytest.mark.parametrize(("text", "words"), [
    ("", ["empty"]),
    ("name,image\n", ["no rows"]),
    ("image\na.fits\n", ["name", "no such column among image"]),
    ("name,image\na,a.fits,1\n", ["cannot be read"]),
    ("name,imagee\na,a.fits\n", ["imagee", "unknown column", "nearest: 'image'", "--ignore imagee"]),
    ("name,image,run.precision\na,a.fits,float64\n", ["run.precision", "the same for all"]),
    ("name,image,inference.n_chains\na,a.fits,8\n", ["inference.n_chains", "the same for all"]),
    ("name,image,seed,run.seed\na,a.fits,1,2\n", ["columns seed and run.seed", "both set run.seed"]),
    ("name,image\na,a.fits\nb,b.fits\nA,c.fits\n", ["row 3: name", "got 'A'", "the name of row 1 too"]),
    ("name,image\na,a.fits\n../b,b.fits\n", ["row 2: name", "got '../b'", "fit for a folder"]),
    ("name,image\nJ0946 1006,a.fits\n", ["row 1: name", "got 'J0946 1006'"]),
    ("name,image\n,a.fits\n", ["row 1: name", "got ''"]),
    ("name,image,exposure_time\na,a.fits,12OO\n", ["row 1 (a): exposure_time", "got '12OO'", "a number"]),
    ("name,image,exposure_time\na,a.fits,nan\n", ["row 1 (a): exposure_time", "a finite number"]),
    ("name,image,exposure_time\na,a.fits,-5\n", ["row 1 (a): exposure_time", "got -5", "above 0"]),
    ("name,image,mass.0.theta.loc\na,a.fits,1\n", ["row 1 (a): mass.0.theta.loc", "nearest: 'theta_E'"]),
    ("name,image,mass.1.gamma1\na,a.fits,1\n", ["row 1 (a): mass.1.gamma1", "no such entry"]),
    ("name,image,noise_map\na,a.fits,a.fits\n", ["row 1 (a): noise_map", "both noise_map and background_rms"]),
    ("name,image,truth.mass.0.e1\na,a.fits,x\n", ["row 1 (a): truth.mass.0.e1", "got 'x'", "a number"]),
    ("name,image\na,a.fits\nb,\n", ["row 2 (b): image", "missing"]),
])
def test_faults_refuse_the_catalogue(folder, text, words):
    refused(folder, text, *words)


def test_no_such_catalogue_and_no_such_kind(folder):
    refused(folder, None, "no such file")
    (folder / "catalogue.dat").write_text("name\n")
    with pytest.raises(InputError, match=r"ends in '\.dat'; expected one of \.csv"):
        plan(folder, None, "catalogue.dat")
    (folder / "catalogue.fits").write_text("name,image\n")
    with pytest.raises(InputError, match="cannot be read"):
        plan(folder, None, "catalogue.fits")


def test_columns_can_be_passed_over_and_spreadsheets_marks_are_read(folder):
    fleet = plan(folder, "\ufeffname,image,redshift\na,a.fits,0.5\n", ignore=["redshift"])
    assert list(fleet.rows) == ["a"]


def test_a_missing_file_fails_its_row_alone_unless_strict(folder):
    text = "name,image\na,a.fits\nx,none.fits\n"
    fleet = plan(folder, text)
    assert list(fleet.missing) == ["x"] and "none.fits: image: no such file" in fleet.missing["x"]
    assert fleet.alike == [["a"]]
    refused(folder, text, "row 2 (x)", "none.fits", "no such file", strict=True)


def test_images_of_other_shapes_are_noted_and_kept_together(folder):
    fleet = plan(folder, "name,image\na,a.fits\nc,c.fits\nb,b.fits\n")
    assert fleet.alike == [["a", "b"], ["c"]] and list(fleet.rows) == ["a", "c", "b"]
    assert "images of 2 shapes" in fleet.notes[0] and "12 x 12 (2: a, b); 16 x 16 (1: c)" in fleet.notes[0]
    assert not plan(folder, "name,image,cutout.size\na,a.fits,9\nc,c.fits,9\n").notes


def test_devices_are_chosen_before_jax_starts(folder):
    """Distributions start JAX; on a CPU every core must be a device by then."""
    (folder / "catalogue.csv").write_text("name,image\na,a.fits\n")
    code = ("import sys, jax; from giga.jobs.fleet import plan_fleet; plan_fleet(*sys.argv[1:]); "
            "print(jax.device_count(), jax.config.jax_num_cpu_devices)")
    words = sys.executable, "-c", code, folder / "catalogue.csv", folder / "fleet.toml"
    done = subprocess.run(words, env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}, capture_output=True,
                          text=True, check=True)
    devices, wanted = map(int, done.stdout.split())
    assert devices == wanted > 0


def test_the_page_shows_a_catalogue_and_a_configuration_that_are_read(folder):
    page = (Path(__file__).parents[1] / "docs" / "fleets.md").read_text()
    (config,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (folder / "fleet.toml").write_text(config)
    text = "".join(line[4:] + "\n" for line in page.splitlines() if line.startswith(("    name,", "    J0")))
    fleet = plan(folder, text)
    assert len(fleet.rows) == 3 and set(fleet.missing) == set(fleet.rows)
    assert [config.run.seed for config in fleet.configs.values()] == [1, 2, 3]
