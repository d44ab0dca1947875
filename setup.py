"""Build of the wheel, in which configurations and trained policies travel; the rest stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TRAVELLING = {"configs": "*.yaml", "zoo": "*/*"}
"""Folders that the wheel has as maml_rl/_NAME, and the files that it takes of them."""


class BuildWithData(build_py):
    """Copies the folders beside the modules, so that the repository has every file once."""

    def run(self) -> None:
        """Build, then copy; an editable installation reads the folders where they are."""
        super().run()
        if self.editable_mode:
            return
        root = Path(__file__).resolve().parent
        for name, pattern in TRAVELLING.items():
            place = Path(self.build_lib) / "maml_rl" / f"_{name}"
            shutil.rmtree(place, ignore_errors=True)
            for path in sorted((root / name).rglob(pattern)):
                if path.is_file():
                    copy = place / path.relative_to(root / name)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)


setup(cmdclass={"build_py": BuildWithData})
