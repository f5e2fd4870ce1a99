"""What a training would see of a corpus: python -m gpt data FILE. See python -m gpt data --help."""

from contextlib import suppress
from itertools import islice
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn

from gpt import tasks
from gpt.base.errors import UserError, in_json
from gpt.base.losses import Loss
from gpt.base.runtime import Runtime
from gpt.config.command import Command
from gpt.config.command_schemas import DataConfig
from gpt.data.batch import IGNORED
from gpt.data.corpus import Text
from gpt.data.lines import Documents, Lines
from gpt.models import checked
from gpt.models.ngrams import NGrams
from gpt.models.v1_bigram import Bigram
from gpt.tasks.continuation import Continuation
from gpt.training.evaluation import exact_loss

_COUNTED, _SCORED = 10**7, 10**6  # tokens that are counted, and targets that the losses are over
_LARGEST_TABLE = 2**13  # tokens of a vocabulary whose pairs are counted
_SHOWN, _WIDEST = 5, 100  # lines, and their characters


def main(config: DataConfig, _: Command) -> None:
    """Print the sizes of a corpus, its vocabulary, its first lines, and the losses of three guesses."""
    loaded: tuple[Any, Any] = tasks.load(config.data, Bigram)  # for a stage that continues a text
    task, corpus = loaded
    print(tabulate(_sizes(task, corpus), ["", *corpus.lengths()], disable_numparse=True, colalign=("left", "right")))
    known = f" {_escaped(''.join(task.tokenizer.shown))}" if task.token == "character" else ""
    print(f"\nvocabulary: {task.vocab_size:,} {task.token}s{known}\nfirst lines:")
    lines = (line for text in corpus.texts("train") for line in text.split("\n"))
    print(*(f"  {_escaped(line)}" for line in islice(lines, _SHOWN)), "", sep="\n")
    units = {name: loss.in_units() for name, loss in _losses(task, corpus).items()}
    rows = [[name, *(f"{value:.4f}" for value in values.values())] for name, values in units.items()]
    print(tabulate(rows, ["losses to beat", *units["a uniform guess"]], disable_numparse=True))


def _sizes(task: "Continuation", corpus: "Text") -> list[list[str]]:
    """The rows of the table of sizes, with a column for each split."""
    ids, columns = corpus.encoded(task.tokenizer), []
    for split, characters in corpus.lengths().items():
        size, lines, documents, last = 0, 0, 0, ""
        between = corpus.separator if isinstance(corpus, Documents) else "\n"
        for last in corpus.texts(split):
            size += len(last.encode(errors="surrogateescape"))
            lines, documents = lines + last.count("\n"), documents + last.count(between)
        lines, documents = lines + (not last.endswith("\n")), documents + (not last.endswith(between))
        columns.append((characters, size, lines, documents if isinstance(corpus, Lines) else 1, len(ids[split])))
    names = ["characters", "bytes", "lines", "documents", f"{task.token}s"]
    rows = [
        [name, *(f"{value:,}" for value in row)] for name, row in zip(names, zip(*columns, strict=True), strict=True)
    ]
    shares = [f"{size / max(1, sum(column[1] for column in columns)):.1%}" for _, size, *_ in columns]
    return [*rows[: 4 if task.token in ("character", "byte") else 5], ["share of bytes", *shares]]


def _losses(task: "Continuation", corpus: "Text") -> "dict[str, Loss]":
    """The exact validation losses of three guesses, whose counts are of the training split."""
    V, v1 = task.vocab_size, Bigram(1, (2**20 if corpus.answers_only else 256) if isinstance(corpus, Lines) else 8)
    runtime, stage = Runtime(torch.device("cpu")), checked(v1)
    data, over = task.data(corpus, stage, runtime.device), task.over("val", corpus, stage)

    def loss(logits: Tensor) -> "Loss":
        """With these logits after each token: (V) or (V, V)."""
        v1.table.weight = nn.Parameter(logits.expand(V, V))
        return exact_loss(v1, data, "val", most=_SCORED, runtime=runtime, over=over)

    targets = [batch.targets[batch.targets != IGNORED] for batch in data.every_target_once("train", 2**16, _COUNTED)]
    frequencies = loss((torch.cat(targets).bincount(minlength=V) + 1).log())
    found = {"a uniform guess": frequencies.guess(V), f"frequencies of {task.token}s": frequencies}
    if V <= _LARGEST_TABLE:
        ids = corpus.encoded(task.tokenizer)["train"]
        counts = NGrams(V, order=1, window=1, size=min(len(ids), _COUNTED))
        counts.memory.copy_(ids[: len(counts.memory)])
        with suppress(UserError):  # the table of pairs would be too large
            after = [counts(tokens[:, None])[0][:, 0, 0] for tokens in torch.arange(V).split(256)]  # (256, V) each
            found[f"frequencies of pairs of {task.token}s"] = loss(torch.cat(after).log())
    return found


def _escaped(text: str) -> str:
    return in_json(f"{text[:_WIDEST]}..." if len(text) > _WIDEST else text)
