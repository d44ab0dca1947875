"""Where a benchmark leaves what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_json(result: Any, path: Path | None) -> None:
    """Write a result to `path` as JSON, in folders that need not exist; nothing without a path."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
