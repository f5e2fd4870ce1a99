"""The encoder-decoder: training, decoding, and two processes, beside what one would use instead.

    python benchmarks/translation.py --annotated PATH --run RUN_FOLDER

The peers: PyTorch's own nn.Transformer in a plain loop, and the annotated Transformer's model, loss and loop body
(harvardnlp/annotated-transformer), both at conf/model/transformer.yaml's size and on the same batches. Decoding needs
a run that has learnt when to end a sentence: RUN_FOLDER is one of model=transformer.
"""

import ast
import copy
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from harness import CORPUS, REPOSITORY, Row, alternate, arguments, output, table, train_command
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax

from gpt import models
from gpt.config import ModelConfig, SearchConfig, TrainingConfig
from gpt.data import Batch
from gpt.device import select_runtime
from gpt.evaluation import batch_loss
from gpt.models.transformer import PAD, Transformer, sinusoidal_positions
from gpt.optimizer import AdamW
from gpt.pairs import PairData, multi30k
from gpt.runs import RunFolder
from gpt.subwords import Subwords
from gpt.translation import translate

_STEPS, _VOCAB, _TOKENS = 30, 4000, 1024
_CONFIG: Any = OmegaConf.merge(
    OmegaConf.load(REPOSITORY / "conf" / "train.yaml"),
    OmegaConf.load(REPOSITORY / "conf" / "model" / "transformer.yaml"),
)


class _PlainTransformer(nn.Module):
    """nn.Transformer with what it leaves to its user: embeddings, positions, masks and an output."""

    def __init__(self) -> None:
        super().__init__()
        size = _CONFIG.model
        self.embedding = nn.Embedding(_VOCAB, size.n_embd, padding_idx=PAD)
        self.transformer = nn.Transformer(
            size.n_embd, size.n_head, size.n_layer, size.n_layer, size.n_hidden, size.dropout, batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.register_buffer("positions", sinusoidal_positions(size.block_size, size.n_embd))

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        def embed(ids: torch.Tensor) -> torch.Tensor:
            positions = self.get_buffer("positions")
            return self.embedding(ids) * math.sqrt(positions.shape[1]) + positions[: ids.shape[1]]

        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        hidden = source == PAD
        out = self.transformer(
            embed(source), embed(target), tgt_mask=causal, tgt_is_causal=True, src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
        )  # fmt: skip
        return out @ self.embedding.weight.T


def rows(annotated: Path | None, run: Path | None, repeats: int) -> list[Row]:
    """Training tokens a second, seconds of decoding, and tokens a second of two processes."""
    corpus = multi30k(CORPUS)
    tokenizer = Subwords.trained_on((line for pair in corpus.train for line in pair), _VOCAB)
    data = PairData(corpus, tokenizer, block_size=_CONFIG.model.block_size, device="cpu")
    batches = [data.training_batch(0, i, _TOKENS) for i in range(_STEPS)]
    result = []
    for peer, theirs in (
        ("nn.Transformer, plain loop", lambda: _train_plain(batches)),
        ("annotated Transformer", (lambda: _train_annotated(annotated, batches)) if annotated else None),
    ):
        measured = alternate(repeats, lambda: _train_ours(batches), theirs)
        result.append(Row("transformer training", "tokens/s", measured, peer, more_is_better=True))
    if run is not None:
        result.append(_decoding(RunFolder(run), [source for source, _ in corpus.test], repeats))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = alternate(repeats, lambda: _processes(2, folder), lambda: _processes(1, folder))
        result.append(Row("two processes", "tokens/s", measured, "one process", more_is_better=True))
    return result


def _decoding(run: RunFolder, sentences: list[str], repeats: int) -> Row:
    model, tokenizer = run.load_model("last"), run.tokenizer()
    assert isinstance(tokenizer, Subwords)
    select_runtime(torch.device("cpu"), "float32", model)
    search = SearchConfig(beam=5, length_penalty=1.0)

    def decode(*, cached: bool) -> float:
        started = time.perf_counter()
        translate(model, tokenizer, sentences, search, cached=cached)
        return time.perf_counter() - started

    measured = alternate(repeats, lambda: decode(cached=True), lambda: decode(cached=False))
    return Row(f"beam 5, {len(sentences):,} test sentences", "s", measured, "the same without caches")


def _ours() -> Transformer:
    torch.manual_seed(0)
    config = ModelConfig.model_validate(OmegaConf.to_container(_CONFIG.model))
    model = models.build(config.target, vocab_size=_VOCAB, **config.hyperparameters())
    assert isinstance(model, Transformer)
    return model


def _tokens_per_second(step: Callable[[Batch], None], batches: list[Batch]) -> float:
    for batch in batches[:5]:
        step(batch)
    started = time.perf_counter()
    for batch in batches[5:]:
        step(batch)
    return sum(batch.tokens for batch in batches[5:]) / (time.perf_counter() - started)


def _train_ours(batches: list[Batch]) -> float:
    model = _ours().train()
    runtime = select_runtime(torch.device("cpu"), "auto", model)
    optimizer = AdamW(model, TrainingConfig.model_validate(OmegaConf.to_container(_CONFIG.training)))

    def step(batch: Batch) -> None:
        with runtime.autocast():
            loss = batch_loss(model, batch, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(1e-3)
        optimizer.zero_grad()

    return _tokens_per_second(step, batches)


def _train_plain(batches: list[Batch]) -> float:
    model = _PlainTransformer().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        logits = model(*batch.inputs)
        cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return _tokens_per_second(step, batches)


def _train_annotated(checkout: Path, batches: list[Batch]) -> float:
    """The definitions of the checkout, run as they are; its imports and examples are left out."""
    tree = ast.parse((checkout / "the_annotated_transformer.py").read_text())
    wanted: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    namespace: dict[str, Any] = {
        "torch": torch, "nn": nn, "math": math, "copy": copy, "log_softmax": log_softmax,
        "altair": SimpleNamespace(), "pd": SimpleNamespace(),
    }  # fmt: skip
    exec(compile(ast.Module(wanted, []), "the_annotated_transformer.py", "exec"), namespace)
    size = _CONFIG.model
    model = namespace["make_model"](_VOCAB, _VOCAB, size.n_layer, size.n_embd, size.n_hidden, size.n_head, size.dropout)
    criterion = namespace["LabelSmoothing"](_VOCAB, PAD, 0.1)
    compute = namespace["SimpleLossCompute"](model.generator, criterion)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)

    def step(batch: Batch) -> None:
        source, target = batch.inputs
        whole = torch.cat([target, batch.targets.clamp(min=PAD)[:, -1:]], dim=1)
        theirs = namespace["Batch"](source, whole, PAD)
        out = model.forward(theirs.src, theirs.tgt, theirs.src_mask, theirs.tgt_mask)
        _, loss_node = compute(out, theirs.tgt_y, theirs.ntokens)
        loss_node.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    model.train()
    return _tokens_per_second(step, batches)


def _processes(count: int, folder: Path) -> float:
    changes = ["model=transformer", "data=multi30k", "training.max_iters=40", "training.eval_interval=40", "device=cpu"]
    command = train_command(*changes)
    if count > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        command = [sys.executable, *launcher, *command[1:]]
    printed = output(command, folder)
    (speed,) = [line.split()[-2] for line in printed.splitlines() if line.startswith("iteration 40")]
    return float(speed.replace(",", ""))


if __name__ == "__main__":
    given = arguments(__doc__, "annotated", "run")
    print(table(rows(given.annotated, given.run, given.repeats)))
