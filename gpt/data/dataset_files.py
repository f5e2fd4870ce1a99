"""Datasets of the Hugging Face hub as text files.

The rows of a dataset are written once, and then read like any other text.
"""

import hashlib
import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gpt.base.errors import RequestError, UserError, require_extra
from gpt.base.files import replacing
from gpt.data.tables import choose_column

if TYPE_CHECKING:
    from datasets import Dataset


def write_dataset(
    folder: Path, name: str, subset: str | None, split: str | list[str], field: str | None, separator: str
) -> list[Path]:
    """The files below `folder` with the rows to train on and to validate on, written if they are not there yet.

    Raises RequestError if there is no such dataset, split or column, or if the library is not installed; UserError if
    nothing can be written.
    """
    with require_extra("datasets"):
        import datasets
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # It reports each try to connect.
    # The name may come from a stranger's run folder: it must not make the library read local files.
    if Path(name).exists() or (name.isidentifier() and find_spec(f"datasets.packaged_modules.{name}")):
        raise RequestError(f"data.name={name} is not a dataset of the hub: for files, use data={name}")
    splits = [f"{split}[:90%]", f"{split}[90%:]"] if isinstance(split, str) else split
    if splits[0] == splits[1]:
        raise RequestError(f"data.split={','.join(splits)}: validation needs rows that are not trained on")
    parts = [_loaded(name, subset, each) for each in splits]
    texts = [key for key, kind in parts[0].features.items() if getattr(kind, "dtype", "").endswith("string")]
    field = choose_column(field, texts, texts, f"data.name={name}")
    described = [[str(file["filename"]) for part in parts for file in part.cache_files], splits, field, separator]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    paths = [folder / f"{name.replace('/', '-')}-{digest}" / file for file in ("train.txt", "val.txt")]
    for path, part in zip(paths, parts, strict=True):
        if not path.exists():
            _write(path, part, field, separator)
    return paths


def _loaded(name: str, subset: str | None, split: str) -> "Dataset":
    import datasets

    try:
        part = datasets.load_dataset(name, subset, split=split)
    except MemoryError:
        raise
    except Exception as error:  # Each of the library's readers raises its own errors.
        reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        raise RequestError(f"there is no file {name}, and no split {split} of it on the hub: {reason:.300}") from None
    if not len(part):
        raise RequestError("a split of this dataset has no rows")
    return part


def _write(path: Path, part: "Dataset", field: str, separator: str) -> None:
    """Write the rows that are not empty to a file, which is complete once it has its name."""
    batches: Any = part.select_columns([field]).iter(batch_size=1000)
    bar, between = tqdm(total=len(part), desc="writing the text", unit="row", leave=False, delay=1, disable=None), ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with bar, replacing(path) as file:
            for batch in batches:
                for text in filter(None, batch[field]):
                    file.write((between + text).encode())
                    between = separator
                bar.update(len(batch[field]))
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror}): set GPT_DATA_DIR to a folder with room for it"
        ) from None
