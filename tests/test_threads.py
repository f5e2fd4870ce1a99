"""OpenMP's threads wait with little spinning, unless the user says otherwise."""

import os
import subprocess
import sys

from tests.conftest import REPOSITORY

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def test_threads_wait_passively_but_for_what_the_user_sets() -> None:
    code = f"import gpt, os, sys; print(*[os.environ[name] for name in {SETTINGS}], 'torch' in sys.modules)"
    for given, expected in (({}, "PASSIVE 6000 False"), ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7 False")):
        usual = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        done = subprocess.run(
            [sys.executable, "-c", code], env=usual | given, cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr
