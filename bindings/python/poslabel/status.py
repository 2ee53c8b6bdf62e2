# SPDX-License-Identifier: Apache-2.0
"""What went wrong, as exceptions (poslabel/status.h)."""

from __future__ import annotations

from ._declarations import Status
from ._library import bind, ctypes

_status_name = bind("poslabel_status_name", ctypes.c_char_p, ctypes.c_int)


class Error(Exception):
    """A call failed; str() is the library's message, which names operation, argument, value and rule.

    No output of the call was written. `status` is the poslabel_status, which for an Error that is none of the
    subclasses is one that a newer library introduced.
    """

    status: int = -1


class InvalidError(Error, ValueError):
    """The caller's mistake: a shape, a dtype, a value, an alias."""

    status = Status.INVALID


class InvalidTypeError(InvalidError, TypeError):
    """The same for an argument of a type that has no meaning there: a list in place of an array, say."""


class UnsupportedError(Error, NotImplementedError):
    """A legal request that this build, machine or version cannot serve."""

    status = Status.UNSUPPORTED


class OutOfMemoryError(Error, MemoryError):
    """The library could not get the memory it needs."""

    status = Status.MEMORY


class DeviceError(Error):
    """The device reported a fault; the context is lost."""

    status = Status.DEVICE


class InternalError(Error, RuntimeError):
    """A defect of libposlabel; please report it."""

    status = Status.INTERNAL


_ERRORS = {
    int(error.status): error for error in (InvalidError, UnsupportedError, OutOfMemoryError, DeviceError, InternalError)
}


def status_name(status: int) -> str:
    """The name of a status: "ok", "invalid", "unsupported", ...; "unknown" for a number without one."""
    try:
        return _status_name(status).decode()
    except ctypes.ArgumentError:
        raise InvalidTypeError(f"status_name: status is a {type(status).__name__}, must be an integer") from None


def failure(status: int, message: str) -> Error:
    """The exception for a status other than OK."""
    error = _ERRORS.get(status, Error)(message or f"libposlabel failed with status {status} ({status_name(status)})")
    error.status = status
    return error
