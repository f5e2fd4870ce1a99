"""A trained model in Python, as docs/python.md shows it."""

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gpt
from gpt.base.errors import RequestError, UserError
from gpt.base.ladder import LADDER, OTHERS
from gpt.data.corpora import tiny_shakespeare
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.inspection.attention_weights import AttentionWeights
from gpt.playground.inspect import logits
from gpt.session.evaluate import Measured
from gpt.session.trained import TrainedRun
from gpt.tasks.decoding.sampling import generate
from gpt.tasks.task import Measure
from tests.conftest import REPOSITORY, Script, build_small, succeeded
from tests.losses import exact


@pytest.fixture(scope="module")
def run(trained: Path) -> TrainedRun:
    return gpt.load(runs=trained / "runs", device="cpu")


@pytest.mark.parametrize("given", ["Abcde fg", "Abc deé fgha bcd.\n" * 300])  # shorter than a window; several passes
def test_the_loss_of_a_text_averages_its_characters(given: str, run: TrainedRun) -> None:
    losses = run.losses(given)
    assert "".join(character for character, _ in losses) == given.replace("é", "")[1:]
    assert math.fsum(loss for _, loss in losses) / len(losses) == pytest.approx(run.loss(given), abs=1e-6)
    ids = run.task.tokenizer.encode(given[:6])
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(run.model(ids[None, :-1])[0], ids[1:], reduction="none")
    assert [loss for _, loss in losses[:5]] == pytest.approx(expected.tolist(), abs=1e-5)
    assert losses[0] == ("b", pytest.approx(-math.log(run.next_token("A")["b"]), abs=1e-5))


def test_a_measurement_becomes_a_json_key_and_a_table_row(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.task, "token", "speech")
    measured = Measured(run, "val split", exact(1.5, 40, 2999), None, [Measure("BLEU, lower case", 30.0, "case:lc")])
    assert json.loads(measured.as_json())["BLEU_lower_case"] == {"value": 30.0, "signature": "case:lc"}
    assert "scored            40 of 2,999  targets" in measured.table()


def test_the_next_character_has_a_distribution(run: TrainedRun) -> None:
    distribution = run.next_token("Abc")
    assert math.fsum(distribution.values()) == pytest.approx(1, abs=1e-5)
    assert list(distribution.values()) == sorted(distribution.values(), reverse=True)
    assert run.generate("Abc", tokens=1, temperature=0.0) == next(iter(distribution))
    assert run.next_token("abc de" * 50) == run.next_token(("abc de" * 50)[-16:])  # its last window


def test_logits_that_overflow_are_an_error_everywhere(run: TrainedRun) -> None:
    """They are finite themselves, so that reading them finds nothing wrong."""
    model = copy.deepcopy(run.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e30).clamp_(-3e38, 3e38)
    huge, ids = TrainedRun(run.run, "last", model), run.tokenizer.encode("Abc").tolist()
    for what in (
        lambda: huge.generate("Abc", tokens=3),
        lambda: huge.next_token("Abc"),
        lambda: huge.loss("Abcde"),
        lambda: huge.generate("Abc", tokens=3, temperature=0.0),
        lambda: logits(huge, ids),
    ):
        with pytest.raises(UserError, match="NaN"):
            what()


@pytest.mark.parametrize("method", ["loss", "losses", "loss_of", "next_token", "attention", "generate"])
def test_what_is_no_text_is_refused(run: TrainedRun, method: str) -> None:
    with pytest.raises(RequestError, match="text"):
        getattr(run, method)(["a", "b"])
    if method.startswith("loss"):
        with pytest.raises(RequestError, match="characters"):
            getattr(run, method)("aé")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"top_k": 0}, "top_k=0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"tokens": 2**30}, "num_samples"),
        ({"seed": "x"}, "seed=x"),
        ({"prompt": 5}, "prompt=5"),
        ({"prompt": ""}, "prompt"),
        ({"beam": 3}, "beam"),
    ],
)
def test_what_generate_py_refuses_python_refuses(run: TrainedRun, options: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        run.generate(**({"prompt": "Abc"} | options))


def test_an_option_may_have_its_name_elsewhere(run: TrainedRun) -> None:
    assert run.generate("Abc", max_new_tokens=5) == run.generate("Abc", tokens=5)


def test_scalars_of_numpy_and_pytorch_are_numbers(run: TrainedRun) -> None:
    expected = run.generate("Abc", tokens=30, seed=5, top_k=3, temperature=0.5)
    tokenizer: CharTokenizer = run.task.tokenizer
    sampled = generate(run.model, tokenizer.encode("Abc"), tokens=30, seed=5, top_k=3, temperature=0.5)
    assert expected == tokenizer.decode(int(i) for i in sampled)  # as generate.py does
    options = {"tokens": np.int64(30), "seed": torch.tensor(5), "top_k": np.uint8(3), "temperature": np.float32(0.5)}
    assert run.generate("Abc", **options) == expected
    run.generate("Abc", tokens=3, temperature=2**70)  # an int


def test_a_small_model_is_computed_by_one_thread(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    with run.runtime.settings():
        assert threads == [1]
    assert threads == [1, torch.get_num_threads()]


@pytest.mark.parametrize("stage", [*LADDER, *OTHERS])
def test_attention_weights_are_causal_and_add_up_to_1(stage: str) -> None:
    model = build_small(stage)
    idx = torch.randint(65, (1, model.block_size))
    with torch.no_grad():
        logits = model(idx)
        with AttentionWeights() as observed:
            assert torch.equal(model(idx), logits)
    T, attending = idx.shape[1], [name for name, _ in model.named_modules() if name.split(".")[-1] == "attention"]
    assert len(observed.weights) == (0 if stage == "linear_attention" else len(attending))
    assert bool(attending) == (stage not in ("v1", *OTHERS) or stage in ("linear_attention", "hybrid"))
    for weights in observed.weights:
        assert weights.shape == (1, weights.shape[1], T, T)
        assert weights.sum(-1).allclose(torch.ones(()))
        assert not weights.triu(1).any()


@pytest.mark.slow
def test_the_pages_about_python_run_as_written(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pages = "".join((REPOSITORY / "docs" / page).read_text() for page in ("python.md", "modules.md"))
    blocks = re.findall(r"```python\n(.*?)```", pages, re.DOTALL)
    assert len(blocks) >= 5
    lines = "\n".join(blocks).splitlines()
    assert {line for line in lines if "import" in line} == {"import gpt", "import torch"}
    (tmp_path / "input.txt").write_text(tiny_shakespeare()[:50_000])
    short = ["training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1"]
    succeeded(script("train.py", "model=v5", "data=text", "data.path=input.txt", *short, cwd=tmp_path))
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, {})
        assert capsys.readouterr().out
