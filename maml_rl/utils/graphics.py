"""Choice of a library with which MuJoCo draws without a screen."""

from __future__ import annotations

import ctypes.util
import os
import platform

NO_SCREEN_CURE = (
    "without a screen MuJoCo draws with libEGL (apt-get install libegl1) "
    "or with MUJOCO_GL=osmesa (apt-get install libosmesa6)"
)
_GL_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


def choose_gl() -> None:
    """Choose a library with which MuJoCo can draw without a screen; call it before mujoco is imported.

    Sets ``MUJOCO_GL`` on Linux if neither it nor ``DISPLAY`` is set and such a library is there. If it
    names one that is not, importing mujoco would fail: then it is removed. Never fails, because what
    only simulates needs no such library; `maml_rl.video.check_can_film` does.
    """
    if platform.system() != "Linux":
        return
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen in _GL_LIBRARIES and not ctypes.util.find_library(_GL_LIBRARIES[chosen]):
        del os.environ["MUJOCO_GL"]
    elif chosen or os.environ.get("DISPLAY"):
        return
    for name, library in _GL_LIBRARIES.items():
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = name
            return
