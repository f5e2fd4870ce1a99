"""CONTRIBUTING's walk through the code."""

import re
import subprocess
import sys

from tests.conftest import REPOSITORY


def test_the_walk_has_the_files_of_the_way_in_their_order() -> None:
    command = [sys.executable, "docs/way.py", "--print"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    files = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert re.findall(r"^\| \[(gpt/\S+)\]", page, re.MULTILINE) == files
