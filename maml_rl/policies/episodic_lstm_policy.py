"""Policy with two memories: an LSTM for the episode, and a dictionary of its states at the ends of earlier ones."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.episodic_state import EpisodicOptions, EpisodicState, Working
from maml_rl.policies.episodic_unrolling import Along, Controller, unroll_generations, unroll_trials
from maml_rl.policies.memory.dictionary import Dictionary
from maml_rl.policies.params import Params, affine
from maml_rl.policies.policy import Interface, Policy
from maml_rl.policies.recurrence import Order
from maml_rl.policies.reinstating_gates import GATES, ReinstatingGates
from maml_rl.utils.errors import InputError
from maml_rl.utils.transforms import any_of_each, is_batched


class EpisodicLSTMPolicy(Policy):
    """An LSTM with a reinstatement gate and a `Dictionary` (Ritter et al. 2018, equations 2 to 4).

    With x the input after feed-forward layers and m what the dictionary holds under the key of the present observation,

        i, f, o, r = s(W x + U h + b),   c' = f c + i tanh(g) + r tanh(m),   h' = s(o) tanh(c')

    At the end of an episode its last action, reward and done enter beside the observation they followed; the cell is
    then written under that observation's key, once an episode, and working memory begins anew. Without
    `dictionary_resets` episodes are trials: the cell is written as well, and working memory goes on.

    Parameters
    ----------
    interface
        See `Policy`.
    hidden_sizes
        Units of each hidden layer; the last one is the LSTM, those before it are feed-forward with tanh.
    num_observed
        Length of the environment's own observation, which comes first.
    options
        See `EpisodicOptions`.
    """

    has_memory = True
    tasks_together = 128

    def __init__(
        self, interface: Interface, hidden_sizes: Sequence[int], *, num_observed: int, options: EpisodicOptions
    ) -> None:
        self.num_own = interface.num_inputs - (interface.input_size - num_observed)
        start, stop = _checked_range(options.dictionary_key_range, self.num_own)
        *before, size = hidden_sizes
        left_out = 0 if options.dictionary_key_enters else stop - start
        sizes = (interface.num_inputs - left_out, *before)
        names = [f"layer{index}" for index in range(1, len(sizes))]
        layers: dict[str, nn.Module] = {
            name: nn.Linear(*shape) for name, shape in zip(names, itertools.pairwise(sizes), strict=True)
        }
        cell = ReinstatingGates(f"layer{len(sizes)}", size, options.reinstatement_bias)
        layers[cell.name] = cell.make_layers(sizes[-1])
        learned = options.dictionary_key == "embedding"
        if options.dictionary_retrieval == "input":
            layers["recall"] = nn.Linear(size, cell.num_gates * size)
        if learned and options.dictionary_retrieval != "none":
            layers["key"] = nn.Linear(stop - start, options.dictionary_key_size)
        super().__init__(interface, layers, size)
        self.options, self._gates, self._before, self._range = options, cell, names, slice(start, stop)
        self.dictionary = Dictionary(
            options.dictionary_capacity,
            options.dictionary_key_size if learned else stop - start,
            size,
            kernel=options.dictionary_kernel,
            num_neighbours=options.dictionary_neighbours,
            sharpness=options.dictionary_sharpness,
            reach=options.dictionary_reach,
        )

    @property
    def reads_values(self) -> bool:
        """See `Policy.reads_values`: keys tell which episodes wait for which, and those that do not go side by side."""
        return self.options.dictionary_resets and self._reads_one

    def initialise(self, rng: np.random.Generator) -> None:
        """See `Policy.initialise`; recurrent weights are orthogonal."""
        super().initialise(rng)
        self._gates.initialise(self, rng)

    def initial_state(self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None) -> EpisodicState:
        """See `Policy.initial_state`: zeros, and an empty dictionary."""
        like = params[f"{self._gates.name}.hh.weight"]
        output, cell, recalled = (like.new_zeros((*batch_shape, self._gates.hidden_size)) for _ in range(3))
        seen = like.new_zeros((*batch_shape, self.num_own))
        same = torch.full_like(output[..., 0], -1, dtype=torch.int64)
        working = Working(output, cell, seen, recalled, same)
        return EpisodicState(working, self.dictionary.empty(like, batch_shape))

    def remembered(self, state: EpisodicState) -> Tensor:
        """See `Policy.remembered`: the cell."""
        return state.working.cell

    def keep(self, active: Tensor, after: EpisodicState, before: EpisodicState) -> EpisodicState:
        """See `Policy.keep`: a step writes nothing."""
        return EpisodicState(super().keep(active, after.working, before.working), after.entries)

    def advance(self, params: Params, inputs: Tensor, state: EpisodicState) -> tuple[Tensor, EpisodicState]:
        """See `Policy.advance`."""
        own = inputs[..., : self.num_own]
        working = self._advance(params, self._project(params, inputs), own, self.key_of(params, own), state)
        return working.output, EpisodicState(working, state.entries)

    def begin_episode(self, params: Params, state: EpisodicState, closing: Tensor, started: Tensor) -> EpisodicState:
        """See `Policy.begin_episode`; entries are written in place where no gradient is recorded."""
        beside = self.encode(params, closing)[..., self.num_own :]
        inputs = torch.cat([state.working.seen, beside], -1)
        return self._close(params, self._project(params, inputs), state, started)

    def features(
        self,
        params: Params,
        observations: Tensor,
        started: Tensor | None,
        state: EpisodicState,
        *,
        order: Order = 2,
    ) -> tuple[Tensor, EpisodicState]:
        """See `Policy.features`."""
        inputs = self.encode(params, observations)
        own = inputs[..., : self.num_own]
        keys = self.key_of(params, own)
        if started is not None and self._is_traceable(started, keys, *state.entries):
            before = state.working.seen, self.key_of(params, state.working.seen)
            along = Along(inputs, keys, started, before)
            unroll = unroll_generations if self.options.dictionary_resets else unroll_trials
            outputs, end, entries = unroll(self._controller(params, order), along, state.working, state.entries)
            return outputs, EpisodicState(Working(end.output, end.cell, own[-1], end.recalled, end.same), entries)
        if not torch.is_grad_enabled() or self.options.dictionary_detach:
            state = state._replace(entries=state.entries.copy())  # written in place below
        features, projected = [], self._project(params, inputs)
        closing = self._closings(params, inputs, state.working.seen, started)
        for index, (now, key) in enumerate(zip(projected, keys, strict=True)):
            if (ended := next(closing)) is not None and started is not None:
                with torch.set_grad_enabled(torch.is_grad_enabled() and not self.options.dictionary_detach):
                    written = self._close(params, ended, state, started[index]).entries
                state = EpisodicState(self._begun(state.working, started[index]), written)
            working = self._advance(params, now, own[index], key, state)
            state = EpisodicState(working, state.entries)
            features.append(working.output)
        return torch.stack(features), state

    def gates(self, params: Params, observations: Tensor, started: Tensor) -> dict[str, Tensor]:
        """Opening of gates, 0 to 1, means over units (T, B) by name, along observations (T, B, O) from an empty state.

        `started` (T, B) is True where an episode begins after another.
        """
        state, rows = self.initial_state(params, observations.shape[1:-1]), []
        for now, begins in zip(observations, started, strict=True):
            state = self.begin_episode(params, state, now, begins)
            inputs, output = self.encode(params, now), state.working.output
            _, state = self.advance(params, inputs, state)
            gates = self._closed_gates(params, self._project(params, inputs), state.working.recalled, output)
            rows.append([part.mean(-1) for part in self._gates.open(gates)])
        parts = (torch.stack(part) for part in zip(*rows, strict=True))
        return dict(zip(GATES, parts, strict=False))

    @property
    def _reads_one(self) -> bool:
        return self.dictionary.num_neighbours == 1 or self.options.dictionary_retrieval == "none"

    def _is_traceable(self, started: Tensor, *others: Tensor) -> bool:
        """True if it is known beforehand what episodes read: the kernel that tells it follows arrays in memory.

        `started` (T, B) and the `others` (...) that it follows.
        """
        return self._reads_one and started.device.type == "cpu" and not any(map(is_batched, (started, *others)))

    def _controller(self, params: Params, order: Order) -> Controller:
        return Controller(
            None if self.options.dictionary_retrieval == "none" else self.dictionary,
            self.options.dictionary_detach,
            functools.partial(self._project, params),
            functools.partial(self._step, params),
            functools.partial(self._steps, params, order),
        )

    def key_of(self, params: Params, own: Tensor) -> Tensor:
        """Keys (..., K) of encoded own observations (..., I)."""
        part = own[..., self._range]
        return affine(params, "key", part) if "key.weight" in params else part

    def _project(self, params: Params, inputs: Tensor) -> Tensor:
        """The gates' part (..., G * H) that waits for no state, of encoded inputs (..., I)."""
        if not self.options.dictionary_key_enters:
            inputs = torch.cat([inputs[..., : self._range.start], inputs[..., self._range.stop :]], -1)
        for name in self._before:
            inputs = torch.tanh(affine(params, name, inputs))
        return self._gates.project(params, inputs)

    def _closings(
        self, params: Params, inputs: Tensor, seen: Tensor, started: Tensor | None
    ) -> Iterator[Tensor | None]:
        """For each step `_project` of the observation (..., G * H) that closes the episode before, if any does."""
        if started is None:
            yield from itertools.repeat(None)
            return
        before = torch.cat([seen.unsqueeze(0), inputs[:-1, ..., : self.num_own]])
        beside = inputs[..., self.num_own :]
        for index, ends in enumerate(any_of_each(started)):
            yield self._project(params, torch.cat([before[index], beside[index]], -1)) if ends else None

    def _close(self, params: Params, projected: Tensor, state: EpisodicState, started: Tensor) -> EpisodicState:
        """State after an episode's end where `started` (...,), with `_project` (..., G * H) of what closes it."""
        working, entries = state
        if self.options.dictionary_retrieval != "none":
            key = self.key_of(params, working.seen)
            _, cell = self._step(params, projected, working.recalled, (working.output, working.cell))
            if self.options.dictionary_detach:
                key, cell = key.detach(), cell.detach()
            entries = self.dictionary.write(entries, key, cell, started, working.same)
        return EpisodicState(self._begun(working, started), entries)

    def _begun(self, working: Working, started: Tensor) -> Working:
        """Working memory at the start of an episode where `started` (...,)."""
        if not self.options.dictionary_resets:
            return working
        *parts, same = working
        fresh = (torch.where(started.unsqueeze(-1), torch.zeros_like(part), part) for part in parts)
        output, cell, seen, recalled = fresh
        return Working(output, cell, seen, recalled, torch.where(started, -1, same))

    def _advance(self, params: Params, projected: Tensor, own: Tensor, key: Tensor, state: EpisodicState) -> Working:
        """Working memory after a step.

        With `_project` (..., G * H) of an input, the own observation (..., E) in it and its key (..., K).
        """
        before, entries = state
        if self.options.dictionary_retrieval == "none":
            recalled, same = torch.zeros_like(before.cell), torch.full_like(before.same, -1)
        else:
            recalled, same = self.dictionary.read(entries, key)
        output, cell = self._step(params, projected, recalled, (before.output, before.cell))
        return Working(output, cell, own, recalled, same)

    def _step(
        self, params: Params, projected: Tensor, recalled: Tensor, before: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Output and cell (..., H) with what was read (..., H), after output and cell (..., H)."""
        output, cell = before
        output, cell = self._gates.pointwise(self._closed_gates(params, projected, recalled, output), cell)
        return output, cell

    def _closed_gates(self, params: Params, projected: Tensor, recalled: Tensor, output: Tensor) -> Tensor:
        """Gates before they are opened, and what is to enter the cell (..., G * H + H)."""
        projected, memory = self._reinstated(params, projected, recalled)
        return torch.cat([self._gates.gates(params, projected, output), memory], -1)

    def _steps(
        self, params: Params, order: Order, projected: Tensor, recalled: Tensor, before: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """`_step` along T steps: outputs and cells (T, ..., H)."""
        entering = self._reinstated(params, projected, recalled)
        outputs, cells = self._gates.unroll(params, *entering, before, order=order)
        return outputs, cells

    def _reinstated(self, params: Params, projected: Tensor, recalled: Tensor) -> tuple[Tensor, Tensor]:
        """The gates' part (..., G * H) with what was read (..., H), and what is to enter the cell (..., H)."""
        way = self.options.dictionary_retrieval
        if way == "input":
            projected = projected + affine(params, "recall", recalled)
        return projected, torch.tanh(recalled) if way == "reinstate" else torch.zeros_like(recalled)


def _checked_range(given: Sequence[int], size: int) -> tuple[int, int]:
    """Start and stop of a key within an encoded observation of this size."""
    ends = tuple(given) or (0, size)
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= size:
        raise InputError(
            f"dictionary-key-range: got {list(ends)}, expected [first, last] with 0 <= first < last <= {size}, the "
            "numbers of an encoded observation; or []"
        )
    return ends[0], ends[1]
