"""Renew the golden specifications of charts: python -m tests.golden_charts. Review the difference before committing it."""

from __future__ import annotations

import json

from evalkit.plots._theme import colors
from tests.test_plots import CHARTS, GOLDEN, named

if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, make in CHARTS.items():
        colors.clear()
        (GOLDEN / f"{name}.json").write_text(json.dumps(named(make().to_dict()), indent=1, ensure_ascii=False, sort_keys=True) + "\n")
