"""Trained policies that come with the package."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean
from maml_rl.utils.shipped import matching_configs, shipped_folder


@dataclass(frozen=True)
class ZooEntry:
    """A trained policy in a few words.

    Attributes
    ----------
    name
        Its name.
    env_name, policy, algorithm
        Task family, kind of network, and how it was meta-learned.
    figure
        The figure of its card, in one line.
    num_bytes
        Size of its weights.
    """

    name: str
    env_name: str
    policy: str
    algorithm: str
    figure: str
    num_bytes: int


def zoo() -> dict[str, Path]:
    """Folders of the zoo's policies by name, in the order of the alphabet."""
    place = shipped_folder("zoo")
    if place is None:
        return {}
    return {path.name: path for path in sorted(place.iterdir()) if (path / "policy.th").is_file()}


def zoo_folder(name: str) -> Path:
    """Folder of the policy of this name.

    Raises
    ------
    InputError
        In one line, if there is none.
    """
    folders = zoo()
    if name not in folders:
        known = ", ".join(folders) or "none, this installation has no zoo"
        raise InputError(f"zoo: got {name!r}, expected one of {known}{did_you_mean(name, folders)}")
    return folders[name]


def policy_files(path: str | Path) -> tuple[Path, Path | None]:
    """Configuration and weights that a path or a name stands for.

    A run folder, the name of a policy of the zoo, a configuration, or the name of one that comes with the package; the
    last two have no weights, ``None``. Errors as in `zoo_folder`.
    """
    path = Path(path)
    name = path.as_posix()
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        return path, None
    if not path.is_dir() and name not in zoo() and matching_configs(name):
        return path, None
    folder = path if path.is_dir() else zoo_folder(name)
    return folder / "config.json", folder / "policy.th"


def zoo_card(name: str) -> str:
    """Text of the card of this name, with the errors of `zoo_folder`."""
    return (zoo_folder(name) / "card.md").read_text(encoding="utf-8")


def zoo_entry(name: str) -> ZooEntry:
    """The policy of this name in a few words, with the errors of `zoo_folder`."""
    folder = zoo_folder(name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    env_name, policy, algorithm = (str(config[key]) for key in ("env-name", "policy", "algorithm"))
    num_bytes = (folder / "policy.th").stat().st_size
    return ZooEntry(name, env_name, policy, algorithm, _figure(zoo_card(name)), num_bytes)


def _figure(card: str) -> str:
    """First two rows of the table under "Evaluation", or its first sentence where there is none.

    Examples
    --------
    >>> _figure("# a\\n\\n## Evaluation\\n\\nMean.\\n\\n| adaptation | tasks | return |\\n|---|---|---|\\n"
    ...         "| 0 steps | 2 new | 1 [0, 2] |\\n| 1 step | 2 new | 9 |\\n| 2 steps | 2 new | 8 |\\n")
    'return 1 [0, 2] (0 steps), 9 (1 step)'
    """
    text = card.partition("## Evaluation")[2].partition("\n## ")[0].strip()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    if not rows:
        return re.split(r"[;.] ", " ".join(text.split()))[0]
    shown = [f"{row[-1]} ({row[0]})" for row in rows[2:4]]  # before adaptation, and after what was trained
    return f"{rows[0][-1]} {', '.join(shown)}"
