"""The device, the precision and the threads of a model."""

import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from gpt.base.runtime import Runtime, select_runtime
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")


@pytest.mark.parametrize(("dtype", "has_it"), [("bfloat16", False), ("bfloat16", True), ("auto", False)])
def test_bfloat16_without_instructions_for_it_is_used_with_a_warning(
    dtype: str, has_it: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gpt.base.runtime.has_bfloat16", lambda device: has_it)
    with caplog.at_level(logging.WARNING, "gpt"):
        runtime = select_runtime(CPU, dtype, nn.Linear(2, 2))
    assert runtime.dtype is (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    message = "this processor has no instructions for bfloat16, so it is many times slower: use dtype=float32"
    assert caplog.messages == ([message] if (dtype, has_it) == ("bfloat16", False) else [])


@pytest.mark.parametrize("outer", [False, True])
def test_a_pass_in_bfloat16_reads_the_weights_of_the_last_update(*, outer: bool) -> None:
    """PyTorch would keep the copies that an outer autocast has made of them."""
    runtime, layer, x = Runtime(CPU, torch.bfloat16), nn.Linear(8, 8, bias=False), torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16, enabled=outer):
        layer(x)
        with runtime.settings():
            with runtime.autocast():
                before = layer(x)
            with torch.no_grad():
                layer.weight.mul_(2)
            with runtime.autocast():
                assert torch.equal(layer(x), 2 * before)


def test_threads_wait_passively_but_for_what_the_user_sets() -> None:
    settings = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    code = f"import gpt, os, sys; print(*[os.environ[name] for name in {settings}], 'torch' in sys.modules)"
    for given, expected in (({}, "PASSIVE 6000 False"), ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7 False")):
        usual = {name: value for name, value in os.environ.items() if name not in settings}
        done = subprocess.run(
            [sys.executable, "-c", code], env=usual | given, cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr
