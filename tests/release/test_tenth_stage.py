"""A tenth stage on the ladder is two files: no list, test, picture or page needs to know of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MODULE = '''
"""v10: gated feed-forward layers, and a norm that subtracts no mean before them."""

from torch import Tensor, nn
from torch.nn.functional import silu

from gpt.config.choices import Depth, Fraction, Length, Size
from gpt.models import v8_modern


class GatedFeedForward(nn.Module):
    """A linear layer times the gate of another."""

    label = "gated feed-forward"

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(n_embd, 2 * n_embd), nn.Linear(n_embd, 2 * n_embd)
        self.projection = nn.Linear(2 * n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        return self.projection(self.value(x) * silu(self.gate(x)))


class GPT(v8_modern.GPT):
    """embedding -> L blocks -> logits."""

    def __init__(
        self, vocab_size: int, block_size: Length, n_embd: Size, n_head: Size, n_layer: Depth, dropout: Fraction
    ) -> None:
        super().__init__(vocab_size, block_size, n_embd, n_head, n_layer, dropout)
        for block in self.blocks:
            block.feed_forward, block.feed_forward_norm = GatedFeedForward(n_embd), nn.RMSNorm(n_embd)
'''

# Whatever lists the ladder: its order, --help, arithmetic, what is inside, and pictures.
TESTS = {
    "tests/base/test_ladder.py": "",
    "tests/inspection": "v10",
    "tests/docs/test_pictures.py": "v10",
    "tests/docs/test_course.py": "every_picture",
    "tests/cli/test_stages.py": "help_lists or v10",
    "tests/models/test_stages.py": "v10 or is_a_file",
    "tests/session/test_trained.py": "v10",
    "tests/training/test_optimizers.py": "v10",
}

# What a reader sees of it: a training, the documented losses, the page's description, and a prediction from inside.
SEEN = """
import gpt
from gpt.playground import inspect
from gpt.playground.describe import in_full
from gpt.reports.documented import compare
from gpt.runs.finding import FinishedRun
small = ["model.block_size=8", "model.n_embd=16", "model.n_head=2", "model.n_layer=2", "device=cpu"]
short = ["training.max_iters=4", "training.eval_interval=4", "training.eval_iters=1", "data.tokenizer=characters"]
run = gpt.train("model=v10", "data=text", "data.path=corpus.txt", *small, *short, folder="runs/ten")
page = in_full("id", run.run, run.summary)
assert page["opens"]
(units,) = [row["parts"] for row in page["flow"] if row["parts"][0]["name"] == "feed_forward"]
assert [(part["label"], part["since"]) for part in units] == [
    ("gated feed-forward", "v10"), ("2 times as wide", "v5"), ("value", "v10"), ("gate", "v10")]
plus = ["x + attention", "x + feed-forward"]
assert list(page["switches"]["layer 2"]) == ["all of it", "head 1", "head 2", "all heads", "feed-forward", *plus]
values = inspect.inside(run, run.tokenizer.encode("abc").tolist(), 2)
assert {"blocks.1.feed_forward.gate", "stream.blocks.1.feed_forward", "lens.blocks.1.feed_forward"} <= values.keys()
added = sum(x for name, x in values.items() if name.startswith("blocks") and name.endswith(("attention", "forward")))
assert values["stream.blocks.1.feed_forward"].allclose(values["stream.embedding"] + added, atol=1e-5)
off = inspect.logits(run, [1, 2, 3], ["blocks.0.feed_forward"])
assert not off.allclose(inspect.logits(run, [1, 2, 3]))
alike = [run.summary.model_copy(update={"changed": [], "stage": stage}) for stage in ("gru", "v10", "v9", "v2")]
found = [FinishedRun(run.run, summary) for summary in alike]
assert [row.stage for row in compare(found, tolerance=0.1).rows] == ["v2", "v9", "v10", "gru"]
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with v10.py and v10.yaml."""
    folder = tmp_path_factory.mktemp("repository")
    for path in REPOSITORY.iterdir():
        if path.name in ("gpt", "conf", "tests"):
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif not path.name.startswith(".") and path.name != "runs":
            (folder / path.name).symlink_to(path)
    (folder / "gpt" / "models" / "v10_gated.py").write_text(MODULE.lstrip())
    v8 = (folder / "conf" / "model" / "v8.yaml").read_text()
    (folder / "conf" / "model" / "v10.yaml").write_text(v8.replace("v8_modern", "v10_gated"))
    return folder


def python(copy: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_all_stages_pass_for_it(copy: Path) -> None:
    names = {name for names in TESTS.values() for name in names.split(" or ") if name}
    chosen = f"({' or '.join(names)} or test_ladder) and not overfits"
    said = python(
        copy, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not release", "-k", chosen, *TESTS
    )
    (passed,) = re.findall(r"(\d+) passed", said)
    assert int(passed) > 12


def test_it_is_trained_listed_and_seen_from_inside(copy: Path, corpus_file: Path) -> None:
    shutil.copy(corpus_file, copy / "corpus.txt")
    python(copy, "-c", SEEN)
