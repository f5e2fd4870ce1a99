"""Modules, optimizers and schedules of one's own: from a file, from torch.optim, from a program."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import gpt
from gpt import registry
from gpt.config.reading import read as read_words
from gpt.config.settings import settings_of
from gpt.registry import Choice
from gpt.runs.folder import RunFolder
from gpt.runs.naming import chosen_run
from gpt.runs.tensors import read
from gpt.training.optimizers import OPTIMIZER
from gpt.training.trainer import Trainer
from tests.conftest import REPOSITORY
from tests.training.helpers import small_trainer

NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, vocab_size: int, n_embd: int = 8, p: float = 0.2):
        super().__init__()
        self.block_size = 8
        self.table = nn.Sequential(nn.Embedding(vocab_size, n_embd), nn.Dropout(p), nn.Linear(n_embd, vocab_size))

    def forward(self, idx):
        return self.table(idx)
"""
FALL = "def fall(step, half=100):\n    return 0.5 ** (step / half)\n"
SHORT = ["training.max_iters=4", "training.eval_interval=2", "training.eval_iters=1", "device=cpu"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus_file: Path) -> list[str]:
    """The settings of a short training; its files are in the current folder, and this process was given none."""
    monkeypatch.chdir(tmp_path)
    registry._given.clear()
    Path("net.py").write_text(NET)
    Path("corpus.txt").write_bytes(corpus_file.read_bytes())
    Path("fall.py").write_text(FALL)
    return [*SHORT, "data=text", "data.path=corpus.txt"]


def test_a_bug_in_a_constructor_keeps_its_traceback(files: list[str]) -> None:
    Path("net.py").write_text(NET.replace("super().__init__()", "super().__init__(); int('x')"))
    with pytest.raises(ValueError, match="invalid literal"):
        gpt.train("model=net.py", *files)


def test_a_run_of_a_file_is_opened_only_with_it(files: list[str]) -> None:
    run = gpt.train("model=net.py", "n_embd=4", "schedule=fall.py", *files, folder="run")
    assert (run.config.stage, run.config.model.hyperparameters) == ("net.Net", {"n_embd": 4, "p": 0.2})
    assert run.summary.changed == ["model=Net of net.py"]
    assert gpt.load("run", module="net.py").loss("abc") == run.loss("abc")
    registry._given.clear()
    with pytest.raises(gpt.UserError, match=r"model=net\.py:Net$"):
        gpt.load("run")
    with pytest.raises(gpt.UserError, match=r"model=net\.py:Net schedule=fall\.py:fall$"):
        gpt.train("resume=run", "training.max_iters=6")
    Path("net.py").write_text(f"{NET}\n# changed")
    with pytest.raises(gpt.UserError, match="SHA-256"):
        gpt.load("run", module="net.py")


def test_a_run_of_a_file_resumes_bit_for_bit(files: list[str]) -> None:
    own = ["model=net.py", "schedule=fall.py", "optimizer=nadam", "optimizer.momentum_decay=0.01", *files]
    gpt.train(*own, "training.max_iters=40", "checkpoint.interval=20", "checkpoint.min_seconds=0", folder="whole")
    shutil.copytree("whole", "cut")  # as if it had been killed after iteration 20
    Path("cut/summary.json").unlink()
    shutil.rmtree("cut/checkpoints/00000040")
    registry._given.clear()
    gpt.train("resume=cut", "model=net.py", "schedule=fall.py", folder="cut")
    assert len(RunFolder(Path("cut")).summary().commands) == 2
    whole, cut = (read(Path(name, "last.safetensors")) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


LAYERED = NET.replace("from torch import nn", "from torch import nn\nfrom layers import WIDTH").replace(
    "= 8,", "= WIDTH,"
)


def test_what_a_file_imports_from_its_folder_is_its_own(files: list[str]) -> None:
    for folder, width in (("a", 4), ("b", 6)):
        Path(folder).mkdir()
        Path(folder, "net.py").write_text(LAYERED)
        Path(folder, "layers.py").write_text(f"WIDTH = {width}\n")
    found = [gpt.train(f"model={folder}/net.py", *files, folder=f"run_{folder}").config.model for folder in "ab"]
    assert [choice.hyperparameters["n_embd"] for choice in found] == [4, 6]
    assert found[0].target != found[1].target
    Path("a/layers.py").write_text("WIDTH = 5\n")
    registry._given.clear()
    with pytest.raises(gpt.UserError, match="SHA-256"):
        gpt.load("run_a", module="a/net.py")
    assert gpt.train("model=a/net.py", *files).config.model.hyperparameters["n_embd"] == 5
    assert "layers" not in sys.modules


def test_the_line_ends_of_windows_are_the_same_file(files: list[str]) -> None:
    gpt.train("model=net.py", *files, folder="run")
    Path("net.py").write_bytes(NET.replace("\n", "\r\n").encode())
    registry._given.clear()
    assert gpt.load("run", module="net.py").config.stage == "net.Net"


def test_a_class_with_kwargs_takes_the_parameters_of_its_base(files: list[str]) -> None:
    Path("wide.py").write_text(
        "from net import Net\n\n\nclass Wide(Net):\n    def __init__(self, *args, more: int = 1, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n"
    )
    run = gpt.train("model=wide.py", "n_embd=4", "more=2", *files)
    assert run.config.model.hyperparameters == {"more": 2, "n_embd": 4, "p": 0.2}


def test_a_run_is_found_by_its_whole_choice(files: list[str]) -> None:
    Path("v1.py").write_text(NET)
    Path("two.py").write_text(f"{NET}\n\nclass Other(Net):\n    pass\n")
    names = ["v1.py", "v1", "two.py:Net", "two.py:Other"]
    for name in names:
        gpt.train(f"model={name}", *files, folder=f"runs/{name.replace(':', '_')}")
    for name in names:
        found = settings_of(read_words("evaluate", [f"model={name}"]))
        assert chosen_run(None, "runs", found.stage).path.name == name.replace(":", "_")


LATE = """
import torch


class Late(torch.optim.SGD):
    def step(self, closure=None):
        group = self.param_groups[0]
        group["weight_decay"] *= 0.9
        group["dampening"] += 1e-3
        for p in group["params"]:
            if group["dampening"] > 0.025:
                state = self.state[p]
                state["mean"] = state.get("mean", torch.zeros_like(p)) + p.grad
                state["calls"] = state.get("calls", 0) + 1
                p.grad = p.grad + 0.1 * state["mean"] / state["calls"]
        return super().step(closure)
"""


def test_an_optimizer_with_late_state_and_changing_groups_resumes_bit_for_bit(files: list[str]) -> None:
    Path("late.py").write_text(LATE)
    own = ["v1", "optimizer=late.py", "lr=0.1", "optimizer.momentum=0.9", "optimizer.weight_decay=0.1", *files]
    gpt.train(*own, "training.max_iters=40", "checkpoint.interval=20", "checkpoint.min_seconds=0", folder="whole")
    shutil.copytree("whole", "cut")
    Path("cut/summary.json").unlink()
    shutil.rmtree("cut/checkpoints/00000040")
    gpt.train("resume=cut", "optimizer=late.py", folder="cut")
    whole, cut = (read(Path(name, "last.safetensors")) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_schedule_scales_the_rate_of_each_group(files: list[str]) -> None:
    Path("groups.py").write_text(
        "import torch\n\n\nclass Groups(torch.optim.SGD):\n    def __init__(self, params, lr):\n"
        "        first, *others = params\n"
        "        super().__init__([{'params': [first], 'lr': 3.0}, {'params': others}], lr=lr)\n"
    )
    run = gpt.train("v3", "optimizer=groups.py", "lr=0.5", "schedule=fall.py", *files)
    assert run.evaluations[0].learning_rates == {"0": 3.0, "1": 0.5}
    assert run.evaluations[-1].learning_rates == {"0": 3.0 * 0.5 ** (3 / 100), "1": 0.5 * 0.5 ** (3 / 100)}


def test_a_parameter_without_a_gradient_is_named_once_and_stays(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    idle = NET.replace("self.block_size = 8", "self.block_size = 8; self.idle = nn.Linear(1, 1)")
    Path("net.py").write_text(
        idle.replace("nn.Linear(n_embd, vocab_size)", "nn.Linear(n_embd, vocab_size, bias=False)")
    )
    run = gpt.train("model=net.py", *files, "optimizer.weight_decay=0.5")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "no gradient" in line]
    assert "idle.weight, idle.bias" in line
    assert run.summary.iterations == 4


def test_a_schedule_is_called_for_every_iteration_before_the_run(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("table.py").write_text("def table(step):\n    return [1.0, 0.5, 0.2][step]\n")
    with pytest.raises(gpt.UserError, match="fails at step 3: IndexError"):
        gpt.train("v1", "schedule=table.py", *files, folder="run")
    assert not Path("run").exists()
    Path("rate.py").write_text("def rate(it, max_iters):\n    return 1e-3 * (1 - it / max_iters)\n")
    gpt.train("v1", "schedule=rate.py", *files)
    assert "at most 0.001" in capsys.readouterr().err
    late = [gpt.train("v1", *files, schedule=lambda step, at=at: float(step < at)) for at in (2000, 3000)]
    assert late[0].config.schedule != late[1].config.schedule


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("model=absent.py", "absent.py"),
        ("model=fall.py", "fall.py"),
        ("model=net.py:Nat", "net.py:Nat"),
        ("model=two.py", "model=two.py:Other"),
        ("model=broken.py", "broken.py: line 2"),
        ("model=future.py", "no language model"),
        ("model=net.py model.n_embd=many", "model.n_embd=many"),
        ("own.yaml", "model=net.py"),
        ("optimizer=LBFGS", "optimizer=LBFGS"),
        ("optimizer=Muon", "optimizer=Muon"),
        ("optimizer=Adam optimizer.betas=few", "optimizer=Adam"),
        ("schedule=net.py", "net.py"),
        ("schedule=wrong.py:text", "schedule=text"),
        ("schedule=wrong.py:minus", "schedule=minus"),
    ],
)
def test_code_that_does_not_fit_is_one_line(files: list[str], words: str, named: str) -> None:
    Path("two.py").write_text(f"{NET}\nclass Other(Net):\n    pass\n")
    Path("broken.py").write_text("x = 0\n1 / x\n")
    Path("future.py").write_text(NET.replace("self.table(idx)", "self.table(idx.flip(1))"))
    Path("wrong.py").write_text("def text(step):\n    return 'a'\n\n\ndef minus(step):\n    return -1\n")
    Path("own.yaml").write_text("model: net.py\n")
    with pytest.raises(gpt.UserError, match=named) as error:
        gpt.train(*words.split(), *files, folder="run")
    assert "\n" not in str(error.value)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "name", ["Adadelta", "Adafactor", "Adagrad", "AdamW", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"]
)
def test_an_optimizer_of_torch_is_restored_exactly(name: str) -> None:
    def made() -> Trainer:
        choice = Choice.model_validate(
            {"_target_": f"torch.optim.{name}"} | ({"momentum": 0.9} if name == "SGD" else {})
        )
        trainer = small_trainer("v2")
        trainer.optimizer = OPTIMIZER.build(choice, model=trainer.model, learning_rate=0.01)
        return trainer

    def step(trainer: Trainer, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in trainer.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        trainer.optimizer.step({"all": 0.01}, torch.zeros(()))

    whole, resumed = made(), made()
    step(whole, 1)
    saved = {key: tensor.clone() for key, tensor in whole.tensors().items()}
    resumed.restore(whole.state, saved)
    for trainer in (whole, resumed):
        step(trainer, 2)
    kept = [{k: v for k, v in trainer.tensors().items() if not k.startswith("random")} for trainer in (whole, resumed)]
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(kept[0][key], kept[1][key]) or key == "last_batch" for key in kept[0])


@pytest.mark.slow
def test_the_code_of_a_sweeps_folder_is_not_run(files: list[str]) -> None:
    command = [sys.executable, REPOSITORY / "train.py"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    sweep = ["-m", "model=net.py", "seed=1,2", "hydra.sweep.dir=sweep", *files]
    subprocess.run([*command, *sweep], env=environment, check=True, capture_output=True)
    Path("net.py").write_text("open('executed', 'w')\n")
    done = subprocess.run([*command, "resume=sweep"], env=environment, capture_output=True, text=True)
    assert done.stderr.endswith(" model=net.py\n")
    assert not Path("executed").exists()


def test_a_program_has_schedules_batches_and_pictures(files: list[str], tmp_path: Path) -> None:
    run = gpt.train("v2", *files, schedule=lambda step: 0.5**step, folder="run")
    assert [row["learning_rate"] for row in run.history[1:]] == [0.25e-3, 0.125e-3]
    drawn = list(itertools.islice(run.batches("train"), 2))
    assert [tuple(x.shape) for x in drawn[0]] == [(32, 8), (32, 8)]
    assert torch.equal(drawn[0][0][:, 1:], drawn[0][1][:, :-1])
    assert not torch.equal(drawn[0][0], drawn[1][0])
    again = gpt.train("v2", *files)
    assert torch.equal(next(again.batches("train"))[0], drawn[0][0])
    assert sum(targets.numel() for _, targets in run.batches("val")) >= len(run.corpus().val) - 1
    ids = run.tokenizer.encode(run.corpus().train)
    assert next(iter(DataLoader(ids.unfold(0, 9, 1), batch_size=4))).shape == (4, 9)
    assert run.attention("abc").plot().content.startswith(b"\x89PNG")
    with pytest.raises(gpt.UserError, match="attention"):
        gpt.train("v1", *files).attention("abc").plot()
