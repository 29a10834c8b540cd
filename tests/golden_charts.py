"""Writes the golden specifications of charts anew: python -m tests.golden_charts. Look at the difference before committing it."""

from __future__ import annotations

import json

from evalkit.plots._theme import colours
from tests.test_plots import CHARTS, GOLDEN, named

if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, make in CHARTS.items():
        colours.clear()
        (GOLDEN / f"{name}.json").write_text(json.dumps(named(make().to_dict()), indent=1, ensure_ascii=False) + "\n")
