"""Read the trials of Harbor jobs, as of Terminal-Bench.

The outcomes, times, tokens and costs are in ``result.json``; tool calls are counted in ATIF trajectories.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, TypeVar

import msgspec
import polars as pl

from evalkit._util.text import plural
from evalkit.collect.log_values import (
    MAX_TOKENS,
    cost_value,
    iso_time,
    printable_text,
    score_number,
    score_outcome,
    success_threshold,
)
from evalkit.collect.session_frame import LIMITS, distinct_sessions, session_frame
from evalkit.collect.source import FileContent, FileSource, Problems, UnreadableFileError
from evalkit.domain.refusals import unknown_name
from evalkit.domain.time_input import check_zone, zone_name
from evalkit.errors import InvalidInputError

__all__ = ["HARBOR"]

_T = TypeVar("_T")

_LARGEST = 256 * 1024 * 1024
"""The number of bytes of the largest file that is read; the details of rollouts make files large."""
_LONGEST_TEXT = 500
_LISTED = 10
"""The number of names that an error lists."""
_INVALID_VALUES = "invalid values in trial results"
_VERSIONS = (None, 1)
_NO_TRIALS = frozenset(("agent", "artifacts", "steps", "user-agent", "verifier"))
"""The folders in a trial folder. Files in them are from the agent or the verifier, also if their name is ``result.json``."""
_TRAJECTORY = re.compile(r"(^|.*/)agent/trajectory(\.cont-\d+)?\.json").fullmatch

_AGENT_ENDINGS: dict[str, str | None] = {
    "AgentTimeoutError": "time_limit",
    "ContextLengthExceededError": "context_limit",
    "ContextWindowExceededError": "context_limit",
    "OutputLengthExceededError": "token_limit",
    "OutputTokenExceededError": "token_limit",
    "AgentSafetyRefusalError": None,
    "ContentPolicyViolationError": None,
}
"""The exceptions for which Harbor regards the reward as valid, with the limit: the agent ended the trial itself."""
_INFRASTRUCTURE = frozenset([
    "AddTestsDirError", "AgentSetupTimeoutError", "DownloadVerifierDirError", "EnvironmentStartTimeoutError", "GKEExecStreamClosedError",
    "GKEPodNotFoundError", "HealthcheckError", "MemoryLimitExceededError", "RuntimeRequestError", "SSHAccessError",
    "SandboxBuildFailedError", "SandboxLikelyOutOfMemoryError", "APIConnectionError", "APIError", "APIResponseValidationError",
    "AgentAuthenticationError", "ApiConnectionClosedError", "ApiConnectionError", "ApiError", "ApiInternalServerError",
    "ApiOverloadedError", "ApiProviderResourceNotFoundError", "ApiRateLimitError", "ApiResponseStalledError", "ApiUsageLimitError",
    "AuthenticationError", "BadRequestError", "BudgetExceededError", "InternalServerError", "ModelNotFoundError",
    "NetworkConnectionError", "NotFoundError", "PermissionDeniedError", "RateLimitError", "ServiceUnavailableError", "Timeout",
    "UnknownApiError", "UnprocessableEntityError", "UnsupportedParamsError", "DspyImportError", "MissingExtraError", "RegradeError",
    "ServiceOperationsUnsupportedError", "VercelScopeError",
])  # fmt: skip
"""The exceptions that Harbor attributes to the sandbox, the provider of the model, or itself."""
_NO_RESULT = frozenset(("RewardFileEmptyError", "RewardFileNotFoundError", "VerifierOutputParseError", "VerifierTimeoutError"))


# --- files ----------------------------------------------------------------------------------------------------------------------------


class _Timing(msgspec.Struct):
    started_at: Any = None
    finished_at: Any = None


class _Usage(msgspec.Struct):
    n_input_tokens: Any = None
    n_cache_tokens: Any = None
    n_output_tokens: Any = None
    cost_usd: Any = None


class _Verifier(msgspec.Struct):
    rewards: Any = None


class _Exception(msgspec.Struct):
    exception_type: Any = None


class _Model(msgspec.Struct):
    name: Any = None


class _Agent(msgspec.Struct):
    name: Any = None
    version: Any = None
    model_info: _Model | None = None


class _Config(msgspec.Struct):
    job_id: Any = None


class _StepResult(msgspec.Struct):
    """A step of a trial with several steps."""

    agent_result: _Usage | None = None
    exception_info: _Exception | None = None
    agent_execution: _Timing | None = None


class _Step(msgspec.Struct):
    """A step of a trajectory."""

    tool_calls: list[msgspec.Raw] | None = None
    is_copied_context: Any = None


class _Document(msgspec.Struct):
    """A trial result, or a trajectory."""

    schema_version: Any = None
    id: Any = None
    task_name: Any = None
    trial_name: Any = None
    config: _Config | None = None
    agent_info: _Agent | None = None
    agent_result: _Usage | None = None
    verifier_result: _Verifier | None = None
    exception_info: _Exception | None = None
    reward_valid: Any = None
    started_at: Any = None
    finished_at: Any = None
    agent_execution: _Timing | None = None
    step_results: list[_StepResult] | None = None
    steps: list[_Step] | None = None
    subagent_trajectories: list[_Document] | None = None
    continued_trajectory_ref: Any = None
    n_total_trials: Any = None


_PARTS: dict[tuple[type, str], type] = {
    (_Agent, "model_info"): _Model,
    (_StepResult, "agent_result"): _Usage,
    (_StepResult, "exception_info"): _Exception,
    (_StepResult, "agent_execution"): _Timing,
    (_Document, "config"): _Config,
    (_Document, "agent_info"): _Agent,
    (_Document, "agent_result"): _Usage,
    (_Document, "verifier_result"): _Verifier,
    (_Document, "exception_info"): _Exception,
    (_Document, "agent_execution"): _Timing,
}
_LISTS: dict[tuple[type, str], type] = {
    (_Document, "step_results"): _StepResult,
    (_Document, "steps"): _Step,
    (_Document, "subagent_trajectories"): _Document,
}
_NO_AGENT, _NO_CONFIG, _NO_MODEL, _NO_USAGE = _Agent(), _Config(), _Model(), _Usage()
_DECODER = msgspec.json.Decoder(_Document)

_TIME = pl.Datetime("us", "UTC")
_SCHEMA: dict[str, pl.DataType] = {
    "kind": pl.String(),
    "session_id": pl.String(),
    "job": pl.String(),
    "task_id": pl.String(),
    "started_at": _TIME,
    "ended_at": _TIME,
    "local": pl.Boolean(),
    "valid": pl.Boolean(),
    "reason": pl.String(),
    "reward": pl.String(),
    "value": pl.Float64(),
    "duration": pl.Duration("us"),
    "steps": pl.Int64(),
    "tool_calls": pl.Int64(),
    "continues": pl.Boolean(),
    "tokens_input": pl.Int64(),
    "tokens_cached": pl.Int64(),
    "tokens_output": pl.Int64(),
    "tokens_total": pl.Int64(),
    "cost": pl.Float64(),
    "model": pl.String(),
    "agent": pl.String(),
    "agent_version": pl.String(),
}
"""A trial is a row with its first reward, and a row of kind ``reward`` for each further one; a trajectory is a row.

``local``: the times have no time zone. ``steps``: the number of agent folders. ``continues``: the trajectory goes on in another file.
"""


def _matches(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return (file == "result.json" and _NO_TRIALS.isdisjoint(folder.split("/"))) or _TRAJECTORY(name) is not None


def _read(file: BinaryIO, name: str) -> FileContent:  # noqa: ARG001
    """Return the rows of a trial result or a trajectory; none for the result of a job."""
    data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UnreadableFileError(f"larger than {_LARGEST // 2**20} MiB")
    if not data.strip():
        raise UnreadableFileError("empty file")
    try:
        return _content(_decoded(data))
    except RecursionError:
        raise UnreadableFileError("JSON that is nested too deeply") from None


def _decoded(data: bytes) -> _Document:
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError):  # a value of another type must not cost the whole trial
        pass
    try:
        value = json.loads(data)
    except ValueError:
        raise UnreadableFileError("incomplete or invalid JSON") from None
    if not isinstance(value, dict):
        raise UnreadableFileError("not a JSON object")
    document: _Document = _lenient(_Document, value)
    return document


def _lenient(kind: Any, value: Any) -> Any:
    """Return a struct from a JSON value; parts of another type are empty."""
    if not isinstance(value, dict):
        return kind()
    fields = {name: value[name] for name in kind.__struct_fields__ if value.get(name) is not None}
    for name, part in fields.items():
        if (kind, name) in _PARTS:
            fields[name] = _lenient(_PARTS[kind, name], part)
        elif (kind, name) in _LISTS:
            fields[name] = [_lenient(_LISTS[kind, name], item) for item in part] if isinstance(part, list) else None
        elif name == "tool_calls" and not isinstance(part, list):
            fields[name] = None
    return kind(**fields)


def _content(document: _Document) -> FileContent:
    version = document.schema_version
    if isinstance(version, str) and version.startswith("ATIF"):
        if not version.startswith("ATIF-v1."):
            raise UnreadableFileError("an unsupported version of the trajectory format (only ATIF-v1 is supported)")
        calls = sum(_tool_calls(document))
        row = {"kind": "trajectory", "tool_calls": calls, "continues": document.continued_trajectory_ref is not None}
        return FileContent([_row(row)])
    if document.task_name is None and document.trial_name is None:
        return FileContent([], {} if document.n_total_trials is not None else {"JSON files of other programs": 1})
    if version not in _VERSIONS:
        raise UnreadableFileError("an unsupported version of the trial result (only schema_version 1 is supported)")
    return _Trial(document).content()


def _tool_calls(trajectory: _Document) -> Iterator[int]:
    """Yield the numbers of tool calls in the steps of a trajectory and its subagents."""
    for step in trajectory.steps or ():
        if step.is_copied_context is not True:
            yield len(step.tool_calls or ())
    for subagent in trajectory.subagent_trajectories or ():
        yield from _tool_calls(subagent)


def _row(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in _SCHEMA)


class _Trial:
    """The values of a trial result, checked one by one."""

    def __init__(self, result: _Document) -> None:
        self._result = result
        self._invalid_values = 0

    def content(self) -> FileContent:
        result = self._result
        session_id = self._text(result.id) or self._text(result.trial_name)
        if session_id is None:
            raise UnreadableFileError("trial result without an id or trial_name")
        rewards = self._rewards()
        valid, reason = self._validity(has_reward=bool(rewards))
        agent, parts = result.agent_info or _NO_AGENT, self._parts()
        usages = [part.agent_result or _NO_USAGE for part in parts]
        started, ended, local = self._times()
        task_id = self._text(result.task_name)
        first = next(iter(rewards.items()), (None, None))
        row = (
            "trial", session_id, self._text((result.config or _NO_CONFIG).job_id), task_id, started, ended, local, valid, reason, *first,
            self._total([self._elapsed(part.agent_execution) for part in parts]), len(parts), None, None, *self._tokens(usages),
            self._total([self._cost(usage.cost_usd) for usage in usages]), self._text((agent.model_info or _NO_MODEL).name),
            self._text(agent.name), self._text(agent.version),
        )  # fmt: skip
        more = [
            _row({"kind": "reward", "task_id": task_id, "valid": valid, "reward": name, "value": value})
            for name, value in rewards.items()
            if name != first[0]
        ]
        return FileContent([row, *more], {_INVALID_VALUES: self._invalid_values} if self._invalid_values else {})

    def _parts(self) -> list[_Document | _StepResult]:
        """Return the steps of the trial, or the trial itself if it has no steps."""
        result = self._result
        if result.step_results and result.agent_result is None and result.agent_execution is None:
            return list(result.step_results)
        return [result]

    def _rewards(self) -> dict[str, float | None]:
        rewards = (self._result.verifier_result or _Verifier()).rewards
        if not isinstance(rewards, dict):
            self._ignore(rewards)
            return {}
        return {name: self._number(value) for name, value in rewards.items() if self._text(name) is not None}

    def _validity(self, *, has_reward: bool) -> tuple[bool, str | None]:
        """Return whether the reward is valid, and why not or which limit ended the trial."""
        exceptions = [part.exception_info for part in (self._result, *(self._result.step_results or ()))]
        names = [self._text(part.exception_type) or "" for part in exceptions if part is not None]
        failures = [_failure(name) for name in names if name not in _AGENT_ENDINGS]
        declared = self._result.reward_valid
        valid = declared if isinstance(declared, bool) else not failures
        if not has_reward or not valid:
            return False, failures[0] if failures else "not_valid" if has_reward else "no_result"
        limits = [_AGENT_ENDINGS[name] for name in names if _AGENT_ENDINGS.get(name) in LIMITS]
        return True, limits[0] if limits else None

    def _times(self) -> tuple[datetime | None, datetime | None, bool]:
        """Return the start and the end, and whether they have no time zone."""
        started, ended = self._span(self._result)
        local = any(time is not None and time.tzinfo is None for time in (started, ended))
        if local:
            started, ended = (None if time is None else time.replace(tzinfo=UTC) for time in (started, ended))
        return started, ended, local

    def _elapsed(self, timing: _Timing | None) -> timedelta | None:
        started, ended = (None, None) if timing is None else self._span(timing)
        return None if started is None or ended is None else ended - started

    def _span(self, timing: _Timing | _Document) -> tuple[datetime | None, datetime | None]:
        """Return the start and the end; of two that contradict each other, the end."""
        started, ended = self._time(timing.started_at), self._time(timing.finished_at)
        if started is not None and ended is not None and ((started.tzinfo is None) != (ended.tzinfo is None) or started > ended):
            self._invalid_values += 1
            return None, ended
        return started, ended

    def _tokens(self, usages: list[_Usage]) -> tuple[int | None, int | None, int | None, int | None]:
        """Return the tokens of the input without cache, the cache and the output; their sum."""
        inputs: int | None = self._total([self._count(usage.n_input_tokens) for usage in usages])
        cached: int | None = self._total([self._count(usage.n_cache_tokens) for usage in usages])
        output: int | None = self._total([self._count(usage.n_output_tokens) for usage in usages])
        if inputs is not None and cached is not None and cached > inputs:
            self._invalid_values += 1
            inputs = cached = None
        uncached = None if inputs is None or cached is None else inputs - cached
        return uncached, cached, output, None if inputs is None or output is None else inputs + output

    def _total(self, values: list[Any]) -> Any:
        """Return the sum of the values of all steps; missing if one is missing."""
        if None in values:
            return None
        if len(values) == 1:
            return values[0]
        return math.fsum(values) if isinstance(values[0], float) else sum(values[1:], values[0])

    def _ignore(self, value: object) -> None:
        if value is not None:
            self._invalid_values += 1

    def _checked(self, value: object, valid: _T | None) -> _T | None:
        """Return the valid value; without one, count the value as invalid."""
        if valid is None:
            self._ignore(value)
        return valid

    def _text(self, value: object) -> str | None:
        return self._checked(value, printable_text(value, _LONGEST_TEXT))

    def _number(self, value: object) -> float | None:
        return self._checked(value, score_number(value))

    def _count(self, value: object) -> int | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS and value == int(value):
            return int(value)
        self._ignore(value)
        return None

    def _cost(self, value: object) -> float | None:
        return self._checked(value, cost_value(value))

    def _time(self, value: object) -> datetime | None:
        return self._checked(value, iso_time(value))


def _failure(exception_type: str) -> str:
    """Return the reason of a trial that an exception made invalid."""
    if exception_type == "CancelledError":
        return "canceled"
    if exception_type in _NO_RESULT:
        return "no_result"
    return "infrastructure" if exception_type in _INFRASTRUCTURE else "error"


# --- sessions -------------------------------------------------------------------------------------------------------------------------


def _sessions(
    rows: pl.DataFrame, problems: Problems, *, reward: str | None = None, success_at: float | str | None = None, tz: object = None
) -> pl.DataFrame:
    """Return the sessions of the trials."""
    threshold = success_threshold(success_at, kind="reward")
    if tz is not None:
        check_zone("tz", tz)  # also if no trial has a local time
    trials = rows.filter(pl.col("session_id").is_not_null())
    decided = score_outcome(pl.col("score"), threshold)
    is_open = pl.col("ended_at").is_null()
    trials = (
        trials.drop("tool_calls")
        .join(_scores(rows, reward), on="source", how="left")
        .with_columns(_folder("source").alias("folder"))
        .join(_tool_call_counts(rows, trials, problems), on="folder", how="left")
        .with_columns(_in_utc(trials, name, tz) for name in ("started_at", "ended_at"))
        .with_columns(
            outcome=pl.when(is_open).then(pl.lit("unknown")).when(~pl.col("valid")).then(pl.lit("invalid")).otherwise(decided),
            reason=pl.when(~is_open).then("reason"),
            tool_calls=pl.when(pl.col("files") == pl.col("steps")).then("tool_calls"),
            job=pl.coalesce("job", _folder("folder")),
            cost_basis=pl.when(pl.col("cost").is_not_null()).then(pl.lit("reported")),
        )
    )
    undecided = trials.filter(pl.col("valid") & ~is_open & (pl.col("outcome") == "unknown"))
    if count := undecided["score"].count():
        problems.ignore("outcomes of rewards other than 0 and 1 (set success_at)", count)
    if count := undecided["score"].null_count():
        problems.ignore("outcomes of trials without the reward", count)
    keys = ("job", "task_id", "agent", "agent_version", "model")
    helpers = ("kind", "local", "valid", "reward", "value", "steps", "continues", "folder", "files", "gone")
    trials = trials.drop(helpers, strict=False)
    if trials["session_id"].n_unique() < trials.height:
        trials = distinct_sessions(trials)
    trials = trials.sort(*keys, "started_at", "source", "session_id", nulls_last=True)
    is_first = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift()) for key in keys) | (pl.int_range(pl.len()) == 0)
    number = pl.int_range(1, pl.len() + 1)  # much faster than one over() the keys
    attempt = number - pl.when(is_first).then(number).forward_fill() + 1
    trials = trials.with_columns(attempt=pl.when(pl.col("task_id").is_not_null()).then(attempt))
    frame = session_frame(trials.drop("job"))
    return frame.sort("ended_at", "session_id", nulls_last=True)


def _folder(column: str) -> pl.Expr:
    """Return the folders of names."""
    return pl.col(column).str.replace(r"/?[^/]*$", "")


def _scores(rows: pl.DataFrame, reward: str | None) -> pl.DataFrame:
    """Return the reward that decides, by ``source``, as ``score``.

    Without a name, it is the only reward of a task, or the one named ``reward``.
    """
    rewards = rows.filter(pl.col("reward").is_not_null(), pl.col("valid")).select("source", "task_id", "reward", "value")
    if reward is not None:
        names = rewards["reward"].unique().sort().to_list()
        if names and reward not in names:
            raise unknown_name("reward", reward, names, field="reward", listed=_listed(names))
        chosen = rewards.filter(pl.col("reward") == reward)
    else:
        chosen = rewards.with_columns(
            only=pl.col("reward").n_unique().over("task_id") == 1, named=(pl.col("reward") == "reward").any().over("task_id")
        )
        ambiguous = chosen.filter(~(pl.col("only") | pl.col("named")))["reward"].unique().sort().to_list()
        if ambiguous:
            raise InvalidInputError(
                f"Cannot choose a reward: trials have {_listed(ambiguous)}, and none of them is named 'reward'",
                hint=f"Name the one that decides about success, e.g. reward={ambiguous[0]!r}.",
                shell_hint=f"Name the one that decides about success, e.g. --reward {ambiguous[0]}.",
                field="reward",
                value=None,
            )
        chosen = chosen.filter(pl.col("only") | (pl.col("reward") == "reward"))
    return chosen.select("source", score="value")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(repr(name) for name in names[:_LISTED]) + more


def _tool_call_counts(rows: pl.DataFrame, trials: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """Return tool calls and the number of agent folders by the ``folder`` of a trial."""
    agents = (
        rows.filter(pl.col("kind") == "trajectory")
        .group_by(_folder("source").alias("agent_folder"))
        .agg(pl.col("tool_calls").sum(), complete=pl.len() - pl.col("continues").sum() == 1)
        .with_columns(folder=pl.col("agent_folder").str.replace(r"(^|/)(steps/[^/]+/)?agent$", ""))
    )
    folders = trials.select(_folder("source").alias("folder"))
    if orphans := agents.join(folders, on="folder", how="anti").height:
        problems.ignore("trajectories without a trial result", orphans)
    return agents.filter("complete").group_by("folder").agg(pl.col("tool_calls").sum(), files=pl.len().cast(pl.Int64))


def _in_utc(trials: pl.DataFrame, name: str, tz: object) -> pl.Expr:
    """Return times in UTC; local times are in the time zone `tz`."""
    local = trials.filter("local")["source"].sort()
    time = pl.col(name)
    if not len(local):
        return time
    if tz is None:
        raise InvalidInputError(
            f"Times without a time zone in {plural(len(local), 'trial result')} ({local[0]!r})",
            hint="Older versions of Harbor write local times. Pass the time zone of the machine, e.g. tz='Europe/Berlin'.",
            shell_hint="Older versions of Harbor write local times. Pass the time zone of the machine, e.g. --tz Europe/Berlin.",
            field="tz",
            value=None,
        )
    zone = check_zone("tz", tz)
    naive = time.dt.replace_time_zone(None)
    offset = zone.utcoffset(None)
    if offset is not None:
        utc = (naive - pl.lit(offset)).dt.replace_time_zone("UTC")
    else:
        key = zone_name(zone)
        read = [
            shifted.dt.replace_time_zone(key, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
            for shifted in (naive, naive + timedelta(hours=1))  # a clock never shows the skipped hour
        ]
        utc = pl.coalesce(read)
    return pl.when("local").then(utc).otherwise(time).alias(name)


HARBOR = FileSource(
    name="harbor",
    title="Harbor trials",
    version=1,
    schema=_SCHEMA,
    matches=_matches,
    read=_read,
    sessions=_sessions,
    options={
        "reward": "the reward that decides about success (default: the only one, else the one named reward)",
        "success_at": "the lowest reward of a success (default: 1 is success, 0 is failure, others are unknown)",
        "tz": "the time zone of times without one, which older versions of Harbor write",
    },
)
"""The trials of Harbor jobs: ``<job>/<trial>/result.json``."""
