"""Weights: bit-exact, of the right shapes, and never code."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gpt.base.errors import RequestError, UserError
from gpt.base.files import PLACE, sealed
from gpt.runs.folder import RunFolder
from gpt.runs.weights import iteration_of, load_model, load_weights, save_weights, selected
from tests.conftest import REPOSITORY, build_small, empty_run


@pytest.mark.parametrize("make", [lambda seed: build_small("v6", seed=seed), lambda _: nn.BatchNorm1d(3)])
def test_weights_are_read_bit_exactly_as_they_were_saved(tmp_path: Path, make: Callable[[int], nn.Module]) -> None:
    """Also a single number, such as `num_batches_tracked`."""
    run, saved, read = empty_run(tmp_path / "run"), make(0), make(1)
    for buffer in saved.buffers():
        buffer += 1
    save_weights(run, saved.state_dict(), "best", 0)
    load_weights(run, read, "best")
    assert all(torch.equal(a, b) for a, b in zip(saved.state_dict().values(), read.state_dict().values(), strict=True))


def test_foreign_or_missing_weights_leave_the_model_as_it_was(run: RunFolder) -> None:
    model = build_small("v6")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=r"last\.safetensors"):
        load_weights(run, model, "last")
    with pytest.raises(UserError, match=r"averaged\.safetensors"):
        load_weights(run, model, "averaged")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
def test_too_little_memory_to_save_is_an_error_for_users() -> None:
    code = (
        "import resource, torch; from gpt.base.errors import report; from gpt.runs.tensors import serialised\n"
        "tensor = torch.zeros(100_000_000)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000, -1))\n"
        "try: serialised({'x': tensor})\n"
        "except Exception as error: print(report(error)[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.startswith("not enough memory"), done.stderr


def test_averaged_weights_are_selected_where_a_run_has_them(run: RunFolder) -> None:
    assert selected(run, "auto") == "best"
    shutil.copy(run.weights("last"), run.weights("averaged"))
    assert selected(run, "auto") == "averaged"
    assert [selected(run, which) for which in ("best", "last", "averaged")] == ["best", "last", "averaged"]
    (run.path / "summary.json").unlink()
    assert selected(run, "auto") == "best"  # of a run that is extended, the average is that of its previous end


def test_weights_say_after_how_many_iterations_they_were_saved(run: RunFolder) -> None:
    assert iteration_of(run, "last") == 60
    content = run.weights("last").read_bytes()
    assert content.count(b' iteration 60"') == 1
    for other in (b"61", b"-1"):
        run.weights("last").write_bytes(content.replace(b' 60"', b' %b"' % other))
        with pytest.raises(UserError, match=r"last\.safetensors .*checksum"):
            load_model(run, "last")


@pytest.mark.parametrize("target", ["os.system", "gpt.models.build"])
def test_a_configuration_that_asks_for_foreign_code_is_refused(run: RunFolder, target: str) -> None:
    path = run.path / "config.yaml"
    before = path.read_text()
    assert "gpt.models.v7_dropout.GPT" in before
    content = before.replace("gpt.models.v7_dropout.GPT", target).rpartition("checksum")[0]
    path.write_text(sealed(f"{content}checksum: '{PLACE}'\n"))
    with pytest.raises(RequestError, match=f"_target_={target}"):
        load_model(run, "last")
