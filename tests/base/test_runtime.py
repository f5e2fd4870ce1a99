"""The device, the precision and the threads of a model."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from gpt.base.runtime import Runtime, select_runtime
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("has_it", "is_intel", "has_amx", "is_fast"),
    [(False, False, False, False), (True, True, False, False), (True, True, True, True), (True, False, False, True)],
)
def test_bfloat16_is_chosen_only_where_it_is_fast(
    *, has_it: bool, is_intel: bool, has_amx: bool, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.base.runtime.has_bfloat16", lambda device: has_it)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr("gpt.base.runtime.is_intel", lambda: is_intel)
    with torch.device("meta"):
        large = nn.Linear(2000, 2000)
    assert select_runtime(CPU, "auto", large).dtype is (torch.bfloat16 if is_fast else torch.float32)
    assert select_runtime(CPU, "auto", nn.Linear(2, 2)).dtype is torch.float32
    assert select_runtime(CPU, "bfloat16", large).dtype is torch.bfloat16


@pytest.mark.parametrize("outer", [False, True])
def test_a_pass_in_bfloat16_reads_the_updated_weights(*, outer: bool) -> None:
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
