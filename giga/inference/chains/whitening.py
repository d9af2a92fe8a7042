"""The maps that make a density most like a standard normal, from draws and their gradients: affine, and bent."""

import numpy as np

from giga.inference.variational.transport import Bend, held, most_soft, products

WORTH = 0.8  # of the spread without a bend, below which a bend must come on chains that its curve was not made from
RIDGE = 0.1  # addition to the normal matrix of its regression, in draws
STEEP = 0.3  # least precision along a coordinate that follows, where its own is unity


def whitening(u: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The affine map in whose coordinates a density is nearest to a standard normal.

    The covariance C of draws alone is noisy: it takes hundreds of independent ones to know the shape of forty
    dimensions. Of a Gaussian of precision P the gradients have the covariance G = P C P, whatever the draws, and the
    geometric mean of C and the inverse of G is then the true covariance, without noise. It is what minimises the
    Fisher divergence. Both are first drawn towards unity, which the map has made the better guess where draws are few.

    Args:
        u: Draws, shape (count, n).
        gradient: Of the log-density there.

    Returns:
        Shift, shape (n,), and lower-triangular factor, shape (n, n).

    References:
        Seyboldt, Carlson & Carpenter (2026), arXiv:2603.18845 (Fisher divergence, its dense minimiser).
    """
    count, n = u.shape
    trust = 1.0 - 1.0 / (1.0 + 0.5 * count / n)  # half of the draws count as independent
    spread, score = (trust * np.cov(a.T) + (1.0 - trust) * np.eye(n) for a in (u, gradient))
    covariance = _geometric_mean(spread, np.linalg.inv(score))
    return u.mean(0) + covariance @ gradient.mean(0), np.linalg.cholesky(covariance)


def _geometric_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The positive-definite matrix M with M a^-1 M = b, half way between two."""
    root = np.linalg.cholesky(a)
    inner = np.linalg.solve(root, np.linalg.solve(root, b).T)
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
    half = root @ (vectors * values**0.25)
    return half @ half.T


def straightened(u: np.ndarray, gradient: np.ndarray, slope: np.ndarray) -> tuple[Bend | None, np.ndarray, np.ndarray]:
    """The bend that straightens curved ridges, from draws and their gradients.

    Coordinates are turned so that the softest come first: those along which the parameters vary most, in units of
    their priors. Along these a ridge can curve; the stiff ones, sharply determined, follow it. Given the soft ones s,
    the stiff ones t have the score -P (t - m(s)), so a regression of the scores on t and on products of s gives P and
    the curve m from far fewer draws than the draws alone would, and from such as lie beside the ridge. How many of the
    first are soft, or which one alone, is what serves the other half of the draws best.

    Args:
        u: Draws, shape (count, n), chain after chain: the halves are of different chains.
        gradient: Of the log-density there.
        slope: d z / d u in the middle, z in units of the priors, shape (n, n).

    Returns:
        The bend, or None where none is worth it, and draws and gradients in the coordinates in front of it.

    References:
        Hyvarinen (2005), JMLR 6, 695 (score matching); Transtrum, Machta & Sethna (2011), Phys. Rev. E 83, 036701
        (the curvature of a model's manifold along its soft directions).
    """
    (count, n), one = u.shape, slice(len(u) // 2)
    other, place = slice(len(u) // 2, None), np.arange(n)
    orders = [(place, soft) for soft in range(1, most_soft(n) + 1)]
    orders += [(np.concatenate([[k], np.delete(place, k)]), 1) for k in range(1, n)]
    orders = [(order, soft) for order, soft in orders if 2 * (n + soft * (soft + 1) // 2 + 1) <= count // 2]
    shift, lower = whitening(u, gradient)
    outer = lower @ np.linalg.svd(slope @ lower)[2].T  # slope outer has orthogonal columns, the longest first
    widths = np.std(np.linalg.solve(outer, (u - shift).T), axis=1)
    if not orders or not (widths > 0.0).all():  # too few draws, or chains that do not move
        return None, u, gradient
    outer = outer * widths  # a curve reaches as far as the draws
    w, score = np.linalg.solve(outer, (u - shift).T).T, gradient @ outer
    spreads = [_spread(*_straight(w[other][:, order], score[other][:, order],
                                  _curve(w[one][:, order], score[one][:, order], soft))) for order, soft in orders]
    best = int(np.argmin(spreads))
    if not spreads[best] < WORTH * _spread(w[other], score[other]):
        return None, u, gradient
    order, soft = orders[best]
    w, score, outer = w[:, order], score[:, order], outer[:, order]
    curve = _curve(w, score, soft)
    whole = Bend.none(n, float).curve
    whole[:len(curve), soft:] = curve
    bend = Bend(shift=shift, outer=outer, curve=whole, log_det=np.linalg.slogdet(outer)[1])
    return bend, *_straight(w, score, curve)


def _curve(w: np.ndarray, score: np.ndarray, soft: int) -> np.ndarray:
    """Coefficients of the products of the first coordinates, shape (products, n - soft)."""
    s, t = held(w[:, :soft], np), w[:, soft:]
    features = products(s, np)
    design = np.concatenate([t, features, s, np.ones((len(w), 1))], axis=1)
    solved = np.linalg.solve(design.T @ design + RIDGE * np.eye(design.shape[1]), design.T @ score[:, soft:])
    stiff = t.shape[1]
    values, vectors = np.linalg.eigh(-0.5 * (solved[:stiff] + solved[:stiff].T))
    covariance = (vectors / np.maximum(values, STEEP)) @ vectors.T
    return solved[stiff:stiff + features.shape[1]] @ covariance


def _straight(w: np.ndarray, score: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws and gradients in the coordinates in front of a bend."""
    soft = w.shape[1] - curve.shape[1]
    straight, before, s = w.copy(), score.copy(), held(w[:, :soft], np)
    straight[:, soft:] -= products(s, np) @ curve
    pulled, moves = score[:, soft:] @ curve.T, s == w[:, :soft]  # by the products; what is not held
    for p, (j, k) in enumerate(zip(*np.tril_indices(soft), strict=True)):
        before[:, j] += pulled[:, p] * s[:, k] * moves[:, j]
        before[:, k] += pulled[:, p] * s[:, j] * moves[:, k]
    return straight, before


def _spread(w: np.ndarray, score: np.ndarray) -> float:
    """Largest variance in the coordinates in which draws and scores have the same: 1 of a Gaussian."""
    one, two = (np.linalg.qr(a - a.mean(0))[1] for a in (w, score))
    return float(np.linalg.norm(one @ two.T, 2)) / (len(w) - 1)
