"""The texts in tables: CSV, TSV and JSON lines."""

import csv
import io
import itertools
import json
import logging
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpt.base.errors import RequestError
from gpt.data.records import read_text

_BETWEEN_CELLS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_END = "\0"  # added as a last row: an open quotation mark before it swallows it
_LONGEST_ROW = 2**16  # characters of a first row that is looked at

log = logging.getLogger(__name__)


def texts_of(file: Path, field: str, encoding: str) -> Iterator[str]:
    """The texts of a column of a .csv, .tsv or .jsonl file, without empty ones.

    `field` is a name in the first row or, in a file without such a row, the number of a column, from 1. Raises
    RequestError for a file that is no table, or lacks the column.
    """
    suffix = file.suffix.lower()
    if suffix not in (*_BETWEEN_CELLS, *_JSON_LINES):
        raise RequestError(f"{file}: data=table reads files called .csv, .tsv or .jsonl")
    content = read_text(file, encoding)
    found = _of_objects(file, content, field) if suffix in _JSON_LINES else _of_cells(file, content, field)
    for row, text in found:
        if not isinstance(text, str):
            raise RequestError(f"line {row} of {file}: its {field} is not a text but {json.dumps(text):.40}")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise RequestError(f"line {row} of {file}: its {field} has half of a character")
        if text.strip():
            yield text


def tell_of_columns(files: Sequence[Path]) -> None:
    """Warn if the files to be read as plain text look like tables."""
    if names := _columns(files[0]):
        log.warning(
            f"{files[0]} looks like a table with the columns {', '.join(names)[:200]}, and is read as plain text: "
            f"data=table data.path={shlex.quote(str(files[0]))} data.field=COLUMN takes the texts in one of them"
        )


def _columns(file: Path) -> list[str]:
    """The names in the first row of a file that looks like a table in UTF-8; [] for any other file."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            beginning = opened.read(_LONGEST_ROW)
        if file.suffix.lower() in _BETWEEN_CELLS:
            return next(_rows(file, beginning), (0, []))[1]
        if beginning.startswith("{"):
            return list(json.loads(beginning.partition("\n")[0]))
    except (OSError, ValueError, RequestError, RecursionError):
        pass  # Reading the file later reports the error.
    return []


def _of_cells(file: Path, content: str, field: str) -> Iterator[tuple[int, str]]:
    """The cells of a column, each with the line where its row ends."""
    rows = _rows(file, content)
    first, names = next(rows, (1, []))
    if field in names:
        place = names.index(field)
    elif field.isdecimal() and 0 < int(field) <= len(names):
        place = int(field) - 1
        yield first, names[place]
    else:
        raise RequestError(f"{file} has no column {field}; its first row is {', '.join(names)[:200]}")
    yield from ((line, cells[place]) for line, cells in rows if place < len(cells))


def _rows(file: Path, content: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file that are not empty, each with the line where it ends."""
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    lines = itertools.chain(io.StringIO(content, newline=""), [_END])
    reader, begins = csv.reader(lines, delimiter=_BETWEEN_CELLS[file.suffix.lower()]), 1
    try:
        for cells in reader:
            if cells == [_END]:
                return
            if cells and cells[-1].endswith(_END):
                raise RequestError(f"line {begins} of {file} has a quotation mark without a second one")
            begins = reader.line_num + 1
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise RequestError(f"line {reader.line_num} of {file}: {error}") from None


def _of_objects(file: Path, content: str, field: str) -> Iterator[tuple[int, Any]]:
    """The values of a key of JSON objects, one per line, with the number of the line; null and missing are left out."""
    names: dict[str, None] = {}
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"line {number} of {file} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise RequestError(f'line {number} of {file} is not a JSON object, as in {{"text": "..."}}')
        names |= dict.fromkeys(row)
        if row.get(field) is not None:
            yield number, row[field]
    if field not in names:
        raise RequestError(f"{file} has no column {field}; it has {', '.join(names)[:200] or 'none'}")
