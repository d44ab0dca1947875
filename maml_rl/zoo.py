"""Trained policies that come with the package."""

from __future__ import annotations

from pathlib import Path

from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean

_PLACES = (Path(__file__).resolve().parents[1] / "zoo", Path(__file__).resolve().parent / "_zoo")
"""In a checkout, and in an installed package."""


def zoo() -> dict[str, Path]:
    """Folders of the zoo's policies by name, in the order of the alphabet."""
    place = next((place for place in _PLACES if place.is_dir()), None)
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
