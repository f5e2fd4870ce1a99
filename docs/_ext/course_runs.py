"""The runs that the course's pictures show: trained by a build of the site, and reused while they are as they would be.

Most are shorter than the documented runs, so that a build takes minutes.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util import logging

import gpt
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.data.corpora import shakespeare
from gpt.data.corpus import TextCorpus
from gpt.models import STAGE
from gpt.runs.finding import has_same_settings
from gpt.runs.folder import RunFolder
from gpt.session.trained import TrainedRun
from gpt.tasks import load_corpus

_REPOSITORY = Path(__file__).parents[2]
_EXCERPT = 10_000  # characters, few enough for a small model to memorise
_SIZE = ["model.n_embd=96", "model.n_head=4", "model.n_layer=3"]
_SMALL_V7 = [
    "model=v7",
    "model.block_size=32",
    *_SIZE,
    "training.max_iters=600",
    "training.batch_size=32",
    "training.learning_rate=3e-3",
    "training.eval_interval=50",
    "training.eval_iters=20",
    "data=text",
]
_EVALUATED = ["training.eval_interval=200", "training.eval_iters=50"]
_SHORT = ["training.max_iters=2000", *_EVALUATED]
_KEPT = ["checkpoint.snapshots=20"]  # for the slider of the live stages
_HIGH = ["training.learning_rate=1e-2"]
_RECALL = [
    "model.block_size=9",
    "data=recall",
    "data.distance=0",
    "metrics=accuracy",
    "training.learning_rate=3e-3",
    "training.batch_size=64",
    "training.max_iters=1500",
    "training.eval_interval=100",
    "training.eval_iters=20",
]

_BY_MUON = [
    "optimizer=muon_decay",
    "schedule=linear",
    "training.learning_rate=1e-2",
    "training.batch_size=16",
    "training.max_iters=1200",
    "training.eval_interval=200",
    "training.eval_iters=20",
]

# The command lines by the name of the run; those that take longest first.
COMMANDS = {
    "v7": ["model=v7", "model.block_size=64", *_SIZE, "model.dropout=0.1", *_BY_MUON],
    "v6": ["model=v6", *_SHORT, *_KEPT],
    "v6_high": ["model=v6", *_SHORT, *_HIGH],
    "v6_decay": ["model=v6", *_SHORT, *_HIGH, "schedule=cosine"],
    "v6_warmup": ["model=v6", *_SHORT, *_HIGH, "schedule=cosine", "schedule.warmup_iters=100"],
    "v5": ["model=v5", *_SHORT, *_KEPT],
    "v9": ["experiment=records/08_two_tokens"],
    "v8": [
        "model=v8",
        "model.n_embd=64",
        "model.n_layer=2",
        "training.batch_size=4",
        "training.max_iters=600",
        "training.eval_interval=100",
        "training.eval_iters=10",
    ],
    "without_dropout": [*_SMALL_V7, "model.dropout=0"],
    "with_dropout": [*_SMALL_V7, "model.dropout=0.3"],
    "reverse": ["experiment=reverse", "training.max_iters=600"],
    "gru": ["model=gru", "model.block_size=32", *_HIGH, "training.max_iters=600", *_EVALUATED],
    "recall": ["model=v6", "model.n_layer=2", "model.n_head=1", *_RECALL, *_KEPT],
    "gru_recall": ["model=gru", *_RECALL],
    "v4": ["model=v4", *_SHORT],
    "v3_ffn": ["model=v3_ffn", *_SHORT],
    "v3": ["model=v3", *_SHORT, *_KEPT],
    "v2": ["model=v2", *_SHORT],
    "v1": ["model=v1", *_EVALUATED],
}

log = logging.getLogger(__name__)


def corpus() -> TextCorpus:
    """Tiny Shakespeare, as the stages are trained on it."""
    return shakespeare(train_fraction=0.9)


def is_older(path: Path, sources: Iterable[Path]) -> bool:
    """Whether a file is missing, or older than one of those that it is made from."""
    return not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources)


def train_stale(folder: Path) -> Mapping[str, TrainedRun]:
    """The runs below `folder`, by name. Those that are missing, or have another configuration or corpus than their
    command gives now, are trained, one per core at a time.

    Raises ExtensionError if one fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    excerpt = folder / "excerpt.txt"
    excerpt.write_text(corpus().train[:_EXCERPT], encoding="utf-8")
    lines = {name: _line(name, excerpt) for name in COMMANDS}
    stale = [name for name, line in lines.items() if not _is_fresh(RunFolder(folder / name), line)]
    if stale:
        log.info("training %s", ", ".join(stale))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda name: _train(folder / name, lines[name]), stale))
    return {name: gpt.load(folder / name, device="cpu") for name in COMMANDS}


def _line(name: str, excerpt: Path) -> list[str]:
    """The command line of a run, without its folder."""
    path = [f"data.path={excerpt}"] if "data=text" in COMMANDS[name] else []
    return [*COMMANDS[name], *path, "device=cpu"]


def _is_fresh(run: RunFolder, line: list[str]) -> bool:
    """Whether a run is what this command line trains, and finished. What another one began to train is removed."""
    if not run.is_started():
        return False
    config = compose(read("train", line))
    digest = load_corpus(config.data, STAGE.find(config.model)).digest
    if (
        has_same_settings(run.config(), config, {"checkpoint", "metrics", "training.max_iters"})
        and run.vocabulary().corpus == digest
    ):
        return run.is_finished()
    shutil.rmtree(run.path)
    return False


def _train(folder: Path, line: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, _REPOSITORY / "train.py", *line, f"hydra.run.dir={folder}", "resume=auto"],
        cwd=folder.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ExtensionError(f"train.py {' '.join(line)} failed: {done.stderr.strip()}")
    log.info("trained %s", folder.name)
