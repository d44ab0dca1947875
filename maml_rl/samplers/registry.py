"""Backends by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from maml_rl.samplers.backend import Backend
from maml_rl.samplers.multiprocess import MultiprocessBackend, MultiprocessOptions
from maml_rl.samplers.plan import BackendChoice, WorkerPlan
from maml_rl.samplers.ray_backend import RayBackend, RayOptions
from maml_rl.samplers.serial import SerialBackend
from maml_rl.settings import Settings
from maml_rl.utils.config_files import to_kebab
from maml_rl.utils.cores import available_cores
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean, expected, shown

BackendFactory = Callable[[WorkerPlan, Any], Backend]
"""Makes a backend of the workers it is asked for and its options."""


class NoOptions(Settings):
    """Options of a backend that has none."""


@dataclass(frozen=True)
class BackendKind:
    """A registered backend.

    Attributes
    ----------
    factory
        Makes it.
    options
        Class of its options, flags of the command lines.
    """

    factory: BackendFactory
    options: type[Settings] = NoOptions


def _multiprocess(plan: WorkerPlan, options: MultiprocessOptions) -> MultiprocessBackend:
    workers = plan.num_workers or available_cores()
    return MultiprocessBackend(
        plan.spec,
        plan.shards(workers),
        num_workers=workers,
        timeout_seconds=plan.timeout_seconds,
        serve_here=options.serve_here,
    )


_KINDS: dict[str, BackendKind] = {
    "serial": BackendKind(lambda plan, _: SerialBackend(plan.spec, plan.shards(available_cores()))),
    "multiprocess": BackendKind(_multiprocess, MultiprocessOptions),
    "ray": BackendKind(RayBackend.of, RayOptions),
}


def register_backend(name: str, factory: BackendFactory, *, options: type[Settings] = NoOptions) -> None:
    """Let ``--backend NAME`` mean the backends that `factory` makes with these options."""
    _KINDS[name] = BackendKind(factory, options)


def registered_backends() -> list[str]:
    """Names that ``--backend`` may have."""
    return sorted(_KINDS)


def backend_options() -> dict[str, type[Settings]]:
    """Options of every registered backend, by its name."""
    return {name: kind.options for name, kind in _KINDS.items()}


def check_backend(choice: BackendChoice) -> Settings:
    """The options of a choice.

    Raises
    ------
    InputError
        In one line, if no backend has the name, or it has no use for an option or its value.
    """
    if choice.name not in _KINDS:
        names = ", ".join(registered_backends())
        raise InputError(f"--backend: got {choice.name!r}, expected one of {names}{did_you_mean(choice.name, _KINDS)}")
    options = _KINDS[choice.name].options
    for name, value in choice.options.items():
        if name not in options.model_fields:
            users = [other for other, kind in _KINDS.items() if name in kind.options.model_fields]
            cure = f"leave it out or choose --backend {' or '.join(users)}" if users else "leave it out"
            raise InputError(
                f"--{to_kebab(name)}: got {shown(value)}, expected no such option with --backend {choice.name}; {cure}"
            )
    return _read(options, choice.options)


def _read(options: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Options of these values, which command lines give as text."""
    try:
        return options.model_validate(dict(values), strict=False)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0]).replace("-", "_")
        field = options.model_fields[name]
        got, cure = shown(values[name]), f"leave it out for {field.default!r}"
        raise InputError(f"--{to_kebab(name)}: got {got}, expected {expected(field)}; {cure}") from error


def start_workers(plan: WorkerPlan, choice: BackendChoice) -> Backend:
    """Start workers where a choice says.

    Raises
    ------
    InputError
        If no such backend is registered, or it cannot be reached as its options say.
    """
    options = check_backend(choice)
    return _KINDS[choice.name].factory(plan, options)
