"""Functions of scipy; without scipy, calling them raises `MissingExtraError`."""

from __future__ import annotations

from typing import Any

from evalkit.errors import MissingExtraError

__all__ = ["brentq", "chdtr", "missing_extra", "ndtri", "stdtr", "stdtrit"]


def missing_extra(package: str) -> MissingExtraError:
    """Return the error for a missing package, with the command that installs it."""
    return MissingExtraError(
        f"evalkit.analysis needs {package}, which is not installed", hint="Install: pip install scipy jinja2", extra="analysis"
    )


try:
    from scipy.optimize import brentq
    from scipy.special import chdtr, ndtri, stdtr, stdtrit
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "scipy":
        raise

    def _absent(*_: Any, **__: Any) -> Any:
        """Raise `MissingExtraError`."""
        raise missing_extra("scipy") from None

    brentq = chdtr = ndtri = stdtr = stdtrit = _absent
