"""Lines to paste, so that a scheduler collects regularly."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

from evalkit.domain.refusals import invalid

__all__ = ["SCHEDULERS", "schedule"]

SCHEDULERS = ("cron", "systemd", "github")
_FOR_RUNNERS = ("EVALKIT_AUTHOR",)
"""The variables that mean the same on another machine."""


def schedule(scheduler: str, command: Sequence[str], *, folder: str, environment: Mapping[str, str]) -> str:
    """Return the lines that run a command every hour.

    Parameters
    ----------
    scheduler
        ``"cron"`` (a line of a crontab), ``"systemd"`` (a service and a timer) or ``"github"`` (a workflow of GitHub Actions).
    command
        The command with its arguments.
    folder
        The working directory, for relative paths.
    environment
        Variables to set. None of them may be a secret, because the lines are stored in files.

    Raises
    ------
    InvalidInputError
        If the scheduler is unknown.

    Examples
    --------
    >>> print(schedule("cron", ["evalkit", "collect", "--due"], folder="/home/ada", environment={}))
    17 * * * * cd /home/ada && evalkit collect --due
    """
    if scheduler not in SCHEDULERS:
        raise invalid("print", scheduler, f"expected one of {', '.join(SCHEDULERS)}")
    text = shlex.join(command)
    if scheduler == "cron":
        assignments = "".join(f"{name}={shlex.quote(value)} " for name, value in environment.items())
        return f"17 * * * * cd {shlex.quote(folder)} && {assignments}{text}".replace("%", r"\%")
    if scheduler == "systemd":
        variables = "".join(f'Environment="{name}={_unit_text(value)}"\n' for name, value in environment.items())
        start = " ".join(
            f'"{_unit_text(part).replace("$", "$$")}"' if shlex.quote(part) != part else part.replace("%", "%%") for part in command
        )
        return _SYSTEMD.format(folder=folder.replace("%", "%%"), variables=variables, start=start)
    variables = "".join(f"  {name}: {json.dumps(value)}\n" for name, value in environment.items() if name in _FOR_RUNNERS)
    return _GITHUB.format(command=text, variables=variables)


_SYSTEMD = """\
# ~/.config/systemd/user/evalkit-collect.service
[Unit]
Description=Collect agent logs with evalkit

[Service]
Type=oneshot
WorkingDirectory={folder}
{variables}ExecStart={start}
# Exit code 3: no data.
SuccessExitStatus=3

# ~/.config/systemd/user/evalkit-collect.timer
[Unit]
Description=Collect agent logs every hour

[Timer]
OnCalendar=hourly
Persistent=true

[Install]
WantedBy=timers.target

# Start it: systemctl --user daemon-reload && systemctl --user enable --now evalkit-collect.timer"""

_GITHUB = """\
# .github/workflows/evalkit-collect.yml
name: Collect agent logs
on:
  schedule:
    - cron: "17 * * * *"
  workflow_dispatch:
# The log and the read model must be on servers, because a runner keeps no files.
# Set the two URLs and the token as secrets of the repository.
env:
  EVALKIT_LOG_URL: ${{{{ secrets.EVALKIT_LOG_URL }}}}
  EVALKIT_DATABASE_URL: ${{{{ secrets.EVALKIT_DATABASE_URL }}}}
  EVALKIT_DATABASE_AUTH_TOKEN: ${{{{ secrets.EVALKIT_DATABASE_AUTH_TOKEN }}}}
  EVALKIT_EVIDENCE: evidence
{variables}jobs:
  collect:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      # requirements.txt has the path or URL of your copy of the package.
      - run: pip install -r requirements.txt
      # The sessions of the checkpoints. A cache can be deleted: for years, copy the folder to a storage of your own.
      - uses: actions/cache@v4
        with:
          path: evidence
          key: evalkit-evidence-${{{{ github.run_id }}}}
          restore-keys: evalkit-evidence-
      # Exit code 3: no data.
      - run: |
          {command} || [ $? -eq 3 ]"""


def _unit_text(text: str) -> str:
    """Return a text for the quotes of a systemd unit."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
