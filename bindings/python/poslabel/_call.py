# SPDX-License-Identifier: Apache-2.0
"""How an operation of the library is called.

The args struct of a call is packed into fresh bytes, whose layout comes from the ctypes declaration of the struct, and
tensors are addresses inside DLPack capsules that live until the call returns. So nothing is shared between two calls,
and a call costs a few microseconds.
"""

from __future__ import annotations

import ctypes
import enum
import struct
from operator import index, itemgetter
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Type

from . import context as _context
from ._declarations import ARGS
from ._library import bind
from ._values import wrong
from .context import Context
from .status import InvalidError, failure
from .tensor import capsule_pointer, describe, exporters

_message = bind("poslabel_context_message", ctypes.c_char_p, ctypes.c_void_p)

_FORMATS = {
    ctypes.c_int32: "i",
    ctypes.c_uint32: "I",
    ctypes.c_int64: "q",
    ctypes.c_uint64: "Q",
    ctypes.c_double: "d",
    ctypes.c_size_t: "Q" if ctypes.sizeof(ctypes.c_size_t) == 8 else "I",
    ctypes.c_void_p: "Q" if ctypes.sizeof(ctypes.c_void_p) == 8 else "I",
}
_RULES = {
    "i": "an integer in [-2^31, 2^31)",
    "I": "an integer in [0, 2^32)",
    "q": "an integer in [-2^63, 2^63)",
    "Q": "an integer in [0, 2^64)",
    "d": "a number",
}


class Field(NamedTuple):
    """A number in a struct."""

    name: str
    offset: int
    format: str


def fields(kind: Any, prefix: str = "", base: int = 0) -> List[Field]:
    """The numbers in a struct, those of inner structs included, in their order."""
    result: List[Field] = []
    for name, type_ in kind._fields_:
        offset = base + getattr(kind, name).offset
        if issubclass(type_, ctypes.Structure):
            result += fields(type_, f"{prefix}{name}.", offset)
        else:
            result.append(Field(prefix + name, offset, _FORMATS[type_]))
    return result


class Operation:
    """poslabel_<name>() and its args struct, whose first field is struct_size."""

    __slots__ = ("name", "args", "function", "size", "fields", "pack", "counts", "last")

    def __init__(self, name: str) -> None:
        self.name = name
        if name not in ARGS:
            raise ImportError(f"no declaration of poslabel_{name}(): run bindings/generate.py after a change of a header")
        self.args = args = ARGS[name]
        self.function = bind(f"poslabel_{name}", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
        self.size = ctypes.sizeof(args)
        self.fields = fields(args)
        layout, end = "=", 0
        for field in self.fields:
            layout += f"{field.offset - end}x{field.format}"
            end = field.offset + struct.calcsize("=" + field.format)
        self.pack = struct.Struct(f"{layout}{self.size - end}x").pack
        # The last fields of a struct may be left out of a call, and are then 0: a workspace stays the context's.
        self.last = len(self.fields) - 1
        # The fields that are neither a pointer nor an int32, which is an enumerator, a flag or a side of a grid. Python
        # would take True and False for them.
        pointers = {name for name, type_ in args._fields_ if type_ is ctypes.c_void_p}
        counts = [i for i, field in enumerate(self.fields[1:]) if field.format in "IqQ" and field.name not in pointers]
        self.counts = itemgetter(*counts, counts[0]) if counts else None  # of at least two, so that it gives a tuple

    def blame(self, values: Tuple[Any, ...]) -> Exception:
        """The exception for values that do not go into the struct."""
        for field, value in zip(self.fields[1:], values):
            try:
                struct.pack("=" + field.format, value)
                accepted = not isinstance(value, bool)
            except Exception:
                accepted = False
            if not accepted:
                types = isinstance(value, bool) or not hasattr(
                    value, "__float__" if field.format == "d" else "__index__"
                )
                return wrong(self.name, field.name, value, _RULES[field.format], types)
        return TypeError(f"{self.name}: {len(values)} values for {len(self.fields) - 1} fields")


class Call:
    """One call: collects the tensors, then runs."""

    __slots__ = ("operation", "held", "hold")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.held: List[Any] = []
        self.hold = self.held.append

    def read(self, name: str, value: Any) -> int:
        """The address of the descriptor of an input; 0 for None."""
        if value is None:
            return 0
        try:
            capsule = exporters[type(value)](value)  # type: ignore[misc]
        except Exception:
            capsule = None
        if capsule is None:
            return self._describe(name, value, False)
        self.hold(capsule)
        return capsule_pointer(capsule, b"dltensor")

    def write(self, name: str, value: Any) -> int:
        """The address of the descriptor of an output; 0 for None and False."""
        if value is None or value is False:
            return 0
        try:
            capsule = exporters[type(value)](value)  # type: ignore[misc]
        except Exception:
            capsule = None
        if capsule is None:
            return self._describe(name, value, True)
        self.hold(capsule)
        return capsule_pointer(capsule, b"dltensor")

    def scalar(self, name: str, value: Any) -> Tuple[Any, int]:
        """A number, or 0 and the address of the tensor in its place: the fields `name` and `name`_scalar."""
        if type(value) in (int, float) or not hasattr(value, "__dlpack__"):
            return value, 0
        return 0, self.read(name, value)

    def _describe(self, name: str, value: Any, writable: bool) -> int:
        address, kept = describe(value, writable, f"{self.operation.name}: {name}")
        self.hold(kept)
        return address

    def choice(self, name: str, names: Mapping[str, int], value: Any) -> int:
        """The number of an enumerator that is given by name or number; the library judges numbers."""
        if type(value) is str:
            try:
                return names[value]
            except KeyError:
                pass
        text = isinstance(value, str)
        if not text and not isinstance(value, bool):
            try:
                return index(value)
            except Exception:
                pass
        raise wrong(self.operation.name, name, value, "one of " + ", ".join(map(repr, names)), types=not text)

    def run(self, context: Optional[Context], *values: Any) -> None:
        """Calls the library with the fields that follow struct_size."""
        operation = self.operation
        if len(values) < operation.last:
            values += (0,) * (operation.last - len(values))
        counts = operation.counts
        if counts is not None and bool in map(type, counts(values)):
            raise operation.blame(values)
        try:
            args = operation.pack(operation.size, *values)
        except Exception:
            raise operation.blame(values) from None
        if context is None:
            try:
                context = _context._local.context
            except AttributeError:
                context = None
            if context is None or context._handle is None:
                context = _context.default_context()
        try:
            acquired = context._acquire(False)
        except AttributeError:
            raise wrong(operation.name, "context", context, "a poslabel.Context or None", types=True) from None
        if not acquired:
            raise InvalidError(
                f"{operation.name}: the context is in use by another call; give each thread a context of its own"
            )
        try:
            handle = context._handle
            status = operation.function(handle, args)
            if status:
                if handle is None:
                    raise InvalidError(f"{operation.name}: the context is closed, must be open")
                text = _message(handle).decode(errors="replace").replace(" is NULL", " = None")
                raise failure(status, text.replace("_scalar ", " "))  # of sigma and step, which are one argument here
        finally:
            context._release()


def choices(kind: Type[enum.IntEnum]) -> Dict[str, int]:
    """The names of an enumeration in lower case, with their numbers, for Call.choice()."""
    return {member.name.lower(): int(member) for member in kind}
