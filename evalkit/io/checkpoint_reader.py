"""Read the rows of csv, tsv, ndjson, json and parquet files.

Csv files come from many programs, so their encoding, separator and decimal mark are detected. A file that can be read in two ways is
refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from evalkit._util.atomic_files import reading
from evalkit.domain.catalog import METRICS
from evalkit.domain.commands import CHECKPOINT_COLUMNS, IGNORED_COLUMNS, unknown_field
from evalkit.domain.events import MAX_EVENT_BYTES
from evalkit.domain.refusals import invalid, shown
from evalkit.domain.validation import CHECKERS
from evalkit.errors import InvalidInputError

__all__ = ["FORMATS", "FileRow", "FileRows", "file_format", "json_problem", "parse_json", "read_rows"]

FORMATS = ("csv", "tsv", "ndjson", "jsonl", "json", "parquet")
"""The supported extensions; each may be followed by ``.gz``."""

_MISSING = frozenset(
    ["", "nan", "na", "n/a", "#n/a", "#na", "#nv", "<na>", "null", "none", "-", "\u2013", "\u2014"]
)  # the last two are dashes
"""Notations of spreadsheets and libraries for a missing value, in lower case."""
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_KINDS = {
    **{name: metric.kind for name, metric in METRICS.items()},
    **dict.fromkeys(("period_start", "period_end", "timestamp", "recorded_at"), "time"),
    **dict.fromkeys(IGNORED_COLUMNS, "ignored"),
    "events_analyzed": "count",
    "sessions_included": "texts",
    "key": "key",
}
_NUMERIC = ("count", "rate", "number", "money", "duration")
_RATES = [name for name, metric in METRICS.items() if metric.kind == "rate"]

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII).fullmatch
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}((,\d{3})+|(\.\d{3})+)", re.ASCII).fullmatch
"""Digits in groups of three, as in 1,234: either a thousands separator or a decimal mark."""
_PERCENTAGE = re.compile(r"([+-]?[\d.,]*\d[\d.,]*)\s*%").fullmatch
_TEXT_ENCODINGS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class FileRow(NamedTuple):
    """A row of a file: its values, or the error that occurred when it was read."""

    place: str
    """The place in the file: ``line 3`` of a text file (from 1), or ``row 1`` of a json or parquet file (from 0)."""
    values: Mapping[str, Any]
    error: InvalidInputError | None = None


@dataclass(frozen=True)
class FileRows:
    """The rows of a file."""

    rows: list[FileRow]
    read_as: str = ""
    """The detected format, unless the extension implies it, e.g. ``semicolon-separated with decimal commas``."""


class _Percentage(NamedTuple):
    """A rate written with a percent sign."""

    rate: float
    text: str


def file_format(path: Path) -> tuple[str, bool]:
    """Return the format of a file by its extension, and whether it is compressed.

    Raises
    ------
    InvalidInputError
        If the extension is not supported.

    Examples
    --------
    >>> file_format(Path("runs.csv.gz"))
    ('csv', True)
    """
    extensions = [suffix.lower().removeprefix(".") for suffix in path.suffixes]
    compressed = extensions[-1:] == ["gz"]
    extension = "".join((extensions[:-1] if compressed else extensions)[-1:])
    if extension not in FORMATS:
        *names, last = (f".{name}" for name in FORMATS)
        raise InvalidInputError(
            f"Unsupported file extension in {str(path)!r}",
            allowed=f"expected {', '.join(names)} or {last}, each optionally followed by .gz",
            field="file", value=str(path),
        )  # fmt: skip
    return extension, compressed


def read_rows(path: Path, *, percent: bool = False) -> FileRows:
    """Read the rows of a file, in the format that its extension selects.

    Parameters
    ----------
    path
        The file.
    percent
        Whether rates are percentages: ``85%`` and ``85`` are 0.85.

    Returns
    -------
    FileRows
        The rows, with values as ``kit.record_checkpoints`` takes them.

    Raises
    ------
    InvalidInputError
        If the file as a whole cannot be read: it is missing or damaged, has unknown columns, or can be read in two ways.
    """
    extension, compressed = file_format(path)
    try:
        with reading(path):
            data = path.read_bytes()
            read = _READERS[extension](_decompressed(data) if compressed else data)
        rows = _with_rates(read.rows, percent=percent)
    except InvalidInputError as error:
        if (error.field, error.value) == ("file", str(path)):
            raise
        line = error.message.where
        raise error.but(where=f"{path}, {line}" if line else f"{path}: ", effect="Nothing was recorded.") from None
    return FileRows(rows, read.read_as)


def parse_json(data: bytes | str) -> Any:
    """Parse JSON; ``NaN``, as Python's `json` module writes it, is allowed.

    Raises
    ------
    ValueError
        If it is not valid JSON.
    """
    try:
        return _without_nan(from_json(data))
    except ValueError as error:
        raise ValueError(json_problem(error)) from None


def json_problem(error: ValueError, *, single_line: bool = False) -> str:
    """Return the place of invalid JSON, from the message of the parser.

    Examples
    --------
    >>> json_problem(ValueError("expected value at line 1 column 3"))
    'invalid JSON at line 1, column 3'
    >>> json_problem(ValueError("expected value at line 1 column 3"), single_line=True)
    'invalid JSON at column 3'
    """
    place = re.search(r" at line (\d+) column (\d+)$", str(error))
    if place is None:
        return "invalid JSON"
    return f"invalid JSON at {'' if single_line else f'line {place[1]}, '}column {place[2]}"


def _without_nan(value: Any) -> Any:
    """Return a mapping with None instead of NaN; any other value unchanged."""
    return {name: None if _is_nan(part) else part for name, part in value.items()} if isinstance(value, Mapping) else value


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _decompressed(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError("damaged or incomplete gzip data") from None


def _decoded(data: bytes) -> tuple[str, str]:
    """Return a text without its byte order mark, and its encoding if it is not UTF-8."""
    encoding = next((name for mark, name in _TEXT_ENCODINGS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _file_error(
            f"not valid {'UTF-16' if encoding == 'utf-16' else 'UTF-8'} text",
            line=line,
            hint="Save the file as UTF-8; in Excel, choose 'CSV UTF-8'.",
        ) from None
    if "\0" in text:
        raise _file_error("the file contains NUL characters", hint="Save the file as UTF-8; in Excel, choose 'CSV UTF-8'.")
    return text, "UTF-16" if encoding == "utf-16" else ""


def _file_error(problem: str, *, line: int | None = None, hint: str = "", shell_hint: str = "") -> InvalidInputError:
    error = InvalidInputError(problem, hint=hint, shell_hint=shell_hint, field="rows", value=None)
    return error if line is None else error.but(where=f"line {line}: ")


def _check_columns(names: Sequence[str]) -> None:
    """Check the columns of a file.

    Raises
    ------
    InvalidInputError
        If a column is unknown or occurs twice.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise _file_error(f"duplicate column {name!r}", hint="Remove or rename one of them.")
        if name not in _KINDS:
            raise unknown_field("column", name)


# --- parquet and JSON -----------------------------------------------------------------------------------------------------------------


def _read_parquet(data: bytes) -> FileRows:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError:
        raise ValueError("not a valid Parquet file") from None
    _check_columns(frame.columns)
    kept = frame.select(name for name in frame.columns if name in CHECKPOINT_COLUMNS)
    rows = kept.iter_rows(named=True) if kept.width else ({} for _ in range(frame.height))
    return FileRows([FileRow(f"row {number}", _without_nan(row)) for number, row in enumerate(rows)])


def _read_json(data: bytes) -> FileRows:
    text, encoding = _decoded(data)
    try:
        rows = from_json(text)
    except ValueError as error:
        hint = "For a file with one object per line, use the extension .ndjson." if text.lstrip().startswith("{") else ""
        raise _file_error(json_problem(error), hint=hint) from None
    if not isinstance(rows, list):
        kind = "one object" if isinstance(rows, dict) else shown(rows)
        raise _file_error(f"expected an array of objects, got {kind}", hint="Write one object for each checkpoint: [{...}, {...}].")
    return FileRows([_json_row(f"row {number}", row) for number, row in enumerate(rows)], encoding)


def _read_ndjson(data: bytes) -> FileRows:
    text, encoding = _decoded(data)
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(_json_row(f"line {number}", from_json(line)))
            except ValueError as error:
                wrong = InvalidInputError(json_problem(error, single_line=True), field="line", value=line)
                rows.append(FileRow(f"line {number}", {}, wrong))
    return FileRows(rows, encoding)


def _json_row(place: str, row: Any) -> FileRow:
    if not isinstance(row, dict):
        return FileRow(place, {}, InvalidInputError(f"Expected a JSON object, got {shown(row)}", field="row", value=row))
    unknown = next((name for name in row if name not in _KINDS and name != "period"), None)
    if unknown is not None:
        return FileRow(place, {}, unknown_field("column", unknown))
    values = {name: value for name, value in _without_nan(row).items() if name not in IGNORED_COLUMNS}
    for name in _RATES:
        if isinstance(values.get(name), str) and (match := _PERCENTAGE(values[name].strip())) and _DECIMAL(match[1]):
            values[name] = _Percentage(float(f"{match[1]}e-2"), values[name])
    return FileRow(place, values)


# --- csv and tsv ----------------------------------------------------------------------------------------------------------------------


class _Cells(NamedTuple):
    """The cells of a line that are not missing, by column."""

    line: int
    cells: dict[str, str]
    error: InvalidInputError | None = None


def _read_csv(data: bytes) -> FileRows:
    return _read_separated(data, ",")


def _read_tsv(data: bytes) -> FileRows:
    return _read_separated(data, "\t")


def _read_separated(data: bytes, default: str) -> FileRows:
    text, encoding = _decoded(data)
    limit = csv.field_size_limit(2 * MAX_EVENT_BYTES)  # a list of sessions can be as large as an event
    try:
        separator, body = _separator(text, default)
        lines = list(_lines(body, separator, first=text.count("\n") - body.count("\n")))
    except csv.Error as error:
        raise _file_error(f"invalid csv: {error}") from None
    finally:
        csv.field_size_limit(limit)
    mark = "." if separator == "," else _decimal_mark(lines, separator)
    rows = [_csv_row(line, mark, separator) for line in lines]
    name = f"{_SEPARATORS[separator]}-separated" if separator != default or mark == "," else ""
    with_mark = f"{name} with decimal commas" if mark == "," else name
    return FileRows(rows, ", ".join(filter(None, [encoding, with_mark])))


def _separator(text: str, default: str) -> tuple[str, str]:
    """Return the separator of a csv text, and the text from its header on.

    The separator is the one that yields the most known column names. Excel's ``sep=;`` as the first line is honored.
    """
    first, _, rest = text.partition("\n")
    declared = first.strip().removeprefix("sep=")
    if first.startswith("sep=") and declared in ("", *_SEPARATORS):  # a tab is removed by strip()
        return declared or "\t", rest
    known = dict.fromkeys((default, *_SEPARATORS), 0)
    for separator in known:
        known[separator] = sum(cell in _KINDS for cell in _header(text, separator))
    most = max(known.values())
    best = [separator for separator, count in known.items() if count == most]
    if len(best) > 1 and most > 0 and len({tuple(_header(text, separator)) for separator in best}) > 1:
        names = " or ".join(f"{_SEPARATORS[separator]}-separated" for separator in best)
        raise _file_error(f"the header can be read as {names}", hint="Use the same separator between all column names.")
    return best[0], text


def _header(text: str, separator: str) -> list[str]:
    """Return the first line's cells; empty if the line is invalid with this separator."""
    try:
        return [cell.strip() for cell in next(_reader(text, separator), [])]
    except csv.Error:
        return []


def _reader(text: str, separator: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)


def _records(reader: Any, first: int) -> Iterator[list[str]]:
    """Yield the lines of a csv reader; errors contain the number of the line."""
    try:
        yield from reader
    except csv.Error as error:
        hint = "Close every quotation mark." if "end of data" in str(error) else ""
        raise _file_error(f"invalid csv: {error}", line=first + reader.line_num, hint=hint) from None


def _lines(text: str, separator: str, first: int) -> Iterator[_Cells]:
    """Parse the header and the lines of a csv text.

    The header is preceded by `first` lines.
    """
    reader = _reader(text, separator)
    header = [name.strip() for name in next(reader, [])]
    while header and not header[-1]:
        header.pop()  # spreadsheets write empty columns at the end
    if not header:
        raise _file_error("the file is empty", hint="The first line must contain the column names.")
    try:
        _check_columns([name for name in header if name])
    except InvalidInputError as error:
        if len(header) == 1 and " " in header[0]:
            raise error.but(hint="Columns must be separated by commas, semicolons or tabs.") from None
        raise
    columns = [(position, name) for position, name in enumerate(header) if name and name not in IGNORED_COLUMNS]
    unnamed = [position for position, name in enumerate(header) if not name]
    for cells in _records(reader, first):
        line = first + reader.line_num
        values = [cell.strip() for cell in cells]
        if not any(values):
            continue
        if len(cells) < len(header) or any(values[len(header) :]):
            wrong = InvalidInputError(f"Expected {len(header)} cells as in the header, got {len(cells)}", field="row", value=cells)
            yield _Cells(line, {}, wrong)
            continue
        if any(values[position] for position in unnamed):
            yield _Cells(line, {}, InvalidInputError("Value in a column without a name", field="row", value=cells))
            continue
        present = {name: values[position] for position, name in columns if values[position].casefold() not in _MISSING}
        if "key" in header and values[header.index("key")]:
            present["key"] = cells[header.index("key")]
        yield _Cells(line, present)


def _numbers(lines: Iterable[_Cells]) -> Iterator[tuple[int, str, str]]:
    """Yield the line, column and text of each number that contains a comma or a point."""
    for line, cells, _ in lines:
        for name, cell in cells.items():
            if _KINDS[name] in _NUMERIC and ("," in cell or "." in cell):
                yield line, name, _unsigned(cell)


def _unsigned(cell: str) -> str:
    match = _PERCENTAGE(cell) if cell[-1] == "%" else None
    return match[1] if match else cell


def _decimal_mark(lines: list[_Cells], separator: str) -> str:
    """Return the decimal mark of a file that is not comma-separated.

    A number such as ``0,85`` or ``0.85`` is evidence for its mark. ``1,234`` is not, because it may be 1234 as well.

    Raises
    ------
    InvalidInputError
        If there is evidence for both marks, or the only numbers with a mark can be read in two ways.
    """
    evidence: dict[str, tuple[int, str, str]] = {}
    unclear: dict[str, tuple[int, str, str]] = {}
    for number in _numbers(lines):
        line, name, text = number
        mark = "," if "," in text else "."
        if _GROUPED(text):
            if text.count(mark) == 1 and _KINDS[name] != "count":
                unclear.setdefault(mark, number)
        elif _DECIMAL(text.replace(",", ".")):
            evidence.setdefault(mark, number)
    if len(evidence) == 2:
        (line, name, text), (other_line, other_name, other) = evidence[","], evidence["."]
        raise _file_error(
            f"{name} {text!r} has a decimal comma, but {other_name} {other!r} in line {other_line} has a decimal point",
            line=line,
            hint="Use the same decimal mark throughout the file, without thousands separators.",
        )
    doubtful = unclear.get(",") or (unclear.get(".") if separator == ";" else None)
    if not evidence and doubtful is not None:
        line, name, text = doubtful
        digits = re.sub("[.,]", "", text)
        fraction = text.replace(",", ".")
        raise _file_error(
            f"ambiguous {name} {text!r}: {digits} or {fraction}",
            line=line,
            hint=f"Write {digits}, or {text}0 for {fraction}.",
        )
    return "," if "," in evidence else "."


def _csv_row(line: _Cells, mark: str, separator: str) -> FileRow:
    if line.error is not None:
        return FileRow(f"line {line.line}", {}, line.error)
    values = {}
    try:
        for name, cell in line.cells.items():
            values[name] = _value(name, cell, mark, separator)
    except InvalidInputError as error:
        return FileRow(f"line {line.line}", {}, error)
    return FileRow(f"line {line.line}", values)


def _value(column: str, cell: str, mark: str, separator: str) -> Any:
    """Return the value of a cell: a number, a list, or a text.

    Texts are validated by the command.
    """
    kind = _KINDS[column]
    if kind == "texts":
        try:
            return from_json(cell)
        except ValueError:
            return cell
    if kind not in _NUMERIC:
        return cell
    percentage = _PERCENTAGE(cell) if cell[-1] == "%" else None
    text = _plain_number(column, cell, percentage[1] if percentage else cell, mark, separator)
    if not _DECIMAL(text):
        raise invalid(column, cell, "expected a number without units or symbols", hint="Leave the cell empty if the value is missing.")
    if percentage:
        if kind != "rate":
            raise invalid(column, cell, "only rates can be percentages", "expected a number without %")
        return _Percentage(float(f"{text}e-2"), cell)
    if kind == "duration" and (pair := _exact_pair(text)) is not None:
        return pair
    return int(text) if len(text) < 100 and text.lstrip("+-").isdigit() else float(text)


def _plain_number(column: str, cell: str, text: str, mark: str, separator: str) -> str:
    """Return a number with a decimal point; any other text unchanged.

    Raises
    ------
    InvalidInputError
        If the number has thousands separators, or a decimal comma in a file with decimal points.
    """
    if "," not in text and ("." not in text or separator == ","):
        return text
    grouped = _GROUPED(text) is not None and (_KINDS[column] == "count" or mark not in text or len(re.findall("[.,]", text)) > 1)
    if grouped or ("," in text and "." in text and _DECIMAL(re.sub("[.,]", "", text))):
        raise invalid(column, cell, "thousands separators are not supported", "write the number without them")
    point = text.replace(",", ".")
    if mark != "," and "," in text and _DECIMAL(point):
        raise invalid(column, cell, "decimal commas are supported only in files separated by semicolons or tabs", f"write {point}")
    return point if mark == "," else text


def _exact_pair(text: str) -> tuple[int, int] | None:
    """Return seconds and nanoseconds; None if the duration is negative or too long."""
    if not 0 <= float(text) < 2**63:
        return None
    nanoseconds = round(Decimal(text).scaleb(9)) if float(text) > 1e-10 else 0  # Decimal fails for exponents of 20 digits
    return divmod(nanoseconds, 1_000_000_000)


# --- rates as percentages -------------------------------------------------------------------------------------------------------------


def _with_rates(rows: list[FileRow], *, percent: bool) -> list[FileRow]:
    """Return the rows with percentages as rates from 0 to 1.

    Raises
    ------
    InvalidInputError
        If `percent` is set and a column can be read in two ways.
    """
    if percent:
        for name in _RATES:
            _check_percentages(name, rows)
    return [row if row.error is not None else _with_rates_of(row, percent=percent) for row in rows]


def _with_rates_of(row: FileRow, *, percent: bool) -> FileRow:
    values = dict(row.values)
    for name in _RATES:
        value = values.get(name)
        if isinstance(value, _Percentage):
            rate, written = value.rate, value.text
        elif value is not None and _is_number(value) and (percent or 2 <= value <= 100):
            exact = Decimal(value) if isinstance(value, int) else Decimal(str(value))
            rate, written = float(exact.scaleb(-2)), value
        else:
            continue
        if not percent:
            error = InvalidInputError(
                f"Invalid {name} {shown(written)}: expected a rate from 0 to 1, not a percentage",
                hint=f"Write {rate:g}, or pass percent=True to read 85% and 85 as 0.85.",
                shell_hint=f"Write {rate:g}, or add --percent to read 85% and 85 as 0.85.",
                field=name, value=written,
            )  # fmt: skip
            return FileRow(row.place, {}, error)
        try:
            values[name] = CHECKERS[name](name, rate)
        except InvalidInputError:
            return FileRow(row.place, {}, invalid(name, written, "expected a percentage from 0 to 100"))
    return FileRow(row.place, values)


def _check_percentages(name: str, rows: list[FileRow]) -> None:
    """Check that the values of a rate are percentages.

    All values other than 0 have a percent sign, or none has one and some value exceeds 1.

    Raises
    ------
    InvalidInputError
        If they can be read in two ways.
    """
    signed = next((row for row in rows if isinstance(row.values.get(name), _Percentage)), None)
    plain = [row for row in rows if _is_number(row.values.get(name)) and row.values[name] != 0]
    if signed is not None and plain:
        raise _file_error(
            f"ambiguous percentages in {name}: {signed.values[name].text!r} at {signed.place}, but {plain[0].values[name]:g} without a "
            f"percent sign at {plain[0].place}",
            hint="Write all values of the column with a percent sign.",
        )
    if plain and all(abs(row.values[name]) <= 1 for row in plain):
        raise _file_error(
            f"ambiguous percentages in {name}: no value exceeds 1 ({plain[0].values[name]:g} at {plain[0].place})",
            hint="Write percentages with a percent sign, or omit percent=True if all rates are from 0 to 1.",
            shell_hint="Write percentages with a percent sign, or omit --percent if all rates are from 0 to 1.",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


_READERS: dict[str, Callable[[bytes], FileRows]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "ndjson": _read_ndjson,
    "jsonl": _read_ndjson,
    "json": _read_json,
    "parquet": _read_parquet,
}
