"""Identifiers, and the times in event ids.

Ids are UUIDs of 36 lower-case characters. An event id is a UUIDv7 (RFC 9562, section 5.7): its first 48 bits are the time of the event, in
milliseconds since 1970 UTC. Lifecycle events have no other time.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NewType

import uuid_utils

__all__ = [
    "CheckpointId",
    "StudyId",
    "event_id_at",
    "event_milliseconds",
    "keyed_checkpoint_id",
    "milliseconds",
    "new_id",
    "normalize_event_id",
    "normalize_id",
    "normalized_name",
    "study_id_of_name",
    "time_of_event",
]

StudyId = NewType("StudyId", str)
CheckpointId = NewType("CheckpointId", str)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MILLISECONDS = 253_402_300_799_999  # the end of the year 9999
_STUDY_NAMES = uuid.UUID("8f1d5c0e-6d0b-4a39-9f53-2f7c1f6a8e14")
"""The UUIDv5 namespace of `study_id_of_name`. It must not change, because existing names would get new ids."""
# Unicode's Default_Ignorable_Code_Point, copied here: ids derived from names must not depend on the interpreter's Unicode version.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SPELLINGS = re.compile(
    r"(?:urn:uuid:)?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})", re.IGNORECASE | re.ASCII
)


def normalize_id(text: str) -> str:
    """Return a UUID in any spelling as 36 lower-case characters.

    Hyphens, braces and the prefix ``urn:uuid:`` are optional; upper and lower case are equal.

    Raises
    ------
    ValueError
        When `text` is not a UUID.
    """
    bare = text[1:-1] if text[:1] == "{" and text[-1:] == "}" else text
    match = _SPELLINGS.fullmatch(bare)
    if match is None:
        raise ValueError(f"{text[:80]!r} is not a UUID")
    digits = match[1].replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def normalize_event_id(text: str) -> str:
    """Return a version 7 UUID as 36 lower-case characters.

    Raises
    ------
    ValueError
        When `text` is not a UUID, has another version or variant, or its time is after the year 9999.
    """
    normal = normalize_id(text)
    if normal[14] != "7" or normal[19] not in "89ab":
        raise ValueError(f"{normal} is not a version 7 UUID")
    if event_milliseconds(normal) > _MAX_MILLISECONDS:
        raise ValueError(f"the time inside {normal} is after the year 9999")
    return normal


def event_milliseconds(event_id: str) -> int:
    """Return the time of an event id of 36 characters, in milliseconds since 1970 UTC."""
    return int(event_id[:8] + event_id[9:13], 16)


def time_of_event(event_id: str) -> datetime:
    """Return the time of an event id, in UTC with milliseconds."""
    return _EPOCH + timedelta(milliseconds=event_milliseconds(event_id))


def milliseconds(moment: datetime) -> int:
    """Return a time-zone-aware time in milliseconds since 1970 UTC, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def new_id() -> str:
    """Return a new UUIDv7 with the current time.

    It is greater than all earlier ones of this process.
    """
    return str(uuid_utils.uuid7())


def event_id_at(moment_ms: int) -> str:
    """Return a new event id with a time in milliseconds since 1970 UTC and random bits."""
    digits = f"{moment_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}-7{str(uuid_utils.uuid4())[15:]}"


def keyed_checkpoint_id(study_id: str, key: str) -> CheckpointId:
    """Return the checkpoint id of an idempotency key.

    It is the UUIDv5 (RFC 9562, section 5.5) of the study id and the key.
    """
    return CheckpointId(str(uuid_utils.uuid5(_namespace(study_id), key)))


@lru_cache(maxsize=256)
def _namespace(study_id: str) -> uuid_utils.UUID:
    return uuid_utils.UUID(study_id)


def normalized_name(name: str) -> str:
    """Return the normal form of a study's name, which is equal for names that look the same.

    It is the Unicode normalization form C, without invisible characters and surrounding white space. It is empty if the name has no
    visible character.

    Examples
    --------
    >>> normalized_name(" Cafe\u0301\u200b ") == "Caf\u00e9"
    True
    """
    if name.isascii():
        return name.strip()
    return unicodedata.normalize("NFC", _IGNORABLE.sub("", name)).strip()


def study_id_of_name(log_identity: str, name: str, counter: int = 0) -> StudyId:
    """Return the id of a study, derived from the log and the study's name.

    Processes that create a study with the same name at the same time therefore create the same study. The id is the UUIDv5 (RFC 9562,
    section 5.5) of the log's identity, the counter and the `normalized_name`.

    Parameters
    ----------
    log_identity
        See `EventLog.identity`.
    name
        The study's name. Names with the same normal form have the same id.
    counter
        The number of earlier studies with this name that were renamed.
    """
    return StudyId(str(uuid.uuid5(_STUDY_NAMES, f"{log_identity}\n{counter}\n{normalized_name(name)}")))
