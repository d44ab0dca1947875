"""Task families: vector environments whose sub-environments each carry a task. Importing registers them."""

from maml_rl.envs.checker import check_meta_env
from maml_rl.envs.errors import EnvironmentArgumentError, MetaEnvError, UnknownEnvironmentError
from maml_rl.envs.families import register_families
from maml_rl.envs.making import dry_run, is_tensor_family, make_meta_env, make_tensor_env
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.envs.meta_episode import MetaEpisodeVectorEnv
from maml_rl.envs.registration import register_meta_env, registered_meta_envs
from maml_rl.envs.single import SingleMetaEnv

register_families()

__all__ = [
    "EnvironmentArgumentError",
    "MetaEnvError",
    "MetaEpisodeVectorEnv",
    "MetaVectorEnv",
    "SingleMetaEnv",
    "Task",
    "UnknownEnvironmentError",
    "check_meta_env",
    "dry_run",
    "is_tensor_family",
    "make_meta_env",
    "make_tensor_env",
    "register_meta_env",
    "registered_meta_envs",
]
