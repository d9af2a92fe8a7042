"""Graders that are played by confusion matrices, to test a search whose lenses are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from giga.search.aggregation.rules import cancelled
from giga.search.grading.questions import GRADES

SHARES = (47 / 485, 229 / 485, 209 / 485)  # of A, B and C among the candidates of Zhang et al., section 4.1


@dataclass(frozen=True)
class ScriptedGraders:
    """Graders who answer by chance, each with a matrix of their own.

    Attributes:
        confusion: By name, probability of each answer A, B, C, X (columns) by true grade (rows), shape (4, 4).
        seed: Of their answers, which depend on it, on the grader and on the candidate alone.
    """

    confusion: Mapping[str, np.ndarray]
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.confusion:
            raise ValueError("graders: none, expected at least one")
        for name, matrix in self.confusion.items():
            array = np.asarray(matrix, float)
            if array.shape != (4, 4) or not (array >= 0.0).all() or not np.allclose(array.sum(1), 1.0, atol=1e-6):
                raise ValueError(f"graders.{name}: got {array.tolist()!r:.80}, expected 4 x 4 probabilities, each row "
                                 "of sum 1")

    def votes(self, rows: np.ndarray, truths: np.ndarray) -> np.ndarray:
        """Grades as numbers, shape (candidates, graders).

        Args:
            rows: Numbers of the candidates.
            truths: Their true grades as numbers.
        """
        out = np.zeros((len(rows), len(self.confusion)), int)
        for j, matrix in enumerate(self.confusion.values()):
            chance = np.array([np.random.default_rng([self.seed, j, int(row)]).random() for row in rows])
            steps = np.cumsum(np.asarray(matrix, float), 1)[truths]
            out[:, j] = np.minimum((chance[:, None] > steps).sum(1), len(GRADES) - 1)
        return out

    def grades(self, rows: np.ndarray, truths: np.ndarray) -> list[str]:
        """What they come to by the paper's rule."""
        return [cancelled([GRADES[grade] for grade in votes]) for votes in self.votes(rows, truths)]


def true_grades(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Grades of candidates of which only is known whether they are lenses: of lenses A, B, C in the paper's shares."""
    rng = np.random.default_rng([seed, 1])
    return np.where(np.asarray(labels) > 0, rng.choice(3, len(labels), p=SHARES), GRADES.index("X"))
