"""Files that come with the package: configurations and trained policies."""

from __future__ import annotations

from pathlib import Path

from maml_rl.utils.config_files import ConfigError
from maml_rl.utils.field_words import did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(name: str) -> Path | None:
    """Folder ``configs`` or ``zoo`` of an installed package, else of the checkout; ``None``: there is neither."""
    installed, checkout = _PACKAGE / f"_{name}", _PACKAGE.parent / name
    if installed.is_dir():
        return installed
    return checkout if checkout.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file() else None


def shipped_configs() -> dict[str, Path]:
    """Configurations by name: their path below ``configs`` without its ending, in the order of the alphabet."""
    folder = shipped_folder("configs")
    paths = [] if folder is None else sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths if folder is not None}


def matching_configs(name: str) -> list[str]:
    """Full names of the configurations that a name can mean: it alone, or all that end in it.

    Examples
    --------
    >>> matching_configs("bandit-k5-n100")
    ['maml/bandit/bandit-k5-n100', 'rl2/bandit-k5-n100']
    >>> matching_configs("rl2/bandit-k5-n100")
    ['rl2/bandit-k5-n100']
    """
    found = [full for full in shipped_configs() if f"/{full}".endswith(f"/{name}")]
    return [name] if name in found else found


def shipped_config(name: str) -> Path:
    """Path of the configuration of this name; folders before it may be left out where that is clear.

    Raises
    ------
    ConfigError
        In one line, if there is none or several.

    Examples
    --------
    >>> shipped_config("2d-navigation").parts[-3:]
    ('configs', 'maml', '2d-navigation.yaml')
    """
    configs, found = shipped_configs(), matching_configs(name)
    if len(found) == 1:
        return configs[found[0]]
    if found:
        raise ConfigError(f"config: got {name!r}, which is {' and '.join(found)}; expected one of these names")
    short = {full.rpartition("/")[2]: None for full in configs}
    raise ConfigError(
        f"config: got {name!r}, expected a file that ends in .yaml, .yml or .json, or the name of a configuration that "
        f"comes with the package, such as {next(iter(short), 'none: this installation has none')}"
        f"{did_you_mean(name, [*short, *configs])}"
    )
