"""Sections of settings that flat values fill, and the checks of these values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from maml_rl.policies.registry import policy_kinds
from maml_rl.settings import PolicySettings, RunSettings, Settings, TaskSettings, algorithm_settings
from maml_rl.utils.config_files import ConfigError, to_kebab
from maml_rl.utils.field_words import cure, did_you_mean, expected, shown

_MAX_DEPTH = 20


def all_sections() -> list[type[Settings]]:
    """Every registered section, each once."""
    kinds = [section for known in algorithm_settings().values() for section in known.sections]
    options = [kind.options for kind in policy_kinds().values()]
    return list(dict.fromkeys([RunSettings, TaskSettings, PolicySettings, *options, *kinds]))


def keys_of(section: type[Settings]) -> list[str]:
    """Keys of a section as files write them, in order."""
    return [to_kebab(name) for name in section.model_fields]


def current_name(key: str) -> str:
    """Name of a key today, if it had another one in an earlier version."""
    for section in all_sections():
        if key in section.former_names:
            return section.former_names[key]
    return key


def with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values under the names that their keys have today."""
    return {current_name(key): value for key, value in values.items()}


def check_named_once(values: Mapping[str, Any], where: str) -> None:
    """Refuse a file in which a key stands under two of its names."""
    for key in values:
        if current_name(key) != key and current_name(key) in values:
            raise ConfigError(
                f"{key} in {where}: stands beside {current_name(key)}, its name today; keep one of the two"
            )


def _used_sections(values: Mapping[str, Any]) -> list[type[Settings]]:
    """Sections of the algorithm and policy that `values` name; those of wrong names are left out."""
    algorithm = str(values.get("algorithm", RunSettings.model_fields["algorithm"].default)).lower()
    policy = str(values.get("policy", PolicySettings.model_fields["policy"].default)).lower()
    kind, known = policy_kinds().get(policy), algorithm_settings().get(algorithm)
    options = [] if kind is None else [kind.options]
    has_memory = kind is not None and kind.has_memory
    own = [section for section in (known.sections if known else ()) if not (has_memory and section.for_memoryless)]
    return [RunSettings, TaskSettings, PolicySettings, *options, *own]


def split_keys(values: Mapping[str, Any], keep: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Values without keys of other algorithms and policies, unless they are among `keep`; and the keys left out."""
    used = {key for section in _used_sections(values) for key in keys_of(section)}
    foreign = {key for section in all_sections() for key in keys_of(section)} - used - set(keep or ())
    return {k: v for k, v in values.items() if k not in foreign}, [key for key in values if key in foreign]


def checked_sections(values: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[Settings, ...]:
    """Sections of flat `values`, checked; `sources` give the origin of each key, with ``""`` for the rest.

    Raises
    ------
    ConfigError
        In one line, for the first thing that is wrong.
    """
    values = with_current_names(values)
    _check_choice("algorithm", values, algorithm_settings(), sources)
    _check_choice("policy", values, policy_kinds(), sources)
    used = _used_sections(values)
    _check_keys(values, used, sources)
    found: list[Settings] = []
    for section in used:
        own = {key: values[key] for key in keys_of(section) if key in values}
        if "env-kwargs" in own and isinstance(own["env-kwargs"], dict):
            _check_plain(own["env-kwargs"], sources)
        try:
            found.append(section.model_validate(own))
        except ValidationError as error:
            raise ConfigError(_error_line(section, own, sources, error)) from error
    _check_memory(found, sources)
    return tuple(found)


def check_used(sections: Sequence[Settings], keys: Iterable[str], sources: Mapping[str, str]) -> None:
    """Refuse those of `keys` that other values of `sections` leave without a use: see `Settings.used_with`.

    Raises
    ------
    ConfigError
        In one line, for the first of them.
    """
    values = {key: value for section in sections for key, value in section.model_dump(by_alias=True).items()}
    rules = {key: type(section).used_with for section in sections for key in keys_of(type(section))}
    for key in keys:
        if key in values:
            for owner, users in rules[key].get(key, rules[key].get("*", {})).items():
                if owner in values and values[owner] not in users:
                    raise ConfigError(
                        f"{key} in {sources[key]}: got {shown(values[key])}, which {owner} {values[owner]!r} has no "
                        f"use for; leave it out or set {owner}: {users[0]}"
                    )


def _check_choice(key: str, values: Mapping[str, Any], known: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    if key not in values:
        return
    value = values[key]
    if not isinstance(value, str) or value.lower() not in known:
        names = ", ".join(repr(name) for name in sorted(known))
        where = sources.get(key, sources[""])
        raise ConfigError(f"{key} in {where}: got {shown(value)}, expected one of {names}{did_you_mean(value, known)}")


def _check_keys(values: Mapping[str, Any], used: Sequence[type[Settings]], sources: Mapping[str, str]) -> None:
    """Refuse keys that are unknown, and those that the chosen algorithm and policy have no use for."""
    mine = {key for section in used for key in keys_of(section)}
    everyones = {key: section for section in all_sections() for key in keys_of(section)}
    for key, value in values.items():
        where = sources.get(key, sources[""])
        if key not in everyones:
            raise ConfigError(f"unknown key {key!r} in {where}{did_you_mean(key, mine)}")
        if key not in mine:
            owner, users = _users(everyones[key], values)
            chosen = str(values.get(owner, _default(owner)))
            raise ConfigError(
                f"{key} in {where}: got {shown(value)}, which {owner} {chosen!r} has no use for; leave it out "
                f"or set {owner}: {' or '.join(users)}"
            )


def _users(section: type[Settings], values: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The key that keeps a section from being used in `values`, and the values with which it is."""
    policies = [name for name, kind in policy_kinds().items() if kind.options is section]
    if policies:
        return "policy", policies
    algorithms = [name for name, known in algorithm_settings().items() if section in known.sections]
    if str(values.get("algorithm", _default("algorithm"))).lower() in algorithms:
        return "policy", [name for name, kind in policy_kinds().items() if not kind.has_memory]
    return "algorithm", algorithms


def _default(key: str) -> str:
    return str((RunSettings if key == "algorithm" else PolicySettings).model_fields[key].default)


def _check_memory(sections: Sequence[Settings], sources: Mapping[str, str]) -> None:
    run, policy = (next(s for s in sections if isinstance(s, kind)) for kind in (RunSettings, PolicySettings))
    assert isinstance(run, RunSettings)
    assert isinstance(policy, PolicySettings)
    if algorithm_settings()[run.algorithm].needs_memory and not policy_kinds()[policy.policy].has_memory:
        with_memory = [name for name, kind in policy_kinds().items() if kind.has_memory]
        where = sources.get("policy", sources[""])
        raise ConfigError(
            f"policy in {where}: got {policy.policy!r}, expected one with memory for algorithm {run.algorithm}: "
            f"{', '.join(with_memory[:-1])} or {with_memory[-1]}"
        )


def _error_line(
    section: type[Settings], values: Mapping[str, Any], sources: Mapping[str, str], error: ValidationError
) -> str:
    """The first thing wrong with a section, in one line."""
    first = error.errors()[0]
    if not first["loc"]:  # of several keys together
        return f"{sources['']}: {first['msg'].removeprefix('Value error, ')}"
    key = to_kebab(str(first["loc"][0]))
    field: FieldInfo = {to_kebab(name): field for name, field in section.model_fields.items()}[key]
    where, value = sources.get(key, sources[""]), values.get(key)
    return f"{key} in {where}: got {shown(value)}, expected {expected(field)}{cure(field, value)}"


def _check_plain(env_kwargs: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Refuse what JSON cannot hold, so that config.json says exactly what ran."""
    where = sources.get("env-kwargs", sources[""])

    def refuse(path: str, got: str, wanted: str) -> ConfigError:
        return ConfigError(f"{path} in {where}: got {got}, expected {wanted}")

    def check(value: Any, path: str, depth: int) -> None:
        if depth > _MAX_DEPTH:  # a YAML alias can make a mapping hold itself
            raise refuse("env-kwargs", "a value inside itself or too deep", f"at most {_MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise refuse(path, f"the key {shown(key)}", "names as keys")
                check(item, f"{path}.{key}", depth + 1)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                check(item, f"{path}[{index}]", depth + 1)
        elif isinstance(value, float) and not math.isfinite(value):
            raise refuse(path, str(value), "a finite number")
        elif value is not None and not isinstance(value, bool | int | float | str):
            raise refuse(path, shown(value), "text, a number, true, false, a list or a mapping")

    check(env_kwargs, "env-kwargs", 0)
