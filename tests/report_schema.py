"""Writes the schema of reports in JSON: ``python -m tests.report_schema``."""

from __future__ import annotations

import json
import re
from pathlib import Path

from evalkit.analysis._report.content import ReportContent

SCHEMA = Path(__file__).parents[1] / "docs" / "report.schema.json"


def schema() -> str:
    model = ReportContent.model_json_schema(mode="serialization")
    text = json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **model}, indent=1, ensure_ascii=False) + "\n"
    return re.sub(r'\\n\\nExamples\\n-+.*(?=",?$)', "", text, flags=re.MULTILINE)  # descriptions are docstrings


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
