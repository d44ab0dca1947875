"""`maml-rl check`: does a task family keep its contract, and what is wrong if not?"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from typing import Any

from maml_rl.envs import check_meta_env, make_meta_env
from maml_rl.envs.errors import MetaEnvError
from maml_rl.utils.command_lines import Parser, answer
from maml_rl.utils.config_files import apply_override
from maml_rl.utils.errors import InputError
from maml_rl.utils.graphics import choose_gl
from maml_rl.utils.log import LOGGER
from maml_rl.utils.modules import import_allowed, imports_limited_to


def check_command(argv: Sequence[str] | None = None, *, prog: str = "maml-rl check") -> int:
    """Roll out random episodes of a task family and say what is wrong with it; 0 if nothing is."""
    parser = Parser(prog=prog, description="Check that a task family keeps its contract.")
    parser.add_argument("env_id", metavar="ENV-ID", help="a registered family, or module:Id")
    parser.add_argument(
        "--set", action="append", default=[], metavar="env-kwargs.NAME=VALUE", help="argument of its constructor"
    )
    parser.add_argument("--num-envs", type=int, default=4, help="sub-environments, even (default: %(default)s)")
    parser.add_argument(
        "--allow-module", action="append", default=[], metavar="NAME", help="import this module, which registers it"
    )
    arguments = parser.parse_args(argv)
    module, colon, _ = arguments.env_id.rpartition(":")
    allowed = [*arguments.allow_module, *([module] if colon else [])]  # who checks a module runs it
    with imports_limited_to(allowed):
        return answer(lambda: _check(arguments, allowed))


def _check(arguments: argparse.Namespace, allowed: Sequence[str]) -> None:
    choose_gl()
    if arguments.num_envs < 2 or arguments.num_envs % 2:
        raise InputError(f"--num-envs: got {arguments.num_envs}, expected an even number >= 2")
    values: dict[str, Any] = {}
    for override in arguments.set:
        if apply_override(values, override) != "env-kwargs":
            raise InputError(f"--set: got {override!r}, expected env-kwargs.NAME=VALUE")
    import_allowed(allowed)
    env = make_meta_env(arguments.env_id, arguments.num_envs, values.get("env-kwargs"))
    try:
        check_meta_env(env)
    except MetaEnvError as error:
        raise InputError(f"{arguments.env_id}: {error}") from error
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{arguments.env_id}: raised {reason} ({at.filename}, line {at.lineno}); mend it") from error
    finally:
        env.close()
    steps = f"at most {env.max_episode_steps} steps" if env.max_episode_steps else "episodes that end by themselves"
    measures = f", measures {', '.join(env.measures)}" if env.measures else ""
    LOGGER.info(
        f"{arguments.env_id}: keeps the contract; observations {env.single_observation_space}, "
        f"actions {env.single_action_space}, {steps}, splits {', '.join(env.splits)}{measures}"
    )
