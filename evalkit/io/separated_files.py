"""Read the rows of csv and tsv files.

They come from many programs, so their encoding, separator and decimal mark are detected. A file that can be read in two ways is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic_core import from_json

from evalkit.domain.commands import IGNORED_COLUMNS
from evalkit.domain.events import MAX_EVENT_BYTES
from evalkit.domain.refusals import invalid
from evalkit.errors import InvalidInputError
from evalkit.io.file_rows import DECIMAL, PERCENTAGE, Columns, FileRow, FileRows, Percentage, decoded, file_error

__all__ = ["read_csv", "read_tsv"]

_MISSING = frozenset(
    ["", "nan", "na", "n/a", "#n/a", "#na", "#nv", "<na>", "null", "none", "-", "\u2013", "\u2014"]
)  # the last two are dashes
"""Notations of spreadsheets and libraries for a missing value, in lower case."""
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_NUMERIC = ("count", "rate", "number", "money", "duration", "score")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}((,\d{3})+|(\.\d{3})+)", re.ASCII).fullmatch
"""Digits in groups of three, as in 1,234: either a thousands separator or a decimal mark."""


class _Cells(NamedTuple):
    """The cells of a line that are not missing, by column."""

    line: int
    cells: dict[str, str]
    error: InvalidInputError | None = None


def read_csv(data: bytes, columns: Columns) -> FileRows:
    """Read the rows of a csv file; the separator is by default a comma."""
    return _read_separated(data, ",", columns)


def read_tsv(data: bytes, columns: Columns) -> FileRows:
    """Read the rows of a tsv file; the separator is by default a tab."""
    return _read_separated(data, "\t", columns)


def _read_separated(data: bytes, default: str, columns: Columns) -> FileRows:
    text, encoding = decoded(data)
    limit = csv.field_size_limit(2 * MAX_EVENT_BYTES)  # a list of sessions can be as large as an event
    try:
        separator, body = _separator(text, default, columns)
        lines = list(_lines(body, separator, columns, first=text.count("\n") - body.count("\n")))
    except csv.Error as error:
        raise file_error(f"invalid csv: {error}") from None
    finally:
        csv.field_size_limit(limit)
    mark = "." if separator == "," else _decimal_mark(lines, separator, columns)
    rows = [_csv_row(line, mark, separator, columns) for line in lines]
    name = f"{_SEPARATORS[separator]}-separated" if separator != default or mark == "," else ""
    with_mark = f"{name} with decimal commas" if mark == "," else name
    return FileRows(rows, ", ".join(filter(None, [encoding, with_mark])))


def _separator(text: str, default: str, columns: Columns) -> tuple[str, str]:
    """Return the separator of a csv text, and the text from its header on.

    The separator is the one that yields the most known column names. Excel's ``sep=;`` as the first line is honored.
    """
    first, _, rest = text.partition("\n")
    declared = first.strip().removeprefix("sep=")
    if first.startswith("sep=") and declared in ("", *_SEPARATORS):  # a tab is removed by strip()
        return declared or "\t", rest
    known = dict.fromkeys((default, *_SEPARATORS), 0)
    for separator in known:
        known[separator] = sum(columns.is_declared(cell) for cell in _header(text, separator))
    most = max(known.values())
    best = [separator for separator, count in known.items() if count == most]
    if len(best) > 1 and most > 0 and len({tuple(_header(text, separator)) for separator in best}) > 1:
        names = " or ".join(f"{_SEPARATORS[separator]}-separated" for separator in best)
        raise file_error(f"the header can be read as {names}", hint="Use the same separator between all column names.")
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
        raise file_error(f"invalid csv: {error}", line=first + reader.line_num, hint=hint) from None


def _lines(text: str, separator: str, columns: Columns, first: int) -> Iterator[_Cells]:
    """Parse the header and the lines of a csv text.

    The header is preceded by `first` lines.
    """
    reader = _reader(text, separator)
    header = [name.strip() for name in next(reader, [])]
    while header and not header[-1]:
        header.pop()  # spreadsheets write empty columns at the end
    if not header:
        raise file_error("the file is empty", hint="The first line must contain the column names.")
    try:
        columns.check([name for name in header if name])
    except InvalidInputError as error:
        if len(header) == 1 and " " in header[0]:
            raise error.but(hint="Columns must be separated by commas, semicolons or tabs.") from None
        raise
    recorded = [(position, name) for position, name in enumerate(header) if name and name not in IGNORED_COLUMNS]
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
        present = {name: values[position] for position, name in recorded if values[position].casefold() not in _MISSING}
        if "key" in header and values[header.index("key")]:
            present["key"] = cells[header.index("key")]
        yield _Cells(line, present)


def _numbers(lines: Iterable[_Cells], columns: Columns) -> Iterator[tuple[int, str, str]]:
    """Yield the line, column and text of each number that contains a comma or a point."""
    for line, cells, _ in lines:
        for name, cell in cells.items():
            if columns.kind(name) in _NUMERIC and ("," in cell or "." in cell):
                yield line, name, _unsigned(cell)


def _unsigned(cell: str) -> str:
    match = PERCENTAGE(cell) if cell[-1] == "%" else None
    return match[1] if match else cell


def _decimal_mark(lines: list[_Cells], separator: str, columns: Columns) -> str:
    """Return the decimal mark of a file that is not comma-separated.

    A number such as ``0,85`` or ``0.85`` is evidence for its mark. ``1,234`` is not, because it may be 1234 as well.

    Raises
    ------
    InvalidInputError
        If there is evidence for both marks, or the only numbers with a mark can be read in two ways.
    """
    evidence: dict[str, tuple[int, str, str]] = {}
    unclear: dict[str, tuple[int, str, str]] = {}
    for number in _numbers(lines, columns):
        line, name, text = number
        mark = "," if "," in text else "."
        if _GROUPED(text):
            if text.count(mark) == 1 and columns.kind(name) != "count":
                unclear.setdefault(mark, number)
        elif DECIMAL(text.replace(",", ".")):
            evidence.setdefault(mark, number)
    if len(evidence) == 2:
        (line, name, text), (other_line, other_name, other) = evidence[","], evidence["."]
        raise file_error(
            f"{name} {text!r} has a decimal comma, but {other_name} {other!r} in line {other_line} has a decimal point",
            line=line,
            hint="Use the same decimal mark throughout the file, without thousands separators.",
        )
    doubtful = unclear.get(",") or (unclear.get(".") if separator == ";" else None)
    if not evidence and doubtful is not None:
        line, name, text = doubtful
        digits = re.sub("[.,]", "", text)
        fraction = text.replace(",", ".")
        raise file_error(
            f"ambiguous {name} {text!r}: {digits} or {fraction}",
            line=line,
            hint=f"Write {digits}, or {text}0 for {fraction}.",
        )
    return "," if "," in evidence else "."


def _csv_row(line: _Cells, mark: str, separator: str, columns: Columns) -> FileRow:
    if line.error is not None:
        return FileRow(f"line {line.line}", {}, line.error)
    values = {}
    try:
        for name, cell in line.cells.items():
            values[name] = _value(name, columns.kind(name) or "", cell, mark, separator)
    except InvalidInputError as error:
        return FileRow(f"line {line.line}", {}, error)
    return FileRow(f"line {line.line}", values)


def _value(column: str, kind: str, cell: str, mark: str, separator: str) -> Any:
    """Return the value of a cell: a number, a list, or a text.

    Texts are validated by the command.
    """
    if kind == "texts":
        try:
            return from_json(cell)
        except ValueError:
            return cell
    if kind not in _NUMERIC:
        return cell
    percentage = PERCENTAGE(cell) if cell[-1] == "%" else None
    text = _plain_number(column, cell, percentage[1] if percentage else cell, mark, separator, count=kind == "count")
    if not DECIMAL(text):
        raise invalid(column, cell, "expected a number without units or symbols", hint="Leave the cell empty if the value is missing.")
    if percentage:
        if kind != "rate":
            raise invalid(column, cell, "only rates can be percentages", "expected a number without %")
        return Percentage(float(f"{text}e-2"), cell)
    if kind == "duration" and (pair := _exact_pair(text)) is not None:
        return pair
    return int(text) if len(text) < 100 and text.lstrip("+-").isdigit() else float(text)


def _plain_number(column: str, cell: str, text: str, mark: str, separator: str, *, count: bool) -> str:
    """Return a number with a decimal point; any other text unchanged.

    Raises
    ------
    InvalidInputError
        If the number has thousands separators, or a decimal comma in a file with decimal points.
    """
    if "," not in text and ("." not in text or separator == ","):
        return text
    grouped = _GROUPED(text) is not None and (count or mark not in text or len(re.findall("[.,]", text)) > 1)
    if grouped or ("," in text and "." in text and DECIMAL(re.sub("[.,]", "", text))):
        raise invalid(column, cell, "thousands separators are not supported", "write the number without them")
    point = text.replace(",", ".")
    if mark != "," and "," in text and DECIMAL(point):
        raise invalid(column, cell, "decimal commas are supported only in files separated by semicolons or tabs", f"write {point}")
    return point if mark == "," else text


def _exact_pair(text: str) -> tuple[int, int] | None:
    """Return seconds and nanoseconds; None if the duration is negative or too long."""
    if not 0 <= float(text) < 2**63:
        return None
    nanoseconds = round(Decimal(text).scaleb(9)) if float(text) > 1e-10 else 0  # Decimal fails for exponents of 20 digits
    return divmod(nanoseconds, 1_000_000_000)
