"""The stages on one page, in plain/: the weights and the text of train.py, to the last bit.

They are the reference that the numerics of v1 to v8 are compared with. For the other stages, see GOLDEN in
tests/training/test_loop.py.
"""

import random
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.functional import cross_entropy

import gpt
from gpt.base.runtime import has_bfloat16
from gpt.exporting.script import CONSTANTS, with_constants
from tests.conftest import REPOSITORY, Script, TrainedOnce, build, refused, small_corpus, stage_config, succeeded

PLAIN = REPOSITORY / "plain"
STAGES = ["v1", "v2", "v3", "v3_ffn", "v4", "v5", "v6", "v7", "v8"]
SHORTER = {"training.max_iters": 100, "training.eval_iters": 1}
SMALL = {  # v7 and v8
    "model.block_size": 33,
    "model.n_embd": 48,
    "model.n_head": 3,
    "model.n_layer": 2,
    "training.batch_size": 4,
}

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The names of a page after it has run."""

    def run(page: Path, *words: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [str(page), *words])
        return runpy.run_path(str(page))

    return run


def constant(page: str, name: str) -> float:
    found = re.search(rf"^{name} = (?:int.* else )?(\S+)", page, re.MULTILINE)
    assert found, name
    return float(found[1])


@pytest.mark.parametrize("stage", STAGES)
def test_a_page_ends_with_the_packages_weights_and_text(
    stage: str, trained_run: TrainedOnce, ran: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, page = stage_config(stage), (PLAIN / f"{stage}.py").read_text()
    documented = {key: value for key in CONSTANTS if (value := OmegaConf.select(config, key)) not in (None, 0.0)}
    assert {key: constant(page, CONSTANTS[key]) for key in documented} == documented
    training = config.training
    assert (training.patience, training.ema, training.average_last) == (None, 0, 0)  # no other end, no other weights
    changed = SHORTER | ({"training.max_iters": 20} | SMALL if stage in ("v7", "v8") else {})
    settings = [f"{key}={value}" for key, value in (documented | changed).items()]
    run = gpt.load(trained_run(stage, "data=shakespeare", *settings), weights="last", device="cpu")

    (tmp_path / "plain").mkdir()
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    shorter = tmp_path / "plain" / "page.py"
    precision = torch.bfloat16 if has_bfloat16(torch.device("cpu")) else torch.float32  # of v8
    constants = {CONSTANTS[key]: value for key, value in changed.items()} | {"PRECISION": precision}
    shorter.write_text(with_constants(page, constants))
    names = ran(shorter)
    assert all(map(torch.equal, names["model"].parameters(), run.model.parameters()))
    first, last, text = capsys.readouterr().out.split("\n", 2)
    assert text == run.generate(tokens=names["T"] if stage == "v8" else 500) + "\n"
    for line, evaluation in zip((first, last), run.evaluations, strict=True):
        expected = [evaluation.train, evaluation.val]
        assert [float(number) for number in re.findall(r"\d+\.\d+", line)] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("v6", ["training.max_iters=30"]),
        ("v7", ["training.epochs=0.1", "model.dropout=0.5", *(f"{key}={value}" for key, value in SMALL.items())]),
    ],
)
def test_a_run_with_its_own_settings_is_a_page(
    stage: str, settings: list[str], called: Script, ran: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "its own 'text'.txt"
    text.write_bytes(small_corpus().replace("e", "é").replace(", ", "\t").replace("\n", "\r\n").encode())
    run, out = tmp_path / "run", tmp_path / "out"
    short = ["training.eval_interval=20", "training.eval_iters=1", "seed=5"]
    given = [f"model={stage}", *settings, *short, "data=text", f"data.path={text}", f"hydra.run.dir={run}"]
    succeeded(called("train.py", *given, cwd=tmp_path))
    done = succeeded(called("export.py", "format=script", f"run={run}", f"out={out}", cwd=tmp_path))
    assert "the file's model: equal within" in done.stdout
    model, trained = ran(out / f"{stage}.py")["model"], gpt.load(run, weights="last", device="cpu")
    assert all(map(torch.equal, model.parameters(), trained.model.parameters()))
    assert capsys.readouterr().out.strip("\n").endswith(trained.generate(tokens=500, seed=5).strip("\n"))

    text.write_bytes(text.read_bytes()[::-1].decode(errors="ignore").encode())
    done = called("export.py", "format=script", f"run={run}", f"out={tmp_path / 'other'}", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {text} ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "settings", "named"),
    [
        ("v9", [], "v9"),
        ("v8", ["schedule=constant"], "v8"),
        ("v3", ["optimizer=sgd", "training.grad_clip=1"], "training.grad_clip=1.0, optimizer="),
        ("v3", ["schedule=cosine"], "schedule=cosine"),
        (
            "v7",
            ["training.grad_accumulation=2", "training.eval_interval=epoch", "model.dropout=0"],
            "training.grad_accumulation=2, training.eval_interval=epoch, model.dropout=0\n",
        ),
        ("v1", ["dtype=bfloat16"], "dtype=bfloat16"),
    ],
)
def test_what_a_page_cannot_say_is_refused(
    stage: str,
    settings: list[str],
    named: str,
    called: Script,
    trained_run: TrainedOnce,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpt.base.runtime.has_fast_bfloat16", lambda _: True)  # else there is a warning first
    run = trained_run(stage, *settings)
    done = called("export.py", "format=script", f"run={run}", f"out={tmp_path / 'out'}", cwd=tmp_path)
    refused(done, named)


@pytest.mark.slow
def test_without_torch_has_the_packages_losses_gradients_and_steps(
    ran: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, starts, gauss, randrange = [], [], random.gauss, random.randrange
    monkeypatch.setattr(random, "gauss", lambda *given: drawn.append(gauss(*given)) or drawn[-1])
    monkeypatch.setattr(random, "randrange", lambda end: starts.append(randrange(end)) or starts[-1])
    monkeypatch.syspath_prepend(PLAIN)  # where Python looks first for a script's imports
    names = ran(PLAIN / "without_torch.py", "3")
    monkeypatch.undo()
    page = (REPOSITORY / "docs" / "course" / "without_torch.md").read_text()
    printed = re.findall(r"^(\d\. \w+): (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert len(printed) == 2
    for row, loss in printed:
        assert re.search(rf"^\| {row} \|.*\| {loss} \|$", page, re.MULTILINE), row
    T, C, weights, train = names["T"], names["C"], names["weights"], names["train"]
    model = build("v5", names["V"], block_size=T, n_embd=C, n_head=1, n_layer=1).double()

    def loss_of(window: list[int]) -> torch.Tensor:
        return cross_entropy(model(torch.tensor([window[:-1]]))[0], torch.tensor(window[1:]))

    numbers = iter(drawn)
    first = {name: [[next(numbers) for _ in row] for row in rows] for name, rows in weights.items()}
    model.load_state_dict(as_tensors(first))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, betas=(0.9, 0.99))
    for start in starts[-3:]:
        optimizer.zero_grad()
        loss_of(train[start : start + T + 1]).backward()
        optimizer.step()
    own = as_tensors(numbers_in(weights, "data"))
    for name, parameter in model.state_dict().items():
        torch.testing.assert_close(own[name], parameter, atol=1e-9, rtol=0)

    for seed in (1, 2, 3):
        draw = random.Random(seed)
        for value in (value for rows in weights.values() for row in rows for value in row):
            value.data, value.grad = draw.gauss(0, 0.5), 0.0
        start = draw.randrange(len(train) - T)
        window = train[start : start + T + 1]
        loss = names["loss_of"](window)
        loss.backward()

        model.load_state_dict(as_tensors(numbers_in(weights, "data")))
        model.zero_grad()
        expected = loss_of(window)
        expected.backward()
        assert loss.data == pytest.approx(expected.item(), abs=1e-9)
        gradients = as_tensors(numbers_in(weights, "grad"))
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-9, rtol=0)


def numbers_in(weights: dict[str, list], what: str) -> dict[str, list[list[float]]]:
    """The numbers, or the gradients, of the Values of the file."""
    return {name: [[getattr(value, what) for value in row] for row in rows] for name, rows in weights.items()}


def as_tensors(matrices: dict[str, list[list[float]]]) -> dict[str, torch.Tensor]:
    """Matrices of the file, by the names of the package."""
    of = {name: torch.tensor(matrix, dtype=torch.float64) for name, matrix in matrices.items()}
    found = {"embedding.token.weight": of["token"], "embedding.position.weight": of["position"]}
    found["blocks.0.attention.qkv.weight"] = torch.cat([of["query"], of["key"], of["value"]])
    layers = {"blocks.0.attention.projection": "projection", "blocks.0.feed_forward.0": "widen"}
    for layer, name in (layers | {"blocks.0.feed_forward.2": "narrow", "lm_head": "lm_head"}).items():
        found |= {f"{layer}.weight": of[name][:, :-1], f"{layer}.bias": of[name][:, -1]}
    return found
