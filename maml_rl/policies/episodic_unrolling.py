"""Sequences of episodes with a dictionary between them, unrolled many episodes at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maml_rl.policies.memory.dictionary import Dictionary, Entries
from maml_rl.policies.memory.episode_order import Generation, Trace, generations, own_rows, trace

Pair = tuple[Tensor, Tensor]


class Controller(NamedTuple):
    """Parts of an episode's arithmetic.

    Attributes
    ----------
    dictionary
        Reads one neighbour; ``None``: nothing is read and written.
    constant
        Whether no gradient passes through entries.
    project
        Of inputs (..., I) the part (..., G * H) of the gates that waits for no state.
    step
        Output and cell (..., H) from that part, what was read (..., H), and output and cell (..., H) before.
    steps
        The same along T steps (T, ..., G * H) and (T, ..., H): outputs and cells (T, ..., H).
    """

    dictionary: Dictionary | None
    constant: bool
    project: Callable[[Tensor], Tensor]
    step: Callable[[Tensor, Tensor, Pair], Pair]
    steps: Callable[[Tensor, Tensor, Pair], Pair]


class Along(NamedTuple):
    """Sequences of T steps: inputs (T, B, I), keys (T, B, K) and boundaries.

    `started` (T, B) is True where an episode begins after another. `before` is the encoded own observation (B, E), the
    first numbers of an input, of the step before the first, and its key (B, K).
    """

    inputs: Tensor
    keys: Tensor
    started: Tensor
    before: Pair


class End(NamedTuple):
    """Output, cell and what was read, (B, H) each, and the place (B,) of the same key's entry, after the last step."""

    output: Tensor
    cell: Tensor
    recalled: Tensor
    same: Tensor


def unroll_generations(
    controller: Controller, along: Along, working: Sequence[Tensor], entries: Entries
) -> tuple[Tensor, End, Entries]:
    """Outputs (T, B, H) along sequences that begin with output and cell (B, H), the end, and entries in the end.

    The same as step by step, for working memory that begins anew with every episode: then an episode waits only for
    those that it reads, `maml_rl.policies.memory.episode_order`.
    """
    traced, table = _trace(controller.dictionary, along, entries)
    capacity = entries.squares.shape[-1]
    flat = along._replace(inputs=along.inputs.flatten(0, 1))
    outputs, places, ends, columns = [], [], [], []
    for group in generations(along.started, capacity, traced.generation):
        recalled = table[traced.source[group.steps]]  # (longest, n, H)
        of_steps, end = _steps(controller, flat, group, recalled, working)
        if controller.dictionary is not None:
            table = _written(controller, flat, group, recalled, end, table)
        outputs.append(of_steps.flatten(0, 1) if bool(group.mask.all()) else of_steps[group.mask])
        places.append(group.steps[group.mask])
        lasting = group.row == 0
        ends.append([part[lasting] for part in end])
        columns.append(group.column[lasting])
    whole = torch.cat(outputs).index_select(0, torch.cat(places).argsort()).unflatten(0, along.started.shape)
    output, cell = (torch.cat(parts)[torch.cat(columns).argsort()] for parts in zip(*ends, strict=True))
    return whole, *_ended(along, traced, table, (output, cell))


def unroll_trials(
    controller: Controller, along: Along, working: Sequence[Tensor], entries: Entries
) -> tuple[Tensor, End, Entries]:
    """As `unroll_generations`, for working memory (B, ...) that goes on from episode to episode: step by step."""
    traced, table = _trace(controller.dictionary, along, entries)
    source, own_size = traced.source.unflatten(0, along.started.shape), along.before[0].shape[-1]
    before = torch.cat([along.before[0].unsqueeze(0), along.inputs[:-1, :, :own_size]])
    ends = along.started.any(1).tolist() if controller.dictionary is not None else [False] * len(along.started)
    own = own_rows(along.started, entries.squares.shape[-1])
    (output, cell, _, recalled, _), outputs = working, []
    for step, projected in enumerate(controller.project(along.inputs)):
        if ends[step]:
            over = along.started[step]
            with _recording(controller):
                closing = torch.cat([before[step], along.inputs[step, :, own_size:]], -1)
                written = controller.step(controller.project(closing), recalled, (output, cell))[1]
                table = _put(table, own[step][over] - 1, written[over])
        recalled = table[source[step]]
        output, cell = controller.step(projected, recalled, (output, cell))
        outputs.append(output)
    return torch.stack(outputs), *_ended(along, traced, table, (output, cell))


def _trace(dictionary: Dictionary | None, along: Along, entries: Entries) -> tuple[Trace, Tensor]:
    """Sources of all that is read, and a table (rows, H) with the entries at the start."""
    capacity, width = entries.squares.shape[-1], along.started.shape[1]
    if dictionary is not None:
        traced = trace(dictionary, entries, along.keys, along.before[1], along.started)
    else:
        none = torch.zeros(along.started.numel(), dtype=torch.int64)
        num_rows = width * (capacity + int(along.started.sum(0).max()) + 1) + 1
        rows = torch.zeros_like(entries.squares, dtype=torch.int64).unsqueeze(-1)
        traced = Trace(none, none.new_zeros(num_rows), entries._replace(values=rows), none[:width] - 1)
    table = entries.values.new_zeros((len(traced.generation), entries.values.shape[-1]))
    table[1:].unflatten(0, (width, -1))[:, :capacity] = entries.values
    return traced, table


def _ended(along: Along, traced: Trace, table: Tensor, last: Pair) -> tuple[End, Entries]:
    recalled = table[traced.source.unflatten(0, along.started.shape)[-1]]
    return End(*last, recalled, traced.same), traced.entries._replace(values=table[traced.entries.values.squeeze(-1)])


def _steps(
    controller: Controller, flat: Along, group: Generation, recalled: Tensor, working: Sequence[Tensor]
) -> tuple[Tensor, Pair]:
    """Outputs (longest, n, H) of a generation, and output and cell (n, H) after the last step of each episode."""
    output, cell = (part[group.column] * group.is_first.unsqueeze(-1) for part in working[:2])
    inputs = flat.inputs.index_select(0, group.steps.flatten()).unflatten(0, group.steps.shape)
    outputs, cells = controller.steps(controller.project(inputs), recalled, (output, cell))
    each = torch.arange(len(group.last))
    return outputs, (outputs[group.last, each], cells[group.last, each])


def _written(
    controller: Controller, flat: Along, group: Generation, recalled: Tensor, end: Pair, table: Tensor
) -> Tensor:
    """The table (rows, H) with the cells of a generation's episodes, after what closes them has entered."""
    over = group.row > 0
    each = torch.arange(len(group.last))[over]
    last = group.last[over]
    with _recording(controller):
        own = flat.inputs[group.steps[last, each], : flat.before[0].shape[-1]]
        beside = flat.inputs[group.closing[over], flat.before[0].shape[-1] :]
        projected = controller.project(torch.cat([own, beside], -1))
        _, cell = controller.step(projected, recalled[last, each], (end[0][over], end[1][over]))
        return _put(table, group.row[over], cell)


def _recording(controller: Controller) -> torch.set_grad_enabled:
    """Context in which gradients of entries are recorded, if they are wanted."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and not controller.constant)


def _put(table: Tensor, rows: Tensor, cells: Tensor) -> Tensor:
    """The table (R, H) with cells (n, H) in rows (n,); in place where no gradient is recorded."""
    if torch.is_grad_enabled():
        return table.index_put((rows,), cells)
    table[rows] = cells
    return table
