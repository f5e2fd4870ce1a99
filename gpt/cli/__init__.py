"""The command line of the scripts: `main` runs one of them; `requests` composes configurations outside a job too."""

from gpt.cli.main import main

__all__ = ["main"]
