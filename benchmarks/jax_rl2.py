"""RL² on a bandit as one jitted JAX program: rollout, advantages and PPO, written for speed and for nothing else.

The peer that `benchmarks.rl2` measures the package against: the same network, sizes, epochs and minibatches, with no
workers, no registry, no checkpoint. Needs ``pip install 'maml_rl[bench]'``.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from maml_rl.config import Config

NUM_ARMS = 5


class Sizes(NamedTuple):
    """Sizes of the program, and its learner's settings.

    Attributes
    ----------
    num_tasks, num_pulls, num_units
        Bandits side by side, pulls of each, units of the LSTM.
    num_epochs, num_minibatches
        Passes over the tasks, and groups that these are divided into.
    gamma, gae_lambda, clip_range, learning_rate, entropy_coef, value_coef, max_grad_norm
        As in `maml_rl.settings`.
    """

    num_tasks: int
    num_pulls: int
    num_units: int
    num_epochs: int
    num_minibatches: int
    gamma: float
    gae_lambda: float
    clip_range: float
    learning_rate: float
    entropy_coef: float
    value_coef: float
    max_grad_norm: float


def sizes_of(config: Config) -> Sizes:
    """Those of a configuration of `algorithm: rl2`."""
    return Sizes(
        num_tasks=config.meta_batch_size,
        num_pulls=config.fast_batch_size,
        num_units=config.hidden_sizes[0],
        **{name: getattr(config, name) for name in Sizes._fields[3:]},
    )


class JaxLearner:
    """The program with its parameters.

    Parameters
    ----------
    sizes
        See `Sizes`.
    seed
        Of parameters, bandits and choices.
    """

    def __init__(self, sizes: Sizes, seed: int = 0) -> None:
        import jax

        self.sizes = sizes
        self._key = jax.random.PRNGKey(seed)
        self._params = _initial(sizes, seed)
        zeros = jax.tree_util.tree_map(np.zeros_like, self._params)
        self._moments = (zeros, zeros, np.float32(0.0))
        self._iterate = jax.jit(partial(_iteration, sizes))

    def step(self) -> float:
        """One iteration; returns the mean reward of a meta-episode."""
        import jax

        self._key, own = jax.random.split(self._key)
        self._params, self._moments, reward = self._iterate(self._params, self._moments, own)
        return float(reward)

    def speed(self) -> float:
        """Environment steps per second of an iteration."""
        start = time.perf_counter()
        self.step()
        return self.sizes.num_tasks * self.sizes.num_pulls / (time.perf_counter() - start)


def _initial(sizes: Sizes, seed: int) -> dict[str, np.ndarray]:
    rng, units = np.random.default_rng(seed), sizes.num_units
    inputs = NUM_ARMS + 3  # one, previous action, reward, done

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    bias = np.zeros(4 * units, np.float32)
    bias[units : 2 * units] = 1.0  # forget gate
    return {
        "input": normal(inputs, 4 * units),
        "recurrent": normal(units, 4 * units),
        "bias": bias,
        "policy": np.zeros((units, NUM_ARMS), np.float32),
        "value": np.zeros((units, 1), np.float32),
    }


def _cell(params: Any, state: Any, projected: Any) -> Any:
    import jax
    import jax.numpy as jnp

    output, content = state
    gates = projected + output @ params["recurrent"]
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    content = jax.nn.sigmoid(f) * content + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(content), content


def _roll_out(sizes: Sizes, params: Any, key: Any) -> Any:
    """Observations (T, M, O), actions, rewards, log-probabilities and values (T, M)."""
    import jax
    import jax.numpy as jnp

    own, key = jax.random.split(key)
    means = jax.random.uniform(own, (sizes.num_tasks, NUM_ARMS))
    rows = jnp.arange(sizes.num_tasks)
    zeros = jnp.zeros((sizes.num_tasks, sizes.num_units))

    def pull(carry: Any, key: Any) -> Any:
        state, observation = carry
        state = _cell(params, state, observation @ params["input"] + params["bias"])
        logits, value = state[0] @ params["policy"], (state[0] @ params["value"])[:, 0]
        choice, chance = jax.random.split(key)
        action = jax.random.categorical(choice, logits)
        reward = (jax.random.uniform(chance, (sizes.num_tasks,)) < means[rows, action]).astype(jnp.float32)
        log_prob = jax.nn.log_softmax(logits)[rows, action]
        ones = jnp.ones((sizes.num_tasks, 1))
        following = jnp.concatenate([ones, jax.nn.one_hot(action, NUM_ARMS), reward[:, None], ones], axis=1)
        return (state, following), (observation, action, reward, log_prob, value)

    first = jnp.zeros((sizes.num_tasks, NUM_ARMS + 3)).at[:, 0].set(1.0)
    _, steps = jax.lax.scan(pull, ((zeros, zeros), first), jax.random.split(key, sizes.num_pulls))
    return steps


def _advantages(sizes: Sizes, rewards: Any, values: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def back(carry: Any, step: Any) -> Any:
        following, advantage = carry
        reward, value = step
        advantage = reward + sizes.gamma * following - value + sizes.gamma * sizes.gae_lambda * advantage
        return (value, advantage), advantage

    zeros = jnp.zeros(sizes.num_tasks)
    _, advantages = jax.lax.scan(back, (zeros, zeros), (rewards, values), reverse=True)
    return advantages


def _loss(sizes: Sizes, params: Any, batch: Any) -> Any:
    import jax
    import jax.numpy as jnp

    observations, actions, log_probs, advantages, targets = batch
    projected = observations @ params["input"] + params["bias"]
    zeros = jnp.zeros((observations.shape[1], sizes.num_units))

    def advance(state: Any, step: Any) -> Any:
        state = _cell(params, state, step)
        return state, state[0]

    _, outputs = jax.lax.scan(advance, (zeros, zeros), projected)
    log_policy = jax.nn.log_softmax(outputs @ params["policy"])
    own = jnp.take_along_axis(log_policy, actions[..., None], axis=-1)[..., 0]
    ratios = jnp.exp(own - log_probs)
    clipped = jnp.clip(ratios, 1.0 - sizes.clip_range, 1.0 + sizes.clip_range)
    policy_loss = -jnp.minimum(ratios * advantages, clipped * advantages).mean()
    value_loss = 0.5 * jnp.square((outputs @ params["value"])[..., 0] - targets).mean()
    entropy = -(jnp.exp(log_policy) * log_policy).sum(axis=-1).mean()
    return policy_loss + sizes.value_coef * value_loss - sizes.entropy_coef * entropy


def _iteration(sizes: Sizes, params: Any, moments: Any, key: Any) -> Any:
    import jax
    import jax.numpy as jnp

    key, own = jax.random.split(key)
    observations, actions, rewards, log_probs, values = _roll_out(sizes, params, own)
    unit = 1.0 - sizes.gamma  # values are averages of the rewards to come
    advantages = _advantages(sizes, unit * rewards, values)
    targets = advantages + values
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    whole = (observations, actions, log_probs, advantages, targets)

    def descend(carry: Any, tasks: Any) -> Any:
        params, moments = carry
        batch = tuple(part[:, tasks] for part in whole)
        slopes = jax.grad(partial(_loss, sizes))(params, batch)
        return _adam(sizes, params, moments, slopes), None

    def epoch(carry: Any, key: Any) -> Any:
        order = jax.random.permutation(key, sizes.num_tasks).reshape(sizes.num_minibatches, -1)
        return jax.lax.scan(descend, carry, order)

    (params, moments), _ = jax.lax.scan(epoch, (params, moments), jax.random.split(key, sizes.num_epochs))
    return params, moments, jnp.sum(rewards, axis=0).mean()


def _adam(sizes: Sizes, params: Any, moments: Any, slopes: Any) -> Any:
    import jax
    import jax.numpy as jnp

    tree_map = jax.tree_util.tree_map
    norm = jnp.sqrt(sum(jnp.square(part).sum() for part in jax.tree_util.tree_leaves(slopes)))
    slopes = tree_map(lambda part: part * jnp.minimum(1.0, sizes.max_grad_norm / (norm + 1e-6)), slopes)
    first, second, count = moments
    count = count + 1.0
    first = tree_map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
    second = tree_map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slopes)
    rate = sizes.learning_rate * jnp.sqrt(1.0 - 0.999**count) / (1.0 - 0.9**count)
    params = tree_map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, first, second)
    return params, (first, second, count)
