"""What the tests share: a small corpus, trained runs, the stages as conf/ describes them, the scripts as processes.

A test that only needs *a* run takes one that all tests and workers share, from the fixture `trained_run`:

    run = trained_run("v5")                               # a run folder, trained at its first use by anybody
    run = trained_run("v7", "training.average_last=0.5")  # with other settings: another run
    own = shutil.copytree(run, tmp_path / "run")          # to change it, or to resume it

The fewer the different settings, the fewer the trainings: prefer what another test already asks for. What the command
printed is beside the run, in `output.txt`. These runs are kept between test sessions, in .pytest_cache, until the
package, its configuration, the text or a version changes. Ask for one before you patch anything: it is trained in the
process of the test.
"""

import contextlib
import hashlib
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# The tests use all cores already: the threads of several processes would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from torch import nn

from gpt import models
from gpt.base.ladder import LADDER
from gpt.base.runtime import Runtime
from gpt.config.command_schemas import CompareConfig
from gpt.config.schema import TrainConfig
from gpt.data.corpora import LOADER
from gpt.data.corpus import TextCorpus
from gpt.data.text import TextData
from gpt.data.tokenizers.characters import CharTokenizer
from gpt.models import STAGE
from gpt.registry import Choice
from gpt.runs.folder import RunFolder
from gpt.training.optimizers import OPTIMIZER
from gpt.training.schedules import SCHEDULE
from tests.called import call
from tests.forked import Forked

# On a busy machine, any example may take long.
hypothesis.settings.register_profile("patient", deadline=None, max_examples=40)
hypothesis.settings.load_profile("patient")
# A suite in the background ignores Ctrl-C; the commands that it starts must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("GPT_DATA_DIR", REPOSITORY / "data")).resolve()  # the folder of downloaded corpora
# Folders whose tests belong to another tier than those of a plain `pytest`; elsewhere, a mark says so.
_TIERS = dict.fromkeys(("docs", "exercises", "exporting", "faults", "playground", "searching"), "slow")
_TIERS |= {"release": "release", "slurm": "slurm"}
_QUICK = "not slow and not release and not slurm"  # of a plain `pytest`: addopts in pyproject.toml
_DAY = 24 * 3600  # seconds
_SHORT = [
    "training.max_iters=20",
    "training.eval_interval=10",
    "training.eval_iters=2",
    "training.batch_size=8",
    "checkpoint.interval=10",
    "checkpoint.min_seconds=0",
    "device=cpu",
]
CPU = Runtime(torch.device("cpu"))


def tier_of(path: Path) -> str | None:
    """The tier that the folder of a test says."""
    return next((tier for folder, tier in _TIERS.items() if path.is_relative_to(REPOSITORY / "tests" / folder)), None)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no folder whose tests are not asked for: that takes seconds."""
    is_quick = config.option.markexpr == _QUICK
    return True if is_quick and tier_of(collection_path) is not None else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if tier := tier_of(item.path):
            item.add_marker(tier)


def shell_commands(page: str) -> list[str]:
    """The commands in the shell blocks of a page of the docs, without the comments behind them."""
    text = (REPOSITORY / "docs" / page).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line.partition("   #")[0].strip() for block in blocks for line in block.splitlines()]


def stage_config(stage: str) -> DictConfig:
    """conf/train.yaml with the stage's own values, and with those of the stage that it changes, if it is a twin."""
    conf, config = REPOSITORY / "conf", OmegaConf.load(REPOSITORY / "conf" / "model" / f"{stage}.yaml")
    changed = [name for name in config.get("defaults", []) if isinstance(name, str) and name != "_self_"]
    bases = [OmegaConf.load(conf / "model" / f"{name}.yaml") for name in changed]
    return OmegaConf.merge(OmegaConf.load(conf / "train.yaml"), *bases, config)


def check_config(content: dict[str, Any]) -> None:
    """Check a configuration as the program does before it builds anything."""
    config = TrainConfig.model_validate(content)
    for kind, choice in (
        (STAGE, config.model),
        (LOADER, config.data),
        (OPTIMIZER, config.optimizer),
        (SCHEDULE, config.schedule),
    ):
        kind.partial(choice)


def build(stage: str, vocab_size: int = 65, seed: int = 0, **changes: Any) -> nn.Module:
    """The stage with its documented hyperparameters but for `changes`, in evaluation mode."""
    torch.manual_seed(seed)
    values: Any = OmegaConf.to_container(stage_config(stage).model)
    return models.build(Choice.model_validate(values | changes), vocab_size).eval()


def small_size(stage: str) -> dict[str, int]:
    """Hyperparameters for fast tests: only the sizes from v7 on are large."""
    return {"block_size": 16, "n_embd": 32, "n_head": 4, "n_layer": 2} if is_from(stage, "v7") else {}


def is_from(stage: str, first: str) -> bool:
    """Whether a stage, or the one that it is an ablation of, comes no earlier than another, as hybrid does."""
    original = stage.partition("_with")[0]
    return original == "hybrid" or original in LADDER[LADDER.index(first) :]


def build_small(stage: str, **changes: Any) -> nn.Module:
    """The stage at a size for fast tests, with no weight that is zero."""
    model = build(stage, **(small_size(stage) | changes))
    if is_from(stage, "v8"):  # what begins at zero would hide the rest
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model


def compare_config(**changes: Any) -> CompareConfig:
    """The settings of compare.py, without conf/."""
    values = {"runs": ".", "stage": [], "tags": [], "metric": "exact", "x": "iterations", "by": None, "out": None}
    return CompareConfig.model_validate(values | {"title": None, "tolerance": 0.1} | changes)


def split_text(text: str, train_fraction: float = 0.9) -> TextCorpus:
    """A text as a corpus."""
    boundary = int(train_fraction * len(text))
    return TextCorpus(text[:boundary], text[boundary:])


def text_data(text: str, block_size: int = 8, train_fraction: float = 0.9) -> TextData:
    """A text in windows, with the tokenizer of its own characters."""
    return TextData(split_text(text, train_fraction), CharTokenizer(text), block_size=block_size)


def empty_run(path: Path) -> RunFolder:
    """A run folder with nothing in it but its record."""
    path.mkdir(parents=True)
    run = RunFolder(path)
    run.create_record()
    return run


def small_corpus() -> str:
    """20,000 characters with some structure: random words of a small vocabulary, in lines."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 7))) for _ in range(50)]
    lines = (" ".join(draw.choices(words, k=8)).capitalize() + ".\n" for _ in range(1000))
    return "".join(lines)[:20_000]


@pytest.fixture(scope="session")
def text() -> str:
    return small_corpus()


@pytest.fixture(scope="session")
def data(text: str) -> TextData:
    return text_data(text)


@pytest.fixture(scope="session")
def tokenizer(text: str) -> CharTokenizer:
    return CharTokenizer(text)


def succeeded(done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    """A process, which must have succeeded."""
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


def refused(done: subprocess.CompletedProcess, message: str) -> None:
    """Check that a command was refused in one line which has this message."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


Script = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def script() -> Script:
    """Run a script in a process, as a user would: script("train.py", "model=v1", cwd=folder). `called` is faster."""

    def run(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
        command = [str(REPOSITORY / name), *arguments]
        # Libraries read the environment when they are imported, and joblib's workers outlive a forked parent.
        if not environment and "hydra/launcher=joblib" not in arguments:
            return Forked(command, cwd).finished()
        return subprocess.run(
            [sys.executable, *command],
            cwd=cwd,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=1200,
        )

    return run


def _call(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """`script`, in the present process."""
    return call([str(REPOSITORY / name), *arguments], cwd, environment)


@pytest.fixture(scope="session")
def called() -> Script:
    """`script`, in the present process: faster, where no process is what is tested."""
    return _call


Once = Callable[[str, Callable[[Path], object]], Path]


def _filled(place: Path, name: str, fill: Callable[[Path], object]) -> Path:
    """A folder in `place` that is filled at its first use, by whoever needs it first."""
    folder, full = place / name, place / f"{name}.full"
    with FileLock(place / f"{name}.lock"):
        if not full.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            fill(folder)
            full.touch()
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder that all workers of a test run share: once(name, fill) fills it at its first use; nobody changes it."""
    own = tmp_path_factory.getbasetemp()
    return partial(_filled, own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config, once: Once) -> Once:
    """`once`, for what later test sessions find again: it depends on what the digest is of, and on its name alone."""
    if (cache := getattr(pytestconfig, "cache", None)) is None:  # -p no:cacheprovider
        return once
    digest = hashlib.sha256(f"{platform.python_version()} {platform.processor()}".encode())
    for package in ("torch", "numpy", "hydra-core", "omegaconf", "pydantic", "safetensors", "tokenizers"):
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f"{package} {version(package)}".encode())
    files = (
        path for part in ("gpt", "conf") for path in (REPOSITORY / part).rglob("*") if path.suffix in (".py", ".yaml")
    )
    for path in [*sorted(files), REPOSITORY / "data" / "tinyshakespeare.txt", Path(__file__)]:
        digest.update(f"{path.relative_to(REPOSITORY)} {path.stat().st_size}\n".encode() + path.read_bytes())
    place = cache.mkdir("runs") / digest.hexdigest()[:12]
    place.mkdir(exist_ok=True)
    for earlier in place.parent.iterdir():
        if time.time() - earlier.stat().st_mtime > _DAY:
            shutil.rmtree(earlier, ignore_errors=True)
    os.utime(place)
    return partial(_filled, place)


@pytest.fixture(scope="session")
def corpus_file(text: str, kept: Once) -> Path:
    name = "words, and (more).txt"
    return kept("corpus", lambda folder: (folder / name).write_text(text)) / name


@pytest.fixture
def folder(tmp_path: Path, text: str) -> Path:
    """A working folder with the small corpus as corpus.txt."""
    (tmp_path / "corpus.txt").write_text(text)
    return tmp_path


TrainedOnce = Callable[..., Path]


@pytest.fixture(scope="session")
def trained_run(corpus_file: Path, kept: Once) -> TrainedOnce:
    """trained_run(stage, *settings): the run folder of a short training with these settings, which nobody changes.

    The stage is at its small size. It is trained on the shared corpus, unless `settings` name their own `data=`.
    """

    def trained(stage: str, *settings: str) -> Path:
        size = [f"model.{name}={value}" for name, value in small_size(stage).items()]
        has_data = any(setting.startswith("data=") for setting in settings)
        corpus = [] if has_data else ["data=text", f"data.path={corpus_file}"]
        command = ["train.py", f"model={stage}", *size, *_SHORT, *corpus, *settings]

        def train(folder: Path) -> None:
            done = succeeded(_call("train.py", *command[1:], "hydra.run.dir=run", cwd=folder))
            (folder / "output.txt").write_text(done.stdout)

        digest = hashlib.sha256("\n".join(command).encode()).hexdigest()[:12]
        return kept(f"{stage}_{digest}", train) / "run"

    return trained


@pytest.fixture(scope="session")
def trained(corpus_file: Path, kept: Once) -> Path:
    """A working folder in which a small v7 was trained with the command line."""
    size = [f"model.{name}={value}" for name, value in small_size("v7").items()]
    length = ["training.max_iters=60", "training.eval_interval=20", "training.eval_iters=2", "training.batch_size=16"]
    settings = ["model=v7", *size, *length, "training.learning_rate=1e-2", "data=text", f"data.path={corpus_file}"]
    return kept("trained", lambda folder: succeeded(_call("train.py", *settings, cwd=folder)))
