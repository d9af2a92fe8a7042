"""The section [cluster] of a configuration, a `.par` in its place, and what a fit of it leaves."""

import re
import tomllib
from dataclasses import dataclass

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from typer.testing import CliRunner

from giga.bayes.prior import Prior
from giga.cli import app
from giga.inference.field import Agreement, field_of, together
from giga.inference.pipeline import fit
from giga.inference.settings import FitConfig
from giga.io.configuration.members import read_members
from giga.io.configuration.toml import dump_config, load_config, parse_config, scene_from_config
from giga.io.errors import InputError
from giga.io.jsonfile import read_json
from giga.io.lenstool.catalogues import on_sky
from giga.io.results.field import field_hdus, field_summary, read_field
from giga.io.results.model import read_curves, write_model
from giga.jobs.job import prepare
from giga.jobs.results import write_results

TEXT = """
[lens]
z_lens = 0.4
[cluster]
images = "arcs.dat"
reference = [150.0, 2.2]
sigma = 0.3
half_width = 30.0
pixel_scale = 3.0
z_map = 3.0
ladder = "source"
redshifts = {2 = {dist = "Uniform", low = 1.0, high = 6.0}}
[[mass]]
profile = "DPIE"
sigma = {dist = "Uniform", low = 500.0, high = 1100.0}
core = 5.0
cut = 200.0
e1 = 0.15
e2 = -0.08
[[mass]]
profile = "Members"
catalogue = "members.cat"
sigma = 150.0
core = 0.05
cut = 5.0
mag0 = 19.0
"""
ARCS = """#REFERENCE 3 150.0 2.2
1.1 14.0 3.0 1 1 0 1.5 0
1.2 -9.0 6.0 1 1 0 1.5 0
1.3 -4.0 -15.0 1 1 0 1.5 0
2.1 18.0 -6.0 1 1 0 0.0 0
2.2 -16.0 8.0 1 1 0 0.0 0
"""
MEMBERS = """#REFERENCE 3 150.0 2.2
g1 8.0 -3.0 1.0 0.8 30.0 18.5 0
g2 -12.0 10.0 1.0 0.9 80.0 19.5 0
"""
PAR = """runmode
	reference 3 150.0 2.2
	end
image
	multfile 1 arcs.dat
	sigposArcsec 0.3
	z_m_limit 1 2 1 1.0 6.0 0.1
	end
potentiel O1
	profil 81
	x_centre 0.5
	ellipticite 0.3
	angle_pos 20.0
	core_radius_kpc 40.0
	cut_radius 200.0
	v_disp 800.0
	z_lens 0.4
	end
limit O1
	x_centre 1 -5.0 5.0 0.1
	v_disp 3 800.0 80.0 0.1
	ellipticite 1 0.1 0.5 0.1
	angle_pos 1 -20.0 60.0 0.1
	core_radius_kpc 3 40.0 40.0 0.1
	end
potentiel O1
	profil 81
	core_radius 0.1
	cut_radius 5.0
	v_disp 200.0
	z_lens 0.4
	end
potfile
	filein 3 members.cat
	zlens 0.4
	corekpc 0.15
	mag0 19.0
	sigma 3 150.0 20.0
	cutkpc 1 10.0 60.0
	slope 0 4.0 0.0
	vdslope 3 4.0 0.5
	end
champ
	xmin -30
	xmax 30
	ymin -25
	ymax 25
	end
fini
"""


@dataclass(frozen=True)
class NoSettings:
    """A section [inference] that is left out."""


@pytest.fixture
def folder(tmp_path):
    for name, text in (("arcs.dat", ARCS), ("members.cat", MEMBERS), ("cluster.toml", TEXT), ("input.par", PAR)):
        (tmp_path / name).write_text(text)
    return tmp_path


def parsed(folder, text=TEXT):
    return parse_config(tomllib.loads(text), folder / "cluster.toml", NoSettings)


def test_section_is_read_and_written_back(folder):
    config = parsed(folder)
    scene = scene_from_config(config)
    (term,) = config.terms
    assert term.names == ("1", "2") and term.data.system == (0, 0, 0, 1, 1) and term.view.z_map == 3.0
    assert scene.planes.absolute and scene.planes.sources[0] == 1.5 and scene.planes.sources[1].high == 6.0
    np.testing.assert_allclose(scene.mass[1].catalogue.x, [8.0, -12.0], atol=1e-9)
    assert config.redshifts.z_source == 3.0
    again = parse_config(tomllib.loads(dump_config(config)), folder / "other.toml", NoSettings)
    assert dump_config(again) == dump_config(config)
    assert config.with_overrides({"mass.0.core": 4.0}).mass[0] != config.mass[0]


@pytest.mark.parametrize(("old", "new", "file", "said"), [
    ("2.2 -16.0 8.0 1 1 0 0.0 0\n", "", "arcs.dat", r"arcs.dat: line 5: one image of system 2; expected 2 or more"),
    ("1.1 14.0", "1.1 34.0", "arcs.dat", r"arcs.dat: line 2: image 1.1 at 34.00, 3.00 arcsec; expected a place within"),
    ("1.2 -9.0 6.0 1 1 0 1.5", "1.2 -9.0 6.0 1 1 0 1.6", "arcs.dat", r"line 2: redshifts \[1.5, 1.6\] of system 1"),
    ("0 1.5 0", "0 0.3 0", "arcs.dat", r"arcs.dat: line 2: redshift 0.3 of system 1; expected a source behind"),
    ("2.2 -16.0 8.0", "2.2 18.0 -6.0", "arcs.dat", r"arcs.dat: line 6: image 2.2 at 18.00, -6.00 arcsec, where 2.1 of "
                                                   r"line 5 is; expected a place of its own"),
    ("19.5", "99", "members.cat", r"members.cat: line 3: magnitude 99 \(g2 of line 3\); expected magnitudes between"),
    ("18.5", "-99", "members.cat", r"members.cat: line 2: magnitude -99 \(g1 of line 2\); expected magnitudes between"),
    ("18.5", "0.0", "members.cat", r"members.cat: magnitude 0 in row 1, beside mass.1.mag0 = 19; expected members at "
                                   r"most 15 magnitudes brighter"),
    ("mag0 = 19.0", "mag0 = 99", "", r"cluster.toml: mass.1.mag0: got 99; expected a number between -50 and 50"),
    ("g2 -12.0", "g1 -12.0", "members.cat", r"members.cat: line 3: g1 named g1 of line 2; expected each member once"),
    ("g2 -12.0 10.0", "g2 8.0 -3.0", "members.cat", r"members.cat: line 3: g2 at the place of g1 of line 2; expected"),
    ("19.5", "nan", "members.cat", r"members.cat: line 3: row 1 \(g2\) not finite"),
    ("low = 1.0, high = 6.0", "low = 0.2, high = 6.0", "", r"redshifts.2: Uniform from 0.2 to 6; expected"),
    ("redshifts = {2", "redshifts = {7", "", r"cluster.redshifts.7: no such system"),
    ("redshifts = ", "#", "", r"cluster.redshifts: none of system 2, whose redshift in .*arcs.dat is 0"),
    ("z_lens = 0.4", "", "", r"lens.z_lens: missing; expected the redshift of the cluster"),
    ("z_map = 3.0", "z_map = 0.3", "", r"cluster.z_map: got 0.3; expected a redshift behind the lens"),
    ("[lens]", "[[source_light]]\nprofile = 'Sersic'\n[lens]", "", r"source_light: given beside \[cluster\]"),
    ("[cluster]", "[other]", "", "other: unknown section"),
])
def test_bad_input_is_named(folder, old, new, file, said):
    text = TEXT
    if file:
        path = folder / file
        path.write_text(path.read_text().replace(old, new))
    else:
        text = TEXT.replace(old, new, 1)
    with pytest.raises(InputError) as caught:
        scene_from_config(parsed(folder, text))
    assert re.search(said, str(caught.value)), str(caught.value)


def test_a_par_is_a_configuration(folder):
    """Its limits are priors; of an ellipticity and an angle by the moments, drawn here."""
    config = parsed(folder, '[cluster]\npar = "input.par"\nz_map = 3.0\n')
    cluster = config.cluster.settings
    assert cluster.half_width == 30.0 and cluster.sigma == 0.3 and config.lens.z_lens == 0.4
    halo, other, members = (dict(one.parameters) for one in config.mass)
    assert [one.profile for one in config.mass] == ["DPIE", "DPIE", "Members"]
    assert halo["center_x"].dist == "Uniform" and dict(halo["center_x"].arguments) == {"low": -5.0, "high": 5.0}
    assert dict(halo["sigma"].arguments) == {"loc": 800.0, "scale": 80.0, "low": 0.0}
    assert halo["cut"] == 200.0 and other["sigma"] == 200.0
    kpc = config.redshifts.kpc_lens
    np.testing.assert_allclose(dict(halo["core"].arguments)["scale"], 40.0 / kpc, rtol=1e-9)
    rng = np.random.default_rng(0)
    eps, angle = rng.uniform(0.1, 0.5, 100_000), np.radians(rng.uniform(-20.0, 60.0, 100_000))
    e = eps / (1.0 + np.sqrt(1.0 - eps**2))
    for key, values in (("e1", e * np.cos(2.0 * angle)), ("e2", e * np.sin(2.0 * angle))):
        found = dict(halo[key].arguments)
        np.testing.assert_allclose([found["loc"], found["scale"]], [values.mean(), values.std()], atol=1e-3)
    np.testing.assert_allclose(dict(members["cut"].arguments)["high"], 60.0 / kpc, rtol=1e-9)
    np.testing.assert_allclose(dict(members["sigma_exponent"].arguments)["scale"], 0.25 / 8.0, rtol=1e-9)
    assert dict(config.cluster.systems.redshifts[1].arguments) == {"low": 1.0, "high": 6.0}


def test_members_of_a_par_scatter_about_their_relation(folder):
    """LensTool's scatters in km / s and kpc become shares of the relation at mag0, and each member has free offsets."""
    scattered = PAR.replace("	vdslope 3", "	vdscatter 3 15.0 5.0\n	rcutscatter 1 0.0 1.0\n	vdslope 3")
    (folder / "input.par").write_text(scattered)
    config = parsed(folder, '[cluster]\npar = "input.par"\nz_map = 3.0\n')
    members = dict(config.mass[2].parameters)
    np.testing.assert_allclose([dict(members["scatter"].arguments)[key] for key in ("loc", "scale")],
                               np.array([15.0, 5.0]) / (150.0 * np.log(10.0)), rtol=1e-12)
    kpc = config.redshifts.kpc_lens
    np.testing.assert_allclose(dict(members["cut_scatter"].arguments)["high"], 1.0 / (35.0 / kpc * np.log(10.0)),
                               rtol=1e-9)
    mass = scene_from_config(config).mass[2]
    names = Prior.of(scene_from_config(config)).names
    assert len(mass.offsets) == len(mass.cut_offsets) == 2
    assert {"mass.2.scatter", "mass.2.offsets.1", "mass.2.cut_offsets.0"} <= set(names)
    numbers = mass.replace(sigma=150.0, cut=10.0, sigma_exponent=0.25, scatter=0.1, offsets=[0.0, 2.0],
                           cut_scatter=0.2, cut_offsets=[1.0, 0.0])
    flat = numbers.replace(offsets=[], cut_offsets=[]).each()
    np.testing.assert_allclose(numbers.each().sigma / flat.sigma, [1.0, 10.0**0.2], rtol=1e-6)
    np.testing.assert_allclose(numbers.each().cut / flat.cut, [10.0**0.2, 1.0], rtol=1e-6)
    (folder / "input.par").write_text(scattered.replace("vdscatter 3", "vdscatter 0"))
    calm = scene_from_config(parsed(folder, '[cluster]\npar = "input.par"\nz_map = 3.0\n')).mass[2]
    assert not len(calm.offsets) and len(calm.cut_offsets) == 2


def test_a_scatter_in_toml_frees_an_offset_of_each_member(folder):
    assert len(scene_from_config(parsed(folder, TEXT + "scatter = 0.1\n")).mass[1].offsets) == 2
    for line, said in (("scatter = -0.1", r"mass.1.scatter: got -0.1; expected a number of 0 or more \[dex\]"),
                       ("offsets = [0.1, 0.2]", r"mass.1.offsets: unknown parameter")):
        with pytest.raises(InputError, match=said):
            scene_from_config(parsed(folder, f"{TEXT}{line}\n"))


@pytest.mark.parametrize(("old", "new", "said"), [
    ("profil 81", "profil 77", r"input.par: line 10: profil 77 of potentiel O1; expected a type that is known"),
    ("v_disp 3 800.0 80.0", "v_disp 9 800.0 80.0", r"input.par: line 21: v_disp 9 800.0 80.0 0.1; expected 1 LOW HIGH"),
    ("limit O1", "limit O7", r"input.par: line 19: limit O7; expected a limit after its potentiel"),
    ("v_disp 800.0", "v_disp -800.0", r"input.par: line 16: v_disp -800 of potentiel O1; expected a dispersion that"),
    ("z_lens 0.4\n\tend\nlimit", "z_lens 0.4\nlimit", r"line 9: potentiel O1 without end before line 18, limit O1; "
                                                     r"expected end after the last line of a section"),
    ("0.1\n\tend\npotentiel", "0.1\n\npotentiel", r"line 4: image without end before line 9, potentiel O1"),
    ("2.2\n\tend\nimage", "2.2\nimage", r"line 1: runmode without end before line 3, image; expected end"),
    ("mag0 19.0", "mag0 -99", r"input.par: line 37: mag0 -99 of potfile; expected a magnitude between -50"),
    ("vdslope 3 4.0 0.5", "vdscatter 2 1.0 2.0", r"input.par: line 41: vdscatter 2 1.0 2.0; expected 1 LOW HIGH"),
    ("zlens 0.4", "zlens 0.5", r"input.par: z_lens: got \[0.4, 0.5\]; expected one redshift"),
])
def test_bad_lines_of_a_par_are_named(folder, old, new, said):
    (folder / "input.par").write_text(PAR.replace(old, new, 1))
    with pytest.raises(InputError, match=said):
        parsed(folder, '[cluster]\npar = "input.par"\n')


def test_all_systems_together():
    total = together([Agreement("1", 3, 1.0, 2.0), Agreement("2", 1, 3.0, 0.0, 1)])
    assert (total.images, total.missed) == (4, 1)
    np.testing.assert_allclose([total.source, total.image], [np.sqrt(12.0 / 4.0), np.sqrt(12.0 / 4.0)])


def test_maps_are_written_with_their_place_on_the_sky(folder, tmp_path):
    """A catalogue's place is the pixel whose x and y LensTool's rule gives it; all reads back."""
    config = parsed(folder)
    config = config.with_overrides({"mass.0.sigma": 800.0, "cluster.redshifts.2": 2.5})
    shown = field_of(scene_from_config(config), config.terms)
    assert set(shown.maps) == {"MAGNIFICATION", "CONVERGENCE"} and shown.maps["CONVERGENCE"].shape == (20, 20)
    write_model(tmp_path / "model.fits", [], {}, shown)
    with fits.open(tmp_path / "model.fits") as hdus:
        header = hdus["CONVERGENCE"].header
        x, y = 12.0, -20.0
        ra, dec = 150.0 - x / (3600.0 * np.cos(np.radians(2.2))), 2.2 + y / 3600.0
        np.testing.assert_allclose(WCS(header).wcs_world2pix(ra, dec, 0), [x / 3.0 + 9.5, y / 3.0 + 9.5], atol=1e-6)
        np.testing.assert_allclose(WCS(header, key="A").wcs_pix2world(9.5, 9.5, 0), [0.0, 0.0], atol=1e-9)
    again = read_field(tmp_path / "model.fits", field_summary(shown), read_curves(tmp_path / "model.fits"))
    assert again.rows == shown.rows and again.total == shown.total and again.grid.shape == shown.grid.shape
    np.testing.assert_allclose(again.maps["MAGNIFICATION"], shown.maps["MAGNIFICATION"], rtol=1e-6)
    assert len(field_hdus(again)) == 3 and len(again.curves) == len(shown.curves)


def test_a_fit_of_positions_alone_leaves_all_its_files(folder):
    """A cut short one: its numbers, maps over draws, picture and report."""
    short = dict(n_screen=8, n_starts=2, n_finalists=1, map_steps=2, map_rounds=1, vi_axis="none", vi_steps=1,
                 vi_samples=2, n_chains=4, n_block=4, n_pilot=1, min_iterations=4, max_iterations=4, n_bridge=16,
                 derived=False)
    text = TEXT + "[inference]\n" + "\n".join(f"{k} = {v!r}".replace("'", '"').replace("False", "false")
                                              for k, v in short.items())
    (folder / "cluster.toml").write_text(text)
    job = prepare(load_config(folder / "cluster.toml", fit_config_type=FitConfig))
    result = fit(job.prior, job.observations, config=job.config.inference, points=job.config.terms)
    assert result.n_pixels == 0 and result.points.n == 10 and result.n_free == 2 + 4
    assert np.isfinite(result.info["checks"]["bic"])
    assert result.field.draws == 16 and np.all(result.field.maps["MAGNIFICATION_Q16"]
                                               <= result.field.maps["MAGNIFICATION_Q84"])
    assert "0 pixels" not in result.summary()
    written = {path.name for path in write_results(result, folder / "run", job.text)}
    assert {"summary.json", "posterior.nc", "model.fits", "fit.png", "report.html"} <= written
    assert "rms, image plane" in (folder / "run" / "report.html").read_text()
    to_lenstool(folder, result)


def to_lenstool(folder, result):
    """The best fit as LensTool's files, which are a configuration again: of the same masses, its redshift free."""
    done = CliRunner().invoke(app, ["export", str(folder / "run"), "--to", "lenstool", "--out", str(folder / "lt")])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (folder / "lt").iterdir()} == {"best.par", "arcs.dat", "members0.cat", "skipped.json"}
    assert "skipped mass.0.sigma: the best fit is written" in done.output
    assert [line.split()[0] for line in (folder / "lt" / "members0.cat").read_text().splitlines()[1:]] == ["g1", "g2"]
    config = parsed(folder / "lt", '[cluster]\npar = "best.par"\nz_map = 3.0\n')
    halo = dict(config.mass[0].parameters)
    np.testing.assert_allclose([halo["sigma"], halo["e1"], halo["e2"], halo["core"]],
                               [result.best["mass.0.sigma"], 0.15, -0.08, 5.0], rtol=1e-9)
    known = dict(config.cluster.systems.redshifts[1].arguments)
    np.testing.assert_allclose([known["loc"], known["scale"]], [result.best["planes.sources.1"], np.std(
        result.samples["planes.sources.1"])], rtol=1e-5)
    assert config.cluster.systems.redshifts[0] == 1.5 and config.cluster.settings.ladder == "source"
    again = CliRunner().invoke(app, ["export", str(folder / "run"), "--to", "lenstool", "--out", str(folder / "lt")])
    assert again.exit_code == 2 and "is there already" in again.output


TABLE = "id,x,y,mag,q,pa\na,8.0,-3.0,18.5,0.8,-60\nb,-12.0,10.0,19.5,0.9,350\n"


def test_more_free_than_measured_is_refused(folder):
    """10 coordinates; offsets of members about a scatter are not counted, their prior is the scatter."""
    free = TEXT.replace("core = 5.0", 'core = {dist = "Uniform", low = 1.0, high = 9.0}')
    (folder / "cluster.toml").write_text(free + "scatter = 0.1\n")
    assert len(prepare(load_config(folder / "cluster.toml", fit_config_type=FitConfig)).prior.mass[1].offsets) == 2
    for old in ("cut = 200.0", "e1 = 0.15", "e2 = -0.08", "core = 0.05", "cut = 5.0"):
        free = free.replace(old, old.split()[0] + ' = {dist = "Uniform", low = 0.05, high = 0.5}', 1)
    (folder / "cluster.toml").write_text(free)
    with pytest.raises(InputError, match=r"cluster: 10 measurements for 12 free parameters \(8 sampled, 4 solved"):
        prepare(load_config(folder / "cluster.toml", fit_config_type=FitConfig))


@pytest.mark.parametrize("kind", ["csv", "sky", "fits"])
def test_members_from_a_table_are_those_of_a_potfile(tmp_path, kind):
    """A position angle of LensTool turns from west to north, those of tables from north to east: 90 degrees less."""
    reference = (150.0, 2.2)
    (tmp_path / "members.cat").write_text(MEMBERS)
    (tmp_path / "members.csv").write_text(TABLE)
    expected = read_members(tmp_path / "members.cat", reference)
    path = tmp_path / "members.csv"
    if kind != "csv":
        table = Table.read(path, format="ascii.csv")
        if kind == "sky":
            table["ra"], table["dec"] = on_sky(np.asarray(table["x"]), np.asarray(table["y"]), reference)
            table.remove_columns(["x", "y"])
        path = tmp_path / "members.fits"
        table.write(path)
    found = read_members(path, reference)
    for name in ("x", "y", "e1", "e2", "mag"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6, err_msg=name)


def test_round_members_and_those_by_components(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text("x,y,mag\n1,2,18\n")
    assert read_members(path, None).e1.tolist() == [0.0]
    path.write_text("x,y,mag,e1,e2\n1,2,18,0.1,-0.2\n")
    assert (read_members(path, None).e1.tolist(), read_members(path, None).e2.tolist()) == ([0.1], [-0.2])


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "members.csv").write_text(TABLE)
    table = Table.read(tmp_path / "members.csv", format="ascii.csv")
    table.write(tmp_path / "members.ecsv", format="ascii.ecsv")
    for name in ("members.csv", "members.ecsv"):
        path = tmp_path / name
        path.write_text(path.read_text(), encoding="utf-8-sig")
        assert read_members(path, None).mag.tolist() == [18.5, 19.5]
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(("change", "words"), [
    (("x,y", "u,y"), "members.csv: x: no such column among id, u, y, mag"),
    (("x,y", "u,v"), "members.csv: x: no such column .* expected x and y, or ra and dec"),
    (("x,y", "ra,dec"), "members.csv: ra: places in degrees; expected a reference"),
    (("id,x", "ra,x"), "members.csv: ra and dec: beside x and y; expected one of the two"),
    (("19.5", "99"), "members.csv: mag: 99 in row 2; expected magnitudes between -50 and 50"),
    (("18.5", "-99.0"), "members.csv: mag: -99 in row 1; expected magnitudes between -50 and 50"),
    (("b,-12", "a,-12"), "members.csv: id: the same in rows 1, 2; expected each member once"),
    (("-12.0,10.0", "8.0,-3.0"), "members.csv: x and y: the same in rows 1, 2; expected each member once"),
    (("mag", "F814W"), "members.csv: mag: no such column"),
    (("19.5", ""), "members.csv: mag: missing in row 2; expected a number for each member"),
    (("19.5", "nan"), "members.csv: mag: not finite in row 2"),
    (("19.5", "faint"), "members.csv: mag: got 'faint'"),
    (("0.9", "1.2"), "members.csv: q: 1.2 in row 2; expected axis ratios above 0, at most 1"),
    (("q,pa", "e1,e2"), "members.csv: e1: .*1 or more in rows 1, 2; expected less"),
    ((TABLE[TABLE.index("a,8"):], ""), "members.csv: no rows; expected one row a member"),
])
def test_a_table_of_members_that_is_wrong_is_refused(tmp_path, change, words):
    path = tmp_path / "members.csv"
    path.write_text(TABLE.replace(*change))
    with pytest.raises(InputError, match=words) as caught:
        read_members(path, None)
    assert "\n" not in str(caught.value)
