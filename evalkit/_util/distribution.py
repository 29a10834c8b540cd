"""The distribution that evalkit is installed as.

Its name is not `evalkit`: on the public package index that is another project.
"""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["installed_version"]


def installed_version() -> str:
    """Return the version of evalkit that is installed."""
    return version("evalkit-studies")
