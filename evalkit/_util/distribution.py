"""The distribution that evalkit is installed as.

It is not called `evalkit`: on the public package index, that name belongs to another project.
"""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["installed_version"]


def installed_version() -> str:
    """Return the installed version of evalkit."""
    return version("evalkit-studies")
