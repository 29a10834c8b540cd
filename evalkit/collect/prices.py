"""Price files: estimate the cost of sessions from their tokens."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from evalkit.collect.source import Problems
from evalkit.domain.refusals import a_type, invalid, unknown_name
from evalkit.errors import InvalidInputError

__all__ = ["ModelPrices", "Prices", "read_prices", "with_prices"]

_LONGEST_NAME = 100
_HIGHEST = 1_000_000
_MOST_DECIMALS = 30
_KINDS = ("input", "cached", "output")
_EXAMPLE = '[models."model-name"] with input, cached and output, in US$ per million tokens'
_NAMED = 5


@dataclass(frozen=True)
class ModelPrices:
    """The prices of a model, in US$ per million tokens."""

    input: Decimal
    """Of input tokens that are not from the cache."""
    cached: Decimal
    """Of input tokens that are read from the cache or written to it."""
    output: Decimal

    def cost(self, tokens_input: int, tokens_cached: int, tokens_output: int) -> float:
        """Return the cost of tokens in US$, exact but for one rounding to a float.

        Examples
        --------
        >>> ModelPrices(Decimal("3"), Decimal("0.3"), Decimal("15")).cost(1_000_000, 500_000, 20_000)
        3.45
        """
        scale, (per_input, per_cached, per_output) = self._scaled()
        return (tokens_input * per_input + tokens_cached * per_cached + tokens_output * per_output) / scale

    def _scaled(self) -> tuple[int, tuple[int, ...]]:
        """Return prices as whole numbers, and the number of them in a US$ per token."""
        prices = (self.input, self.cached, self.output)
        decimals = max(0, *(-int(price.as_tuple().exponent) for price in prices))
        return 10 ** (decimals + 6), tuple(int(price.scaleb(decimals)) for price in prices)


@dataclass(frozen=True)
class Prices:
    """The content of a price file."""

    name: str
    """What checkpoints have in their provenance."""
    models: Mapping[str, ModelPrices]
    """The prices by the name of a model, or the beginning of names and ``*``."""

    def of(self, model: str) -> ModelPrices | None:
        """Return the prices of a model: those of its name, else of the longest pattern.

        Examples
        --------
        >>> cheap, dear = (ModelPrices(*[Decimal(price)] * 3) for price in (1, 2))
        >>> prices = Prices("list", {"model-*": cheap, "model-x": dear})
        >>> prices.of("model-y") is cheap, prices.of("model-x") is dear, prices.of("other")
        (True, True, None)
        """
        if not model.endswith("*") and model in self.models:
            return self.models[model]
        patterns = [name for name in self.models if name.endswith("*") and model.startswith(name[:-1])]
        return self.models[max(patterns, key=len)] if patterns else None


def read_prices(prices: str | os.PathLike[str] | Prices) -> Prices:
    r"""Read a price file.

    It is a TOML file with a table for each model, whose name may end with ``*``, and optionally the name of the price list::

        name = "2026-10 list"

        [models."claude-sonnet-4*"]
        input = 3.0
        cached = 0.3
        output = 15.0

    Prices are US$ per million tokens: of input that is not from the cache, of cache reads and writes, and of output.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, or is not such a file.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "prices.toml"
    >>> _ = file.write_text('[models."model-x"]\ninput = 3\ncached = 0.3\noutput = 15\n')
    >>> prices = read_prices(file)
    >>> prices.name, prices.models["model-x"].output
    ('prices.toml', Decimal('15'))
    """
    if isinstance(prices, Prices):
        return prices
    if not isinstance(prices, str | os.PathLike):
        raise invalid("prices", prices, f"expected a file, got {a_type(prices)}")
    path = Path(prices).expanduser()
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8"), parse_float=Decimal)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise InvalidInputError(f"Cannot read prices from {str(path)!r}: {reason}", field="prices", value=str(path)) from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: not valid UTF-8 text", field="prices", value=str(path)) from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else f"invalid TOML: {error}"
        raise InvalidInputError(f"{path}: {problem}", allowed=f"expected {_EXAMPLE}", field="prices", value=str(path)) from None
    try:
        return _checked(content, path.name)
    except InvalidInputError as error:
        raise error.but(where=f"{path}: {error.message.where}") from None


def _checked(content: dict[str, Any], file: str) -> Prices:
    for key in content:
        if key not in ("name", "models"):
            raise unknown_name("key", key, ["name", "models"], field="prices")
    name, models = content.get("name", file), content.get("models")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise invalid("name", name, f"expected a text of 1 to {_LONGEST_NAME} printable characters")
    if not isinstance(models, dict) or not models:
        raise InvalidInputError("No prices of models", allowed=f"expected {_EXAMPLE}", field="prices", value=models)
    return Prices(name, {model: _model_prices(model, values) for model, values in models.items()})


def _model_prices(model: str, values: object) -> ModelPrices:
    subject = f"model {model!r}"
    if not model or "*" in model[:-1]:
        raise invalid("model", model, "* is allowed only at the end of a name")
    if not isinstance(values, dict):
        raise InvalidInputError(f"Invalid prices of {subject}: expected a table", allowed=_EXAMPLE, field=model, value=values)
    for key in values:
        if key not in _KINDS:
            hint = f'A name with a dot must be quoted: [models."{model}.{key}"].' if isinstance(values[key], dict) else ""
            error = unknown_name("key", key, list(_KINDS), field=model)
            raise error.but(where=f"{subject}: ", **({"hint": hint} if hint else {}))
    for key in _KINDS:
        if key not in values:
            hint = "Without a discount for cached tokens, repeat the price of the input." if key == "cached" else ""
            raise InvalidInputError(f"Price {key!r} of {subject} is missing", hint=hint, field=key, value=None)
    return ModelPrices(*(_price(key, values[key], subject) for key in _KINDS))


def _price(key: str, value: object, subject: str) -> Decimal:
    number = Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
    if number is None or not number.is_finite() or not 0 <= number <= _HIGHEST:
        raise invalid(key, str(value) if isinstance(value, Decimal) else value, f"expected US$ per million tokens, 0 to {_HIGHEST:,}").but(
            where=f"{subject}: "
        )
    if -int(number.as_tuple().exponent) > _MOST_DECIMALS:
        raise invalid(key, str(number), f"expected at most {_MOST_DECIMALS} decimals").but(where=f"{subject}: ")
    return number


def with_prices(sessions: pl.DataFrame, prices: Prices, problems: Problems) -> pl.DataFrame:
    """Return sessions with estimated costs, where their source reports none.

    Parameters
    ----------
    sessions
        A session frame.
    prices
        What `read_prices` returns.
    problems
        Counts the sessions whose cost cannot be estimated.

    Examples
    --------
    >>> from evalkit.collect.session_frame import session_frame
    >>> tokens = {"tokens_input": [10**6, 10**6], "tokens_cached": [0, 0], "tokens_output": [0, 0]}
    >>> sessions = session_frame({"session_id": ["a", "b"], "model": ["x", "x"], "cost": [None, 0.5], **tokens})
    >>> prices = Prices("list", {"x": ModelPrices(Decimal(3), Decimal(1), Decimal(15))})
    >>> with_prices(sessions, prices, Problems()).select("cost", "cost_basis").rows()
    [(3.0, 'estimated'), (0.5, None)]
    """
    names = sessions.filter(pl.col("cost").is_null())["model"].drop_nulls().unique().to_list()
    of_model = {model: of._scaled() for model in names if (of := prices.of(model)) is not None}
    without_price: dict[str, int] = {}
    without_counts = 0
    costs: list[float | None] = []
    columns = ("cost", "model", "tokens_input", "tokens_cached", "tokens_output")
    for cost, model, *counts in sessions.select(columns).iter_rows():
        estimate = None
        if cost is not None:
            pass
        elif model is None or None in counts:
            without_counts += 1
        elif model not in of_model:
            without_price[model] = without_price.get(model, 0) + 1
        else:
            scale, (per_input, per_cached, per_output) = of_model[model]
            estimate = (counts[0] * per_input + counts[1] * per_cached + counts[2] * per_output) / scale
        costs.append(estimate)
    if without_price:
        more = f" and {len(without_price) - _NAMED} more" if len(without_price) > _NAMED else ""
        listed = ", ".join(sorted(without_price)[:_NAMED])
        problems.ignore(f"sessions of models without a price ({listed}{more})", sum(without_price.values()))
    if without_counts:
        problems.ignore("costs of sessions without a model or all counts of tokens", without_counts)
    estimated = pl.Series("estimated", costs, dtype=pl.Float64)
    return sessions.with_columns(
        cost=pl.coalesce("cost", estimated),
        cost_basis=pl.when(estimated.is_not_null()).then(pl.lit("estimated", dtype=sessions.schema["cost_basis"])).otherwise("cost_basis"),
    )
