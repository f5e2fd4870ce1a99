"""The texts in tables, which are known by their names: .csv, .tsv, .jsonl, .json and .parquet."""

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt.base.errors import RequestError, require_extra
from gpt.data.records import not_text, read_lines, read_text, size_of
from gpt.data.tokenizer import is_utf8

_MOST_BYTES = 2**28
_SEPARATOR = re.compile(r"sep=(.)\r?\n")  # Excel's first line
_OF_STRINGS = re.compile("(large_)?string|dictionary<values=(large_)?string")  # as Arrow names types
_LETTER = re.compile(r"[^\W\d_]")

log = logging.getLogger(__name__)


class _Table(NamedTuple):
    """The columns of a file, and its rows, each with its place in words."""

    names: Sequence[str]
    rows: Sequence[tuple[str, Mapping[str, Any]]]


class _Strict(csv.excel):
    strict = True


def is_table(file: Path) -> bool:
    """Whether a file is a table; every other file is a text."""
    return file.suffix.lower() in _READERS


def without_others(files: Sequence[Path], encoding: str) -> list[Path]:
    """The tables and texts among files; others are left out with a warning, but a single file raises RequestError."""
    errors = {file: error for file in files if (error := None if is_table(file) else not_text(file, encoding))}
    if errors and len(errors) == len(files):
        raise next(iter(errors.values()))
    if errors:
        more = f" and {len(errors) - 5} others" if len(errors) > 5 else ""
        log.warning(f"left out because they are no text: {', '.join(map(str, sorted(errors)[:5]))}{more}")
    return [file for file in files if file not in errors]


def check_size(files: Iterable[Path]) -> None:
    """Raise RequestError for files of more than 256 MB: documents are held in memory."""
    if (size := sum(map(size_of, files))) > _MOST_BYTES:
        raise RequestError(
            f"tables and documents can have up to {_MOST_BYTES / 1e6:.0f} MB, and these have {size / 1e6:,.0f} MB: "
            "take some of them, or write their texts to a plain text, which can have any size"
        )


def texts_in(files: Sequence[Path], field: str | None, encoding: str, errors: str = "strict") -> Iterator[str]:
    """The texts in a column of each table, without empty ones, and each plain text.

    The column is `field` or, if None, the one called text, or the only one with texts. Raises RequestError for a table
    without the column or with several columns of texts, and for a row or a value that is not as the others.
    """
    check_size(files)
    told = set[str]()
    for file in files:
        if not is_table(file):
            yield read_text(file, encoding, errors)
            continue
        table = _READERS[file.suffix.lower()](file, encoding, field)
        for name in table.names:
            if table.names.count(name) > 1:
                raise RequestError(f"{file} has {table.names.count(name)} columns {name}: rename all but one")
        # A text has a letter: a column of numbers or dates has none.
        texts = [
            name
            for name in table.names
            if any(isinstance(x := row.get(name), str) and _LETTER.search(x) for _, row in table.rows)
        ]
        if field is None and not texts and len(files) > 1:
            log.warning(f"left out because it has no texts: {file}")
            continue
        name = choose_column(field, table.names, texts, str(file))
        if name not in told:
            columns = ", ".join(table.names)
            log.info(f"the texts are the column {name} of {file}, which has {len(table.rows):,} rows of {columns:.200}")
            told.add(name)
        for place, values in table.rows:
            value = "" if values.get(name) is None else values[name]
            if not isinstance(value, str) or not is_utf8(value):
                raise RequestError(f"{place}: its {name} is not a text but {json.dumps(value, default=str):.40}")
            if value.strip():
                yield value


def choose_column(field: str | None, names: Sequence[str], texts: Sequence[str], of: str) -> str:
    """The column to take: `field`, or the one called text, or the only one with texts. Raises RequestError for none."""
    if field is not None:
        if field not in names:
            raise RequestError(f"{of} has no column {field}; it has {', '.join(names)[:200] or 'none'}")
        return field
    found = [name for name in texts if name.casefold() == "text"] or [*texts]
    if len(found) != 1:
        there = f"several columns of texts, {', '.join(texts)}" if texts else f"no texts in {', '.join(names)}"
        raise RequestError(f"{of} has {there:.400}" + (f": choose one, as in data.field={texts[0]}" if texts else ""))
    return found[0]


def _cells(file: Path, encoding: str, _: str | None) -> _Table:
    """The rows after the first, which has the names. Raises RequestError for a row with more or fewer cells.

    Cells of a .csv are separated by what a first line such as sep=; says or by commas, or by semicolons if its first
    row has no comma.
    """
    content, first_line, more = read_text(file, encoding), 1, dict[str, Any]()
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    if file.suffix.lower() == ".tsv":  # as registered with IANA, it has no quotation marks
        separator, more, remedy = "\t", {"quoting": csv.QUOTE_NONE}, "a text cannot contain a tab"
    else:
        if said := _SEPARATOR.match(content):
            content, first_line = content[said.end() :], 2
        first_row = content.partition("\n")[0]
        separator = said[1] if said else ";" if ";" in first_row and "," not in first_row else ","
        remedy = f"put quotes around a text with {separator!r}"
    reader = csv.reader(io.StringIO(content, newline=""), _Strict, delimiter=separator, **more)
    line, rows = first_line, list[tuple[str, list[str]]]()
    try:
        for cells in reader:
            place, line = f"line {line} of {file}", reader.line_num + first_line
            width = len(rows[0][1]) if rows else len(cells)
            if len(cells) not in (0, width):
                raise RequestError(f"{place} has {len(cells)} cells, but the first row has {width}: {remedy}")
            if cells:
                rows.append((place, cells))
    except csv.Error as error:
        raise RequestError(f"line {line} of {file} is wrongly quoted: {error}") from None
    names = rows[0][1] if rows else []
    return _Table(names, [(place, dict(zip(names, cells, strict=True))) for place, cells in rows[1:]])


def _objects(file: Path, encoding: str, _: str | None) -> _Table:
    """The objects of a JSON list or, line by line, of JSON lines; a string is the text of a row."""
    is_lines = file.suffix.lower() == ".jsonl"
    values: list[tuple[str, Any]] = []
    for place, part in read_lines(file, encoding) if is_lines else [(str(file), read_text(file, encoding))]:
        if not part.strip():
            continue
        try:
            value = json.loads(part)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{place} is not JSON: {error}") from None
        if not is_lines and not isinstance(value, list):
            raise RequestError(f'{file} is not a JSON list of objects or strings, as in [{{"text": "..."}}]')
        found = [(place, value)] if is_lines else [(f"item {i} of {file}", x) for i, x in enumerate(value, 1)]
        values += [(where, {"text": x} if isinstance(x, str) else x) for where, x in found]
    if wrong := next((where for where, row in values if not isinstance(row, dict)), None):
        raise RequestError(f'{wrong} is not a JSON object, as in {{"text": "..."}}')
    return _Table(list(dict.fromkeys(name for _, row in values for name in row)), values)


def _parquet(file: Path, _: str, field: str | None) -> _Table:
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


_READERS = {".csv": _cells, ".tsv": _cells, ".jsonl": _objects, ".json": _objects, ".parquet": _parquet}
