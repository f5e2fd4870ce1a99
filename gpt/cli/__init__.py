"""The command line of the scripts: `main` runs one of them; the other functions tell it what was typed."""

from gpt.cli.main import changes_from_documented, given_keys, main, request
from gpt.cli.searching import run_trial, search_base

__all__ = ["changes_from_documented", "given_keys", "main", "request", "run_trial", "search_base"]
