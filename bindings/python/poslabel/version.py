# SPDX-License-Identifier: Apache-2.0
"""Which libposlabel is loaded (poslabel/version.h)."""

from __future__ import annotations

from ._library import bind, ctypes, library

_version = bind("poslabel_version", ctypes.c_uint32)
_version_string = bind("poslabel_version_string", ctypes.c_char_p)


def version() -> int:
    """The version of the loaded library as one number that can be compared: 0.1.0 is 100, 1.2.3 is 10203."""
    return _version()


def version_string() -> str:
    """The version of the loaded library as text, "0.1.0"."""
    return _version_string().decode()


def library_path() -> str:
    """What was loaded: a path, or the name that the dynamic linker resolved."""
    return library._name
