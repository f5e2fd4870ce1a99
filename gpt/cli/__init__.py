"""The command line of the scripts: `main` runs a script; `requesting` composes configurations, also outside a job."""

from gpt.cli.main import main

__all__ = ["main"]
