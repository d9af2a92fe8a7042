"""GIGA-Lens fits demo60 as its own demonstration does, in a budget of seconds.

Run by peers.py, in GIGA-Lens's environment. The settings are those of its demonstration and published benchmark
(EPL of 50 terms, Adam with polynomial schedules, full-rank SVI, HMC with adapted step and trajectory), but for the
sizes: samples and steps are scaled down to the budget by the measured time of a gradient. Arguments: the folder of
gl_shim.py, the problem as peers.py wrote it, seconds. Chains are left beside the problem.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import gl_shim  # noqa: I001  # before anything of GIGA-Lens, which it lets run on today's JAX

import jax
import jax.numpy as jnp
import numpy as np
import optax


def one_device_pmap(function, axis_name=None):
    """`jax.pmap` over a leading axis of one entry; JAX's own does not take TFP's sampler any more."""
    if axis_name is not None:
        return jax.jit(jax.vmap(function, axis_name=axis_name))

    def wrapped(*arguments):
        out = function(*jax.tree.map(lambda a: a[0], arguments))
        return jax.tree.map(lambda a: a[None], out)

    return jax.jit(wrapped)


jax.pmap = one_device_pmap  # before GIGA-Lens takes it; on a CPU it has one device

from gigalens.jax.inference import ModellingSequence  # noqa: E402
from gigalens.jax.model import ForwardProbModel  # noqa: E402
from gigalens.jax.profiles.light import sersic  # noqa: E402
from gigalens.jax.profiles.mass import epl, shear  # noqa: E402
from gigalens.jax.simulator import LensSimulator  # noqa: E402
from gigalens.model import PhysicalModel  # noqa: E402
from gigalens.simulator import SimulatorConfig  # noqa: E402
from tensorflow_probability.substrates.jax import distributions as tfd  # noqa: E402

TERMS, BATCH = 50, 16
SHARES = dict(map=0.2, svi=0.25, hmc=0.55)  # of the budget, about as in the published benchmark
LEAPFROGS = 10  # a trajectory, guessed; it adapts up to 30
COMPILE = ("/jax/core/compile/backend_compile_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration")


def distribution(kind: str, numbers: dict) -> tfd.Distribution:
    """A distribution from its name and numbers."""
    numbers = {name: np.float32(value) for name, value in numbers.items()}
    if kind == "TruncatedNormal":
        return tfd.TruncatedNormal(numbers["loc"], numbers["scale"], numbers["low"], numbers["high"])
    return {"Normal": tfd.Normal, "LogNormal": tfd.LogNormal, "Uniform": tfd.Uniform}[kind](**numbers)


def schedule(first: float, last: float, power: float, steps: int) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_adam(),
                       optax.scale_by_schedule(optax.polynomial_schedule(first, last, power, steps)))


def main() -> None:
    problem, budget = Path(sys.argv[2]), float(sys.argv[3])
    known = json.loads(problem.read_text())
    prior = tfd.JointDistributionSequential([
        tfd.JointDistributionSequential([tfd.JointDistributionNamed(
            {name: distribution(*entry) for name, entry in profile.items()}) for profile in group])
        for group in known["prior"]])
    image = np.asarray(known["image"], np.float32)
    model = ForwardProbModel(prior, image, background_rms=known["background_rms"], exp_time=known["exposure_time"])
    physical = PhysicalModel([epl.EPL(TERMS), shear.Shear()], [sersic.SersicEllipse()], [sersic.SersicEllipse()])
    config = SimulatorConfig(delta_pix=known["pixel_scale"], num_pix=len(image), supersample=1,
                             kernel=np.asarray(known["kernel"], np.float32))
    compiled = [0.0]
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: compiled.__setitem__(0, compiled[0] + duration * (event in COMPILE)))

    simulator = LensSimulator(physical, config, bs=BATCH)
    z = jnp.stack(model.bij.inverse(prior.sample(BATCH, seed=jax.random.key(1)))).T
    gradient = jax.jit(jax.value_and_grad(lambda z: jnp.mean(model.log_prob(simulator, z)[0])))
    jax.block_until_ready(gradient(z))
    begun = time.perf_counter()
    for _ in range(3):
        jax.block_until_ready(gradient(z))
    each = (time.perf_counter() - begun) / (3 * BATCH)

    def counted(stage: str, per_step: int, least: int, most: int) -> int:
        return int(np.clip(SHARES[stage] * budget / (each * per_step), least, most))

    steps = dict(map=counted("map", BATCH, 20, 350), svi=counted("svi", BATCH, 20, 1500),
                 hmc=counted("hmc", BATCH * LEAPFROGS, 20, 1000))
    sequence, seconds, compiling, begun = ModellingSequence(physical, model, config), {}, {}, time.perf_counter()

    def timed(stage: str, work):
        start, before = time.perf_counter(), compiled[0]
        out = work()
        compiling[stage] = compiled[0] - before
        seconds[stage] = time.perf_counter() - start - compiling[stage]
        return out

    found = timed("map", lambda: sequence.MAP(schedule(-1e-2, -1e-2 / 3.0, 0.5, max(steps["map"], 2)),
                                              n_samples=BATCH, num_steps=steps["map"], seed=0))
    density, chi2 = model.log_prob(simulator, found)
    best = found[int(jnp.nanargmax(density))][None, :]
    q, _ = timed("svi", lambda: sequence.SVI(best, schedule(-1e-6, -3e-3, 2.0, 300), n_vi=BATCH,
                                             num_steps=steps["svi"], seed=1))
    burn = steps["hmc"] // 4
    states = timed("hmc", lambda: np.asarray(sequence.HMC(
        q, init_eps=0.3, init_l=3, n_hmc=BATCH, num_burnin_steps=burn, num_results=steps["hmc"] - burn,
        max_leapfrog_steps=30, seed=2).all_states))  # (devices, draws, chains a device, parameters)
    states = np.concatenate(list(states), axis=1).swapaxes(0, 1)
    out = problem.with_suffix(".chains.npy")
    np.save(out, states.astype(np.float64))
    print(json.dumps(dict(
        code=f"gigalens 0.1.8, EPL({TERMS})", shims=[*gl_shim.applied, "jax.pmap of one device"],
        ms_per_gradient=1e3 * each, steps=steps, chains=BATCH, seconds=seconds, compile_s=compiling,
        wall_s=time.perf_counter() - begun, best_chi2_per_pixel=float(jnp.nanmin(chi2)), chains_file=str(out))))


if __name__ == "__main__":
    main()
