"""OpenMP's threads wait with little spinning, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, ["PASSIVE", "6000"]), ({"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "7"}, ["ACTIVE", "7"])],
)
def test_threads_wait_passively_by_default(given: dict[str, str], expected: list[str]) -> None:
    code = f"import gpt, os, sys; print([os.environ[s] for s in {SETTINGS}], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == f"{expected} False", done.stderr
