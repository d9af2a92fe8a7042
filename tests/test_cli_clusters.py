"""`giga prepare` and `giga inject-cluster` at their edges, and a cluster prepared."""

import pytest
from test_cluster_mosaics import PAR
from typer.testing import CliRunner

from giga.cli import app
from giga.io.clusters.fields import load_field


@pytest.fixture
def model(tmp_path):
    (tmp_path / "one.par").write_text(PAR)
    return tmp_path / "one.par"


def run(*words):
    found = CliRunner().invoke(app, [*map(str, words), "--no-cache"])
    return found.exit_code, " ".join((found.output or found.stderr).split())


def test_a_cluster_is_prepared(model, tmp_path):
    out = tmp_path / "one.npz"
    code, said = run("prepare", model, "--out", out, "--half-width", 16, "--nodes", 1)
    assert code == 0 and "2 galaxies" in said
    field = load_field(out)
    assert field.shape == (64, 64) and len(field.efficiency[0]) == 1
    code, said = run("prepare", model, "--out", out)
    assert code == 2 and "is there already" in said


@pytest.mark.quick
@pytest.mark.parametrize(("words", "expected"), [
    (["--out", "one.txt"], "ends in '.txt'"), (["--out", "one.npz", "--survey", "hst-hf"], "hst-hff"),
    (["--out", "none/one.npz"], "no folder"), (["--out", "one.npz", "--z-lens", "0.4"], "without --alpha-y"),
    (["--out", "one.npz", "--alpha-y", "y.fits"], "--members: missing")])
def test_bad_options_are_one_line(model, monkeypatch, words, expected):
    monkeypatch.chdir(model.parent)
    code, said = run("prepare", model, *words)
    assert code == 2 and said.startswith("error:") and expected in said
    assert not list(model.parent.glob("*.npz"))


@pytest.mark.quick
def test_images_are_not_overwritten(model, tmp_path):
    (tmp_path / "a.fits").write_bytes(b"")
    code, said = run("inject-cluster", model, tmp_path / "a.fits", "--out", tmp_path)
    assert code == 2 and "would be overwritten" in said
    code, said = run("inject-cluster", model, tmp_path / "a.fits", "--out", tmp_path / "out")
    assert code == 2 and "1 files" in said and "F435W, F606W, F814W" in said
