"""The texts in tables: CSV, TSV, JSON lines, JSON arrays and Parquet files, recognised by their content."""

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from gpt.base.errors import RequestError, require_extra
from gpt.data.records import is_binary, not_text, read_bytes, read_lines, read_text, size_of
from gpt.data.tokenizer import is_utf8

Kind = str  # lines or array of JSON, parquet, or what separates its cells


class _Strict(csv.excel):
    strict = True


_JSON_LINES, _TABS = (".jsonl", ".ndjson"), (".tsv", ".tab")
_MOST_BYTES = 2**28
_BEGINNING = 2**16  # bytes that tell what a file is
_ARRAY, _OBJECTS = re.compile(r'\s*\[\s*[{"]'), re.compile(r'\s*\{".*\}\s*\n\s*\{"')
_NAME = re.compile(r"[^\W\d](?: ?[\w.-])*")  # of a column; after a comma in prose, a space follows
_OF_STRINGS = re.compile("(large_)?string|dictionary<values=(large_)?string")  # as Arrow names types
_LETTER = re.compile(r"[^\W\d_]")

log = logging.getLogger(__name__)


class _Table(NamedTuple):
    """The columns of a file, and its rows, each with its place in words."""

    names: Sequence[str]
    rows: Sequence[tuple[str, Mapping[str, Any]]]


def classify_files(files: Sequence[Path], encoding: str) -> dict[Path, Kind | None]:
    """Each file with the kind of table that it is; None: a plain text. Others are left out of several, with a warning.

    Raises RequestError if there is only one, and it is of a kind that has no text to read.
    """
    found = {file: kind_of(file, encoding) for file in files}
    no_text = {file for file, kind in found.items() if kind is None and is_binary(file, encoding)}
    if len(no_text) == len(found):
        if error := not_text(files[0]):
            raise error
        return found
    if no_text:
        more = f" and {len(no_text) - 5} others" if len(no_text) > 5 else ""
        log.warning(f"left out because they are no text: {', '.join(map(str, sorted(no_text)[:5]))}{more}")
    return {file: kind for file, kind in found.items() if file not in no_text}


def kind_of(file: Path, encoding: str) -> Kind | None:
    """What kind of table a file is, by its content, and by a name such as a.csv if that alone could be a text."""
    content, suffix = read_bytes(file, 0, _BEGINNING), file.suffix.lower()
    if content.startswith(b"PAR1"):
        return "parquet"
    try:
        beginning = content.decode(encoding, "ignore").removeprefix("\ufeff")
    except LookupError:  # Reading the file reports it.
        return None
    if _ARRAY.match(beginning):
        return "array"
    if suffix in _JSON_LINES or _OBJECTS.match(beginning):
        return "lines"
    return _separator(beginning, suffix)


def check_size(files: Iterable[Path]) -> None:
    """Raise RequestError for files of more than 256 MB: documents are held in memory."""
    if (size := sum(map(size_of, files))) > _MOST_BYTES:
        raise RequestError(
            f"tables and documents can have up to {_MOST_BYTES / 1e6:.0f} MB, and these have {size / 1e6:,.0f} MB: "
            "take some of them, or write their texts to a plain text, which can have any size"
        )


def texts_in(
    kinds: Mapping[Path, Kind | None], field: str | None, encoding: str, errors: str = "strict"
) -> Iterator[str]:
    """The texts in a column of each table, without empty ones, and each plain text.

    The column is `field` or, if None, the one called text, or the only one with texts. In a file of cells whose first
    row has no names, `field` is a number, from 1. Raises RequestError for a table without the column or with several
    columns of texts, and for a row or a value that is not as the others.
    """
    check_size(kinds)
    told = set()
    for file, kind in kinds.items():
        if kind is None:
            yield read_text(file, encoding, errors)
            continue
        table = _read(file, kind, field, encoding)
        # A text has a letter: a column of numbers or dates has none.
        texts = [
            name
            for name in table.names
            if any(isinstance(x := row.get(name), str) and _LETTER.search(x) for _, row in table.rows)
        ]
        if field is None and not texts and len(kinds) > 1:
            log.warning(f"left out because it has no texts: {file}")
            continue
        name = chosen(field, table.names, texts, str(file))
        if field is None and name not in told:
            log.info(f"the texts are the column {name} of {file}, which has {len(table.rows):,} rows")
            told.add(name)
        for place, values in table.rows:
            value = "" if values.get(name) is None else values[name]
            if not isinstance(value, str) or not is_utf8(value):
                raise RequestError(f"{place}: its {name} is not a text but {json.dumps(value, default=str):.40}")
            if value.strip():
                yield value


def chosen(field: str | None, names: Sequence[str], texts: Sequence[str], of: str) -> str:
    """The column to take: `field`, or the one called text, or the only one with texts. Raises RequestError for none."""
    if field is None:
        field = next((name for name in texts if name.casefold() == "text"), None)
        if field is None and len(texts) != 1:
            there = f"several columns of texts, {', '.join(texts)}" if texts else f"no texts in {', '.join(names)}"
            advice = f": choose one, as in data.field={texts[0]}" if texts else ""
            raise RequestError(f"{of} has {there:.400}{advice}")
        return field or texts[0]
    if field not in names:
        raise RequestError(f"{of} has no column {field}; it has {', '.join(names)[:200] or 'none'}")
    if names.count(field) > 1:
        raise RequestError(f"{of} has {names.count(field)} columns {field}: rename all but one")
    return field


def _separator(beginning: str, suffix: str) -> str | None:
    """What separates the cells of a file; None if it is no table.

    A file that is not called .csv or .tsv is a table if its first row has names, and all rows have as many cells.
    """
    if suffix in _TABS:
        return "\t"
    for separator in ",;\t":
        rows = list[list[str]]()
        with suppress(csv.Error):  # such as one in the row where the beginning ends
            rows.extend(filter(None, _reader(beginning, separator)))
        has_names = len(rows) > 2 and all(map(_NAME.fullmatch, rows[0])) and len({*map(len, rows[:-1])}) == 1
        if rows and len(rows[0]) > 1 and (suffix == ".csv" or has_names):
            return separator
    return "," if suffix == ".csv" else None


def _reader(content: str, separator: str) -> Any:
    # As registered with IANA, text/tab-separated-values has no quotation marks.
    more: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if separator == "\t" else {}
    return csv.reader(io.StringIO(content, newline=""), _Strict, delimiter=separator, **more)


def _read(file: Path, kind: Kind, field: str | None, encoding: str) -> _Table:
    if kind == "parquet":
        return _parquet(file, field)
    if kind in ("lines", "array"):
        return _objects(file, kind, encoding)
    return _cells(file, read_text(file, encoding), kind, field)


def _cells(file: Path, content: str, separator: str, field: str | None) -> _Table:
    """The rows of a file of cells. Raises RequestError unless each that is not empty has as many cells as the first."""
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    remedy = "a text cannot contain a tab" if separator == "\t" else f"put quotes around a text with {separator!r}"
    reader, line, rows = _reader(content, separator), 1, list[tuple[str, list[str]]]()
    try:
        for cells in reader:
            place, line = f"line {line} of {file}", reader.line_num + 1
            width = len(rows[0][1]) if rows else len(cells)
            if len(cells) not in (0, width):
                raise RequestError(f"{place} has {len(cells)} cells, but the first row has {width}: {remedy}")
            if cells:
                rows.append((place, cells))
    except csv.Error as error:
        raise RequestError(f"line {line} of {file} is wrongly quoted: {error}") from None
    first = rows[0][1] if rows else []
    numbers = [str(number + 1) for number in range(len(first))]
    names, rows = (numbers, rows) if field in numbers else (first, rows[1:])
    return _Table(names, [(place, dict(zip(names, cells, strict=True))) for place, cells in rows])


def _objects(file: Path, kind: Kind, encoding: str) -> _Table:
    """The objects of a JSON array or, line by line, of JSON lines; a string is the text of a row."""
    parts = read_lines(file, encoding) if kind == "lines" else [(str(file), read_text(file, encoding))]
    values: list[tuple[str, Any]] = []
    for place, part in parts:
        if not part.strip():
            continue
        try:
            value = json.loads(part)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{place} is not JSON: {error}") from None
        found = [(place, value)] if kind == "lines" else [(f"item {i} of {file}", x) for i, x in enumerate(value, 1)]
        values += [(where, {"text": x} if isinstance(x, str) else x) for where, x in found]
    if wrong := next((where for where, row in values if not isinstance(row, dict)), None):
        raise RequestError(f'{wrong} is not a JSON object, as in {{"text": "..."}}')
    return _Table(list(dict.fromkeys(name for _, row in values for name in row)), values)


def _parquet(file: Path, field: str | None) -> _Table:
    """The columns of strings, and `field`."""
    with require_extra("datasets"):
        import pyarrow
        from pyarrow import parquet
    try:
        opened = parquet.ParquetFile(file)
        names = opened.schema_arrow.names
        texts = [each.name for each in opened.schema_arrow if _OF_STRINGS.match(str(each.type))]
        rows = opened.read(columns=[*{*texts, field} & {*names}]).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise RequestError(f"{file} is a damaged Parquet file: {str(error).partition(chr(10))[0]}") from None
    return _Table(names, [(f"row {number} of {file}", row) for number, row in enumerate(rows, 1)])
