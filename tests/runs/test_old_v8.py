"""Runs of v8 from before format 5, when it had a switch for each idea, and the counts and a second output layer too.

`formats/v8_of_4` was trained by commit 0e721d0, whose numbers are below.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import gpt
from gpt.base.choices import Choice
from gpt.models import STAGE
from gpt.models.v8_switches import GPT, WithCounts
from gpt.runs.folder import RunFolder
from gpt.runs.formats import present_model
from gpt.runs.weights import load_model
from tests.conftest import Script

GOLDEN = Path(__file__).parent / "formats"
EXACT = 0.8593
EXTENDED = (0.6129, 0.7308, 0.8309)  # to 60 iterations: train, val, exact; processors round differently
TEXT = "w dog run on and dog sat on dog it it sa"  # the first 40 characters of generate.py with its best weights


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copy(GOLDEN / "corpus.txt", tmp_path)
    return shutil.copytree(GOLDEN / "v8_of_4", tmp_path / "old")


def test_it_opens_with_its_switches_and_resumes_with_the_numbers_of_the_old_code(script: Script, old: Path) -> None:
    run, data = RunFolder(old), ["data=text", "data.path=corpus.txt"]
    assert run.config().training.multi_token == 0.3
    assert run.summary().exact.val == pytest.approx(EXACT, abs=5e-5)
    model = load_model(run, "last")
    assert type(model) is WithCounts
    assert gpt.load(old, device="cpu").generate(tokens=40) == TEXT
    exact = script("evaluate.py", f"run={old}", "weights=last", "data.path=corpus.txt", "json=true", cwd=old.parent)
    assert exact.returncode == 0, exact.stderr
    assert json.loads(exact.stdout)["nats_per_character"] == pytest.approx(run.summary().exact.val, abs=1e-6)
    done = script("train.py", f"resume={old}", "training.max_iters=60", *data, cwd=old.parent)
    assert done.returncode == 0, done.stderr
    last = run.evaluations()[-1]
    assert (last.train, last.val, run.summary().exact.val) == pytest.approx(EXTENDED, abs=2e-3)
    assert load_file(run.weights("last")).keys() == load_file(GOLDEN / "v8_of_4" / "last.safetensors").keys()


def test_its_second_output_layer_is_left_out_where_nothing_is_trained(old: Path) -> None:
    saved = load_file(old / "last.safetensors")
    loaded = load_model(RunFolder(old), "last").state_dict()
    assert {name for name in saved if name not in loaded} == {"second_head.weight", "second_head.bias"}
    assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize(("ngrams", "expected"), [(0, GPT), (3, WithCounts)])
def test_without_counts_it_is_the_network_alone(ngrams: int, expected: type) -> None:
    switches = ("rotary", "rms_norm", "qk_norm", "squared_relu", "zero_init", "embedding_mix", "bigram", "token_shift")
    old = {"_target_": "gpt.models.v8_modern.GPT", "block_size": 8, "n_embd": 8, "n_head": 2, "n_layer": 1,
           "dropout": 0.0, "soft_cap": 15.0, "ngrams": ngrams, "memory": 100, "multi_token": 0.3,
           **dict.fromkeys(switches, True)}  # fmt: skip
    model = STAGE.build(Choice.model_validate(present_model(old)), vocab_size=9)
    assert type(model) is expected
    assert model(torch.zeros(1, 8, dtype=torch.int64)).shape == (1, 8, 9)


def test_a_v8_of_today_is_left_as_it_is() -> None:
    choice = {"_target_": "gpt.models.v8_modern.GPT", "block_size": 8, "n_embd": 8}
    assert present_model(choice) == choice
