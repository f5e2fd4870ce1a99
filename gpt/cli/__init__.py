"""The command line of the scripts: its words are read, Hydra composes and runs the jobs, errors become one line."""

from gpt.cli.main import main

__all__ = ["main"]
