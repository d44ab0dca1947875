"""Configuration of a run: sections of settings behind one flat, validated list of keys."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from maml_rl.config_sections import (
    check_named_once,
    check_used,
    checked_sections,
    current_name,
    split_keys,
    with_current_names,
)
from maml_rl.policies.registry import policy_kinds
from maml_rl.settings import RunSettings, Settings, TaskSettings
from maml_rl.utils.config_files import ConfigError, apply_override, read_mapping, to_kebab
from maml_rl.utils.modules import import_allowed
from maml_rl.utils.shipped import shipped_config

__all__ = ["Config", "ConfigError", "load_config"]

_ALWAYS_CHANGEABLE = ("allow-module", "initial-policy", "num-shards", "worker-timeout")
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
        self.sections = checked_sections({to_kebab(name): value for name, value in values.items()}, {"": "Config"})

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
        config.sections = checked_sections(values, {"": source} if isinstance(source, str) else dict(source))
        return config

    @classmethod
    def from_saved(cls, values: Mapping[str, Any], source: str) -> tuple[Config, list[str]]:
        """The configuration that `to_json_dict` of some version gave, and the keys left out: see `load_config`."""
        kept, dropped = split_keys(with_current_names(values))
        return cls.from_mapping(kept, source), dropped

    def replace(self, **values: Any) -> Config:
        """The same with other values, named in snake_case; keys of another algorithm or policy that go are dropped."""
        changes = {to_kebab(name): value for name, value in values.items()}
        kept, _ = split_keys({**self.to_json_dict(), **changes})
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
    with one line on standard error unless `quiet`; elsewhere they are refused. So are overrides that the outer step has
    no use for, which a file may have for another one.

    Parameters
    ----------
    path
        A ``.yaml`` or ``.yml`` file, or the ``config.json`` of a run folder, also of one that
        pytorch-maml-rl wrote; or the name of a configuration that comes with the package, such as ``2d-navigation``.
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
    if not path.suffix:
        path = shipped_config(path.as_posix())
    values = read_mapping(path)
    check_named_once(values, str(path))
    values = with_current_names(values)
    sources = {"": str(path)}
    _check_allowed(values.pop("allow-module", None), allowed, str(path))
    changes: dict[str, Any] = {"env-kwargs": values.get("env-kwargs")}
    for override in overrides:
        key = apply_override(changes, override)
        changes = with_current_names(changes)
        sources[current_name(key)] = f"--set {override}"
    changes = {key: value for key, value in changes.items() if key in sources}
    _check_allowed(changes.pop("allow-module", None), allowed, sources.get("allow-module", ""))
    dropped: list[str] = []
    if path.suffix.lower() == ".json":
        values, dropped = split_keys({**values, **changes}, keep=changes)
    config = Config.from_mapping({**values, "allow-module": list(allowed), **changes}, sources)
    check_used(config.sections, changes, sources)
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
