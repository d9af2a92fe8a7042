"""What a grader is asked, and the key of each answer."""

from __future__ import annotations

from dataclasses import dataclass

UNSEEN = "nothing"  # the answer that files what nobody has marked


@dataclass(frozen=True)
class Answer:
    """One answer of a question.

    Attributes:
        name: As it is stored and exported.
        key: That gives it.
        says: What it means, in words.
        leads: Name of the question that follows, empty if none does.
    """

    name: str
    key: str
    says: str
    leads: str = ""


@dataclass(frozen=True)
class Question:
    """One question and its answers."""

    name: str
    text: str
    answers: tuple[Answer, ...]

    def answer(self, name: str) -> Answer:
        """The answer of a name. Raises ValueError for another."""
        for one in self.answers:
            if one.name == name:
                return one
        raise ValueError(f"{self.name}: got {name!r}, expected one of {', '.join(one.name for one in self.answers)}")


@dataclass(frozen=True)
class Scheme:
    """The questions of what is graded, in the order in which they are asked.

    Attributes:
        name: "candidates" or "models".
        questions: The first is asked of all, the others where an answer leads to them.
    """

    name: str
    questions: tuple[Question, ...]

    def question(self, name: str) -> Question:
        """The question of a name. Raises ValueError for another."""
        for one in self.questions:
            if one.name == name:
                return one
        raise ValueError(f"question: got {name!r}, expected one of {', '.join(one.name for one in self.questions)}")


CANDIDATES = Scheme("candidates", (
    Question("detect", "Is there anything that may be lensed?", (
        Answer(UNSEEN, "n", "nothing here"),
        Answer("escalate", "e", "worth a grade", leads="grade"))),
    Question("grade", "How sure is it?", (
        Answer("A", "a", "a lens, no doubt"),
        Answer("B", "b", "probably a lens"),
        Answer("C", "c", "possibly a lens"),
        Answer("X", "x", "no lens")))))
"""A triage, and the grades of Zhang et al. (cluster-scale lenses in the Legacy Surveys, section 4.1), X for none."""

MODELS = Scheme("models", (
    Question("stage", "Which stage failed first?", (
        Answer("mask", "1", "the mask"),
        Answer("lens light", "2", "the light of the lens"),
        Answer("mass", "3", "the mass"),
        Answer("source", "4", "the source"),
        Answer("good", "g", "none: a good model"))),))
"""The earliest stage of a fit that failed: what comes after it could not have gone well."""

SCHEMES = {scheme.name: scheme for scheme in (CANDIDATES, MODELS)}
GRADES = ("A", "B", "C", "X")
