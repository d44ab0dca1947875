"""An optimiser of one flat vector of parameters, whose state is complete from the beginning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from maml_rl.metalearners.learner import StateTensor

OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),  # one pass over memory
    "rmsprop": torch.optim.RMSprop,
}
_MOMENTS = {"adam": ("exp_avg", "exp_avg_sq"), "rmsprop": ("square_avg",)}


class VectorOptimiser:
    """Adam or RMSprop on a vector in float64.

    Parameters
    ----------
    name
        A key of `OPTIMISERS`.
    vector
        Initial parameters (D,).
    """

    def __init__(self, name: str, vector: np.ndarray) -> None:
        self._parameter = torch.nn.Parameter(torch.from_numpy(vector.copy()))
        self._optimiser = OPTIMISERS[name]([self._parameter])
        self._moments = _MOMENTS[name]

    @property
    def vector(self) -> np.ndarray:
        """A copy of the parameters (D,)."""
        return self._parameter.detach().numpy().copy()

    @vector.setter
    def vector(self, value: np.ndarray) -> None:
        """Take a copy of a value (D,)."""
        with torch.no_grad():
            self._parameter.copy_(torch.from_numpy(value))

    def step(self, gradient: np.ndarray, learning_rate: float) -> None:
        """Move against a gradient (D,)."""
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._parameter.grad = torch.from_numpy(gradient)
        self._optimiser.step()

    def state_layout(self) -> dict[str, StateTensor]:
        """Tensors of `state_dict`: moments (D,) and the number of steps ()."""
        size = tuple(self._parameter.shape)
        moments = {name: StateTensor(size, -np.inf if name == "exp_avg" else 0.0) for name in self._moments}
        return {"step": StateTensor((), 0.0), **moments}

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and number of steps; zeros before the first step."""
        state = self._optimiser.state.get(self._parameter, {})
        return {
            key: torch.as_tensor(state[key]).double().clone() if key in state else torch.zeros(one.shape).double()
            for key, one in self.state_layout().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state` that `state_dict` gave, moments (D,); empty or of no steps: from the beginning."""
        self._optimiser.state.clear()
        if state and float(state["step"]) > 0:
            whole = self._optimiser.state_dict()
            whole["state"] = {0: {name: value.clone() for name, value in state.items()}}
            self._optimiser.load_state_dict(whole)
