"""The parts of errors, and the text composed from them for Python and for a shell."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import pytest

from evalkit import EvalkitError, EvalkitWarning, InvalidInputError, StudyExistsError, TransitionError, connect
from evalkit.errors import Message, warn

ALL_PARTS = {"allowed": "expected text", "effect": "Nothing was appended.", "hint": "Call f().", "shell_hint": "Run: evalkit f"}


@pytest.mark.parametrize(
    ("parts", "text", "shell"),
    [
        ({}, "It is wrong.", "It is wrong."),
        ({"allowed": "expected text"}, "It is wrong; expected text.", "It is wrong; expected text."),
        ({"hint": "Call f()."}, "It is wrong. Call f().", "It is wrong. Call f()."),
        ({"hint": "Call f().", "shell_hint": "Run: evalkit f"}, "It is wrong. Call f().", "It is wrong. Run: evalkit f"),
        (
            ALL_PARTS, "It is wrong; expected text. Nothing was appended. Call f().",
            "It is wrong; expected text. Nothing was appended. Run: evalkit f",
        ),
    ],
)  # fmt: skip
def test_a_text_is_composed_from_its_parts(parts: dict[str, str], text: str, shell: str) -> None:
    """Messages, errors and warnings have the same text."""
    message = Message(problem="It is wrong", **parts)
    error, warning = EvalkitError("It is wrong", **parts), EvalkitWarning(message)
    for composed in (message, error.message, EvalkitError(message).message, warning.message):
        assert (str(composed), composed.in_shell()) == (text, shell)
    assert str(EvalkitError(message)) == str(EvalkitWarning(message)) == text


@pytest.mark.parametrize("end", [".", "?", "!"])
def test_a_problem_with_a_final_mark_gets_no_period(end: str) -> None:
    assert str(Message(problem=f"It is wrong{end}", hint="Go on.")) == f"It is wrong{end} Go on."


def test_an_error_with_other_parts_is_a_copy() -> None:
    """Class and attributes are kept, also in copies and pickles."""
    first = InvalidInputError("Invalid key 'a': too short", field="key", value="a", driver_message="disk I/O error")
    other = first.in_row(3, effect="Nothing was recorded.").but(hint="Use another key.")
    assert str(first) == "Invalid key 'a': too short."
    assert str(other) == "row 3: Invalid key 'a': too short. Nothing was recorded. Use another key."
    assert (type(other), other.field, other.row, other.driver_message) == (InvalidInputError, "key", 3, "disk I/O error")
    for again in (copy.copy(other), pickle.loads(pickle.dumps(other))):
        assert (str(again), vars(again)) == (str(other), vars(other))


def test_next_steps_quote_names_for_python_and_for_a_shell(tmp_path: Path) -> None:
    with connect(tmp_path / "home") as kit:
        kit.create_study("it's one")
        with pytest.raises(TransitionError) as refused:
            kit.pause_study("it's one")
        assert refused.value.message.hint == """Start it first with kit.start_study("it's one")."""
        assert refused.value.message.shell_hint == """Start it first with: evalkit study start 'it'"'"'s one'"""
        with pytest.raises(StudyExistsError) as exists:
            kit.create_study("it's one")
        assert "if_exists" in str(exists.value)
        assert "kit." not in exists.value.message.in_shell()


def test_a_warning_points_at_the_line_outside_evalkit() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn(Message(problem="It is odd", hint="Look."))
    (warning,) = caught
    assert isinstance(warning.message, EvalkitWarning)
    assert (str(warning.message), warning.message.message.hint, warning.filename) == ("It is odd. Look.", "Look.", __file__)


def test_args_and_repr_contain_the_text() -> None:
    error = EvalkitError("It is wrong", hint="Call f(x=1)")
    assert error.args == ("It is wrong. Call f(x=1)",)
    assert repr(error) == "EvalkitError('It is wrong. Call f(x=1)')"
    assert error.but(effect="Nothing was done.").args == ("It is wrong. Nothing was done. Call f(x=1)",)
