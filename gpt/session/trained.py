"""A trained model: its loss on a text, its predictions and continuations, its attention."""

import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import torch
from torch import Tensor, nn

from gpt import tasks
from gpt.base.errors import RequestError, UserError
from gpt.base.files import read_text_file
from gpt.base.losses import Loss, LossScope, in_words
from gpt.base.runtime import random_numbers_kept, select_device, select_runtime
from gpt.config.schema import Documented, Saved, TrainConfig, Weights
from gpt.data.batch import Batch
from gpt.data.corpora import LOADER, type_of
from gpt.data.corpus import Corpus
from gpt.data.lines import Lines
from gpt.data.tokenizer import TextTokenizer
from gpt.inspection.attention_weights import AttentionWeights
from gpt.models import Stage
from gpt.registry import Choice
from gpt.reports.attention import AttentionMaps
from gpt.reports.run import Picture, Table, card, curve_of_run, history, loss_curve
from gpt.runs.folder import RunFolder
from gpt.runs.naming import chosen_run
from gpt.runs.records import Summary
from gpt.runs.weights import load_model, selected
from gpt.session.build import configured_data
from gpt.session.trained_on import same_corpus
from gpt.session.user_module import Module, given_module
from gpt.tasks.continuation import Continuation
from gpt.tasks.decoding.sampling import checked_logits
from gpt.tasks.task import Task
from gpt.training.evaluation import loss_over, tokens_per_pass
from gpt.training.objectives import BatchLoss, batch_loss, target_losses
from gpt.training.state import Evaluation
from gpt.training.trainer import Trainer

log = logging.getLogger(__name__)


def load_run(
    path: str | Path | None = None,
    *,
    runs: str | Path = "runs",
    stage: str | None = None,
    weights: Weights = "auto",
    device: str = "auto",
    module: Module | str | None = None,
) -> "TrainedRun":
    """Open a run; `gpt.load` calls this."""
    run = chosen_run(None if path is None else str(path), str(runs), stage)
    which = selected(run, weights)
    target = run.config().model.target
    with (
        random_numbers_kept(),
        given_module(module, target),
    ):  # Building the model draws weights that are then replaced.
        model = load_model(run, which)
    if module is not None and type(model).__name__ != target.rpartition(".")[2]:
        log.warning(f"{run.path} is a run of {target}, and its weights are loaded into {type(model).__name__}")
    return TrainedRun(run, which, model.to(select_device(device)))


class Trained(ABC):
    """A trained model with its task, in evaluation mode."""

    def __init__(self, model: Stage, task: Task, config: TrainConfig, which: Saved | int) -> None:
        self.model, self.task, self.config, self.which = model.eval(), task, config, which
        self.runtime = select_runtime(self.device, config.dtype, model)

    @property
    @abstractmethod
    def evaluations(self) -> list[Evaluation]:
        """The estimated losses in the order of their iterations."""

    @property
    def history(self) -> Table:
        """The estimated losses as a table, a row per evaluation."""
        return history(self.evaluations)

    @property
    def documented(self) -> Documented:
        """The losses documented for its stage; None where there are none."""
        return self.config.documented

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self.model.parameters()).device

    def loss(self, text: str, target: str | None = None) -> float:
        """The mean loss over a text, in nats per token, or over the translation `target` of a sentence.

        A text is read in adjacent windows of `block_size` tokens; its first token is not predicted. Characters outside
        the vocabulary are left out, with a warning.
        """
        return self.loss_of(text, target).nats

    def loss_of(
        self,
        text: str,
        target: str | None = None,
        *,
        name: str = "text",
        most: int | None = None,
        loss: BatchLoss = batch_loss,
    ) -> Loss:
        """The same with its units: `per("character")` compares runs with different tokenizers.

        A text with more than `most` targets gives a sample of about that many.
        """
        sizes = self.task.tokenizer.sizes_in(_text(text)) if isinstance(self.task, Continuation) else None
        kind = type_of(LOADER.find(self.config.data))
        if kind is not None and issubclass(kind, Lines):
            log.warning("this model was trained on lines, each a window of its own: a text gives another loss")
        size, over = tokens_per_pass(self.runtime, self.model), LossScope(split=name, token=self.task.token)
        targets = self.task.batches(self.model, _text(text), target and _text(target), tokens_per_pass=size, most=most)
        with self.runtime.settings():
            return loss_over(self.model, targets, "loss of the text", self.runtime, over, loss=loss, sizes=sizes)

    def losses(self, text: str) -> list[tuple[str, float]]:
        """Each token of a text with its own loss, in nats, in the order of the text; their mean is `loss(text)`.

        The first token, which nothing predicts, and characters outside the vocabulary are missing. Bytes that are not a
        whole character are shown as <0xE2>. Raises RequestError for a run that does not continue a text.
        """
        shown, found = self.tokenizer.shown, list[tuple[str, float]]()

        def kept(model: nn.Module, batch: Batch) -> Tensor:
            losses = target_losses(model, batch)
            tokens = (shown[i] for i in batch.targets.flatten().tolist())
            found.extend(zip(tokens, losses.tolist(), strict=True))
            return losses.mean()

        self.loss_of(text, loss=kept)
        return found

    @torch.no_grad()
    def next_token(self, prompt: str) -> dict[str, float]:
        """The probability of each possible next token after the prompt, the likeliest first."""
        with self.runtime.settings():
            logits = checked_logits(self.model(self._window(prompt))[0, -1])  # (V,)
        p, ids = logits.float().softmax(dim=-1).sort(descending=True)
        return {self.tokenizer.shown[i]: x for i, x in zip(ids.tolist(), p.tolist(), strict=True)}

    @overload
    def generate(self, prompt: str | None = None, *, num_samples: None = None, **options: Any) -> str: ...

    @overload
    def generate(self, prompt: str | None = None, *, num_samples: int, **options: Any) -> list[str]: ...

    def generate(self, prompt: str | None = None, *, num_samples: int | None = None, **options: Any) -> str | list[str]:
        """A continuation of the prompt, without the prompt, or a translation of it; with `num_samples`, a list of them.

        `options` are fields of SamplingConfig (tokens=500, seed=1337, temperature=1.0, top_k, top_p, ...) or BeamConfig
        (beam=5, length_penalty=1.0), both in gpt/config/command_schemas.py.
        """
        with self.runtime.settings():
            outputs = self.task.outputs(self.model, prompt, 1 if num_samples is None else num_samples, **options)
        return outputs[0] if num_samples is None else outputs

    @torch.no_grad()
    def attention(self, prompt: str) -> AttentionMaps:
        """The attention weights over the prompt, one tensor per layer: (H, T, T), row t for position t.

        Only the last `block_size` tokens of the prompt are read. Empty for a stage without attention.
        """
        idx = self._window(prompt)
        with self.runtime.settings(), AttentionWeights() as observed:
            self.model(idx)
        tokens = [self.tokenizer.shown[i] for i in idx[0].tolist()]
        return AttentionMaps([weights[0].float().cpu() for weights in observed.weights], tokens)

    @abstractmethod
    def corpus(self) -> Corpus:
        """The corpus that it was trained on."""

    def batches(self, split: str = "train") -> Iterator[tuple[Tensor, ...]]:
        """The inputs of batches and their targets, (idx, targets), both (B, T), on the model's device.

        Those of `train` are the run's own, in their order and without end; another split has each target once.
        """
        corpus, settings = self.corpus(), self.config.training
        data = configured_data(self.task.data(corpus, self.model, self.device), self.config)
        batches: Iterable[Batch] = data.every_target_once(
            self.task.split(split, corpus), tokens_per_pass(self.runtime, self.model)
        )
        if split == "train":
            numbers = itertools.count()
            batches = (data.training_batch(self.config.seed, i, settings.batch_size) for i in numbers)
        return ((*batch.inputs, batch.targets) for batch in batches)

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of a run that continues a text. Raises RequestError for any other run."""
        return Continuation.required(self.task, "this").tokenizer

    def _window(self, prompt: str) -> Tensor:
        """The model's input: (1, T)."""
        if not _text(prompt):
            raise RequestError("the prompt is empty: give at least one character")
        T = self.model.block_size
        return self.tokenizer.encode(prompt)[None, -T:].to(self.device)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{value!r:.60} is {type(value).__name__}: give text")
    return value


class NewlyTrained(Trained):
    """The result of `gpt.train` without a run folder: the model in memory, and its results."""

    folder = None

    def __init__(self, trainer: Trainer, summary: Summary | None) -> None:
        super().__init__(trainer.model, trainer.task, trainer.config, summary.exact.weights if summary else "last")
        self._summary, self._evaluations, self._corpus = summary, trainer.state.evaluations, trainer.corpus

    @property
    def summary(self) -> Summary:
        """The results of the run. Raises UserError if it was interrupted."""
        if self._summary is None:
            raise UserError("the training was interrupted, so it has no results: history has its losses so far")
        return self._summary

    @property
    def interrupted(self) -> bool:
        """Whether the training was stopped before its end."""
        return self._summary is None

    def corpus(self) -> Corpus:
        """The corpus that it was trained on."""
        return self._corpus

    @property
    def evaluations(self) -> list[Evaluation]:
        """The estimated losses in the order of their iterations."""
        return self._evaluations

    def __repr__(self) -> str:
        state = ", interrupted" if self.interrupted else ""
        return f"<{self.config.stage}, {in_words(self.which)}, in memory{state}>"

    def plot(self) -> Picture:
        """Its loss curves. Raises UserError if it was interrupted."""
        return loss_curve(self.evaluations, [], self.summary)

    def _repr_html_(self) -> str | None:
        if self.interrupted:
            return None  # then a notebook shows the line
        return card(
            self.summary, self.plot(), self.task.sample(self.model, self._corpus, self.config.seed), "in memory"
        )


class TrainedRun(Trained):
    """The model of a run folder."""

    def __init__(self, run: RunFolder, which: Saved | int, model: Stage) -> None:
        config = run.config()
        super().__init__(model, tasks.of(config.data).restored(run.vocabulary()), config, which)
        self.run = run

    def __repr__(self) -> str:
        return f"<{self.config.stage}, {in_words(self.which)} of {self.run.path}>"

    def _repr_html_(self) -> str | None:
        if not self.run.is_finished():
            return None  # then a notebook shows the line
        sample = self.run.path / "sample.txt"
        return card(self.summary, self.plot(), read_text_file(sample) if sample.exists() else "", str(self.run.path))

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def interrupted(self) -> bool:
        """Whether the run has not finished."""
        return not self.run.is_finished()

    def plot(self) -> Picture:
        """Its loss curves. Raises UserError if it has not finished."""
        return curve_of_run(self.run, self.summary)

    @property
    def summary(self) -> Summary:
        """The results of the run. Raises UserError if it has not finished."""
        return self.run.summary()

    @property
    def evaluations(self) -> list[Evaluation]:
        """The estimated losses in the order of their iterations."""
        return self.run.evaluations()

    def corpus(self, own: Mapping[str, Any] = MappingProxyType({}), given: Collection[str] = ()) -> Corpus:
        """The corpus that the run was trained on, with the paths in `own` for the keys in `given`, as in {"data.path"}.

        Raises RequestError for a key that the run's corpus does not have, and if the corpus is missing or has since
        changed.
        """
        for key in given:
            if key.removeprefix("data.") not in self.config.data.hyperparameters:
                raise RequestError(f"{key} is not a key of this run's corpus, {self.config.data.target}")
        paths = {key.removeprefix("data."): own[key.removeprefix("data.")] for key in given}
        data = Choice.model_validate(self.config.data.model_dump(by_alias=True) | paths)
        return same_corpus(self.run, self.model, data, given)[1]
