"""Task families made by name and tried out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from maml_rl.envs.arguments import check_keywords, check_types
from maml_rl.envs.errors import EnvironmentArgumentError, MetaEnvError, MissingPackageError, UnknownEnvironmentError
from maml_rl.envs.family_modules import first_line, load_family
from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.envs.registration import find_spec, make_family

if TYPE_CHECKING:
    import torch

    from maml_rl.envs.tensor_env import TensorMetaVectorEnv


def make_meta_env(env_name: str, num_envs: int = 1, env_kwargs: Mapping[str, Any] | None = None) -> MetaVectorEnv:
    """Make N sub-environments of a registered task family.

    Parameters
    ----------
    env_name
        Id, optionally with the module that registers it: ``"my_package.envs:MyFamily-v0"``.
    num_envs
        Number of sub-environments N.
    env_kwargs
        Keyword arguments of the family's constructor, over the registered defaults.

    Raises
    ------
    UnknownEnvironmentError
        If no task family has this name.
    EnvironmentArgumentError
        If a keyword is not one of the family's, or its value is impossible.
    ImportError
        If an optional package is missing.

    Examples
    --------
    >>> make_meta_env("Bandit-K5-v0", num_envs=3).num_envs
    3
    """
    spec, kwargs = _keywords(env_name, env_kwargs)
    with _one_line_for(spec):
        env = make_family(num_envs, **kwargs)
    env.spec = spec
    return env


def make_tensor_env(
    env_name: str,
    shape: tuple[int, int],
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> TensorMetaVectorEnv:
    """Make P individuals in L lives of a registered tensor family.

    Parameters
    ----------
    env_name, env_kwargs
        As in `make_meta_env`, with the same errors.
    shape
        Number of individuals P and of lives L.
    device, dtype
        Device and number type of the tensors; ``None``: float32.

    Examples
    --------
    >>> make_tensor_env("CartPoleControl-v0", (3, 2)).finished.shape
    torch.Size([3, 2])
    """
    spec, kwargs = _keywords(env_name, env_kwargs)
    family_class = load_family(kwargs.pop("family"), kwargs.pop("package", None))
    if issubclass(family_class, MetaVectorEnv):
        raise UnknownEnvironmentError(
            f"env-name: {spec.id!r} steps arrays, expected a tensor family such as 'CartPoleControl-v0'"
        )
    numbers = {} if dtype is None else {"dtype": dtype}
    with _one_line_for(spec):
        return family_class(*shape, **kwargs, device=device, **numbers)


def is_tensor_family(env_name: str) -> bool:
    """True if a registered family steps tensors, so that `make_tensor_env` makes it; errors as in `make_meta_env`.

    Examples
    --------
    >>> is_tensor_family("CartPoleControl-v0"), is_tensor_family("Bandit-K5-v0")
    (True, False)
    """
    kwargs = find_spec(env_name).kwargs
    return not issubclass(load_family(kwargs["family"], kwargs.get("package")), MetaVectorEnv)


def _keywords(env_name: str, env_kwargs: Mapping[str, Any] | None) -> tuple[EnvSpec, dict[str, Any]]:
    """Find a family by name, check the keywords given, and add those it was registered with."""
    spec = find_spec(env_name)
    env_kwargs = dict(env_kwargs or {})
    family_class = load_family(spec.kwargs["family"], spec.kwargs.get("package"))
    check_keywords(family_class, env_kwargs)
    check_types(family_class, env_kwargs)
    kwargs = {**spec.kwargs, **env_kwargs}
    if spec.max_episode_steps is not None:
        kwargs.setdefault("max_episode_steps", spec.max_episode_steps)
        if kwargs["max_episode_steps"] is None:
            raise EnvironmentArgumentError(
                f"env-kwargs.max_episode_steps: got null, but episodes of {spec.id} may never end by themselves; "
                f"give a number, such as {spec.max_episode_steps}"
            )
    return spec, kwargs


@contextlib.contextmanager
def _one_line_for(spec: EnvSpec) -> Iterator[None]:
    """Turn whatever a constructor makes of impossible values into one line."""
    try:
        yield
    except (EnvironmentArgumentError, MissingPackageError):
        raise
    except Exception as error:
        raise EnvironmentArgumentError(f"env-kwargs of {spec.id}: {_one_line(error)}") from error


def dry_run(env: MetaVectorEnv) -> None:
    """Make two steps of a new task, so that what only fails in use fails before a run starts.

    Only with two sub-environments or more does it find an array that should have a row for each.

    Raises
    ------
    EnvironmentArgumentError
        If that fails, whatever the reason.
    """
    rng = np.random.default_rng(0)
    name = env.spec.id if env.spec else type(env).__name__
    try:
        env.set_tasks(env.sample_tasks(1, rng))
        env.reset(seed=0)
        for _ in range(2):
            env.action_space.seed(0)
            env.step(env.action_space.sample())
    except MetaEnvError as error:
        raise EnvironmentArgumentError(f"env-name: {name} cannot be used: {error}") from error
    except Exception as error:
        raise EnvironmentArgumentError(f"env-kwargs of {name}: its first steps fail: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    text = first_line(error)
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
