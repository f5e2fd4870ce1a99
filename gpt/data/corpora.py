"""The loaders of corpora: functions annotated to return a type of Corpus, named by conf/data/*.yaml."""

import gzip
import inspect
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gpt.base.errors import RequestError, UserError
from gpt.base.files import sha256
from gpt.base.installation import TINY_SHAKESPEARE, data_folder
from gpt.config.choices import PathName, PathNames
from gpt.data import download, tokenizers
from gpt.data.corpus import Corpus, PairCorpus, Pairs, SubwordCount, Text, TextCorpus, Tokens
from gpt.data.paths import files_of
from gpt.data.records import Encoding, lines_of, read_lines, read_text, read_texts, size_of
from gpt.data.splits import Separator, SplitBy, TrainFraction, split_at, split_by
from gpt.data.tokenizers import TokenKind
from gpt.registry import Registry

_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"  # of tiny Shakespeare
_MAHONEY_ENDS = (90_000_000, 95_000_000, 100_000_000)  # of the splits, in bytes
_SPLITS = "train.txt val.txt test.txt"  # files of a folder that has its own splits
_LARGEST_IN_MEMORY = 2**24  # bytes of a text
_MOST_LETTERS = 10**7  # of a synthetic corpus; making them takes two seconds and 60 MB
DatasetName = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)?$", max_length=200)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
VocabSize = Annotated[int, Field(ge=100, le=10**6)]
SequenceLength = Annotated[int, Field(ge=2, le=1000)]
SequenceCount = Annotated[int, Field(ge=100, le=200_000)]


def type_of(loader: Any) -> type[Corpus] | None:
    """The type of corpus that a loader is annotated to return; None for anything that is not a loader."""
    try:
        returns = inspect.signature(loader, eval_str=True).return_annotation if inspect.isfunction(loader) else None
    except NameError:  # an annotation for type checkers only
        return None
    return returns if isinstance(returns, type) and issubclass(returns, Corpus) and returns is not Corpus else None


_CONTRACT = "a function annotated to return TextCorpus, PairCorpus or another type of Corpus"
LOADER = Registry("data", "a loader of a corpus", "gpt.data", _CONTRACT, lambda loader: type_of(loader) is not None)


def shakespeare(
    train_fraction: TrainFraction, tokenizer: TokenKind = "characters", vocab_size: SubwordCount = Tokens.vocab_size
) -> TextCorpus:
    """Tiny Shakespeare. Raises UserError if its file is missing or has been changed."""
    return TextCorpus(*split_at(tiny_shakespeare(), train_fraction), tokens=Tokens(tokenizer, vocab_size))


def text(  # noqa: PLR0913  # the schema of conf/data/text.yaml
    path: PathNames,
    train_fraction: TrainFraction,
    separator: Separator = "\n",
    tokenizer: TokenKind = "characters",
    vocab_size: SubwordCount = Tokens.vocab_size,
    split: SplitBy = "place",
    encoding: Encoding = "utf-8",
    newlines: Literal["kept", "unix"] = "kept",
    field: _Name | None = None,
) -> Text:
    """A text: a file, or several with a separator between them, in the order of `files_of`; or the texts of tables.

    The token ids of more than 16 MB are kept in GPT_DATA_DIR/prepared, not in memory. The validation split is the end
    of the text or, with split="lines" or "files", a random part. newlines="unix" shortens the line ends of Windows.
    If a file is a table, `texts_in` and `Documents.of` say what the documents are. train.txt, val.txt and, if it is
    there, test.txt are the splits, if there are no others.

    Raises RequestError if a file is not in this encoding, or too large for another `split`, and UserError if
    GPT_DATA_DIR/prepared cannot be written.
    """
    from gpt.data.lines import Documents
    from gpt.data.long_text import LongText
    from gpt.data.sources import Source
    from gpt.data.tables import is_table, texts_in, without_others

    files, tokens = without_others(files_of(path), encoding), Tokens(tokenizer, vocab_size)
    has_tables, splits = any(map(is_table, files)), sorted(files, key=lambda file: _SPLITS.find(file.name))
    has_splits = [file.name for file in splits] in (_SPLITS.split()[:2], _SPLITS.split())
    files = splits if has_splits else files
    # With a tokenizer of bytes, what is not UTF-8 is kept.
    errors = "surrogateescape" if tokenizers.named(tokenizer).reads_bytes else "strict"
    texts: Iterable[str]
    if has_tables:
        if split != "place":
            raise RequestError(f"data.split={split} is for plain text: the rows of a table are in random order")
        texts = texts_in(files, field, encoding, errors)
    elif field is not None:
        raise RequestError(f"data.field={field} is a column of a table, and {files[0]} is plain text")
    elif sum(map(size_of, files)) <= _LARGEST_IN_MEMORY:
        texts = read_texts(files, encoding, errors)
    elif split == "place":
        parts = [[file] for file in files] if has_splits else [files]
        sources = [Source(part, separator, encoding, errors, is_unix=newlines == "unix") for part in parts]
        return LongText(sources, _prepared(), tokens, None if has_splits else train_fraction)
    else:
        raise RequestError(f"data.split={split} is for a text of up to {_LARGEST_IN_MEMORY / 2**20:.0f} MB")
    texts = [content.replace("\r\n", "\n") if newlines == "unix" else content for content in texts]
    if has_tables:
        return Documents.of(texts, separator, train_fraction, tokens)
    if has_splits:
        return TextCorpus(texts[0], texts[1], "".join(texts[2:]), tokens)
    return TextCorpus(*split_by(split, texts, train_fraction, separator), tokens=tokens)


def huggingface(
    name: DatasetName,
    subset: _Name | None,
    split: _Name | Annotated[list[_Name], Field(min_length=2, max_length=2)],
    field: _Name | None,
    separator: Separator,
    tokenizer: TokenKind,
    vocab_size: SubwordCount,
) -> Text:
    """A column of a dataset of the Hugging Face hub, as `chosen` says, with a separator between two rows.

    `split` names what to train on and what to validate on; the last tenth of a single split is for validation. Raises
    RequestError for an unknown dataset, split or column, and UserError if its rows cannot be written.
    """
    from gpt.data import dataset_files
    from gpt.data.long_text import LongText
    from gpt.data.sources import Source

    paths = dataset_files.write_dataset(_prepared(), name, subset, split, field, separator)
    return LongText([Source([path]) for path in paths], _prepared(), Tokens(tokenizer, vocab_size))


def enwik8(dir: PathName | None, tokenizer: TokenKind, vocab_size: SubwordCount) -> Text:
    """The first 100,000,000 bytes of a dump of Wikipedia: 90 % to train on, 5 % to validate on, 5 % to test on.

    Found in or downloaded to the folder `dir`. Raises UserError if that fails.
    """
    return _mahoney("enwik8", dir, Tokens(tokenizer, vocab_size))


def text8(dir: PathName | None, tokenizer: TokenKind, vocab_size: SubwordCount) -> Text:
    """100,000,000 letters and spaces of Wikipedia, with the splits and the folder of `enwik8`."""
    return _mahoney("text8", dir, Tokens(tokenizer, vocab_size))


def multi30k(dir: PathName | None, vocab_size: VocabSize) -> PairCorpus:
    """German and English captions: 29,000 / 1,014 / 1,000 pairs ("Multi30K", Elliott et al., 2016).

    Found in, or downloaded to, `dir`/multi30k. Raises UserError if the download fails or a file has other content.
    """
    parts = []
    for part in ("train", "val", "test_2016_flickr"):
        files = (download.multi30k(Path(dir or data_folder()), f"{part}.{language}.gz") for language in ("de", "en"))
        sources, targets = (lines_of(gzip.decompress(path.read_bytes()).decode()) for path in files)
        parts.append(list(zip(sources, targets, strict=True)))
    train, val, test = parts
    return PairCorpus(train, val, test, vocab_size)


def parallel(source: PathName, target: PathName, held_out: TrainFraction, vocab_size: VocabSize) -> PairCorpus:
    """Any two UTF-8 files in which line i of one is the translation of line i of the other.

    The last fraction `held_out` of the pairs is split evenly between validation and test. Raises RequestError if the
    files do not match line by line.
    """
    sources, targets = (list(read_lines(Path(path))) for path in (source, target))
    if len(sources) != len(targets):
        raise RequestError(
            f"{source} has {len(sources):,} lines and {target} has {len(targets):,}: both need the same number of lines"
        )
    for place, line in (*sources, *targets):
        if not line.strip():
            raise RequestError(f"{place} is empty: remove that pair from both files")
    held = int(held_out * len({*zip((x for _, x in sources), (x for _, x in targets), strict=True)})) // 2
    if held == 0:
        raise RequestError(f"{source} has {len(sources):,} lines: too few to hold out {held_out:g} of them")
    pairs = Counter((source, target) for (_, source), (_, target) in zip(sources, targets, strict=True))
    different = [*pairs]
    parts = different[: -2 * held], different[-2 * held : -held], different[-held:]
    # Copies of a pair stay in one split.
    train, val, test = ([pair for pair in part for _ in range(pairs[pair])] for part in parts)
    return PairCorpus(train, val, test, vocab_size)


def copy(length: SequenceLength, size: SequenceCount, vocab_size: VocabSize) -> PairCorpus:
    """`size` random sequences of up to `length` letters, each its own translation; a tenth of them is held out.

    Raises RequestError for more than ten million letters.
    """
    return _synthetic("copy", length, size, vocab_size)


def reverse(length: SequenceLength, size: SequenceCount, vocab_size: VocabSize) -> PairCorpus:
    """Sequences as in `copy`, each translated by reversing it. Raises RequestError for too many letters."""
    return _synthetic("reverse", length, size, vocab_size)


def tiny_shakespeare() -> str:
    """The text of tiny Shakespeare, a file of this project. Raises UserError if it is missing or has been changed."""
    if not TINY_SHAKESPEARE.is_file() or sha256(TINY_SHAKESPEARE) != _SHA256:
        raise UserError(
            f"{TINY_SHAKESPEARE} is missing or has been changed (its sha256 differs): restore it with git, or install "
            f"gpt-ladder again; to train on the changed file: data={TINY_SHAKESPEARE}"
        )
    return read_text(TINY_SHAKESPEARE)


def _mahoney(name: str, dir: str | None, tokens: Tokens) -> Text:
    from gpt.data.long_text import LongText
    from gpt.data.sources import Source

    path = download.mahoney(Path(dir or data_folder()), name)
    errors = "surrogateescape" if tokenizers.named(tokens.kind).reads_bytes else "ignore"  # of a character that is cut
    parts = itertools.pairwise((0, *_MAHONEY_ENDS))
    return LongText([Source([path], errors=errors, start=a, end=b) for a, b in parts], _prepared(), tokens)


def _prepared() -> Path:
    """Where long texts are kept as token ids."""
    return Path(data_folder()) / "prepared"


def _synthetic(task: str, length: int, size: int, vocab_size: int) -> PairCorpus:
    if length * size > _MOST_LETTERS:
        raise RequestError(f"data.length * data.size must be at most {_MOST_LETTERS:,}: make one of them smaller")
    draw = random.Random(f"{task} {length} {size}")
    pairs = []
    for _ in range(size):
        letters = draw.choices("abcdefghijklmnop", k=draw.randint(2, length))
        answer = letters if task == "copy" else letters[::-1]
        pairs.append((" ".join(letters), " ".join(answer)))
    return _held_out(pairs, size // 20, vocab_size)


def _held_out(pairs: Pairs, held: int, vocab_size: int) -> PairCorpus:
    """Split off the last `held` pairs for testing and the `held` pairs before them for validation."""
    return PairCorpus(pairs[: -2 * held], pairs[-2 * held : -held], pairs[-held:], vocab_size)
