"""Configuration: where it comes from, what it may be, and how it is refused.

Belongs here: the settings tree, the readers of its sources (YAML file, environment, secret files), its checks, and the
log set-up. Does not belong here: anything that acts on a setting, and anything of ours but `daemon.core`.
"""

from config.problems import ConfigError
from config.settings import Settings, load

__all__ = ["ConfigError", "Settings", "load"]
