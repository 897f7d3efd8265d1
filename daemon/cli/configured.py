"""The daemon's own configuration, for commands that work on its journal without it."""

from __future__ import annotations

import argparse

from config import ConfigError, Settings, load
from daemon.cli.arguments import ascii_only, chosen_config
from daemon.cli.exits import CliError, Exit


def daemon_settings(options: argparse.Namespace) -> Settings:
    """The settings of the file that was chosen, or of the environment. Raises CliError."""
    path = chosen_config(options)
    try:
        return load(path)
    except ConfigError as error:
        remedy = "name the daemon's configuration with --config"
        raise CliError(Exit.CONFIGURATION, f"{ascii_only(str(path))}: {error.problems[0]}", remedy) from None
