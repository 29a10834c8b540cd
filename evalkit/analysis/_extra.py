"""The packages that the statistics stand on, which an extra installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from evalkit.errors import MissingExtraError

__all__ = ["needed"]


def needed(name: str) -> Any:
    """Import a module of scipy or jinja2.

    Raises
    ------
    MissingExtraError
        When the package is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("jinja2", "markupsafe", "scipy"):
            raise
        raise MissingExtraError(
            f"evalkit.analysis needs {error.name.partition('.')[0]}, which is not installed",
            hint="Install: pip install scipy jinja2",
            extra="analysis",
        ) from None
