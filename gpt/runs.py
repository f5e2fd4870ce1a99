"""The run folder: all there is to know of a run. It is data; nothing in it is ever unpickled or executed.

    config.yaml        everything that was asked for, resolved
    tokenizer.json     the vocabulary
    metrics.jsonl      one line an evaluation
    last.safetensors   the final weights; best.safetensors: those of the lowest estimated validation loss
    summary.json       what came out; it is there if and only if the run was finished
    loss.png, sample.txt, train.log
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import nn

from gpt.config import TrainConfig, explain
from gpt.errors import RequestError, UserError
from gpt.files import write_atomically
from gpt.tokenizer import CharTokenizer

Weights = Literal["best", "last"]


class RunFolder:
    """One run on disk. Raises UserError where a file is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        """A new folder `name`, or `name_2` and so on where that is taken: two runs never share one."""
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = parent / (name if number == 1 else f"{name}_{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return cls(path)

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """Write what the package logs to train.log as well."""
        handler = logging.FileHandler(self.path / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger = logging.getLogger("gpt")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()

    def write_config(self, config: TrainConfig) -> None:
        """Keep the resolved configuration."""
        content = config.model_dump(by_alias=True, exclude_unset=True)
        write_atomically(self.path / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def config(self) -> TrainConfig:
        """The configuration that the run was made with."""
        try:
            return TrainConfig.model_validate(yaml.safe_load(self._read("config.yaml")))
        except yaml.YAMLError:
            raise UserError(f"{self.path / 'config.yaml'} is damaged: it is not YAML") from None
        except ValidationError as error:
            raise UserError(f"{self.path / 'config.yaml'} is damaged: {explain(error)}") from None

    def write_tokenizer(self, tokenizer: CharTokenizer) -> None:
        """Keep the vocabulary."""
        content = {"vocabulary": tokenizer.vocabulary}
        write_atomically(self.path / "tokenizer.json", json.dumps(content, ensure_ascii=False, indent=2))

    def tokenizer(self) -> CharTokenizer:
        """The tokenizer that the run was trained with."""
        vocabulary = self._read_json("tokenizer.json").get("vocabulary")
        if not isinstance(vocabulary, str) or not vocabulary:
            raise UserError(f"{self.path / 'tokenizer.json'} is damaged: it has no vocabulary")
        return CharTokenizer(vocabulary)

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Add the line of one evaluation."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """One dictionary an evaluation, in order."""
        try:
            return [json.loads(line) for line in self._read("metrics.jsonl").splitlines()]
        except ValueError:
            raise UserError(f"{self.path / 'metrics.jsonl'} is damaged: not every line is JSON") from None

    def save_weights(self, model: nn.Module, which: Weights) -> None:
        """Keep the model's weights, in place of those of that name before."""
        write_atomically(self.path / f"{which}.safetensors", safetensors.save(model.state_dict()))

    def load_weights(self, model: nn.Module, which: Weights) -> None:
        """Put the run's weights into a model that was built from its configuration."""
        path = self.path / f"{which}.safetensors"
        try:
            model.load_state_dict(safetensors.load_file(path))
        except FileNotFoundError:
            raise UserError(f"{path} is missing: the run has no {which} weights") from None
        except (SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} is damaged or belongs to another model: {reason}") from None

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Declare the run finished."""
        write_atomically(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    def summary(self) -> dict[str, Any]:
        """What came out of a finished run."""
        return self._read_json("summary.json")

    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "summary.json").is_file()

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.path} is not a run folder: it has no {name}") from None
        except UnicodeDecodeError:
            raise UserError(f"{self.path / name} is damaged: it is not UTF-8 text") from None

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self._read(name))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UserError(f"{self.path / name} is damaged: it is not a JSON object")
        return content


def finished_runs(root: Path) -> list[RunFolder]:
    """All finished runs below `root`, the oldest first. Raises RequestError if `root` is not a folder."""
    if not root.is_dir():
        raise RequestError(f"there is no folder {root}: train a stage first, as in python train.py model=v1")
    runs = [RunFolder(summary.parent) for summary in root.rglob("summary.json")]
    return sorted(runs, key=lambda run: (str(run.summary().get("finished")), str(run.path)))


def newest_finished_run(root: Path) -> RunFolder:
    """The run that finished last. Raises RequestError if there is none."""
    runs = finished_runs(root)
    if not runs:
        raise RequestError(f"no finished run in {root}: train a stage first, as in python train.py model=v1")
    return runs[-1]


def now() -> str:
    """The local time with its offset, as summaries keep it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
