"""Makes the README's tables from the code: ``python -m tests.readme_tables`` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.domain.metrics import METRICS
from evalkit.domain.study import COMMANDS, TRANSITIONS, StudyStatus

README = Path(__file__).parents[1] / "README.md"


def metric_table() -> str:
    lines = ["| metric | meaning | kind | better | denominator | over longer periods |", "|---|---|---|---|---|---|"]
    rollups = {"sum": "sum", "weighted": "weighted mean", "ratio": "ratio of sums", "none": "unknown"}
    for metric in METRICS.values():
        kind = f"{metric.kind} ({metric.unit})" if metric.unit else metric.kind
        denominator = f"`{metric.denominator}`" if metric.denominator else ""
        lines.append(f"| `{metric.name}` | {metric.description} | {kind} | {metric.better} | {denominator} | {rollups[metric.rollup]} |")
    return "\n".join(lines)


def lifecycle_table() -> str:
    lines = ["| command | allowed when | leads to |", "|---|---|---|", "| `create_study` | | pending |"]
    for command, kind in COMMANDS.items():
        allowed, leads_to = TRANSITIONS[kind]
        lines.append(f"| `{command}_study` | {', '.join(status for status in StudyStatus if status in allowed)} | {leads_to} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    tables = {"metrics": metric_table(), "lifecycle": lifecycle_table()}
    marked = re.compile(rf"(<!-- ({'|'.join(tables)}): [^>]*-->\n).*?(<!-- /\2 -->)", flags=re.DOTALL)
    return marked.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", text)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
