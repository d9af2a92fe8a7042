"""Images of a point source: time of a thousand systems, and their number against brute force on a fine grid.

EPL + shear + multipoles of orders 1, 3 and 4, drawn; sources anywhere inside 0.8 Einstein radii, so that one to five
images are seen. Brute force traces 360,000 triangles a system, on a polar grid whose radii go from 1e-5 arcsec
outwards, and counts those that hold the source and are not fainter than the finder's limit. Where the two differ, a
grid that is 5 times finer each way decides. float64, on all cores.

With --cluster, 100 sources behind one cluster instead: the made one of examples/cluster, and, if a folder is given, the
best fit of LensTool in its `best.par`. Half of the sources are traced from places next to members, half from anywhere.
The square is traced with a spacing of 0.05 arcsec and each member's surroundings in polar coordinates from 0.001 arcsec
outwards, both also 4 times finer for a source where the counts differ. Triangles that hold the source are starts of
Newton's method, and what it ends at is told apart, so that places of both grids count once. Of one lens, so one grid.
"""

import importlib.util
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import HERE, parser, write

from giga.io.lenstool.catalogues import catalogue_of
from giga.io.lenstool.par import read_par
from giga.io.lenstool.potentials import masses, potentials
from giga.io.lenstool.potfiles import members
from giga.lensing.images import DESCENT, Finder, find_images, newton
from giga.lensing.planes import Behind, Planes
from giga.lensing.tracing import jacobian, trace
from giga.mass import DPIE, EPLMultipole, Members, Shear
from giga.mass.members import gathered
from giga.runtime import parallel

HALF = 5.0
E_MAX = 0.35
FIELD = 60.0  # half the side of the square behind clusters
Z_SOURCE = 3.0
SPACING, BLOCK = 0.05, 32  # of the grid [arcsec]; cells a side that are looked at together
RADII, ANGLES = np.geomspace(1e-3, 1.0, 41), 49


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


def _about_zero(beta):
    """Cells of triangles whose corners, shape (n, m, 2), lie about zero: row, column and sense."""
    a, b, c, d = beta[:-1, :-1], beta[1:, :-1], beta[1:, 1:], beta[:-1, 1:]
    for triangle in ((a, b, c), (a, c, d)):
        sides = [np.sign(p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0])
                 for p, q in zip(triangle, (*triangle[1:], triangle[0]), strict=True)]
        holds = (sides[0] == sides[1]) & (sides[1] == sides[2]) & (sides[0] != 0)
        yield from ((i, j, sides[0][i, j]) for i, j in np.argwhere(holds))


def brute(mass, source, fine=1):
    """Signs of the triangles that hold the source and are bright, in the square."""
    radii = np.concatenate([np.geomspace(1e-5, 0.05, 80 * fine)[:-1], np.linspace(0.05, 1.5 * HALF, 420 * fine)])
    phi = 2.0 * np.pi * np.arange(360 * fine + 1) / (360 * fine) + 0.00123
    r, phi = np.meshgrid(radii, phi, indexing="ij")
    x, y = mass[0].center_x + r * np.cos(phi), mass[0].center_y + r * np.sin(phi)
    beta = np.stack([np.asarray(b) for b in _traced(mass, x, y)], -1) - source
    found = [(x[i, j], y[i, j], sign) for i, j, sign in _about_zero(beta)]
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


def made():
    """The cluster of examples/cluster, and the places of its members."""
    path = HERE.parent / "examples" / "cluster" / "run.py"
    spec = importlib.util.spec_from_file_location("cluster_example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    truth = example.TRUTH
    halos = [DPIE(core=core, cut=cut, **{key.split(".")[2]: value for key, value in truth.items()
                                         if key.startswith(f"mass.{k}.") and not key.endswith("core")})
             for k, core, cut in ((0, truth["mass.0.core"], 180.0), (1, 3.0, 80.0))]
    catalogue = catalogue_of(example.galaxies())
    galaxies = Members(catalogue=catalogue, sigma=truth["mass.2.sigma"], cut=truth["mass.2.cut"], core=0.03, mag0=19.0)
    return _behind([*halos, galaxies], example.Z_LENS), np.stack([catalogue.x, catalogue.y], -1)


def of_lenstool(folder):
    """LensTool's best fit of a cluster, and the places of its potentials."""
    par = read_par(folder / "best.par")
    mass = masses(par) + (members(par) if par.named("potfile") else [])
    each = gathered(mass)[0].each
    return (_behind(mass, potentials(par)[0].z_lens, cosmology=par.cosmology),
            np.stack([each.center_x, each.center_y], -1))


def _behind(mass, z_lens, **settings):
    return [Behind(mass=mass, planes=Planes(redshifts=[z_lens], absolute=True, **settings), z=Z_SOURCE)]


class Grid:
    """Nodes in blocks, shape (blocks, n, m), with the corners in the source plane of what each block holds."""

    def __init__(self, lens, x, y):
        self.lens, self.x, self.y = lens, x, y
        self.beta = np.stack([np.stack([np.asarray(b) for b in _traced(lens, *rows)], -1)
                              for rows in zip(x, y, strict=True)])
        self.low, self.high = self.beta.min((1, 2)), self.beta.max((1, 2))

    def starts(self, source, fine=1):
        """Middles of triangles that hold the source."""
        wider = 0.0 if fine == 1 else 0.1 * (self.high - self.low)
        blocks = np.flatnonzero(np.all((source >= self.low - wider) & (source <= self.high + wider), 1))
        places = []
        for k in blocks:
            x, y, beta = self.x[k], self.y[k], self.beta[k]
            if fine > 1:
                x, y = (_finer(part, fine) for part in (x, y))
                beta = np.stack([np.asarray(b) for b in _traced(self.lens, x, y)], -1)
            places += _holding(beta - source, x, y)
        return places


def _finer(nodes, fine):
    for axis in (0, 1):
        at = np.arange((nodes.shape[axis] - 1) * fine + 1) / fine
        below = np.minimum(at.astype(int), nodes.shape[axis] - 2)
        share = np.expand_dims(at - below, 1 - axis)
        nodes = (1.0 - share) * nodes.take(below, axis) + share * nodes.take(below + 1, axis)
    return nodes


def _holding(beta, x, y):
    return [(0.5 * (x[i, j] + x[i + 1, j + 1]), 0.5 * (y[i, j] + y[i + 1, j + 1])) for i, j, _ in _about_zero(beta)]


@jax.jit
def _ended(lens, source, starts):
    return newton(lens, source, starts, jnp.asarray(1.0), 2 * DESCENT)


def images_by(grids, lens, source, fine=1):
    """Places of images by brute force, shape (n, 2), and signs of their parities."""
    starts = [place for grid in grids for place in grid.starts(source, fine)]
    if not starts:
        return np.zeros((0, 2))
    size = 128 * -(-len(starts) // 128)  # few sizes, few programs
    points, settled, det = (np.asarray(part) for part in _ended(
        lens, source, np.resize(np.array(starts), (size, 2))))
    good = settled & (np.abs(points) <= FIELD).all(1) & (np.abs(det) * 1e-6 <= 1.0)
    kept = []
    for place, sign in zip(points[good], np.sign(det[good]), strict=True):
        if not any(sign == other and np.abs(place - at).max() < 1e-6 for at, other in kept):
            kept.append((place, sign))
    return np.array([at for at, _ in kept]).reshape(-1, 2)


def behind(lens, galaxies, n):
    """The finder against brute force for n sources behind a cluster."""
    u = np.random.default_rng(7).uniform
    inside = galaxies[(np.abs(galaxies) < 0.8 * FIELD).all(1)]
    near = inside[(u(size=n // 2) * len(inside)).astype(int)] + u(-0.4, 0.4, (n // 2, 2))
    sources = np.stack(_traced(lens, *np.concatenate([near, u(-0.5 * FIELD, 0.5 * FIELD, (n - n // 2, 2))]).T), -1)
    finder = Finder(half_width=FIELD)
    find = jax.jit(jax.vmap(lambda source: find_images(lens, source[0], source[1], finder)))
    times = []
    for _ in range(2):
        begun, cpu = time.perf_counter(), time.process_time()
        found = jax.block_until_ready(find(sources))
        times.append((time.perf_counter() - begun, time.process_time() - cpu))
    found = jax.tree.map(np.asarray, found)
    count = 8 if n < 100 else round(2.0 * FIELD / SPACING / BLOCK)
    edges = np.linspace(-FIELD, FIELD, count * BLOCK + 1)
    parts = [edges[k * BLOCK:(k + 1) * BLOCK + 1] for k in range(count)]
    square = [np.meshgrid(a, b) for b in parts for a in parts]
    r, phi = np.meshgrid(RADII, 2.0 * np.pi * np.arange(ANGLES) / (ANGLES - 1) + 0.00123, indexing="ij")
    polar = [(at[0] + r * np.cos(phi), at[1] + r * np.sin(phi)) for at in galaxies]
    grids = [Grid(lens, *(np.stack(part) for part in zip(*blocks, strict=True))) for blocks in (square, polar)]
    finer, differ, off = [], [], 0.0
    for k, source in enumerate(sources):
        at = images_by(grids, lens, source)
        if len(at) != found.count[k]:
            finer.append(k)
            at = images_by(grids, lens, source, 4)
        if len(at) != found.count[k]:
            differ.append([k, int(found.count[k]), len(at)])
            continue
        seen = np.stack([found.x[k], found.y[k]], -1)[found.found[k]]
        off = max(off, float(np.max(np.min(np.linalg.norm(at[:, None] - seen, axis=-1), 1), initial=0.0)))
    return dict(sources=n, potentials=len(galaxies), seconds_with_compiling=times[0][0],
                seconds_compiled=times[1][0], cpu_seconds_compiled=times[1][1],
                counts=np.bincount(found.count).tolist(), complete=float(found.complete.mean()),
                furthest_from_brute_force_arcsec=off, looked_at_more_finely=finer, differ_from_brute_force=differ)


def main():
    arguments = parser(__doc__, "points")
    arguments.add_argument("--cluster", nargs="*", type=Path, metavar="DIR", help="sources behind clusters instead")
    options = arguments.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.cluster is not None:
        if options.out == HERE / "results" / "points.json":
            options.out = options.out.with_name("points_cluster.json")
        clusters = {"made": made()} | {folder.name: of_lenstool(folder) for folder in options.cluster}
        write(options.out, {name: behind(*cluster, 8 if options.smoke else 100) for name, cluster in clusters.items()})
        return
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
