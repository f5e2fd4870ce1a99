"""Documents: each is predicted from its own characters alone."""

from pathlib import Path

import pytest
import torch

from gpt.base.errors import RequestError
from gpt.data import lines as module
from gpt.data.batch import IGNORED
from gpt.data.lines import LineData, documents
from gpt.data.tokenizers.characters import CharTokenizer


@pytest.mark.parametrize(("separator", "block_size"), [("\n", 100), ("\n", 3), ("--", 3), ("--", 1), ("<|end|>", 4)])
def test_every_character_of_a_document_and_its_end_are_targets_once_and_windows_stay_within(
    separator: str, block_size: int, tmp_path: Path
) -> None:
    names = [f"{letter}{'xyz' * length}{length}" for length in range(4) for letter in "abcdefgh"]
    for part in (0, 1):
        (tmp_path / f"{part}.txt").write_text(separator.join(names[part::2]) + separator)
    corpus = documents(str(tmp_path), separator, train_fraction=0.8)
    assert sorted((corpus.train + separator + corpus.val).split(separator)) == sorted(names)
    tokenizer = CharTokenizer(corpus.characters)
    data = LineData(corpus, tokenizer, block_size=block_size, device="cpu")
    for split in ("train", "val"):
        own = getattr(corpus, split).split(separator)
        targets = ""
        for batch in data.every_target_once(split, tokens_per_pass=20):
            assert batch.inputs[0].shape[1] <= block_size
            for inputs, found in zip(batch.inputs[0], batch.targets, strict=True):
                is_target = found != IGNORED
                window = tokenizer.decode(inputs[: int(is_target.nonzero()[-1]) + 1])
                assert any(window in separator + name + separator for name in own)
                assert torch.equal(inputs[1:][is_target[:-1]], found[:-1][is_target[:-1]])
                targets += tokenizer.decode(found[is_target])
        assert targets == "".join(name + separator for name in own)


def test_what_is_too_large_or_a_single_document_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.txt").write_text("a single line\n\n")
    with pytest.raises(RequestError, match="1 part is too few to divide"):
        documents(str(tmp_path), "\n", train_fraction=0.9)
    monkeypatch.setattr(module, "IN_MEMORY", 10)
    with pytest.raises(RequestError, match="data=text has no limit"):
        documents(str(tmp_path), "\n", train_fraction=0.9)
