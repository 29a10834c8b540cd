"""Errors are data: their parts, and the text that is composed from them for Python and for a shell."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import pytest

from evalkit import EvalkitError, EvalkitWarning, InvalidInputError, StudyExistsError, TransitionError, connect
from evalkit.errors import Message, warn

WHOLE = {"allowed": "give text", "effect": "Nothing was appended.", "hint": "Call f().", "shell_hint": "Run: evalkit f"}


@pytest.mark.parametrize(
    ("parts", "text", "shell"),
    [
        ({}, "It is wrong.", "It is wrong."),
        ({"allowed": "give text"}, "It is wrong; give text.", "It is wrong; give text."),
        ({"hint": "Call f()."}, "It is wrong. Call f().", "It is wrong. Call f()."),
        ({"hint": "Call f().", "shell_hint": "Run: evalkit f"}, "It is wrong. Call f().", "It is wrong. Run: evalkit f"),
        (
            WHOLE, "It is wrong; give text. Nothing was appended. Call f().",
            "It is wrong; give text. Nothing was appended. Run: evalkit f",
        ),
    ],
)  # fmt: skip
def test_a_text_is_composed_from_its_parts(parts: dict[str, str], text: str, shell: str) -> None:
    """Of a message, an error and a warning alike: problem, allowed, effect and next step, each part where there is one."""
    message = Message(problem="It is wrong", **parts)
    for one in (message, EvalkitError("It is wrong", **parts).message, EvalkitError(message).message, EvalkitWarning(message).message):
        assert (str(one), one.in_shell()) == (text, shell)
    assert str(EvalkitError(message)) == str(EvalkitWarning(message)) == text


@pytest.mark.parametrize("end", [".", "?", "!"])
def test_a_problem_that_ends_like_a_sentence_gets_no_second_period(end: str) -> None:
    """Nothing is added to it."""
    assert str(Message(problem=f"It is wrong{end}", hint="Go on.")) == f"It is wrong{end} Go on."


def test_an_error_with_other_parts_is_a_copy() -> None:
    """The first one stays as it was; class, attributes and the driver's words are kept, also through a pickle."""
    first = InvalidInputError("key: 'a' is wrong", field="key", value="a", driver_message="disk I/O error")
    other = first.in_row(3, effect="Nothing was recorded.").but(hint="Give another.")
    assert str(first) == "key: 'a' is wrong."
    assert str(other) == "row 3, key: 'a' is wrong. Nothing was recorded. Give another."
    assert (type(other), other.field, other.row, other.driver_message) == (InvalidInputError, "key", 3, "disk I/O error")
    for again in (copy.copy(other), pickle.loads(pickle.dumps(other))):
        assert (str(again), vars(again)) == (str(other), vars(other))


def test_the_next_step_of_a_kit_is_there_for_python_and_for_a_shell(tmp_path: Path) -> None:
    """A study's name is quoted as each of them reads it."""
    with connect(tmp_path / "home") as kit:
        kit.create_study("it's one")
        with pytest.raises(TransitionError) as refused:
            kit.pause_study("it's one")
        assert refused.value.message.hint == """Next: kit.start_study("it's one") or kit.stop_study("it's one")"""
        assert refused.value.message.shell_hint == """Next: evalkit study start 'it'"'"'s one' or evalkit study stop 'it'"'"'s one'"""
        with pytest.raises(StudyExistsError) as exists:
            kit.create_study("it's one")
        assert "if_exists" in str(exists.value)
        assert "kit." not in exists.value.message.in_shell()


def test_a_warning_points_at_the_line_outside_evalkit() -> None:
    """It is an `EvalkitWarning` that holds its message."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn(Message(problem="It is odd", hint="Look."))
    (one,) = caught
    assert isinstance(one.message, EvalkitWarning)
    assert (str(one.message), one.message.message.hint, one.filename) == ("It is odd. Look.", "Look.", __file__)


def test_an_error_shows_all_of_its_text_wherever_it_is_shown() -> None:
    """In its arguments and its representation as in its text."""
    error = EvalkitError("It is wrong", hint="Call f(x=1)")
    assert error.args == ("It is wrong. Call f(x=1)",)
    assert repr(error) == "EvalkitError('It is wrong. Call f(x=1)')"
    assert error.but(effect="Nothing was done.").args == ("It is wrong. Nothing was done. Call f(x=1)",)
