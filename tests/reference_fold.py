"""What the fold must decide, written a second time from the design alone: nothing of evalkit is imported here."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

LEGAL = {
    "study_started": (["pending"], "running"), "study_paused": (["running"], "paused"), "study_resumed": (["paused"], "running"),
    "study_stopped": (["pending", "running", "paused"], "stopped"),
}  # fmt: skip


def time_in(event_id: str) -> str:
    milliseconds = int(event_id.replace("-", "")[:12], 16)
    return (datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds)).isoformat(timespec="microseconds") + "Z"


def fold(events: list[tuple[bool, str, str, dict[str, Any] | None]]) -> tuple[list[str], dict[str, list[tuple[Any, ...]]]]:
    """Return each event's outcome or reason, and the rows. An event is (partition is right, study id, event id, content or None)."""
    outcomes: list[str] = []
    decided, studies, checkpoints, rejected, quarantined = set(), {}, {}, [], []
    lifecycle: dict[str, list[tuple[Any, ...]]] = {}
    changes: dict[str, list[tuple[Any, ...]]] = {}
    definitions: dict[tuple[str, str], tuple[Any, ...]] = {}
    versions: dict[tuple[str, str], int] = {}
    retracted, notes = set(), set()
    for right, study_id, event_id, event in events:
        study, outcome = studies.get(study_id), "applied"
        if (study_id, event_id, right) in decided:
            outcome = "duplicate"
        elif event is None:
            outcome = "quarantined"
            quarantined.append((study_id, event_id))
        elif not right:
            outcome = "wrong partition"
        elif event["type"] == "study_created":
            if study is not None:
                outcome = "study id taken"
            else:
                times = {"created_at": time_in(event_id), "started_at": None, "stopped_at": None}
                studies[study_id] = {"status": "pending", "archived": 0, **times, **event}
        elif study is None:
            outcome = "unknown study"
        elif event["type"] == "checkpoint_recorded":
            if (study_id, event["id"]) in checkpoints:
                outcome = "checkpoint id taken"
            else:
                checkpoints[study_id, event["id"]] = (event_id, *event["row"], event["written_at"])
        elif event["type"] == "metric_defined":
            key = (study_id, event["subject"])
            if definitions.setdefault(key, event["compared"]) != event["compared"]:
                outcome = "metric defined differently"
        elif event["type"] in ("checkpoint_amended", "checkpoint_retracted"):
            key = (study_id, event["subject"])
            if key not in checkpoints:
                outcome = "unknown checkpoint"
            elif event["type"] == "checkpoint_retracted":
                retracted.add(key)
            elif key in retracted:
                outcome = "checkpoint retracted"
            elif versions.get(key, 0) != event["revision"]:
                outcome = "amended meanwhile"
            else:
                versions[key] = event["revision"] + 1
        elif event["type"] == "note_added":
            if (study_id, event["subject"]) in notes:
                outcome = "note id taken"
            notes.add((study_id, event["subject"]))
        elif event["type"] == "study_renamed":
            study["name"] = event["name"]
        elif event["type"] == "study_edited":
            config = {**{name: json.loads(study["config"]).get(name) for name in ("description", "tags", "metadata")}, **event["edit"]}
            if event["edit"].get("metadata"):
                merged = {**(json.loads(study["config"]).get("metadata") or {}), **event["edit"]["metadata"]}
                config["metadata"] = {key: value for key, value in merged.items() if value is not None}
            full = {name: value for name, value in config.items() if value}
            study["config"] = json.dumps(full, ensure_ascii=False, separators=(",", ":"))
        elif event["type"] in ("study_archived", "study_unarchived"):
            study["archived"] = int(event["type"] == "study_archived")
        elif study["status"] not in LEGAL[event["type"]][0]:
            outcome = "transition not allowed"
        else:
            study["status"] = LEGAL[event["type"]][1]
            study[event["type"].removeprefix("study_") + "_at"] = time_in(event_id)
        if outcome == "applied" and "body" in event:
            entry = (event_id, event["type"], event["subject"], event["body"], event["written_at"])
            changes.setdefault(study_id, []).append(entry)
        elif outcome == "applied" and event["type"] != "checkpoint_recorded":
            lifecycle.setdefault(study_id, []).append((event_id, event["type"], event["written_at"]))
        if outcome not in ("applied", "duplicate", "quarantined"):
            rejected.append((study_id, event_id, outcome, event["written_at"] if right else None))
        decided.add((study_id, event_id, right))
        outcomes.append(outcome)
    columns = ("name", "status", "period_type", "period_value", "config", "created_at", "started_at", "stopped_at", "archived")
    return outcomes, {
        "studies": sorted((study_id, *(study[column] for column in columns)) for study_id, study in studies.items()),
        "checkpoints": sorted((*key, *row) for key, row in checkpoints.items()),
        "lifecycle": sorted((study_id, seq, *entry) for study_id, all_of in lifecycle.items() for seq, entry in enumerate(all_of, 1)),
        "changes": sorted((study_id, seq, *entry) for study_id, all_of in changes.items() for seq, entry in enumerate(all_of, 1)),
        "rejected": sorted(rejected, key=lambda row: row[:3]),
        "quarantined": sorted(quarantined),
    }
