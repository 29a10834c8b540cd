"""Write the parts of the documentation that come from the code: tables, the error tree, the command line, the report's schema.

They are Markdown files in ``docs/_generated``, which pages include, and copies of the notebooks in ``docs/notebooks``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import evalkit.errors
from evalkit import METRICS, EvalkitError
from evalkit.analysis._audit.finding_kinds import KINDS
from evalkit.cli.app import app as command_line
from evalkit.domain.study import COMMANDS, TRANSITIONS, StudyStatus
from evalkit.domain.verdicts import Verdict
from evalkit.frames.columns import FRAMES, frame_schema
from evalkit.frames.pandas_output import to_pandas
from evalkit.metrics import STANDARD
from evalkit.readmodel.fold import FOLD_VERSION
from evalkit.readmodel.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sphinx.application import Sphinx

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent
DTYPES = {
    "Datetime(time_unit='us', time_zone='UTC')": "Datetime(us, UTC)",
    "Duration(time_unit='us')": "Duration(us)",
    "List(Struct({'key': String, 'value': String}))": "List(Struct(key, value))",
}
"""Shorter names of dtypes."""
MOST_CATEGORIES = 4
NONE = "\N{EN DASH}"
ROLLUPS = {"sum": "sum", "weighted": "weighted mean", "ratio": "ratio of sums", "none": "missing"}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def metrics() -> str:
    """Return the metric catalog."""
    rows = []
    for metric in METRICS.values():
        kind = f"{metric.kind} ({metric.unit})" if metric.unit else metric.kind
        denominator = f"`{metric.denominator}`" if metric.denominator else NONE
        better = {"up": "higher", "down": "lower", "neither": NONE}[metric.better]
        rows.append([f"`{metric.name}`<br>{metric.description}", kind, better, denominator, ROLLUPS[metric.rollup]])
    return table(["Metric", "Kind", "Better", "Denominator", "Longer periods"], rows)


def standard_metrics() -> str:
    """Return the standard definitions that a study can have besides the 16 metrics."""
    return table(["Name", "Kind", "Description"], [[f"`{metric.name}`", metric.kind, metric.description] for metric in STANDARD.values()])


def versions() -> str:
    """Return the versions of the read model as a sentence."""
    return (
        f"The schema version is {SCHEMA_VERSION}. The fold version, which changes if equal events produce other rows, is {FOLD_VERSION}.\n"
    )


def lifecycle() -> str:
    """Return the lifecycle commands with the statuses that allow them."""
    rows = [["`create_study`", "`study create`", NONE, "pending"]]
    for command, kind in COMMANDS.items():
        allowed, status = TRANSITIONS[kind]
        rows.append([f"`{command}_study`", f"`study {command}`", ", ".join(one for one in StudyStatus if one in allowed), status])
    return table(["Method", "Command", "Allowed when", "New status"], rows)


def frames() -> str:
    """Return the columns of every frame with their dtypes in Polars and pandas."""
    import polars as pl

    parts = []
    for name, columns in FRAMES.items():
        schema = frame_schema(columns)
        in_pandas = to_pandas(pl.DataFrame(schema=schema), columns).dtypes
        rows = [[f"`{column}`", _dtype(dtype), _pandas_dtype(in_pandas[column])] for column, dtype in schema.items()]
        parts.append(f"## `kit.{name}()`\n\n{table(['Column', 'Polars', 'pandas'], rows)}")
    return "\n".join(parts)


def _dtype(dtype: Any) -> str:
    text = str(dtype)
    if text.startswith("Enum"):
        return f"Enum: {', '.join(dtype.categories)}" if len(dtype.categories) <= MOST_CATEGORIES else "Enum"
    return DTYPES.get(text, text)


def _pandas_dtype(dtype: Any) -> str:
    return "ordered category" if str(dtype) == "category" else str(dtype)


def error_tree() -> str:
    """Return the class tree of the errors."""
    lines = []

    def add(kind: type[BaseException], depth: int) -> None:
        builtin = [base.__name__ for base in kind.__bases__ if not issubclass(base, EvalkitError) and base is not Exception]
        also = f" ({', '.join(builtin)})" if builtin else ""
        lines.append(f"{'    ' * depth}{kind.__name__}{also}")
        for child in kind.__subclasses__():
            if child.__module__ == evalkit.errors.__name__:
                add(child, depth + 1)

    add(EvalkitError, 0)
    return "```text\n" + "\n".join(lines) + "\n```\n"


def verdicts() -> str:
    """Return the verdicts of the analyses."""
    return table(["Verdict", "Value"], [[f"`Verdict.{verdict.name}`", f"`{verdict.value}`"] for verdict in Verdict])


def finding_kinds() -> str:
    """Return the kinds of findings of an audit."""
    return table(
        ["Code", "Severity", "Title", "Advice"], [[f"`{code}`", kind.severity, kind.title, kind.advice] for code, kind in KINDS.items()]
    )


def commands() -> str:
    """Return a section for each command of the command line."""
    root: Any = typer.main.get_command(command_line)
    parts = [f"## Global options\n\n{_options_table(root)}"]
    for name, command in sorted(root.commands.items()):
        if hasattr(command, "commands"):
            parts.append(f"## evalkit {name}\n\n{command.help}\n")
            parts += [_command(f"evalkit {name} {sub}", child, "###") for sub, child in command.commands.items()]
        else:
            parts.append(_command(f"evalkit {name}", command, "##"))
    return "\n".join(parts)


def _command(title: str, command: Any, heading: str) -> str:
    text, _, example = (command.help or "").partition("Example:")
    arguments = [_metavar(param) for param in command.params if param.param_type_name == "argument"]
    usage = " ".join([title, *(["[OPTIONS]"] if len(arguments) < len(command.params) else []), *arguments])
    shown = f"```console\n$ {example.strip()}\n```\n\n" if example else ""
    description = re.sub(r"(\{.*?\})", r"`\1`", text.strip())
    return f"{heading} {title}\n\n{description}\n\n```text\n{usage}\n```\n\n{shown}{_options_table(command)}"


def _metavar(param: Any) -> str:
    return param.metavar or param.name.upper()


def _options_table(command: Any) -> str:
    rows = []
    for param in command.params:
        if param.param_type_name == "argument":
            name = _metavar(param)
        else:
            flag = getattr(param, "is_flag", False)
            values = "" if flag else f" {param.metavar or 'TEXT'}"
            name = ", ".join(f"{opt}" for opt in param.opts) + values
        default = param.default
        text, _, stated = (param.help or "").removesuffix("]").partition("[default: ")
        value = stated or ("" if default in (None, False, (), []) or callable(default) else f"`{default}`")
        rows.append([f"`{name}`", text.strip().rstrip("."), "required" if param.required else value])
    return table(["Parameter", "Meaning", "Default"], rows) if rows else ""


def report_schema() -> str:
    """Return a table of keys for each object of the report's schema."""
    schema = json.loads((DOCS / "report.schema.json").read_text("utf-8"))
    parts = [_object("The report", schema)]
    parts += [_object(name, part) for name, part in schema["$defs"].items() if "properties" in part]
    return "\n".join(parts)


def _object(title: str, part: dict[str, Any]) -> str:
    rows = [[f"`{key}`", _type(value), value.get("description", "")] for key, value in part["properties"].items()]
    return f"## {title}\n\n{part.get('description', '')}\n\n{table(['Key', 'Type', 'Meaning'], rows)}"


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return value["$ref"].rpartition("/")[2]
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(one) for one in value["anyOf"]))
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    return str(value.get("type", "any"))


def example_effect() -> str:
    """Return what the example of the guide on analyses prints."""
    from evalkit import StudyData
    from evalkit.analysis import before_after
    from evalkit.samples import sample_checkpoints, trial_kit

    start, new_prompt = "2025-10-06T00:00:00Z", "2025-11-10T00:00:00Z"
    with trial_kit() as kit:
        kit.start_study(kit.create_study("coder", period="daily", at=start), at=start)
        rows = sample_checkpoints("daily", start, 35, seed=11, level=0.3)
        kit.record_checkpoints("coder", rows + sample_checkpoints("daily", new_prompt, 35, seed=12, level=0.9))
        data: StudyData = kit.data("coder")
    return "\n".join(f"> {sentence}\n>" for sentence in before_after(data, "session_success_rate", at=new_prompt).sentences()) + "\n"


PARTS = {
    "example-effect": example_effect,
    "metrics": metrics,
    "standard-metrics": standard_metrics,
    "versions": versions,
    "lifecycle": lifecycle,
    "frames": frames,
    "errors": error_tree,
    "verdicts": verdicts,
    "finding-kinds": finding_kinds,
    "commands": commands,
    "report-schema": report_schema,
}
"""The generated parts, by the name of their file."""


def write(path: Path, content: bytes) -> None:
    """Write a file if its content changed, so that an unchanged page is not built again."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def generate(_: object = None) -> None:
    """Write all parts, and copy the notebooks."""
    for name, make in PARTS.items():
        write(DOCS / "_generated" / f"{name}.md", make().encode())
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        write(DOCS / "notebooks" / notebook.name, notebook.read_bytes().replace(b"](../docs/", b"](../"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Generate when the build starts."""
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
