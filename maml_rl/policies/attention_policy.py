"""Policy that attends to all that it has seen and done in a task."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from maml_rl.policies.memory.key_value_cache import (
    Cache,
    attend_along,
    attend_next,
    empty_cache,
    keep_cache,
    mean_value,
)
from maml_rl.policies.params import Params, affine
from maml_rl.policies.policy import Interface
from maml_rl.policies.recurrence import Order
from maml_rl.policies.residual_policy import Mixer, ResidualPolicy
from maml_rl.settings import Settings
from maml_rl.settings.base import Count, Width
from maml_rl.utils.errors import InputError

_PERIODS = tuple(8.0 * 2.0**octave for octave in range(10))
"""Steps after which the sines that tell time repeat: of an episode's length up to that of a long meta-episode."""

AttentionState = tuple[Cache, ...]


class AttentionOptions(Settings):
    """Options of policy ``attention``."""

    attention_layers: Width = Field(default=1, description="Blocks of attention and feed-forward network.")
    attention_heads: Width = Field(default=4, description="Heads of each attention layer.")
    attention_width: Width = Field(
        default=64, description="Width of the residual stream; a multiple of attention-heads."
    )
    attention_window: Count | None = Field(
        default=None,
        description=(
            "Last steps that a layer attends to, the present one among them, which bounds the cache; null: all since "
            "the meta-episode began."
        ),
    )


class CausalAttention(Mixer):
    """Attention of H heads to the present step and those before (Vaswani et al. 2017, section 3.2.2).

    Parameters
    ----------
    name
        Prefix of the parameters: ``NAME.qkv``, queries, keys and values in this order, and ``NAME.out``.
    options
        See `AttentionOptions`.
    """

    def __init__(self, name: str, options: AttentionOptions) -> None:
        super().__init__(name)
        self.width, self.num_heads = options.attention_width, options.attention_heads
        self.window = options.attention_window

    def make_layers(self) -> nn.Module:
        """See `Mixer.make_layers`."""
        return nn.ModuleDict({"qkv": nn.Linear(self.width, 3 * self.width), "out": nn.Linear(self.width, self.width)})

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> Cache:
        """See `Mixer.initial_state`: an empty cache."""
        like = params[f"{self.name}.out.weight"]
        return empty_cache(like, batch_shape, self.num_heads, self.width // self.num_heads, self.window)

    def remembered(self, state: Cache) -> Tensor:
        """See `Mixer.remembered`: mean of the values of all steps that are attended to (..., W)."""
        return mean_value(state, self.window).flatten(-2)

    def advance(self, params: Params, inputs: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """See `Mixer.advance`."""
        read, state = attend_next(*self._project(params, inputs), state, self.window)
        return affine(params, f"{self.name}.out", read.flatten(-2)), state

    def unroll(self, params: Params, inputs: Tensor, state: Cache, *, order: Order = 2) -> tuple[Tensor, Cache]:
        """See `Mixer.unroll`."""
        projected = self._project(params, inputs)
        queries, keys, values = (part.movedim(0, -2) for part in projected)  # (T, B, H, D) -> (B, H, T, D)
        read, state = attend_along(queries, keys, values, state, self.window, order=order)
        return affine(params, f"{self.name}.out", read.movedim(-2, 0).flatten(-2)), state

    def _project(self, params: Params, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (..., H, D) of inputs (..., W)."""
        parts = affine(params, f"{self.name}.qkv", inputs).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = parts.unbind(-3)
        return query, key, value


class AttentionPolicy(ResidualPolicy):
    """A causal transformer along the meta-episode (Mishra et al. 2018 and Melo 2022 learn tasks so).

    An observation is a token; sines and cosines of its step (Vaswani et al. 2017, section 3.5) stand beside it before
    the first layer, with periods of 8 to 4096 steps. A token that holds the previous observation as well, as with
    `observe_previous`, tells by itself what an action did in which state; without it one layer cannot know that.

    Parameters
    ----------
    interface, hidden_sizes, nonlinearity
        See `ResidualPolicy`.
    options
        See `AttentionOptions`.
    """

    def __init__(
        self, interface: Interface, hidden_sizes: Sequence[int], *, nonlinearity: str, options: AttentionOptions
    ) -> None:
        width, num_heads = options.attention_width, options.attention_heads
        if width % num_heads:
            raise InputError(
                f"attention-width: got {width}, expected a multiple of attention-heads, {num_heads}; "
                f"such as {num_heads * math.ceil(width / num_heads)}"
            )
        mixers = [CausalAttention(f"attention{index}", options) for index in range(1, options.attention_layers + 1)]
        num_times = 2 * len(_PERIODS)
        super().__init__(interface, mixers, width, hidden_sizes, nonlinearity=nonlinearity, num_times=num_times)

    def times(self, state: AttentionState, num_steps: int | None) -> Tensor:
        """See `ResidualPolicy.times`: sines and cosines of the steps that a task has lasted, of length 1 together."""
        step = state[0].length
        if num_steps is not None:
            step = step + torch.arange(num_steps, device=step.device).reshape(-1, *[1] * step.dim())
        angles = step.unsqueeze(-1) * (2.0 * math.pi / torch.tensor(_PERIODS, dtype=torch.float64, device=step.device))
        return torch.cat([torch.sin(angles), torch.cos(angles)], -1) / math.sqrt(len(_PERIODS))

    def keep(self, active: Tensor, after: AttentionState, before: AttentionState) -> AttentionState:
        """See `Policy.keep`."""
        return tuple(keep_cache(active, new, old) for new, old in zip(after, before, strict=True))
