"""The loss of choices with values where first derivatives are enough: loss and slopes in one compiled loop."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from maml_rl.utils.kernels import compiled_exactly


class CategoricalLoss(Function):
    """Loss of `maml_rl.actor_critic.actor_critic_loss` for choices, and the sums that are its parts.

    In float32 on the CPU, differentiable once, in logits and values alone.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, values: Tensor, steps: tuple[Tensor, ...], weights: tuple[float, float, float]
    ) -> tuple[Tensor, Tensor]:
        """Loss () and parts (5,) at `logits` (T, B, A) and `values` (T, B).

        `steps` are actions, mask, log probabilities, advantages and targets, (T, B) each; `weights` those of values and
        entropy, and the clip range, infinite for none.
        """
        for_logits, for_values = logits.new_empty(logits.shape), values.new_empty(values.shape)
        actions, *others = steps
        sums = _loss(
            logits.detach().contiguous().numpy().reshape(-1, logits.shape[-1]),
            values.detach().contiguous().numpy().ravel(),
            actions.long().contiguous().numpy().ravel(),
            tuple(part.contiguous().numpy().ravel() for part in others),
            tuple(np.float32(weight) for weight in weights),
            for_logits.numpy().reshape(-1, logits.shape[-1]),
            for_values.numpy().ravel(),
        )
        ctx.save_for_backward(for_logits, for_values)
        parts = logits.new_tensor(sums)
        ctx.mark_non_differentiable(parts)
        return parts[0] + weights[0] * parts[1] - weights[1] * parts[2], parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of logits (T, B, A) and values (T, B), from `for_loss` ()."""
        for_logits, for_values = ctx.saved_tensors
        return for_loss * for_logits, for_loss * for_values, None, None


@compiled_exactly
def _loss(logits, values, actions, others, weights, for_logits, for_values):
    """Sums of policy loss, value loss, entropy, KL and clipped steps over N rows; slopes of the loss are written."""
    masks, log_probs, advantages, targets = others
    value_coef, entropy_coef, clip_range = weights
    low, high, one = np.float32(1.0) - clip_range, np.float32(1.0) + clip_range, np.float32(1.0)
    gain_sum, value_sum, entropy_sum, kl_sum, clipped_sum = 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(logits.shape[0]):
        row, slopes, mask, action, advantage = logits[n], for_logits[n], masks[n], actions[n], advantages[n]
        largest = row.max()
        total, entropy = np.float32(0.0), np.float32(0.0)
        for k in range(len(row)):
            slopes[k] = math.exp(row[k] - largest)
            total += slopes[k]
        log_total = np.float32(math.log(total))
        for k in range(len(row)):
            slopes[k] /= total
            entropy -= slopes[k] * (row[k] - largest - log_total)
        log_ratio = (row[action] - largest - log_total - log_probs[n]) * mask
        ratio = np.float32(math.exp(log_ratio))
        clipped = min(max(ratio, low), high)
        gain, clipped_gain = ratio * advantage, clipped * advantage
        of_log_prob = -gain if clipped == ratio or gain < clipped_gain else np.float32(0.0)
        for k in range(len(row)):
            chance = slopes[k]
            about = row[k] - largest - log_total + entropy
            slopes[k] = mask * chance * (entropy_coef * about - of_log_prob)
        slopes[action] += mask * of_log_prob
        error = values[n] - targets[n]
        for_values[n] = value_coef * error * mask
        gain_sum -= min(gain, clipped_gain) * mask
        value_sum += 0.5 * error * error * mask
        entropy_sum += entropy * mask
        kl_sum += (ratio - one - log_ratio) * mask
        clipped_sum += 1.0 if clipped != ratio else 0.0
    return gain_sum, value_sum, entropy_sum, kl_sum, clipped_sum
