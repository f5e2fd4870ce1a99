"""The encoder-decoder: training and decoding, compared with the alternatives.

    python benchmarks/translation.py --annotated PATH --run RUN_FOLDER

The peers: PyTorch's own nn.Transformer in a plain loop, and the annotated Transformer's model, loss and loop body
(harvardnlp/annotated-transformer), both at conf/model/transformer.yaml's size and on the same batches. Decoding needs a
run that has learned when to end a sentence: RUN_FOLDER is a run of model=transformer.
"""

import gpt  # before torch, as in the scripts: it sets how threads wait

# isort: split
import argparse
import ast
import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from harness import DATA, Row, compared, parser, seconds_of, table
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax

from gpt import models
from gpt.base.runtime import keep_freed_memory, select_runtime
from gpt.config.composing import compose
from gpt.config.reading import read
from gpt.data.batch import Batch
from gpt.data.corpora import multi30k, reverse
from gpt.data.corpus import PairCorpus
from gpt.data.pairs import PairData, Subwords
from gpt.data.vocabulary import PAD
from gpt.models.transformer import sinusoidal_positions
from gpt.tasks.decoding.beam_search import translate
from gpt.tasks.translation import Translation
from gpt.training.objectives import Objective
from gpt.training.optimizers import AdamW

_VOCAB, _TOKENS = 4000, 1024
_MODEL = compose(read("train", ["model=transformer"])).model
_SIZE = SimpleNamespace(**_MODEL.hyperparameters)


class _PlainTransformer(nn.Module):
    """nn.Transformer with the parts that it lacks: embeddings, positions, masks and an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCAB, _SIZE.n_embd, padding_idx=PAD)
        self.transformer = nn.Transformer(
            _SIZE.n_embd,
            _SIZE.n_head,
            _SIZE.n_layer,
            _SIZE.n_layer,
            _SIZE.n_hidden,
            _SIZE.dropout,
            batch_first=True,
            norm_first=True,
        )
        self.register_buffer("positions", sinusoidal_positions(_SIZE.block_size, _SIZE.n_embd))

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        def embed(ids: torch.Tensor) -> torch.Tensor:
            positions = self.get_buffer("positions")
            return self.embedding(ids) * math.sqrt(positions.shape[1]) + positions[: ids.shape[1]]

        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        hidden = source == PAD
        out = self.transformer(
            embed(source),
            embed(target),
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
        )
        return out @ self.embedding.weight.T


def rows(given: argparse.Namespace) -> list[Row]:
    """Training tokens per second, and seconds of decoding."""
    corpus = reverse(length=10, size=2000, vocab_size=_VOCAB) if given.quick else multi30k(str(DATA), _VOCAB)
    tokenizer = Subwords.trained_on((line for pair in corpus.train for line in pair), corpus.vocab_size)
    data = PairData(corpus, tokenizer, block_size=_SIZE.block_size, device="cpu")
    batches = [data.training_batch(0, i, _TOKENS) for i in range(2 if given.quick else 30)]
    work, ours, plain = "transformer training", partial(_train_ours, batches), partial(_train_plain, batches)
    annotated = partial(_train_annotated, given.annotated, batches) if given.annotated else None
    found = [
        compared(given, work, "tokens/s", ours, "nn.Transformer, plain loop", plain),
        compared(given, work, "tokens/s", ours, "annotated Transformer", annotated),
    ]
    if given.run is not None:
        found.append(_decoding(given))
    return found


def _decoding(given: argparse.Namespace) -> Row:
    trained = gpt.load(given.run, weights="last", device="cpu")
    tokenizer, corpus = Translation.required(trained.task, "this benchmark").tokenizer, trained.corpus({})
    assert isinstance(corpus, PairCorpus)
    sentences = [source for source, _ in corpus.test[: 8 if given.quick else None]]

    def decode(cached: bool) -> float:
        search = partial(translate, trained.model, tokenizer, sentences, beam=5, length_penalty=1.0, cached=cached)
        return seconds_of(search)

    work, ours, theirs = f"beam 5, {len(sentences):,} test sentences", partial(decode, True), partial(decode, False)
    return compared(given, work, "s", ours, "the same without caches", theirs)


def _tokens_per_second(step: Callable[[Batch], None], batches: list[Batch]) -> float:
    warm_up = (len(batches) + 5) // 6  # steps that are not timed
    for batch in batches[:warm_up]:
        step(batch)
    rest = batches[warm_up:]
    return sum(batch.tokens for batch in rest) / seconds_of(lambda: list(map(step, rest)))


def _train_ours(batches: list[Batch]) -> float:
    torch.manual_seed(0)
    model = models.build(_MODEL, _VOCAB).train()
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
        "torch": torch,
        "nn": nn,
        "math": math,
        "copy": copy,
        "log_softmax": log_softmax,
        "altair": SimpleNamespace(),
        "pd": SimpleNamespace(),
    }
    exec(compile(ast.Module(wanted, []), "the_annotated_transformer.py", "exec"), namespace)
    sizes = (_SIZE.n_layer, _SIZE.n_embd, _SIZE.n_hidden, _SIZE.n_head, _SIZE.dropout)
    model = namespace["make_model"](_VOCAB, _VOCAB, *sizes)
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
    given = parser(__doc__, "annotated", "run").parse_args()
    print(table(rows(given)))
