"""The wording rules for public text, as patterns: `python -m tests.language PATH...` lists every violation.

Checked are strings, docstrings and comments of Python files, and the text of Markdown files and notebooks.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

IDIOMS = {
    r"\btold\b": "detected, reported",
    r"\bis no (?!longer|more|need|reason)": "is not a; unknown; invalid",
    r"\b(is|are) none\b": "must be one of; expected",
    r"\brest(s|ed)? on\b": "is based on",
    r"\b(stand|stands|stood) (in|on|at|for|there|beside|under|as|by|still|where)\b": "is in; means",
    r"\b(anew|afresh)\b": "again; rebuild; replay",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bnought\b": "zero",
    r"\blet(s|ting)? go of\b": "close, release",
    r"\bin words\b": "as a message",
    r"\banswers? to\b": "matches",
    r"\b(a|its|the|pandas|Pandas) twin\b": "pandas version; underlying data",
    r"\bfor want of\b": "without; because there is no",
    r"\bfor ever\b": "forever; without a limit",
    r"\bneighbours?\b": "adjacent; autocorrelation",
    r"\b(colour|behaviour|generalis|analys(e|ed|ing)\b|favour|honour|neighbour|labell(ed|ing)|cancell(ed|ing)\b|licence|centre|grey)": "American",
    r"\bless the baseline\b": "study - baseline, with a minus sign",
    r"\b(by and by|who works? in|hold(s|ing)? (its|their) peace|whatever it was)\b": "plain English",
    r"\bcom(e|es|ing) into being\b|\bcame into being\b": "is created",
    r"\d %": "no space before %",
    r"\bfrom chance\b": "statistically significant",
    r"\bcannot say\b": "insufficient data",
    r"\bone's own\b": "your own; local",
}
OPENINGS = re.compile(r"(Gives?|Says?|Let|Have|Tells?) ")
"""How no docstring begins: write Return, Report, Return whether, ..."""
PACKAGE = Path(__file__).parent.parent / "evalkit"
MAX_SUMMARY = 88
"""The maximum length of the first line of a docstring in the package."""
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in IDIOMS.items()]


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Return the strings, docstrings and comments of a module, with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line


def docstring_openings(source: str) -> Iterator[tuple[int, str]]:
    """Return the first lines of the docstrings of a module, its classes and its functions."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (docstring := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), docstring.partition("\n")[0]
        for block in ("body", "orelse", "handlers", "finalbody", "cases"):  # only statements, which are few of all nodes
            nested = getattr(node, block, [])
            waiting += nested if isinstance(nested, list) else []  # the body of a lambda is an expression


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Return the lines of text of a file that a person reads."""
    source = path.read_text("utf-8")
    if path.suffix == ".py":
        yield from python_texts(source)
    elif path.suffix == ".ipynb":
        for cell in json.loads(source)["cells"]:
            text = "".join(cell["source"])
            yield from python_texts(text) if cell["cell_type"] == "code" and "%" not in text else enumerate(text.splitlines(), 1)
    else:
        yield from enumerate(source.splitlines(), 1)


def violations(path: Path) -> list[str]:
    """Return what a file has of the old idioms: line, match, what to write instead."""
    source = path.read_text("utf-8")
    # Most files have no match at all, and are not split into their texts. The line breaks of a notebook are escaped.
    patterns = [pair for pair in _PATTERNS if path.suffix == ".ipynb" or pair[0].search(source)]
    problems = {
        (line, f"{match[0]!r}: write {instead!r} instead: {text.strip()[:100]}")
        for line, text in (texts(path) if patterns else ())
        for pattern, instead in patterns
        if (match := pattern.search(text))
    }
    if path.suffix == ".py":
        openings = list(docstring_openings(source))
        problems |= {
            (line, f"docstring begins with {opening.split()[0]!r}: {opening[:80]}") for line, opening in openings if OPENINGS.match(opening)
        }
        if path.resolve().is_relative_to(PACKAGE):
            problems |= {
                (line, f"first line of a docstring has {len(opening)} characters, at most {MAX_SUMMARY} are allowed: {opening}")
                for line, opening in openings
                if len(opening) > MAX_SUMMARY
            }
    return [f"{path}:{line}: {problem}" for line, problem in sorted(problems)]


if __name__ == "__main__":
    suffixes = (".py", ".md", ".ipynb")
    paths = [Path(name) for name in sys.argv[1:]]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.suffix in suffixes]
    listed = [problem for file in files for problem in violations(file)]
    sys.stdout.write("\n".join([*listed, f"{len(listed)} violations"]) + "\n")
