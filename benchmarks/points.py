"""Images of a point source: time of a thousand systems, and their number against brute force on a fine grid.

EPL + shear + multipoles of orders 1, 3 and 4, drawn; sources anywhere inside 0.8 Einstein radii, so that one to five
images are seen. Brute force traces 360,000 triangles a system, on a polar grid whose radii go from 1e-5 arcsec
outwards, and counts those that hold the source and are not fainter than the finder's limit. Where the two differ, a
grid that is 5 times finer each way decides. float64, on all cores.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write

from giga.lensing.images import Finder, find_images
from giga.lensing.tracing import jacobian, trace
from giga.mass import EPLMultipole, Shear
from giga.runtime import parallel

HALF = 5.0
E_MAX = 0.35


def systems(n, seed=0):
    """Random lenses and sources, arrays of length n on their leaves."""
    u = np.random.default_rng(seed).uniform
    e, turn, g, g_turn, theta = u(0, E_MAX, n), u(0, 2 * np.pi, n), u(0, 0.12, n), u(0, 2 * np.pi, n), u(0.7, 1.6, n)
    lens = EPLMultipole(theta_E=theta, gamma=u(1.6, 2.4, n), e1=e * np.cos(turn), e2=e * np.sin(turn),
                        a1_a=u(-0.02, 0.02, n), delta_phi_m1=u(-3, 3, n), a3_a=u(-0.02, 0.02, n),
                        delta_phi_m3=u(-3, 3, n), a4_a=u(-0.03, 0.03, n), delta_phi_m4=u(-1, 1, n),
                        center_x=u(-0.05, 0.05, n), center_y=u(-0.05, 0.05, n)).reaching(E_MAX, np.float64)
    r, phi = 0.8 * theta * np.sqrt(u(0, 1, n)), u(0, 2 * np.pi, n)
    return [lens, Shear(gamma1=g * np.cos(g_turn), gamma2=g * np.sin(g_turn))], r * np.cos(phi), r * np.sin(phi)


@jax.jit
def _traced(mass, x, y):
    return trace(mass, x, y)


@jax.jit
def _determinant(mass, x, y):
    xx, xy, yx, yy = jacobian(mass, x, y)
    return (1.0 - xx) * (1.0 - yy) - xy * yx


def brute(mass, source, fine=1):
    """Signs of the triangles that hold the source and are bright, in the square."""
    radii = np.concatenate([np.geomspace(1e-5, 0.05, 80 * fine)[:-1], np.linspace(0.05, 1.5 * HALF, 420 * fine)])
    phi = 2.0 * np.pi * np.arange(360 * fine + 1) / (360 * fine) + 0.00123
    r, phi = np.meshgrid(radii, phi, indexing="ij")
    x, y = mass[0].center_x + r * np.cos(phi), mass[0].center_y + r * np.sin(phi)
    beta = np.stack([np.asarray(b) for b in _traced(mass, x, y)], -1) - source
    a, b, c, d = beta[:-1, :-1], beta[1:, :-1], beta[1:, 1:], beta[:-1, 1:]
    found = []
    for triangle in ((a, b, c), (a, c, d)):
        sides = [np.sign(p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0])
                 for p, q in zip(triangle, (*triangle[1:], triangle[0]), strict=True)]
        holds = (sides[0] == sides[1]) & (sides[1] == sides[2]) & (sides[0] != 0)
        found += [(x[i, j], y[i, j], sides[0][i, j]) for i, j in np.argwhere(holds)]
    if not found:
        return []
    x, y, sign = np.array(found).T
    size = np.full(16, x[0])
    size[:len(x)] = x
    other = np.full(16, y[0])
    other[:len(y)] = y
    bright = np.abs(np.asarray(_determinant(mass, size, other)))[:len(x)] < 1e6
    inside = (np.abs(x) < HALF) & (np.abs(y) < HALF)
    return sign[bright & inside].tolist()


def main():
    options = parser(__doc__, "points").parse_args()
    jax.config.update("jax_enable_x64", True)
    parallel.start()
    n = 16 if options.smoke else 1000
    mass, beta_x, beta_y = systems(n)
    finder = Finder(half_width=HALF)
    over = parallel.mesh()
    find = parallel.compiled(parallel.partitioned(
        jax.vmap(lambda mass, x, y: find_images(mass, x, y, finder)), over, 0), over)
    times = []
    for _ in range(4):
        begun, cpu = time.perf_counter(), time.process_time()
        found = jax.block_until_ready(find(mass, beta_x, beta_y))
        times.append((time.perf_counter() - begun, time.process_time() - cpu))
    found = jax.tree.map(np.asarray, found)
    residual = _residual(mass, found, beta_x, beta_y)
    differ, finer = [], []
    for k in range(n):
        one, source = jax.tree.map(lambda leaf, k=k: leaf[k], mass), np.array([beta_x[k], beta_y[k]])
        if len(brute(one, source)) != found.count[k]:
            finer.append(k)
            if len(brute(one, source, 5)) != found.count[k]:
                differ.append(k)
    results = dict(
        systems=n, devices=len(jax.devices()), seconds_with_compiling=times[0][0],
        seconds_compiled=sorted(wall for wall, _ in times[1:])[1],
        cpu_seconds_compiled=sorted(cpu for _, cpu in times[1:])[1],
        counts=np.bincount(found.count, minlength=6).tolist(), complete=float(found.complete.mean()),
        largest_step_left_arcsec=residual, looked_at_more_finely=finer, differ_from_brute_force=differ)
    write(options.out, results)


def _residual(mass, found, beta_x, beta_y):
    """Longest Newton step that is left at an image [arcsec]."""
    @jax.jit
    @jax.vmap
    def left(mass, x, y, beta_x, beta_y):
        traced_x, traced_y = trace(mass, x, y)
        xx, xy, yx, yy = jacobian(mass, x, y)
        det = (1.0 - xx) * (1.0 - yy) - xy * yx
        d_x, d_y = beta_x - traced_x, beta_y - traced_y
        return jnp.hypot((1.0 - yy) * d_x + xy * d_y, yx * d_x + (1.0 - xx) * d_y) / jnp.abs(det)

    return float(np.max(np.where(found.found, left(mass, found.x, found.y, beta_x, beta_y), 0.0)))


if __name__ == "__main__":
    main()
