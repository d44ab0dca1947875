"""Configuration of a run: sections of settings behind one flat, validated list of keys."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from maml_rl.policies.registry import policy_kinds
from maml_rl.settings import PolicySettings, RunSettings, Settings, TaskSettings, algorithm_settings
from maml_rl.utils.config_files import ConfigError, apply_override, read_mapping, to_kebab
from maml_rl.utils.field_words import cure, did_you_mean, expected, shown
from maml_rl.utils.modules import import_allowed

__all__ = ["Config", "ConfigError", "load_config"]

_MAX_DEPTH = 20
_ALWAYS_CHANGEABLE = ("allow-module", "initial-policy", "worker-timeout")
S = TypeVar("S", bound=Settings)


class Config:
    """Everything that decides the result of a run; immutable.

    Made of sections, one for each thing a run needs: run, task, policy, the options of that kind of policy, and what
    the algorithm takes. Files are flat, with kebab-case keys (``fast-lr``); every key is an attribute in Python
    (``config.fast_lr``), and `section` gives what workers and learners hold. The number of workers, the device, the
    float type and the output folder are not here: they change the speed of a run and the rounding of its result.

    Parameters
    ----------
    values
        One per key, in snake_case; keys left out take their default.

    Raises
    ------
    ConfigError
        For an unknown key, one that algorithm or policy has no use for, a wrong type or an impossible value.

    Examples
    --------
    >>> config = Config(env_name="2DNavigation-v0", fast_lr=0.2)
    >>> config.to_json_dict()["fast-lr"]
    0.2
    >>> config.section(TaskSettings).fast_batch_size
    20
    """

    def __init__(self, **values: Any) -> None:
        self.sections = _sections({to_kebab(name): value for name, value in values.items()}, {"": "Config"})

    @property
    def run(self) -> RunSettings:
        """Sizes and beginning of the run."""
        return self.section(RunSettings)

    @property
    def task(self) -> TaskSettings:
        """Tasks, and how much of each is rolled out."""
        return self.section(TaskSettings)

    def section(self, kind: type[S]) -> S:
        """The section of this class; KeyError if algorithm and policy have none such."""
        for section in self.sections:
            if isinstance(section, kind):
                return section
        raise KeyError(f"no section {kind.__name__} with algorithm {self.run.algorithm!r}")

    @property
    def policy_options(self) -> Settings:
        """Options that the kind of policy has for itself."""
        return next(section for section in self.sections if type(section) is policy_kinds()[self.policy].options)

    def __getattr__(self, name: str) -> Any:
        for section in self.__dict__.get("sections", ()):
            if name in type(section).model_fields:
                return getattr(section, name)
        raise AttributeError(f"configuration has no key {to_kebab(name)!r} (algorithm and policy decide which it has)")

    def __setattr__(self, name: str, value: Any) -> None:
        if "sections" in self.__dict__:
            raise AttributeError(f"{name}: a configuration never changes; use replace({name}=...)")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name}: a configuration never changes")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.sections == other.sections

    def __hash__(self) -> int:
        values = self.to_json_dict().items()  # equal mappings may be written in another order, or 1 as 1.0
        return hash(str([(key, value) for key, value in values if not isinstance(value, dict)]))

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{key}={value!r}' for key, value in self.to_json_dict().items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.to_json_dict(),)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str | Mapping[str, str]) -> Config:
        """Return the configuration that kebab-case `values` describe.

        Parameters
        ----------
        values
            One entry per key; keys left out take their default.
        source
            Origin of the values, for the error line; a mapping gives a source for each key, with ``""`` for the rest.

        Raises
        ------
        ConfigError
            See `Config`.
        """
        config = cls.__new__(cls)
        config.sections = _sections(values, {"": source} if isinstance(source, str) else dict(source))
        return config

    @classmethod
    def from_saved(cls, values: Mapping[str, Any], source: str) -> tuple[Config, list[str]]:
        """The configuration that `to_json_dict` of some version gave, and the keys left out: see `load_config`."""
        kept, dropped = _split(_renamed(values))
        return cls.from_mapping(kept, source), dropped

    def replace(self, **values: Any) -> Config:
        """The same with other values, named in snake_case; keys of another algorithm or policy that go are dropped."""
        changes = {to_kebab(name): value for name, value in values.items()}
        kept, _ = _split({**self.to_json_dict(), **changes})
        return Config.from_mapping({**kept, **changes}, "Config")

    def changeable_keys(self) -> frozenset[str]:
        """Keys that may differ between a run and its resumption: they do not change the curve so far.

        The number of iterations is one of them unless something follows a schedule until the last.
        """
        scheduled = any(section.follows_num_batches for section in self.sections)
        return frozenset(_ALWAYS_CHANGEABLE if scheduled else ("num-batches", *_ALWAYS_CHANGEABLE))

    def to_json_dict(self) -> dict[str, Any]:
        """Return a copy with kebab-case keys, made of what JSON can hold; `load_config` reads it back."""
        values: dict[str, Any] = {}
        for section in self.sections:
            values |= section.model_dump(mode="json", by_alias=True)
        return values


def _arrived(values: Mapping[str, Any]) -> Config:
    """A configuration that another process of the run sent, after importing the modules it was allowed to import."""
    import_allowed(values["allow-module"])
    return Config.from_mapping(values, "Config")


def load_config(
    path: str | Path, overrides: Sequence[str] = (), *, allowed: Sequence[str] = (), quiet: bool = False
) -> Config:
    """Read a configuration file.

    Of a ``config.json``, which some version wrote, keys that the algorithm or the policy has no use for are dropped,
    with one line on standard error unless `quiet`; elsewhere they are refused.

    Parameters
    ----------
    path
        A ``.yaml`` or ``.yml`` file, or the ``config.json`` of a run folder, also of one that
        pytorch-maml-rl wrote.
    overrides
        ``"key=value"`` strings that replace what the file says, the last one winning. The value is
        read as YAML; ``env-kwargs.low=-1`` replaces one entry of ``env-kwargs``.
    allowed
        Modules that the command line allows, and that have been imported; what the file names must be among them.
    quiet
        Whether nothing is said of dropped keys.

    Raises
    ------
    ConfigError
        In one line, for whatever is wrong with the file, its values or an override.
    """
    path = Path(path)
    values = read_mapping(path)
    _check_renamed(values, str(path))
    values = _renamed(values)
    sources = {"": str(path)}
    _check_allowed(values.pop("allow-module", None), allowed, str(path))
    changes: dict[str, Any] = {"env-kwargs": values.get("env-kwargs")}
    for override in overrides:
        key = apply_override(changes, override)
        changes = _renamed(changes)
        sources[_new_name(key)] = f"--set {override}"
    changes = {key: value for key, value in changes.items() if key in sources}
    _check_allowed(changes.pop("allow-module", None), allowed, sources.get("allow-module", ""))
    dropped: list[str] = []
    if path.suffix.lower() == ".json":
        values, dropped = _split({**values, **changes}, keep=changes)
    config = Config.from_mapping({**values, "allow-module": list(allowed), **changes}, sources)
    if dropped and not quiet:
        print(f"{path}: dropped {len(dropped)} keys of another use ({', '.join(dropped)})", file=sys.stderr)
    return config


def _check_allowed(named: Any, allowed: Sequence[str], where: str) -> None:
    """Refuse modules that only a file or an override names: nothing is imported without its flag."""
    names = list(named) if isinstance(named, list | tuple) else [] if named is None else [named]
    missing = [str(name) for name in names if name not in allowed]
    if missing:
        flags = " ".join(f"--allow-module {name}" for name in missing)
        raise ConfigError(
            f"allow-module in {where}: got {', '.join(missing)}, expected the flag that allows to import it; "
            f"add {flags}"
        )


def _all_sections() -> list[type[Settings]]:
    """Every registered section, each once."""
    kinds = [section for known in algorithm_settings().values() for section in known.sections]
    options = [kind.options for kind in policy_kinds().values()]
    return list(dict.fromkeys([RunSettings, TaskSettings, PolicySettings, *options, *kinds]))


def _keys(section: type[Settings]) -> list[str]:
    return [to_kebab(name) for name in section.model_fields]


def _new_name(key: str) -> str:
    """Name of a key today, if it had another one in an earlier version."""
    for section in _all_sections():
        if key in section.former_names:
            return section.former_names[key]
    return key


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_new_name(key): value for key, value in values.items()}


def _check_renamed(values: Mapping[str, Any], where: str) -> None:
    """Refuse a file in which a key stands under two of its names."""
    for key in values:
        if _new_name(key) != key and _new_name(key) in values:
            raise ConfigError(f"{key} in {where}: stands beside {_new_name(key)}, its name today; keep one of the two")


def _used_sections(values: Mapping[str, Any]) -> list[type[Settings]]:
    """Sections of the algorithm and policy that `values` name; those of wrong names are left out."""
    algorithm = str(values.get("algorithm", RunSettings.model_fields["algorithm"].default)).lower()
    policy = str(values.get("policy", PolicySettings.model_fields["policy"].default)).lower()
    kind, known = policy_kinds().get(policy), algorithm_settings().get(algorithm)
    options = [] if kind is None else [kind.options]
    return [RunSettings, TaskSettings, PolicySettings, *options, *(known.sections if known else ())]


def _split(values: Mapping[str, Any], keep: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Values without keys of other algorithms and policies, unless they are among `keep`; and the keys left out."""
    used = {key for section in _used_sections(values) for key in _keys(section)}
    foreign = {key for section in _all_sections() for key in _keys(section)} - used - set(keep or ())
    return {k: v for k, v in values.items() if k not in foreign}, [key for key in values if key in foreign]


def _sections(values: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[Settings, ...]:
    """Sections of flat `values`, checked."""
    values = _renamed(values)
    _check_choice("algorithm", values, algorithm_settings(), sources)
    _check_choice("policy", values, policy_kinds(), sources)
    used = _used_sections(values)
    _check_keys(values, used, sources)
    found: list[Settings] = []
    for section in used:
        own = {key: values[key] for key in _keys(section) if key in values}
        if "env-kwargs" in own and isinstance(own["env-kwargs"], dict):
            _check_plain(own["env-kwargs"], sources)
        try:
            found.append(section.model_validate(own))
        except ValidationError as error:
            raise ConfigError(_error_line(section, own, sources, error)) from error
    _check_memory(found, sources)
    return tuple(found)


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
    mine = {key for section in used for key in _keys(section)}
    everyones = {key: section for section in _all_sections() for key in _keys(section)}
    for key, value in values.items():
        where = sources.get(key, sources[""])
        if key not in everyones:
            raise ConfigError(f"unknown key {key!r} in {where}{did_you_mean(key, mine)}")
        if key not in mine:
            owner, users = _users(everyones[key])
            chosen = str(values.get(owner, _default(owner)))
            raise ConfigError(
                f"{key} in {where}: got {shown(value)}, which {owner} {chosen!r} has no use for; leave it out "
                f"or set {owner}: {' or '.join(users)}"
            )


def _users(section: type[Settings]) -> tuple[str, list[str]]:
    """The key that decides whether a section is used, and the values with which it is."""
    policies = [name for name, kind in policy_kinds().items() if kind.options is section]
    if policies:
        return "policy", policies
    return "algorithm", [name for name, known in algorithm_settings().items() if section in known.sections]


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
    key = to_kebab(str(error.errors()[0]["loc"][0]))
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
