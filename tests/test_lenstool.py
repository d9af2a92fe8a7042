"""Files of LensTool that giga writes, read back: deflections, catalogues, redshifts; and what a `.par` is told of."""

import json
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from _lenstool import kovner
from typer.testing import CliRunner

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.bayes.systems import SystemImages
from giga.cli import app
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import dump_config, parse_config, scene_from_config
from giga.io.errors import InputError
from giga.io.lenstool.catalogues import Table, read_images, read_potfile
from giga.io.lenstool.par import Par, Row, free_redshifts, read_par, write_par
from giga.io.lenstool.potentials import ENDLESS, POINTLIKE, masses
from giga.io.lenstool.potfiles import members
from giga.io.lenstool.scenes import ARCS, PAR, Arcs, lenstool_files
from giga.io.results.folder import SEARCHED
from giga.jobs.exchange import _width
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import deflection
from giga.light import Sersic
from giga.mass import EPL, NFW, SIE, SIS, PJaffe, PJaffeEllipse, Shear
from giga.mass.members import DPIE, Catalogue, Halos, Members

REFERENCE = (110.826989123456, -73.454723654321)
COSMOLOGY = Cosmology(H0=67.4, Om0=0.315, Ok0=0.02, w0=-0.9, wa=0.1)
CATALOGUE = Catalogue.of([8.123456789, -12.0, 3.0], [-3.0, 10.0, 20.0], [0.1, 0.0, -0.35], [-0.2, 0.0, 0.01],
                         [18.51234567, 19.5, 21.0])
RELATION = dict(catalogue=CATALOGUE, sigma=151.3, core=0.05, cut=5.7, mag0=19.12, sigma_exponent=0.27,
                cut_exponent=0.61)
PLACE = dict(center_x=1.23456789, center_y=-4.5)
MASSES = {
    "DPIE": DPIE(sigma=812.34567, core=5.1, cut=210.0, e1=0.31, e2=-0.22, **PLACE),
    "coreless": DPIE(sigma=300.0, core=1e-9, cut=50.0),
    "round": DPIE(sigma=800.0, core=5.0, cut=200.0),
    "exchanged": DPIE(sigma=500.0, core=60.0, cut=3.0, e1=-0.2, e2=0.1),
    "Halos": Halos(each=DPIE(sigma=np.array([700.0, 400.0]), core=np.array([4.0, 2.0]), cut=np.array([90.0, 60.0]),
                             e1=np.array([0.1, 0.0]), e2=np.array([0.0, -0.3]), center_x=np.array([0.0, 9.0]),
                             center_y=np.array([1.0, -7.0]))),
    "Members": Members(**RELATION),
    "offsets": Members(scatter=0.1, offsets=(0.5, -1.0, 2.0), cut_scatter=0.2, cut_offsets=(0.0, 1.0, -1.0),
                       **RELATION),
    "core_exponent": Members(core_exponent=0.3, **RELATION),
    "flat": Members(**(RELATION | {"sigma_exponent": 0.0})),
    "NFW": NFW(Rs=42.0, alpha_Rs=13.0, e1=0.05, e2=0.12, **PLACE),
    "Shear": Shear(gamma1=-0.03, gamma2=0.041),
    "SIS": SIS(theta_E=7.0, **PLACE),
    "isothermal": PJaffe(sigma0=2e5, Ra=POINTLIKE, Rs=ENDLESS, e1=0.03, e2=-0.05, **PLACE),
    "PJaffe": PJaffe(sigma0=1.4, Ra=3.0, Rs=50.0, **PLACE),
    "PJaffeEllipse": PJaffeEllipse(sigma0=0.9, Ra=40.0, Rs=2.0, e1=0.2, e2=0.3, **PLACE),
}


def scene_of(*mass):
    return Scene(mass=list(mass), planes=Planes(redshifts=[0.39], sources=[2.0], cosmology=COSMOLOGY, absolute=True))


def written(folder, scene, *more, **options):
    """The files of a scene, in a folder."""
    files = lenstool_files(scene, REFERENCE, *more, **options)
    for name, text in files.texts.items():
        (folder / name).write_text(text)
    return files, read_par(folder / PAR)


def bent(mass):
    x, y = np.random.default_rng(3).uniform(-40.0, 40.0, (2, 40))
    with jax.enable_x64(True):
        return np.stack(jax.jit(deflection)(list(mass), x, y))


def read_back(par):
    return [*(masses(par) if par.named("potentiel") else []), *members(par)]


def in_kpc(par):
    """The same with radii in kpc."""
    kpc = par.kpc(0.39)
    rows = {"core_radius": "core_radius_kpc", "cut_radius": "cut_radius_kpc", "scale_radius": "scale_radius_kpc",
            "core": "corekpc", "cut": "cutkpc"}

    def changed(row: Row) -> Row:
        if row.key not in rows:
            return row
        *kind, value = row.values[:2]
        return Row(rows[row.key], (*kind, repr(float(value) * kpc), *row.values[2:]), 0)

    return Par((), tuple(type(s)(s.name, s.label, tuple(map(changed, s.rows)), 0) for s in par.sections), par.file)


@pytest.mark.parametrize("name", MASSES)
def test_a_mass_bends_light_as_before(name, tmp_path):
    """To 1e-6 arcsec: ellipticities, angles, dispersions, radii in arcsec and in kpc. Type 1 has a core of 1e-5."""
    files, par = written(tmp_path, scene_of(MASSES[name]))
    expected = bent([MASSES[name]])
    kept = [path for path, _ in files.skipped]
    assert kept == (["mass.0"] if name in ("offsets", "core_exponent", "flat") else [])
    atol = 2e-5 if name == "SIS" else 1e-7
    np.testing.assert_allclose(bent(read_back(par)), expected, atol=atol)
    (tmp_path / PAR).write_text(write_par(in_kpc(par)))
    np.testing.assert_allclose(bent(read_back(read_par(tmp_path / PAR))), expected, atol=max(atol, 1e-6))


def test_the_files_are_lenstools(tmp_path):
    """The numbers in them by LensTool's own rules: the type by another form, and the relation of a potfile."""
    mass = [MASSES["DPIE"], MASSES["Members"], MASSES["Shear"]]
    files, par = written(tmp_path, scene_of(*mass))
    halo, shear, pot = ({row.key: float(row.values[len(row.values) > 2]) for row in section.rows if row.key != "filein"}
                        for section in par.named("potentiel", "potfile"))
    x, y = np.random.default_rng(3).uniform(-40.0, 40.0, (2, 40))

    def bends(sigma, core, cut, e, angle, at):
        return np.stack(kovner(x - at[0], y - at[1], sigma, core, cut, max(e, 1e-7), np.radians(angle)))

    total = bends(halo["v_disp"], halo["core_radius"], halo["cut_radius"], halo["ellipticite"], halo["angle_pos"],
                  (halo["x_centre"], halo["y_centre"]))
    turn = np.radians(2.0 * shear["angle_pos"])
    total += shear["gamma"] * np.stack([np.cos(turn) * x + np.sin(turn) * y, np.sin(turn) * x - np.cos(turn) * y])
    for line in files.texts["members0.cat"].splitlines()[1:]:
        px, py, a, b, theta, mag, _ = map(float, line.split()[1:])
        light = 10.0 ** (-0.4 * (mag - pot["mag0"]))
        total += bends(pot["sigma"] * light ** (1.0 / pot["vdslope"]), pot["core"] * light**0.5,
                       pot["cut"] * light ** (2.0 / pot["slope"]), (a**2 - b**2) / (a**2 + b**2), theta, (px, py))
    np.testing.assert_allclose(total, bent(mass), atol=2e-6)  # the other form divides by the round one's ellipticity


def test_a_whole_scene_goes_out_and_comes_back(tmp_path):
    """Cosmology, redshift, field and reference too; the potfile is one, and its numbers are those of the relation."""
    mass = [MASSES[name] for name in ("DPIE", "Members", "Shear", "NFW")]
    files, par = written(tmp_path, scene_of(*mass), half_width=70.0, comments=["chi2 12.5"])
    assert set(files.texts) == {PAR, "members0.cat"} and not files.skipped and par.comments == (" chi2 12.5",)
    np.testing.assert_allclose(bent(read_back(par)), bent(mass), atol=1e-6)
    assert par.reference == REFERENCE and par.field == (-70.0, 70.0, -70.0, 70.0)
    for key in ("H0", "Om0", "Ok0", "w0", "wa"):
        np.testing.assert_allclose(getattr(par.cosmology, key), getattr(COSMOLOGY, key), atol=1e-11, err_msg=key)
    (again,) = members(par)
    for key in ("sigma", "core", "cut", "mag0", "sigma_exponent", "cut_exponent"):
        np.testing.assert_allclose(getattr(again, key), RELATION[key], rtol=1e-11, err_msg=key)
    table = read_potfile(tmp_path / "members0.cat", REFERENCE)
    for key in ("x", "y", "mag"):
        np.testing.assert_allclose(getattr(table, key), getattr(CATALOGUE, key), atol=1e-9, err_msg=key)


def test_images_go_out_and_come_back(tmp_path):
    """Positions, axes, redshifts, magnitudes, names; redshifts that are free as LensTool has them."""
    rng = np.random.default_rng(0)
    names = ("1.1", "1.2", "10a", "10b", "A.1", "A.2")
    table = Table(names, *rng.uniform(-30.0, 30.0, (2, 6)), rng.uniform(0.1, 1.0, 6), np.full(6, 0.1),
                  rng.uniform(-90.0, 90.0, 6), np.array([1.449, 1.449, 2.7, 2.7, 3.3, 3.3]), rng.uniform(20.0, 28.0, 6),
                  (), Path())
    free = {"10": (2.7, 0.13), "A": (3.3, 0.2)}
    _, par = written(tmp_path, scene_of(MASSES["round"]), Arcs(table, free, 0.44271887242357316, False))
    again = read_images(tmp_path / ARCS, REFERENCE)
    assert again.names == names and par.images == ARCS
    for key in ("x", "y", "a", "b", "theta", "z", "mag"):
        np.testing.assert_allclose(getattr(again, key), getattr(table, key), atol=2e-9, err_msg=key)
    assert free_redshifts(par) == {"10": (3.0, 2.7, 0.13), "A": (3.0, 3.3, 0.2)}
    np.testing.assert_allclose(par.sigma, 0.44271887242357316, rtol=1e-11)


def test_a_core_of_zero_is_a_small_one(tmp_path):
    """LensTool's models of galaxies have some; a core radius of 0 is in no range."""
    _, par = written(tmp_path, scene_of(MASSES["coreless"], MASSES["Members"]))
    text = (tmp_path / PAR).read_text().replace("1e-09", "0").replace("core            0.05", "core 0")
    (tmp_path / PAR).write_text(text)
    mass = read_back(read_par(tmp_path / PAR))
    Scene(mass=mass, planes=scene_of(mass).planes).check()
    assert text != write_par(par) and np.isfinite(bent(mass)).all() and mass[1].core == mass[0].each.core[0]


@pytest.mark.parametrize(("mass", "why"), [
    (EPL(theta_E=1.0, gamma=2.0, e1=0.0, e2=0.0), "no type that is a EPL"),
    (SIE(theta_E=1.0, e1=0.1, e2=0.0), "no type that is a SIE"),
    (PJaffe(sigma0=1.0, Ra=1.0, Rs=9.0, e1=0.2), "elliptical in the potential"),
    (PJaffe(sigma0=1e5, Ra=POINTLIKE, Rs=ENDLESS, e1=0.3), "its potential's ellipticity is 0.55"),
    (PJaffe(sigma0=-1.0, Ra=1.0, Rs=9.0), "a negative mass"),
    (NFW(Rs=10.0, alpha_Rs=-1.0), "alpha_Rs is -1"),
    (DPIE(sigma=100.0, core=3.0, cut=3.0), "core and cut radius are both 3"),
])
def test_what_lenstool_cannot_say_is_named(mass, why, tmp_path):
    files, par = written(tmp_path, scene_of(MASSES["round"], mass))
    assert len(par.named("potentiel")) == 1
    ((path, said),) = files.skipped
    assert path == "mass.1" and why in said
    with pytest.raises(ValueError, match=why):
        lenstool_files(scene_of(mass), REFERENCE)


def test_the_record_names_lights_and_a_search_has_widths_of_priors(tmp_path):
    files, _ = written(tmp_path, scene_of(MASSES["round"]).replace(lens_light=[Sersic(R_sersic=1.0, n_sersic=1.0)]))
    assert files.skipped == [("lens_light, source_light", "LensTool's masses have no light")]
    assert _width(dist.Uniform(1.0, 7.0)) == pytest.approx(6.0 / np.sqrt(12.0), rel=0.03)
    assert _width(dist.TruncatedNormal(2.0, 0.1, low=0.4)) == pytest.approx(0.1, rel=0.05)


def test_a_scene_that_is_no_cluster_is_refused():
    with pytest.raises(ValueError, match="planes: no absolute = true"):
        lenstool_files(Scene(mass=[SIS(theta_E=1.0)]), REFERENCE)


TEXT = """#REFERENCE 3 150.0 2.2
1.1 14.0 3.0 1 1 0 1.5 0
1.2 -9.0 6.0 1 1 0 1.5 0
4.1 18.0 -6.0 1 1 0 0.0 0
4.2 -16.0 8.0 1 1 0 0.0 0
"""
INPUT = """runmode
	reference 3 150.0 2.2
	inverse 3 0.1 500
	end
image
	multfile 1 arcs.dat
	forme 0
	sigposArcsec 0.3
	z_m_limit 1 4.0 0 2.5
	end
potentiel O1
	profil 81
	ellipticite 0.3
	core_radius 5.0
	cut_radius 200.0
	v_disp 800.0
	mag 18.0
	z_lens 0.4
	end
limit O1
	v_disp 1 500.0 900.0 0.1
	end
potentiel shear
	profil 14
	gamma 0.03
	angle_pos 20.0
	kappa 0.0
	z_lens 0.4
	end
limit shear
	gamma 1 0.0 0.1 0.01
	x_centre 0 0.0 0.0 0.0
	end
cline
	nplan 0
	end
cosmology
	model 1
	H0 65.0
	omegaM 0.25
	omegaX 0.75
	end
champ
	xmin -30
	xmax 30
	ymin -30
	ymax 30
	end
fini
"""


def configured(folder, text):
    (folder / "input.par").write_text(text)
    (folder / ARCS).write_text(TEXT)
    return parse_config({"cluster": {"par": "input.par", "z_map": 3.0}}, folder / "cluster.toml", FitConfig)


def test_a_par_is_taken_whole_or_told(tmp_path):
    """forme is the ladder, a z_m_limit of 0 a redshift; what is passed over is said with its line, and stays said."""
    config = configured(tmp_path, INPUT)
    assert config.cluster.settings.ladder == "source" and config.cluster.systems.redshifts == (1.5, 2.5)
    assert (config.lens.H0, config.lens.Om0) == (65.0, 0.25)
    assert configured(tmp_path, INPUT.replace("forme 0", "forme -2")).cluster.settings.ladder == "image"
    (note,) = config.notes
    assert note == ("input.par: passed over runmode.inverse (line 3), potentiel.mag (line 17), potentiel.kappa (line "
                    "27), cline (line 34): neither masses nor images nor redshifts depend on it")
    assert config.with_overrides({"run.seed": 3}).notes == config.notes


COSMOLIMIT = """cosmolimit
	omegaM 1 0.1 0.5 0.01
	wX 3 -1.0 0.2 0.01
	wa 1 -1.0 1.0 0.01
	lambda 1 0.0 1.0 0.01
	H0 3 67.0 2.0 0.1
	omegaX 0 0.0 1.0 0.01
	end
"""


def test_limits_of_the_cosmology_are_its_priors(tmp_path):
    """A flat universe stays flat, as LensTool's does; a curved one has the curvature that omegaX leaves."""
    config = configured(tmp_path, INPUT.replace("champ", COSMOLIMIT + "champ"))
    cosmology = scene_from_config(config).planes.cosmology
    assert float(cosmology.Ok0) == 0.0
    for one, wanted in ((cosmology.Om0, dist.Uniform(0.1, 0.5)), (cosmology.w0, dist.Normal(-1.0, 0.2)),
                        (cosmology.wa, dist.Uniform(-1.0, 1.0)), (cosmology.H0, dist.Normal(67.0, 2.0))):
        np.testing.assert_allclose([one.mean, one.variance], [wanted.mean, wanted.variance], rtol=1e-5)
    assert "line 48: H0 3 67.0 2.0 0.1 of cosmolimit becomes a prior, but no position" in " ".join(config.notes)
    on = INPUT.replace("champ", "cosmolimit\n\tomegaL 1 0.2 0.9\n\tend\nchamp")
    assert any("line 44: omegaL 1 0.2 0.9 of cosmolimit is passed over: the universe of this file is flat" in note
               for note in configured(tmp_path, on).notes)
    curved = on.replace("omegaX 0.75", "omegaX 0.65")
    for one, ends in ((curved, (-0.15, 0.55)), (curved.replace("omegaL 1 0.2 0.9", "omegaX 3 0.6 0.05"), (0.15, 0.05))):
        prior = scene_from_config(configured(tmp_path, one)).planes.cosmology.Ok0
        keys = ("low", "high") if isinstance(prior, dist.Uniform) else ("loc", "scale")
        np.testing.assert_allclose([getattr(prior, key) for key in keys], ends, rtol=1e-6)
    assert configured(tmp_path, curved.replace("omegaX 0.65", "omegaX 0.65\n\tomegaK 0.")).cluster.cosmology == ()
    own = parse_config({"cluster": {"par": "input.par", "z_map": 3.0, "cosmology": {"Ok0": 0.02}}},
                       tmp_path / "cluster.toml", FitConfig)  # what is written beside the file goes before it
    assert dict(own.cluster.cosmology)["Ok0"] == 0.02


@pytest.mark.parametrize("ladder", ["forme 0", "forme -1"])
def test_the_likelihood_knows_the_cosmology_that_a_par_frees(ladder, tmp_path, x64):
    """Two sources at their own redshifts: matter and w change D_ls / D_s of one against the other."""
    text = INPUT.replace("champ", COSMOLIMIT + "champ").replace("forme 0", ladder)
    config = configured(tmp_path, text.replace("limit O1\n\tv_disp 1", "limit O1\n\tv_disp 0"))
    posterior = Posterior.of(scene_from_config(config), [], points=config.terms, dtype=np.float64)
    names = posterior.prior.names
    free = [names.index(f"planes.cosmology.{key}") for key in ("Om0", "w0", "wa")]
    z = np.full(posterior.prior.size, 0.1)
    value, slope = (jax.jit(function) for function in (posterior.log_likelihood, jax.grad(posterior.log_likelihood)))
    at, step = np.asarray(slope(z)), 1e-4
    assert abs(float(value(z)) - float(value(z + 0.5 * np.eye(len(z))[free[0]]))) > 1e-3
    for k in free:
        d = step * np.eye(len(z))[k]
        assert abs(at[k]) > 1e-5
        np.testing.assert_allclose(at[k], (float(value(z + d)) - float(value(z - d))) / (2.0 * step), rtol=1e-5)
    assert at[names.index("planes.cosmology.H0")] == pytest.approx(0.0, abs=1e-9)


def test_a_free_cosmology_goes_to_lenstool_and_comes_back(tmp_path):
    """What a search has found: values of the best fit, limits of the width of the priors."""
    config = configured(tmp_path, INPUT.replace("champ", COSMOLIMIT + "champ"))
    fitted, out = tmp_path / "run", tmp_path / "lt"
    fitted.mkdir()
    (fitted / "config.toml").write_text(dump_config(config))
    best = {name: 0.1 for name in Prior.of(scene_from_config(config)).names} | {
        "planes.cosmology.Om0": 0.31, "planes.cosmology.w0": -0.9, "planes.cosmology.wa": 0.2,
        "planes.cosmology.H0": 66.0, "mass.0.sigma": 700.0}
    (fitted / "search.json").write_text(json.dumps(dict.fromkeys(SEARCHED, 0) | {"best": best, "chi2": 1.0}))
    result = CliRunner().invoke(app, ["export", str(fitted), "--to", "lenstool", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "skipped planes.cosmology.H0: the best fit is written: LensTool has no limit of it" in " ".join(
        result.output.split())
    par = read_par(out / PAR)
    assert {row.key: row.values[:2] for row in par.named("cosmolimit")[0].rows} == {
        "omegaM": ("3", "0.31"), "wX": ("3", "-0.9"), "wa": ("3", "0.2")}
    again = parse_config({"cluster": {"par": "best.par", "z_map": 3.0}}, out / "cluster.toml", FitConfig)
    cosmology = scene_from_config(again).planes.cosmology
    np.testing.assert_allclose([cosmology.w0.loc, cosmology.w0.scale], [-0.9, 0.2], rtol=0.05)
    assert again.lens.H0 == 66.0 and again.lens.Om0 == 0.31
    # Two that are not by themselves in LensTool's words
    scene = scene_of(MASSES["round"])
    made = lenstool_files(scene, REFERENCE, cosmology={"Om0": 0.1, "Ok0": 0.02, "w0": 0.1})
    assert {what for what, _ in made.skipped} == {"planes.cosmology.Om0", "planes.cosmology.Ok0"}
    assert "omegaX          3 0.665 0.02" in lenstool_files(scene, REFERENCE, cosmology={"Ok0": 0.02}).texts[PAR]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("v_disp 800.0", "v_disp 800.0\n\twibble 3",
     "input.par: line 17: wibble 3 of potentiel O1, which giga does not know, is passed over"),
    ("cline", "clone", "input.par: line 34: section clone, which giga does not know, is passed over"),
    ("forme 0", "forme 0\n\tarcletstat 6 0 shapes.dat", "passed over image.arcletstat (line 8): constraints that"),
])
def test_what_changes_nothing_is_a_note(old, new, said, tmp_path):
    notes = configured(tmp_path, INPUT.replace(old, new, 1)).notes
    assert any(said in note for note in notes), notes


@pytest.mark.parametrize(("old", "new", "said"), [
    ("reference 3 150.0 2.2", "reference 0", "input.par: line 2: reference 0; expected reference 3 RA DEC"),
    ("reference 3", "reference 1", "input.par: line 2: reference 1 150.0 2.2; expected reference 3 RA DEC"),
    ("x_centre 0", "x_centre 1", r"input.par: line 32: x_centre 1 0.0 0.0 0.0 of limit shear, type 14 \(external shear"
                                 r"\); expected a limit of gamma, angle_pos, or 0"),
    ("v_disp 800.0", "v_disp -800.0", "input.par: line 16: v_disp -800 of potentiel O1; expected a dispersion that is"),
    ("v_disp 1", "z_lens 1", r"input.par: line 21: z_lens 1 .* of limit O1, type 81 .*; expected a limit of x_centre"),
    ("ellipticite", "ellip_pot", "input.par: line 13: ellip_pot 0.3 of potentiel O1, which changes the mass; expected"),
    ("kappa 0.0", "kappa 0.1", "input.par: line 27: kappa 0.1 of potentiel shear, a convergence"),
    ("model 1", "model 2", "input.par: line 38: model 2 of cosmology; expected model 1"),
    ("omegaM", "omega", "input.par: line 40: omega 0.25 of cosmology, the old name; expected omegaM"),
    ("champ", "cosmolimit\n\twX 2 -2 0 0.1\n\tend\nchamp", "line 44: wX 2 -2 0 0.1; expected 1 LOW HIGH, or 3 MEAN SD"),
    ("champ", "cosmolimit\n\twX 1 0 -2\n\tend\nchamp", "line 44: wX 1 0 -2; expected 1 LOW HIGH, or 3 MEAN SD"),
    ("champ", "cosmolimit\n\tomegaM 1 0 1.5\n\tend\nchamp", "line 44: omegaM 1 0 1.5 of cosmolimit; expected limits"),
    ("omegaX 0.75\n\tend", "omegaX 0.7\n\tend\ncosmolimit\n\tomegaM 1 0.1 0.5\n\tend",
     "line 44: omegaM 1 0.1 0.5 of cosmolimit, in a curved universe, where omegaX is not 1 - omegaM; expected"),
    ("sigposArcsec 0.3", "sigposArcsec 1 0.1 0.5", "line 8: sigposArcsec 1 0.1 0.5; expected one number"),
    ("4.0 0 2.5", "4.0 2 2.5 3.0", "line 9: z_m_limit 1 4.0 2 2.5 3.0; expected a number and a system, then 1 LOW"),
])
def test_what_changes_the_model_is_refused(old, new, said, tmp_path):
    with pytest.raises(InputError, match=said) as caught:
        configured(tmp_path, INPUT.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_changes_nothing(tmp_path):
    """As editors of Windows write it at the head of a file."""
    expected = configured(tmp_path, INPUT)
    (tmp_path / "members.cat").write_text(MEMBERS)
    plain = read_potfile(tmp_path / "members.cat")
    for name in ("input.par", ARCS, "members.cat"):
        (tmp_path / name).write_text((tmp_path / name).read_text(), encoding="utf-8-sig")
    again = parse_config({"cluster": {"par": "input.par", "z_map": 3.0}}, tmp_path / "cluster.toml", FitConfig)
    assert dump_config(again) == dump_config(expected) and read_par(tmp_path / "input.par").sections[0].line == 1
    np.testing.assert_array_equal(read_potfile(tmp_path / "members.cat").x, plain.x)
    np.testing.assert_array_equal(again.cluster.systems.table.x, expected.cluster.systems.table.x)


MEMBERS = """#REFERENCE 3 150.0 2.2
g1 8.0 -3.0 1.0 0.8 30.0 18.5 0
"""


def test_places_in_arcsec_need_the_header_of_their_catalogue(tmp_path):
    """mult_wcs is LensTool's old word for it, which the header goes before; without both, places are in degrees."""
    relative = INPUT.replace("forme 0", "forme 0\n\tmult_wcs 0")
    notes = configured(tmp_path, relative).notes
    assert "image.mult_wcs (line 8)" in notes[0]
    (tmp_path / ARCS).write_text(TEXT.partition("\n")[2])
    cluster = {"par": "input.par", "z_map": 3.0}
    with pytest.raises(InputError, match="input.par: line 8: mult_wcs 0, places in arcsec, and arcs.dat has no #REF"):
        parse_config({"cluster": cluster}, tmp_path / "cluster.toml", FitConfig)
    (tmp_path / "other.dat").write_text(TEXT)
    parse_config({"cluster": cluster | {"images": "other.dat"}}, tmp_path / "cluster.toml", FitConfig)


def test_members_and_images_are_there_once():
    """From Python too."""
    with pytest.raises(ValueError, match=r"x: got \(1, 2\) for images 1 and 2 of system 0; expected a place of its"):
        SystemImages.of([0.0, 1.0, 1.0, 1.0, 0.0], [0.0, 2.0, 2.0, 2.0, 1.0], 0.1, [0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="mag: got -99 in rows 0, 1; expected magnitudes between -50 and 50"):
        Catalogue.of([0.0, 1.0], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0], [-99.0, 99.0])
