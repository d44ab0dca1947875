"""Linear feature baseline, fitted to all tasks of a shard at once."""

from __future__ import annotations

import torch
from torch import Tensor

from maml_rl.policies.encoders import as_numbers

_LONG, _MAX_SUMMARY = 256, 128


class LinearFeatureBaseline:
    """Ridge regression of returns on features of observation and time (Duan et al. 2016, appendix 2).

    Features of step t with observation s: ``[s, s^2, t/100, (t/100)^2, (t/100)^3, 1]``; of an observation of more
    than 256 numbers, s are the means of at most 128 equal stretches, of an image strips of its rows. The normal
    equations are formed and solved in float64: in float32 the squared features of larger robots make
    them numerically singular.

    Parameters
    ----------
    regularisation
        Added to the diagonal of the normal equations, > 0; multiplied by 10 until they can be solved.
    """

    def __init__(self, regularisation: float = 1e-5) -> None:
        self.regularisation = regularisation

    def fit_predict(self, observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
        """Fit one regression per task and return its predictions (M, T, B), 0 on padding.

        Parameters
        ----------
        observations
            (M, T, B, O).
        returns, mask
            (M, T, B).
        """
        values = [self._fit_predict_task(*task) for task in zip(observations, returns, mask, strict=True)]
        return torch.stack(values)

    def _fit_predict_task(self, observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
        in_episode = mask > 0
        features = self.features(observations, in_episode)
        weights = self.weights(features, returns[in_episode])
        predictions = torch.zeros_like(returns)
        predictions[in_episode] = (features @ weights).to(returns.dtype)
        return predictions

    @staticmethod
    def features(observations: Tensor, in_episode: Tensor) -> Tensor:
        """Features (K, F) of the K steps of observations (T, B, O) for which `in_episode` (T, B) is true."""
        states = _summary(as_numbers(observations[in_episode])).double()
        time = torch.arange(len(in_episode), dtype=torch.float64, device=in_episode.device) / 100.0
        time = time.unsqueeze(1).expand(in_episode.shape)[in_episode].unsqueeze(1)
        return torch.cat([states, states.square(), time, time**2, time**3, torch.ones_like(time)], -1)

    def weights(self, features: Tensor, returns: Tensor) -> Tensor:
        """Weights (F,) of the regression of returns (K,) on features (K, F)."""
        return self._solve(features.T @ features, features.T @ returns.double())

    def _solve(self, gram: Tensor, moment: Tensor) -> Tensor:
        identity = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
        regularisation = self.regularisation
        for _ in range(8):
            factor, info = torch.linalg.cholesky_ex(gram + regularisation * identity)
            if int(info) == 0:
                return torch.cholesky_solve(moment.unsqueeze(-1), factor).squeeze(-1)
            regularisation *= 10.0
        return torch.zeros_like(moment)


def _summary(states: Tensor) -> Tensor:
    """Means of equal stretches of long observations (K, O); the last one is of what remains."""
    if states.shape[-1] <= _LONG:
        return states
    length = -(-states.shape[-1] // _MAX_SUMMARY)
    whole = states.shape[-1] // length * length
    means = states[..., :whole].unflatten(-1, (-1, length)).mean(-1)
    rest = states[..., whole:]
    return torch.cat([means, rest.mean(-1, keepdim=True)], -1) if rest.shape[-1] else means
