"""Commands of the package, run to their end or to a line that says why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maml_rl.experiment import TrainingError
from maml_rl.samplers import WorkerError
from maml_rl.utils.command_lines import answer
from maml_rl.utils.modules import imports_limited_to


def run_command(
    main: Callable[[], None],
    *,
    interrupted: str,
    allowed: Sequence[str] = (),
    quiet: bool = False,
) -> int:
    """Run `main`; return 0, or after one line on standard error 2 (bad input), 1 (failure) or 130 (Ctrl-C).

    What Ctrl-C left behind is said by `interrupted`; files may name the `allowed` modules. If `quiet`, nothing is shown
    but warnings.
    """
    with imports_limited_to(allowed):
        return answer(main, interrupted=interrupted, failures=(WorkerError, TrainingError), quiet=quiet)
