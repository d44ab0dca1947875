"""Policy whose fast weights store by the delta rule what it has seen and done in a task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from maml_rl.policies.memory.delta_rule import delta_step, delta_steps
from maml_rl.policies.params import Params, affine
from maml_rl.policies.policy import Interface
from maml_rl.policies.recurrence import Order
from maml_rl.policies.residual_policy import Mixer, ResidualPolicy
from maml_rl.settings import Settings
from maml_rl.settings.base import Width
from maml_rl.utils.errors import InputError

_OPEN = 6.0
"""What is added to the logit of the decay: fresh weights forget a four-hundredth of themselves in a step."""
_FLOOR = 1e-2
"""Of squared lengths: shorter keys and queries stay short, instead of turning with every rounding."""


class DeltaOptions(Settings):
    """Options of policy ``delta``."""

    delta_layers: Width = Field(default=1, description="Blocks of fast weights and feed-forward network.")
    delta_heads: Width = Field(default=2, description="Matrices of fast weights in each block.")
    delta_width: Width = Field(default=64, description="Width of the residual stream; a multiple of delta-heads.")
    delta_key_size: Width = Field(
        default=64, description="Length of keys: as many different ones are stored without any interference."
    )


class FastWeights(Mixer):
    """H matrices of fast weights (K, W / H) that the gated delta rule changes, see `delta_step`.

    Queries and keys are ``silu`` of an affine map, brought to a length just below 1; decay and rate of each head are
    logistic functions of one.

    Parameters
    ----------
    name
        Prefix of the parameters: ``NAME.in``, queries, keys, values, decays and rates in this order, and ``NAME.out``.
    options
        See `DeltaOptions`.
    """

    def __init__(self, name: str, options: DeltaOptions) -> None:
        super().__init__(name)
        self.width, self.num_heads, self.key_size = options.delta_width, options.delta_heads, options.delta_key_size
        keys = self.num_heads * self.key_size
        self._sizes = [keys, keys, self.width, self.num_heads, self.num_heads]

    def make_layers(self) -> nn.Module:
        """See `Mixer.make_layers`."""
        return nn.ModuleDict({"in": nn.Linear(self.width, sum(self._sizes)), "out": nn.Linear(self.width, self.width)})

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> Tensor:
        """See `Mixer.initial_state`: zeros (*batch_shape, H, K, W / H)."""
        shape = (*batch_shape, self.num_heads, self.key_size, self.width // self.num_heads)
        return params[f"{self.name}.out.weight"].new_zeros(shape)

    def remembered(self, state: Tensor) -> Tensor:
        """See `Mixer.remembered`: the fast weights."""
        return state.flatten(-3)

    def advance(self, params: Params, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixer.advance`."""
        read, state = delta_step(*self._project(params, inputs), state)
        return affine(params, f"{self.name}.out", read.flatten(-2)), state

    def unroll(self, params: Params, inputs: Tensor, state: Tensor, *, order: Order = 2) -> tuple[Tensor, Tensor]:
        """See `Mixer.unroll`."""
        *vectors, log_decays, rates = self._project(params, inputs)  # (T, B, H, ...)
        queries, keys, values = (part.movedim(0, -2) for part in vectors)  # (B, H, T, ...)
        read, state = delta_steps(queries, keys, values, log_decays.movedim(0, -1), rates.movedim(0, -1), state)
        return affine(params, f"{self.name}.out", read.movedim(-2, 0).flatten(-2)), state

    def _project(self, params: Params, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Queries and keys (..., H, K), values (..., H, V), logarithms of decays and rates (..., H) of inputs."""
        queries, keys, values, decays, rates = affine(params, f"{self.name}.in", inputs).split(self._sizes, -1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)) for part in (queries, keys, values))
        return _unit(query), _unit(key), value, functional.logsigmoid(decays + _OPEN), torch.sigmoid(rates)


class DeltaPolicy(ResidualPolicy):
    """Residual blocks of fast weights: a memory that stores what belongs to a key, of a size that time does not change.

    Whoever observes the previous observation too, as with `observe_previous`, can store under it and the action what
    came of them.

    Parameters
    ----------
    interface, hidden_sizes, nonlinearity
        See `ResidualPolicy`.
    options
        See `DeltaOptions`.
    """

    def __init__(
        self, interface: Interface, hidden_sizes: Sequence[int], *, nonlinearity: str, options: DeltaOptions
    ) -> None:
        width, num_heads = options.delta_width, options.delta_heads
        if width % num_heads:
            raise InputError(
                f"delta-width: got {width}, expected a multiple of delta-heads, {num_heads}; "
                f"such as {num_heads * -(-width // num_heads)}"
            )
        mixers = [FastWeights(f"delta{index}", options) for index in range(1, options.delta_layers + 1)]
        super().__init__(interface, mixers, width, hidden_sizes, nonlinearity=nonlinearity)


def _unit(vectors: Tensor) -> Tensor:
    """``silu`` of vectors (..., K), scaled to a length just below 1."""
    vectors = functional.silu(vectors)
    return vectors * torch.rsqrt(vectors.square().sum(-1, keepdim=True) + _FLOOR)
