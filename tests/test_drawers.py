"""Pictures drawn beside the fits; that they are drawn is part of the road of a fleet."""

from giga.jobs.drawers import Drawers


def test_what_cannot_be_drawn_is_told(tmp_path):
    drawers = Drawers(slots=1)
    drawers.add(tmp_path / "none")
    drawers.finish()
    (problem,) = drawers.problems
    assert "no such file" in problem and "Traceback" not in problem
