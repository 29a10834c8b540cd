"""Rates that are written as percentages in a file."""

from __future__ import annotations

from decimal import Decimal

from evalkit.domain.refusals import invalid, shown
from evalkit.errors import InvalidInputError
from evalkit.io.file_rows import Columns, FileRow, Percentage, file_error

__all__ = ["with_rates"]


def with_rates(rows: list[FileRow], columns: Columns, *, percent: bool) -> list[FileRow]:
    """Return the rows with percentages as rates from 0 to 1.

    Raises
    ------
    InvalidInputError
        If `percent` is set and a column can be read in two ways.
    """
    names = dict.fromkeys(name for row in rows for name in row.values)
    rates = [name for name in names if columns.kind(name) == "rate"]
    if percent:
        for name in rates:
            _check_percentages(name, rows)
    return [row if row.error is not None else _with_rates_of(row, rates, columns, percent=percent) for row in rows]


def _with_rates_of(row: FileRow, rates: list[str], columns: Columns, *, percent: bool) -> FileRow:
    values = dict(row.values)
    for name in rates:
        value = values.get(name)
        if isinstance(value, Percentage):
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
            values[name] = columns.check_rate(name, rate)
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
    signed = next((row for row in rows if isinstance(row.values.get(name), Percentage)), None)
    plain = [row for row in rows if _is_number(row.values.get(name)) and row.values[name] != 0]
    if signed is not None and plain:
        raise file_error(
            f"ambiguous percentages in {name}: {signed.values[name].text!r} at {signed.place}, but {plain[0].values[name]:g} without a "
            f"percent sign at {plain[0].place}",
            hint="Write all values of the column with a percent sign.",
        )
    if plain and all(abs(row.values[name]) <= 1 for row in plain):
        raise file_error(
            f"ambiguous percentages in {name}: no value exceeds 1 ({plain[0].values[name]:g} at {plain[0].place})",
            hint="Write percentages with a percent sign, or omit percent=True if all rates are from 0 to 1.",
            shell_hint="Write percentages with a percent sign, or omit --percent if all rates are from 0 to 1.",
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
