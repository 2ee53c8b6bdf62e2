# SPDX-License-Identifier: Apache-2.0
"""Finds and loads libposlabel, and checks that its version fits."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import pathlib
import sys
from typing import Any, Callable

# The release whose headers these bindings were written for. A library of the same ABI major and at least this version
# has every function and every field that is used here.
ABI_MAJOR = 0
NEEDED = 100

_NAMES = (
    ("libposlabel.0.dylib", "libposlabel.dylib") if sys.platform == "darwin" else ("libposlabel.so.0", "libposlabel.so")
)
_HELP = (
    "Install libposlabel so that the dynamic linker finds it, or set POSLABEL_LIBRARY to the path of "
    f"{_NAMES[0]} (in a build tree: <build>/lib/{_NAMES[0]})."
)


def _open(path: str, origin: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"poslabel: cannot load {path} ({origin}): {error}. {_HELP}") from None


def _find() -> ctypes.CDLL:
    """POSLABEL_LIBRARY, else a copy beside this file, else what the dynamic linker finds."""
    path = os.environ.get("POSLABEL_LIBRARY")
    if path:
        return _open(path, "from the environment variable POSLABEL_LIBRARY")
    folder = pathlib.Path(__file__).resolve().parent
    for name in _NAMES:
        if (folder / name).exists():
            return _open(str(folder / name), "beside the package")
    try:
        return ctypes.CDLL(_NAMES[0])
    except OSError as error:
        reason = error
    found = ctypes.util.find_library("poslabel")
    if found:
        return _open(found, "found by ctypes.util.find_library")
    raise ImportError(f"poslabel: cannot find libposlabel: {reason}. {_HELP}")


def bind(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """The function `name` of the library with its C signature."""
    try:
        function = library[name]
    except AttributeError:
        raise ImportError(f"poslabel: {library._name} has no function {name}. {_HELP}") from None
    function.restype = result
    function.argtypes = arguments
    return function


def check(number: int, path: str) -> None:
    """ImportError unless a library of version `number` can serve these bindings."""
    if number // 10000 != ABI_MAJOR or number < NEEDED:
        raise ImportError(
            f"poslabel: {path} is version {number // 10000}.{number // 100 % 100}.{number % 100}, but these bindings "
            f"need {NEEDED // 10000}.{NEEDED // 100 % 100}.{NEEDED % 100} or newer with ABI major {ABI_MAJOR}. {_HELP}"
        )


library = _find()
check(bind("poslabel_version", ctypes.c_uint32)(), library._name)
