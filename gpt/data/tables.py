"""The texts in tables: CSV, TSV and JSON lines."""

import codecs
import csv
import io
import json
import logging
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpt.base.errors import RequestError
from gpt.data.records import FileRecord, read_bytes, read_lines, read_text
from gpt.data.tokenizer import is_utf8


class _Commas(csv.excel):
    strict = True


class _Tabs(csv.excel_tab):
    quoting = csv.QUOTE_NONE  # as registered with IANA: text/tab-separated-values has none


_DIALECTS = {".csv": _Commas, ".tsv": _Tabs, ".tab": _Tabs}
_ADVICE = {_Commas: "put quotes around a text with commas", _Tabs: "a text cannot contain a tab"}
_JSON_LINES = (".jsonl", ".ndjson")
_LONGEST_ROW = 2**18  # bytes of a first row that is looked at

log = logging.getLogger(__name__)


def texts_of(file: Path, field: str, encoding: str) -> Iterator[str]:
    """The texts of a column of a .csv, .tsv or .jsonl file, without empty ones.

    `field` is a name in the first row or, in a file without such a row, the number of a column, from 1. Raises
    RequestError for a file that is no table or lacks the column, and for a row or a value that is not as the others.
    """
    suffix = file.suffix.lower()
    if suffix in _JSON_LINES:
        texts = _values(file, field, encoding)
    elif suffix in _DIALECTS:
        texts = _cells(_rows(file, read_text(file, encoding)), file, field)
    else:
        raise RequestError(f"{file}: data=table reads files called .csv, .tsv or .jsonl")
    return (text for text in texts if text.strip())


def tell_of_columns(files: Sequence[Path]) -> None:
    """Warn if the first of the files to be read as plain text looks like a table in UTF-8."""
    file, names = files[0], list[str]()
    with suppress(ValueError, RequestError, RecursionError):  # Reading the file later reports the error.
        beginning = codecs.getincrementaldecoder("utf-8-sig")().decode(read_bytes(file, 0, _LONGEST_ROW))
        if file.suffix.lower() in _DIALECTS:
            names = next((row.content for row in _rows(file, beginning)), [])
        elif beginning.startswith("{"):
            names = list(json.loads(beginning.partition("\n")[0]))
    if names:
        log.warning(
            f"{file} looks like a table with the columns {', '.join(names)[:200]}, and is read as plain text: "
            f"data=table data.path={shlex.quote(str(file))} data.field=COLUMN takes the texts in one of them"
        )


def _cells(rows: Iterator[FileRecord[list[str]]], file: Path, field: str) -> Iterator[str]:
    """The cells of a column."""
    first = next(rows, FileRecord[list[str]]([], file, 1))
    numbers = [str(number + 1) for number in range(len(first.content))]
    is_number = field in numbers
    if is_number and len(first.content) == 1 and {*";\t"} & {*first.content[0]}:
        separators = "commas" if file.suffix.lower() == ".csv" else "tabs"
        log.warning(f"{first.place} is taken as a single cell: cells are separated by {separators}")
    names = numbers if is_number else first.content
    if field not in names:
        raise RequestError(f"{file} has no column {field}; its first row is {', '.join(first.content)[:200]}")
    if names.count(field) > 1:
        raise RequestError(f"{first.place} names {names.count(field)} columns {field}: rename all but one")
    place = names.index(field)
    if is_number:
        yield first.content[place]
    yield from (row.content[place] for row in rows)


def _rows(file: Path, content: str) -> Iterator[FileRecord[list[str]]]:
    """The rows of a file that are not empty. Raises RequestError unless each has as many cells as the first."""
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    dialect = _DIALECTS[file.suffix.lower()]
    reader, line, width = csv.reader(io.StringIO(content, newline=""), dialect), 1, 0
    try:
        for cells in reader:
            row, line, width = FileRecord(cells, file, line), reader.line_num + 1, width or len(cells)
            if len(cells) not in (0, width):
                advice = f": {_ADVICE[dialect]}" if len(cells) > width else ""
                count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                raise RequestError(f"{row.place} has {count}, but the first row has {width}{advice}")
            if cells:
                yield row
    except csv.Error as error:
        is_open = str(error) == "unexpected end of data"
        problem = "a quotation mark without a second one" if is_open else f"a cell that is wrongly quoted ({error})"
        raise RequestError(f"line {line if is_open else reader.line_num} of {file} has {problem}") from None


def _values(file: Path, field: str, encoding: str) -> Iterator[str]:
    """The values of a key of JSON objects, one per line; null and missing are left out."""
    names: dict[str, None] = {}
    for line in read_lines(file, encoding):
        if not line.content.strip():
            continue
        try:
            row = json.loads(line.content, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{line.place} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise RequestError(f'{line.place} is not a JSON object, as in {{"text": "..."}}')
        names |= dict.fromkeys(row)
        value = row.get(field)
        if value is None:
            continue
        if not isinstance(value, str):
            raise RequestError(f"{line.place}: its {field} is not a text but {json.dumps(value):.40}")
        if not is_utf8(value):
            raise RequestError(f"{line.place}: its {field} has half of a character")
        yield value
    if field not in names:
        raise RequestError(f"{file} has no column {field}; it has {', '.join(names)[:200] or 'none'}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a key that it has twice."""
    if len(found := dict(pairs)) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it has the key {twice} twice")
    return found
