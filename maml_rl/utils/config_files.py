"""Mappings of keys to values in YAML and JSON files, and the overrides of a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean, shown
from maml_rl.utils.strict_parsing import parse_json, parse_yaml, read_text

# pytorch-maml-rl writes these into config.json beside the configuration. They describe the machine and the
# command line, not the experiment.
_COMMAND_LINE_KEYS = frozenset({"config", "output-folder", "num-workers", "use-cuda", "device"})


class ConfigError(InputError):
    """A configuration that cannot be used; the message is one line: field, got, expected, cure."""


def to_kebab(name: str) -> str:
    """`fast_lr` as a file writes it, `fast-lr`."""
    return name.replace("_", "-")


def read_mapping(path: Path, *, field: str = "config") -> dict[str, Any]:
    """Read a file of ``key: value`` lines, which `field` names; raises `ConfigError`."""
    parsers = {".yaml": parse_yaml, ".yml": parse_yaml, ".json": parse_json}
    suffix = path.suffix.lower()
    if suffix not in parsers:
        raise ConfigError(f"{field}: got {str(path)!r}, expected a file that ends in .yaml, .yml or .json")
    try:
        text = read_text(path)
    except FileNotFoundError:
        siblings = sorted(str(file) for file in path.parent.glob("*") if file.suffix.lower() in parsers)
        raise ConfigError(f"{field}: no such file: {str(path)!r}{did_you_mean(str(path), siblings)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: got bytes that are not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    try:
        values = parsers[suffix](text)
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if values is None:
        raise ConfigError(f"cannot read {path}: got an empty file, expected 'key: value' lines")
    if not isinstance(values, dict):
        raise ConfigError(f"cannot read {path}: got {shown(values)}, expected 'key: value' lines")
    if suffix == ".json":
        values = {key: value for key, value in values.items() if to_kebab(key) not in _COMMAND_LINE_KEYS}
        if values.get("seed", 0) is None:  # pytorch-maml-rl without --seed
            del values["seed"]
    return values


def apply_override(values: dict[str, Any], override: str) -> str:
    """Put ``key=value`` into `values`; return the top-level key."""
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError(f"--set: got {override!r}, expected key=value, such as fast-lr=0.1")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"--set {override}: {error}") from error
    key, dot, entry = name.partition(".")
    if not dot:
        values[key] = value
        return key
    if key != "env-kwargs" or not entry:
        raise ConfigError(f"--set: got {name!r}, expected a key without a dot, or env-kwargs.NAME")
    current = values.get(key)
    values[key] = {**(current if isinstance(current, dict) else {}), entry: value}
    return key
