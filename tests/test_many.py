"""A fleet: every lens ends, whatever happens to the others, and nothing is done twice, here or by workers."""

import csv
import json
import os
import shutil
import sys
from dataclasses import replace

import _pieces
import numpy as np
import pytest
from _factory import FIT, make_result, write_image
from _processes import environment
from astropy.io import fits
from astropy.table import Table
from filelock import FileLock
from rich.console import Console
from test_cli import SETTINGS, SHORT, run

from giga.inference.derived import Derived
from giga.inference.digits import rounded
from giga.io.results.fleet import FleetFolder
from giga.io.results.folder import FILES, SEARCH_FILES, summary
from giga.jobs.drawers import Drawers
from giga.jobs.fleet import check_data, lenses, plan_fleet, run_fleet, write_gallery
from giga.jobs.fleet import run as runs
from giga.jobs.fleet.lenses import Settings, fit_lenses
from giga.runtime import workers
from giga.runtime.workers import ClusterError, Lost, Workers, alone

NAMES = ["one", "two", "three", "gone"]


@pytest.fixture
def files(tmp_path):
    """Three images, and a catalogue with a row more."""
    (tmp_path / "fleet.toml").write_text(FIT)
    for k, name in enumerate(NAMES[:3]):
        write_image(tmp_path / f"{name}.fits", k)
    rows = "".join(f"{name},{name}.fits,{k}\n" for k, name in enumerate(NAMES))
    (tmp_path / "catalogue.csv").write_text(f"name,image,seed\n{rows}")
    return tmp_path


made = make_result
BROKEN = FloatingPointError("the log-posterior is not a number")


class Fit:
    """In the place of the fit: the result is made up, and what is asked for is noted."""

    def __init__(self, fail=(), error=BROKEN):
        self.fail, self.error, self.seen = fail, error, []

    def __call__(self, lenses, *, done, **settings):
        for lens in lenses:
            self.seen.append(lens.name)
            self.settings = settings
            done(lens, self.error if lens.name in self.fail else make_result(seed=lens.seed))


@pytest.fixture
def folder(files, monkeypatch):
    """The files, for runs that leave results without the arrays and pictures, which take seconds."""
    def write(result, folder, text, draw):
        (folder / "summary.json").write_text(json.dumps(summary(result)))

    monkeypatch.setattr(lenses, "write_results", write)
    return files


def go(folder, fit, out="out", overrides=None, **options):
    fleet = plan_fleet(folder / "catalogue.csv", folder / "fleet.toml", overrides=overrides)
    console = Console(record=True, width=200)
    status = run_fleet(fleet, folder / out, draw=False, console=console, fit=fit, **options)
    return {name: said for name, (said, _) in status.items()}, status, console.export_text()


def test_failures_do_not_stop_the_rest_and_are_kept(folder):
    fit = Fit(fail=["two"])
    said, status, text = go(folder, fit, together=2)
    assert said == {"one": "done", "two": "failed", "three": "done", "gone": "failed"}
    assert status["two"][1] == "the log-posterior is not a number" and "no such file" in status["gone"][1]
    assert fit.seen == ["one", "two", "three"] and fit.settings["together"] == 2
    assert fit.settings["precision"] == "float32" and fit.settings["amplitudes"] == "nonnegative"
    assert "two: failed: the log-posterior" in text and "2 done, 2 failed, 0 left" in text
    assert text.count("no BUNIT") == 1 and "note: one.fits: no BUNIT" in text  # once for all
    assert (folder / "out/lenses/one/config.toml").is_file() and (folder / "out/lenses/one/checkpoint").is_dir()


def test_the_table_has_a_row_a_lens_with_numbers_and_units(folder):
    go(folder, Fit(fail=["two"], error=ValueError("Größe")))
    table = Table.read(folder / "out/summary.fits")
    assert list(table["name"]) == NAMES and list(table["status"]) == ["done", "failed", "done", "failed"]
    assert table["reason"][1].startswith("ValueError: Gr") and table["reason"][0] in ("", np.ma.masked)
    known = json.loads((folder / "out/lenses/one/summary.json").read_text())
    moments = known["parameters"]["mass.0.theta_E"]
    for key in ("mean", "sd", "q16", "q50", "q84"):
        assert table[f"mass_0_theta_E_{key}"][0] == moments[key]
        assert table[f"mass_0_theta_E_{key}"].unit == "arcsec" and table[f"mass_0_gamma_{key}"].unit is None
    assert table["worst_rhat"][0] == 1.04 and table["smallest_ess"][0] == 210.0
    assert table["reduced_chi2"][0] == pytest.approx(known["reduced_chi2"]) and table["seconds"].unit == "s"
    assert table["mass_0_theta_E_truth"][0] == known["truth"]["mass.0.theta_E"]
    assert np.ma.is_masked(table["reduced_chi2"][1]) or np.isnan(table["reduced_chi2"][1])
    with open(folder / "out/summary.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES and rows[1]["reason"] == "ValueError: Größe"
    assert float(rows[0]["mass_0_theta_E_mean"]) == moments["mean"] and rows[1]["mass_0_theta_E_mean"] == ""


def test_every_lens_is_audited_and_a_strict_fleet_refuses_some(folder):
    """The PSF of one is sampled too coarsely; nobody waits for it."""
    rows = "one,one.fits,2\ntwo,two.fits,1\nthree,three.fits,2\n"
    (folder / "catalogue.csv").write_text(f"name,image,supersampling\n{rows}")
    fit = Fit()
    said, status, text = go(folder, fit, strict=True)
    assert said == {"one": "done", "two": "refused", "three": "done"} and fit.seen == ["one", "three"]
    assert status["two"][1].startswith("audit: the PSF is 1.2 pixels wide") and status["two"][1].endswith("(--strict)")
    assert "two: refused: audit: the PSF is" in text
    table = Table.read(folder / "out/summary.fits")
    assert [bool(one) for one in table["audit_serious"]] == [False, True, False]
    assert str(table["audit"][1]).startswith("the PSF is 1.2 pixels wide")
    lens = folder / "out/lenses/two"
    (known,) = json.loads((lens / "audit.json").read_text())["observations"]
    assert known["findings"][0]["kind"] == "psf" and known["numbers"]["PSF FWHM in pixels"] < 1.5
    assert not (lens / "audit.png").exists()  # which is drawn with the other pictures
    again, status, text = go(folder, fit)
    page = write_gallery(FleetFolder(folder / "out"), status).read_text(encoding="utf-8")
    assert page.count('<p class="bad">audit: the PSF is 1.2 pixels') == 1  # said as the reason of no refusal
    assert again["two"] == "done" and fit.seen == ["one", "three", "two"] and "note: two: audit: the PSF" in text
    plan = plan_fleet(folder / "catalogue.csv", folder / "fleet.toml")
    checked = check_data(plan, Console(record=True), strict=True)
    assert [status for status, _ in checked.values()] == ["waiting", "refused", "waiting"]


def test_a_fleet_without_an_audit(folder):
    assert go(folder, Fit(), audit=False)[0]["one"] == "done"
    assert not (folder / "out/lenses/one/audit.json").exists()
    assert Table.read(folder / "out/summary.fits")["audit_serious"].mask.all()


def test_the_table_has_the_numbers_for_a_paper(folder, monkeypatch):
    draws = np.random.default_rng(0).normal(1.0, 0.1, (2, 50))
    derived = Derived({"einstein_radius": draws, "source.magnification": 20.0 * draws, "slope": draws + 1.0},
                      {"einstein_radius": 1.0, "source.magnification": 20.0, "slope": 2.0},
                      {"einstein_radius": "arcsec", "source.magnification": "", "slope": ""}, np.arange(50), (),
                      {"einstein_mass": "lens.z_lens missing"})
    monkeypatch.setattr(sys.modules[__name__], "make_result",
                        lambda seed: made(seed=seed, derived=derived if seed else None))
    go(folder, Fit())
    table = Table.read(folder / "out/summary.fits")
    assert table["einstein_radius_q50"][1] == np.median(draws) and table["einstein_radius_q50"].unit == "arcsec"
    assert table["source_magnification_sd"][2] == pytest.approx(20.0 * draws.std(ddof=1))
    assert np.isnan(np.ma.filled(table["slope_mean"], np.nan)[0]) and "einstein_mass_mean" not in table.colnames
    head, *rows = (folder / "out/summary.tex").read_text().splitlines()
    assert head == "% name & einstein radius [arcsec] & source.magnification & slope"
    assert rows[0] == r"one & \nodata & \nodata & \nodata \\" and rows[1].startswith("two & $1.0")


def test_the_gallery_shows_each_lens_with_what_must_be_seen(folder):
    _, status, _ = go(folder, Fit(fail=["two"], error=ValueError("<b>Größe</b>")))
    (folder / "out/lenses/one/fit.png").touch()
    page = write_gallery(FleetFolder(folder / "out"), status).read_text(encoding="utf-8")
    assert "2 done, 2 failed" in page and page.count('src="lenses/') == 1 and 'src="lenses/one/fit.png"' in page
    assert "&lt;b&gt;Größe" in page and "<b>Größe" not in page  # what a file says is no markup
    assert 'class="bad">1.0400</td>' in page and 'class="bad">210</td>' in page  # R-hat and ESS of the fits
    moments = json.loads((folder / "out/lenses/one/summary.json").read_text())["parameters"]["mass.0.theta_E"]
    assert f"{rounded(moments['mean'], moments['sd'])} ± " in page and "<script" not in page


def test_running_again_skips_what_has_ended_and_retries_on_request(folder):
    go(folder, Fit(fail=["two"]))
    again = Fit()
    assert go(folder, again)[0]["two"] == "failed" and again.seen == []
    said, _, _ = go(folder, again, retry_failed=True)
    assert again.seen == ["two"] and said["two"] == "done"
    shutil.copy(folder / "one.fits", folder / "gone.fits")  # the file has come: no retry needs to be asked for
    assert go(folder, again)[0]["gone"] == "done" and again.seen == ["two", "gone"]


def test_new_redshifts_take_a_lens_up_again(folder):
    """Its draws stay, in its checkpoint; what follows from them by the redshifts does not."""
    redshifts = {"lens.z_lens": 0.3, "lens.z_source": 1.0}
    go(folder, Fit())
    again = Fit()
    assert go(folder, again)[0]["one"] == "done" and again.seen == []
    assert go(folder, again, overrides=redshifts, searches=True)[0]["one"] == "done" and again.seen == []  # they stay
    assert go(folder, again, overrides=redshifts)[0]["one"] == "done" and again.seen == ["one", "two", "three"]
    go(folder, again, overrides=redshifts)
    assert again.seen == ["one", "two", "three"]


def test_a_changed_configuration_is_refused_for_finished_lenses(folder):
    go(folder, Fit())
    (folder / "catalogue.csv").write_text("name,image,seed\none,one.fits,0\ntwo,two.fits,5\nnew,three.fits,1\n")
    fit = Fit()
    said, status, _ = go(folder, fit)
    assert said == {"one": "done", "two": "refused", "new": "done"} and fit.seen == ["new"]
    assert "another configuration (run.seed: 1 -> 5)" in status["two"][1]
    assert (folder / "out/lenses/two/summary.json").is_file()


def test_changed_data_is_refused(folder):
    go(folder, Fit())
    fits.PrimaryHDU(np.ones((24, 24))).writeto(folder / "one.fits", overwrite=True)
    said, status, _ = go(folder, Fit())
    assert said["one"] == "refused" and "observation.0.image: hash" in status["one"][1] and said["two"] == "done"


def test_an_image_that_cannot_be_fitted_fails_when_it_is_loaded(folder):
    fits.PrimaryHDU(np.full((24, 24), np.nan)).writeto(folder / "two.fits", overwrite=True)
    fit = Fit()
    said, status, _ = go(folder, fit)
    assert said["two"] == "failed" and "NaN or infinite" in status["two"][1] and fit.seen == ["one", "three"]
    fleet = plan_fleet(folder / "catalogue.csv", folder / "fleet.toml")
    checked = check_data(fleet, Console(quiet=True))
    assert [said for said, _ in checked.values()] == ["waiting", "failed", "waiting", "failed"]


def test_a_second_command_on_a_folder_is_refused_until_the_first_has_ended(folder):
    (folder / "out").mkdir()
    fit = Fit()
    with alone(folder / "out"), pytest.raises(ClusterError, match=f"process {os.getpid()} of .* works on this folder"):
        go(folder, fit)
    assert fit.seen == [] and not (folder / "out/summary.fits").exists()
    assert go(folder, fit)[0]["one"] == "done"


def test_a_lens_that_a_worker_of_an_earlier_run_is_at_is_waited_for(folder):
    """It ends the lens meanwhile, as it would have; nobody fits it again."""
    fleet, place = plan_fleet(folder / "catalogue.csv", folder / "fleet.toml"), FleetFolder(folder / "out")
    place.lock("one").parent.mkdir(parents=True)
    other, fit, said = FileLock(place.lock("one")), Fit(), []
    other.acquire()

    def say(text):
        said.append(text)
        if text.startswith("one: a worker of an earlier run is still at it"):
            place.fail("one", BROKEN)
            other.release()

    with Drawers() as drawers:
        fit_lenses(fleet.part(["one", "two"]), place, Settings(draw=False, fit=fit), drawers, say)
    assert fit.seen == ["two"] and place.is_done("two") and said[0].startswith("one: a worker")
    other.acquire(timeout=0)  # given back


def test_what_no_worker_survives_is_tried_alone_and_then_marked_as_failed(folder, monkeypatch):
    """Of a piece of three workers died, of one of its lenses alone they die again."""
    pytest.importorskip("distributed")
    rounds, reason = [], "Attempted to run task on 4 different workers, but all those workers died"

    def spread(work, pieces, where, say, look):
        assert where == Workers(2)
        names = [list(piece.fleet.rows) for piece in pieces]
        rounds.append(names)
        for piece in pieces:
            if list(piece.fleet.rows) == ["one"] or len(rounds) == 1:
                yield piece, Lost(reason)
            else:
                work(piece)
                yield piece, None

    monkeypatch.setattr(runs, "spread", spread)
    monkeypatch.setattr(lenses, "tell", lambda text: None)
    said, status, text = go(folder, Fit(), where=Workers(2), together=3)
    assert rounds == [[["one", "two", "three"]], [["one"], ["two"], ["three"]]]
    assert said == {"one": "failed", "two": "done", "three": "done", "gone": "failed"}
    assert status["one"][1] == f"its workers died: {reason}" and f"one: failed: its workers died: {reason}" in text
    rounds.clear()
    assert go(folder, Fit(), where=Workers(2))[0]["one"] == "failed" and rounds == []
    monkeypatch.setattr(runs, "spread", lambda work, pieces, *_: ((piece, work(piece)) for piece in pieces))
    assert go(folder, Fit(), where=Workers(2), retry_failed=True)[0]["one"] == "done"


def test_pieces_have_lenses_of_one_shape(folder):
    fleet = plan_fleet(folder / "catalogue.csv", folder / "fleet.toml")
    fleet = replace(fleet, alike=[["one", "two"], ["three"]])
    assert list(runs._pieces(fleet, 2)) == [["one", "two"], ["three"]]
    assert list(runs._pieces(fleet, 1)) == [["one"], ["two"], ["three"]]


def test_a_full_disk_stops_the_fleet_and_the_same_command_goes_on(folder):
    error = OSError(28, "disk full while writing", "posterior.nc")
    with pytest.raises(OSError, match="disk full"):
        go(folder, Fit(fail=["two"], error=error))
    assert not (folder / "out/lenses/two/failure.json").exists()
    fit = Fit()
    assert go(folder, fit)[0]["two"] == "done" and fit.seen == ["two", "three"]


def test_an_interrupted_fleet_goes_on(folder):
    class Interrupted(Fit):
        def __call__(self, lenses, *, done, **settings):
            done(next(lenses), make_result())
            next(lenses)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(folder, Interrupted())
    assert list(Table.read(folder / "out/summary.fits")["status"]) == ["done", "waiting", "waiting", "failed"]
    fit = Fit()
    assert go(folder, fit)[0]["two"] == "done" and fit.seen == ["two", "three"]


def test_an_interrupted_fleet_leaves_its_page(folder):
    def interrupted(lenses, **settings):
        raise KeyboardInterrupt

    fleet = plan_fleet(folder / "catalogue.csv", folder / "fleet.toml")
    with pytest.raises(KeyboardInterrupt):
        run_fleet(fleet, folder / "out", console=Console(record=True), fit=interrupted)
    assert "3 waiting, 1 failed" in (folder / "out/gallery.html").read_text(encoding="utf-8")


DAMAGED = {"{": "cannot be read", "3": "holds a int", "{}": "parameters: missing",
           json.dumps(dict.fromkeys(["parameters", "chi2", "n_pixels", "n_free", "best", "timings_s", "evaluations",
                                     "stages", "devices", "versions", "seed"], 1)): "cannot be read (AttributeError"}


def test_a_damaged_summary_is_a_failure_that_is_named_and_can_be_retried(folder):
    go(folder, Fit())
    path = folder / "out/lenses/one/summary.json"
    for text, words in DAMAGED.items():
        path.write_text(text)
        fit = Fit()
        said, status, _ = go(folder, fit)
        assert said["one"] == "failed" and said["two"] == "done" and fit.seen == []
        assert str(path) in status["one"][1] and words in status["one"][1]
        said, status, _ = go(folder, fit, retry_failed=True)
        assert fit.seen == ["one"] and status["one"] == ("done", "") and json.loads(path.read_text())["parameters"]


@pytest.mark.parametrize(("columns", "cells", "words"), [
    ("truth.mass.0.theta_E", "1.0", ["truth.source_light.0.R_sersic", "missing"]),
    ("truth.mass.0.theta", "1.0", ["truth.mass.0.theta", "nearest: 'mass.0.theta_E'"]),
])
def test_truths_are_those_of_the_free_parameters(folder, columns, cells, words):
    (folder / "catalogue.csv").write_text(f"name,image,{columns}\none,one.fits,{cells}\n")
    _, status, _ = go(folder, Fit())
    assert status["one"][0] == "failed" and all(word in status["one"][1] for word in words)


def test_the_command_refuses_a_catalogue_before_anything_is_computed(files):
    (files / "catalogue.csv").write_text("name,imagee\none,one.fits\n")
    words = "fit-many", files / "catalogue.csv", "--config", files / "fleet.toml", "--out", files / "out"
    result = run(*words)
    message = " ".join(result.stderr.split())
    assert result.exit_code == 2 and "catalogue.csv: imagee: unknown column" in message and "Traceback" not in message
    assert not (files / "out").exists()
    (files / "catalogue.csv").write_text("name,image\none,one.fits\ngone,gone.fits\n")
    assert run(*words, "--strict").exit_code == 2
    checked = run(*words, "--check")
    assert checked.exit_code == 1 and "gone failed" in " ".join(checked.output.split())
    assert not (files / "out").exists()


def test_workers_that_cannot_be_had_are_said_and_the_folder_stays_of_use(folder, monkeypatch):
    """The lenses stay to be fitted, in a table and on a page; the next command fits them."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "ANSWER_S", 0.5)
    words = "fit-many", folder / "catalogue.csv", "--config", folder / "fleet.toml", "--out", folder / "out"
    for options, message in ((("--scheduler", "tcp://127.0.0.1:9"), "tcp://127.0.0.1:9 does not answer within 0.5 s"),
                             (("--workers", 0), "--workers: got 0, expected at least 1"),
                             (("--scheduler", "tcp://a:1", "--slurm=--time=1"), "--scheduler: given with")):
        result = run(*words, *options)
        assert result.exit_code == 2 and message in " ".join(result.stderr.split()), result.output
    assert list(Table.read(folder / "out/summary.fits")["status"]) == ["waiting", "waiting", "waiting", "failed"]
    assert "3 waiting, 1 failed" in (folder / "out/gallery.html").read_text(encoding="utf-8")
    with alone(folder / "out"):
        result = run(*words)
    assert result.exit_code == 2 and "expected one coordinator" in " ".join(result.stderr.split())
    assert go(folder, Fit())[0]["one"] == "done"


def test_resume_is_what_a_fleet_does_anyway(folder, monkeypatch):
    """The option of `giga fit` is understood, and an interrupted fleet does not ask for it."""
    words = ("fit-many", folder / "catalogue.csv", "--config", folder / "fleet.toml", "--out", folder / "out",
             "--no-pictures")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("giga.cli.fit_many.run_fleet", interrupted)
    result = run(*words)
    assert result.exit_code == 130 and "the same command goes on" in result.stderr and "--resume" not in result.stderr
    seen = Fit()
    monkeypatch.setattr("giga.cli.fit_many.run_fleet", lambda *a, **k: run_fleet(*a, **k | dict(fit=seen)))
    go(folder, Fit(fail=["two", "three"]))
    assert run(*words, "--retry-failed").exit_code == run(*words, "--resume").exit_code == 1  # one file is missing
    assert seen.seen == ["two", "three"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning",
                            "ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_workers_find_what_one_process_finds_though_one_is_killed(files, monkeypatch):
    """The lens that the killed one was at goes on from its checkpoint, and every lens is there once."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])  # where workers find what they are to do
    changes = {f"inference.{name}": int(value) for name, value in (one.split("=") for one in SHORT)}
    changes |= {"run.checkpoint_interval_s": 0.0, "inference.map_rounds": 3, "inference.derived": False}
    (files / "catalogue.csv").write_text("name,image,seed\none,one.fits,0\ntwo,two.fits,1\ngone,gone.fits,3\n")

    def found(out, **options):
        said, _, text = go(files, overrides=changes, out=out, audit=False, **options)
        assert said == {"one": "done", "two": "done", "gone": "failed"}
        assert {path.name for path in (files / out / "lenses/two").iterdir()} >= {"posterior.nc", "model.fits"}
        return text, {name: json.loads((files / out / "lenses" / name / "summary.json").read_text())
                      for name in ("one", "two")}

    _, alone = found("alone", fit=None)
    text, many = found("many", fit=_pieces.fit_and_die, where=Workers(2))
    for name in ("one", "two"):
        assert many[name]["best"] == pytest.approx(alone[name]["best"], rel=1e-3, abs=1e-3)
        for key, row in many[name]["parameters"].items():
            assert abs(row["mean"] - alone[name]["parameters"][key]["mean"]) < row["sd"]
        assert text.count(f"{name}: reduced chi2") == 1
    assert "fitting 3 lenses on workers" in text and text.count("no BUNIT") == 1
    kept = (files / "many/lenses/two/killed").read_text()
    assert (files / "many/lenses/two/checkpoint" / f"{kept}.json").exists()
    assert list(Table.read(files / "many/summary.fits")["name"]) == ["one", "two", "gone"]
    seen = Fit()
    go(files, seen, overrides=changes, out="many")
    assert seen.seen == []


@pytest.mark.slow
def test_the_road(files):
    """Two small lenses and a missing one: searches, fits that go on from them, a call that does nothing, one alone."""
    (files / "catalogue.csv").write_text("name,image,seed\none,one.fits,0\ntwo,two.fits,1\ngone,gone.fits,3\n")
    words = ["fit-many", files / "catalogue.csv", "--config", files / "fleet.toml", "--out", files / "out", *SETTINGS,
             "--set", "inference.derived=false"]
    lenses, beside = files / "out/lenses", {"audit.png", "audit.json", "checkpoint"}
    result = run(*words, "--stop-after", "map")
    assert "2 done, 1 failed, 0 left" in result.output and "without --stop-after goes on" in result.output
    table = Table.read(files / "out/summary.fits")
    for name in ("one", "two"):
        assert {path.name for path in (lenses / name).iterdir()} == {*SEARCH_FILES, *beside}
        found = json.loads((lenses / name / "search.json").read_text())
        row = table[[str(one) for one in table["name"]].index(name)]
        assert row["reduced_chi2"] == found["reduced_chi2"]
        assert {path: row[f"{path.replace('.', '_')}_best"] for path in found["best"]} == found["best"]
    searched = {path: path.stat().st_mtime_ns for path in lenses.rglob("*") if path.is_file()}
    assert "2 done, 1 failed, 0 left" in run(*words, "--stop-after", "map").output
    assert searched == {path: path.stat().st_mtime_ns for path in lenses.rglob("*") if path.is_file()}
    result = run(*words)
    assert result.exit_code == 1, result.output
    assert "2 done, 1 failed, 0 left" in result.output and "gone failed:" in result.output
    assert sorted(path.name for path in lenses.iterdir()) == ["one", "two"]
    for name in ("one", "two"):
        assert {path.name for path in (lenses / name).iterdir()} == {*FILES, *beside}
        assert json.loads((lenses / name / "summary.json").read_text())["timings_s"]["map"] > 0.0
    dates = {path: path.stat().st_mtime_ns for path in lenses.rglob("*") if path.is_file()}
    assert run(*words).exit_code == 1
    assert dates == {path: path.stat().st_mtime_ns for path in lenses.rglob("*") if path.is_file()}
    assert len(Table.read(files / "out/summary.fits")) == 3
    assert run("fit", lenses / "two/config.toml", "--out", files / "single").exit_code == 0
    single, fleet = (json.loads((path / "summary.json").read_text()) for path in (files / "single", lenses / "two"))
    assert single["n_pixels"] == fleet["n_pixels"] and single["seed"] == fleet["seed"] == 1
    for name, row in single["parameters"].items():
        assert abs(row["mean"] - fleet["parameters"][name]["mean"]) < row["sd"], name
