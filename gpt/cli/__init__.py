"""The command line of the scripts: `main` runs a script; `requests` composes configurations, also outside a job."""

from gpt.cli.main import main

__all__ = ["main"]
