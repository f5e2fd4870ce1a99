"""The encoder-decoder: training and decoding, compared with the alternatives.

    python benchmarks/translation.py --annotated PATH --run RUN_FOLDER

The peers: PyTorch's own nn.Transformer in a plain loop, and the annotated Transformer's model, loss and loop body
(harvardnlp/annotated-transformer), both at conf/model/transformer.yaml's size and on the same batches. Decoding needs a
run that has learned when to end a sentence: RUN_FOLDER is a run of model=transformer.
"""

import gpt  # noqa: F401  # before torch, as in the scripts: it sets how threads wait

# isort: split
import ast
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from harness import DATA, Row, alternate, arguments, documented, table
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax

from gpt import models, tasks
from gpt.base.choices import Choice
from gpt.base.runtime import keep_freed_memory, select_runtime
from gpt.data.batch import Batch
from gpt.data.corpora import multi30k, reverse
from gpt.data.corpus import PairCorpus
from gpt.data.pairs import PairData, Subwords
from gpt.data.vocabulary import PAD
from gpt.models.transformer import sinusoidal_positions
from gpt.runs.folder import RunFolder
from gpt.runs.weights import load_model
from gpt.tasks.decoding.beam_search import translate
from gpt.training.objectives import Objective
from gpt.training.optimizers import AdamW

_VOCAB, _TOKENS = 4000, 1024
_CONFIG = documented("transformer")


class _PlainTransformer(nn.Module):
    """nn.Transformer with the parts that it lacks: embeddings, positions, masks and an output layer."""

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


def rows(annotated: Path | None, run: Path | None, repeats: int, *, quick: bool) -> list[Row]:
    """Training tokens per second, and seconds of decoding."""
    corpus = reverse(length=10, size=2000, vocab_size=_VOCAB) if quick else multi30k(str(DATA), _VOCAB)
    tokenizer = Subwords.trained_on((line for pair in corpus.train for line in pair), corpus.vocab_size)
    data = PairData(corpus, tokenizer, block_size=_CONFIG.model.block_size, device="cpu")
    batches = [data.training_batch(0, i, _TOKENS) for i in range(2 if quick else 30)]
    result = []
    for peer, theirs in (
        ("nn.Transformer, plain loop", lambda: _train_plain(batches)),
        ("annotated Transformer", (lambda: _train_annotated(annotated, batches)) if annotated else None),
    ):
        measured = alternate(repeats, lambda: _train_ours(batches), theirs)
        result.append(Row("transformer training", "tokens/s", measured, peer, more_is_better=True))
    if run is not None:
        result.append(_decoding(RunFolder(run), repeats, quick=quick))
    return result


def _decoding(run: RunFolder, repeats: int, *, quick: bool) -> Row:
    config, vocabulary, model = run.config(), run.vocabulary(), load_model(run, "last")
    tokenizer = Subwords(list(vocabulary.vocabulary), [(a, b) for a, b in vocabulary.merges or []])
    _, corpus = tasks.load(config.data, model, vocabulary)
    assert isinstance(corpus, PairCorpus)
    sentences = [source for source, _ in corpus.test[: 8 if quick else None]]

    def decode(*, cached: bool) -> float:
        started = time.perf_counter()
        translate(model, tokenizer, sentences, beam=5, length_penalty=1.0, cached=cached)
        return time.perf_counter() - started

    measured = alternate(repeats, lambda: decode(cached=True), lambda: decode(cached=False))
    return Row(f"beam 5, {len(sentences):,} test sentences", "s", measured, "the same without caches")


def _tokens_per_second(step: Callable[[Batch], None], batches: list[Batch]) -> float:
    warm_up = (len(batches) + 5) // 6  # steps that are not timed
    for batch in batches[:warm_up]:
        step(batch)
    started = time.perf_counter()
    for batch in batches[warm_up:]:
        step(batch)
    return sum(batch.tokens for batch in batches[warm_up:]) / (time.perf_counter() - started)


def _train_ours(batches: list[Batch]) -> float:
    torch.manual_seed(0)
    model = models.build(Choice.model_validate(OmegaConf.to_container(_CONFIG.model)), _VOCAB).train()
    runtime = select_runtime(torch.device("cpu"), "auto", model)
    optimizer = AdamW(model, 1e-3, weight_decay=0.01, beta1=0.9, beta2=0.98)
    no_skip = torch.zeros(())

    def step(batch: Batch) -> None:
        with runtime.autocast():
            loss = Objective(label_smoothing=0.1)(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(optimizer.peaks, no_skip)
        optimizer.zero_grad()

    keep_freed_memory(runtime.device)
    with runtime.settings():
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
    """Run the checkout's definitions unchanged, without its imports and examples."""
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


if __name__ == "__main__":
    given = arguments(__doc__, "annotated", "run")
    print(table(rows(given.annotated, given.run, given.repeats, quick=given.quick)))
