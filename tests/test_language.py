"""Public text follows the wording rules of `tests.language`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import language
from tests.language import MAX_SUMMARY, violations

ROOT = Path(__file__).parent.parent
GENERATED = ("_build", "_generated", "__pycache__", ".ipynb_checkpoints")
READ = (".py", ".md", ".ipynb", ".toml", ".css")
QUOTING = (Path(__file__), Path(__file__).with_name("language.py"))


@pytest.mark.parametrize(
    "path",
    [
        "evalkit",
        "tests",
        "docs",
        "notebooks",
        "examples",
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "Makefile",
        ".ci/run",
    ],
)
def test_public_text_has_no_old_idioms(path: str) -> None:
    files = [ROOT / path] if (ROOT / path).is_file() else sorted((ROOT / path).rglob("*"))
    readable = [file for file in files if file.suffix in READ or file.name in ("Makefile", "run")]
    checked = [file for file in readable if not set(file.parts) & set(GENERATED) and file not in QUOTING]
    assert checked
    assert [problem for file in checked for problem in violations(file)] == []


@pytest.mark.parametrize(
    "text",
    [
        "'x' is no metric",
        "No trend can be told",
        "it rests on 3 nights",
        "made anew",
        "a 95 % interval",
        "the colour of a line",
        "3 to mend",
    ],
)
def test_an_old_idiom_is_found(text: str, tmp_path: Path) -> None:
    for name, content in (("text.md", text), ("code.py", f"VALUE = {text!r}\n"), ("comment.py", f"# {text}\n")):
        (tmp_path / name).write_text(content)
        assert len(violations(tmp_path / name)) == 1


def test_docstring_openings_are_checked(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('def value():\n    "Give the value."\n')
    assert len(violations(module)) == 1
    module.write_text('def value():\n    "Return the value."\n')
    assert violations(module) == []


@pytest.mark.parametrize(
    "template", ['"""{}"""\n', 'class Value:\n    """{}"""\n', 'async def value():\n    """{}\n\n    Details.\n    """\n']
)
def test_long_first_lines_of_docstrings_are_found_in_the_package(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module.py"
    for length in (MAX_SUMMARY, MAX_SUMMARY + 1):
        module.write_text(template.format("x" * length))
        monkeypatch.setattr(language, "PACKAGE", tmp_path)
        assert len(violations(module)) == (length > MAX_SUMMARY)
        monkeypatch.setattr(language, "PACKAGE", tmp_path / "evalkit")
        assert violations(module) == []
