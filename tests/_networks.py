"""Networks for tests, made without compiling the drawing of their weights layer by layer."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def make(network, config, *, weights_of=None):
    """A network with weights of the usual size from NumPy: scales near one, offsets near zero.

    Args:
        network: Its class.
        config: Its configuration.
        weights_of: A network whose weights it takes in place of drawn ones.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: network(config, rngs=nnx.Rngs(0))))
    if weights_of is not None:
        return nnx.merge(graph, nnx.state(weights_of))
    rng = np.random.default_rng(7)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        fan = math.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        values = rng.normal(0.0, fan**-0.5, leaf.shape) + ("scale" in name or "var" in name)
        return jnp.asarray(values, leaf.dtype)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(draw, state))


def gradients(model, loss):
    """Gradients of a loss by every weight, by path name."""
    slopes = nnx.to_pure_dict(nnx.jit(nnx.grad(loss))(model))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in
            jax.tree_util.tree_leaves_with_path(slopes)}
