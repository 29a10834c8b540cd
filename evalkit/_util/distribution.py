"""The version of the installed distribution.

The distribution is called ``evalkit-studies``, because another project on PyPI is called ``evalkit``.
"""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["installed_version"]


def installed_version() -> str:
    """Return the installed version of evalkit."""
    return version("evalkit-studies")
