# SPDX-License-Identifier: Apache-2.0
"""Where a call runs (poslabel/context.h)."""

from __future__ import annotations

import enum
import functools
import os
import threading
from typing import Any, Callable, Dict, NamedTuple, Optional, Type, Union

from ._declarations import ContextOptions, Device, DeviceType, Isa, LogCallback
from ._declarations import LogLevel as LogLevel
from ._library import bind, ctypes
from ._values import int32, integer, wrong
from .status import InvalidError, Status, failure

_POINTER = ctypes.c_void_p
_create = bind("poslabel_context_create", ctypes.c_int, ctypes.POINTER(ContextOptions), ctypes.POINTER(ctypes.c_void_p))
_destroy = bind("poslabel_context_destroy", None, _POINTER)
_message = bind("poslabel_context_message", ctypes.c_char_p, _POINTER)
_device = bind("poslabel_context_device", Device, _POINTER)
_threads = bind("poslabel_context_threads", ctypes.c_int32, _POINTER)
_isa = bind("poslabel_context_isa", ctypes.c_int, _POINTER)
_workspace = bind("poslabel_context_workspace", ctypes.c_size_t, _POINTER)
_trim = bind("poslabel_context_trim", None, _POINTER)
_reserve = bind("poslabel_context_reserve", ctypes.c_int, _POINTER, ctypes.c_size_t)
_set_stream = bind("poslabel_context_set_stream", ctypes.c_int, _POINTER, ctypes.c_void_p)
_synchronize = bind("poslabel_context_synchronize", ctypes.c_int, _POINTER)
_device_supported = bind("poslabel_device_supported", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_isa_supported = bind("poslabel_isa_supported", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_isa_name = bind("poslabel_isa_name", ctypes.c_char_p, ctypes.c_int)


def _number(kind: Type[enum.IntEnum], operation: str, argument: str, value: Union[str, int]) -> int:
    if not isinstance(value, str):
        return int32(operation, argument, value)
    try:
        return kind[value.upper()]
    except KeyError:
        names = ", ".join(member.name.lower() for member in kind)
        raise wrong(operation, argument, value, f"one of {names}") from None


def _parse_device(device: str) -> Device:
    if not isinstance(device, str):
        raise wrong("context_create", "device", device, "'cpu', 'cuda' or 'cuda:<number>'", types=True)
    name, _, ordinal = device.partition(":")
    number = int(ordinal) if ordinal.isdecimal() and len(ordinal) < 11 else 0
    if (ordinal and not ordinal.isdecimal()) or number >= 1 << 31 or len(ordinal) > 10:
        raise wrong("context_create", "device", device, "'cpu', 'cuda' or 'cuda:<number>'")
    return Device(_number(DeviceType, "context_create", "device", name), number)


def _address(operation: str, value: Optional[int]) -> Optional[int]:
    return None if value is None else integer(operation, "stream", value, 0, 1 << 64)


class Support(NamedTuple):
    """Whether something can be had on this machine; `reason` says why not. True and False in a condition."""

    supported: bool
    reason: str

    def __bool__(self) -> bool:
        return self.supported


def _support(function: Any, kind: Type[enum.IntEnum], operation: str, argument: str, value: Union[str, int]) -> Support:
    number = _number(kind, operation, argument, value)
    reason = ctypes.create_string_buffer(512)
    status = function(number, reason, len(reason))
    if status in (Status.OK, Status.UNSUPPORTED):
        return Support(status == Status.OK, reason.value.decode(errors="replace"))
    raise failure(status, f"{operation}: {argument} = {value}, must be one that there is: {reason.value.decode()}")


def device_supported(device: Union[str, int]) -> Support:
    """Whether contexts on a device type ("cpu", "cuda") can be made."""
    return _support(_device_supported, DeviceType, "device_supported", "device", device)


def isa_supported(isa: Union[str, int]) -> Support:
    """Whether contexts with an instruction set ("reference", "baseline", "avx2", "avx512") can be made."""
    return _support(_isa_supported, Isa, "isa_supported", "isa", isa)


class Context:
    """A device, a number of threads, an instruction set, a workspace and the message of the last failure.

    threads   on the CPU; 0: all that OpenMP would use.
    isa       "auto", "reference", "baseline", "avx2", "avx512"; one that the machine lacks is an UnsupportedError.
    device    "cpu", or "cuda", "cuda:1".
    stream    the address of a cudaStream_t; None on the CPU.
    log       called as log(level, message) for every line that the library logs.

    Any number of threads may make calls, each with its own context. Two calls at the same time on one context are an
    InvalidError. A context may be used in a forked child, where it runs on one thread.

    A context is closed by close(), at the end of `with`, or when nothing refers to it. copy.copy() and copy.deepcopy()
    make a new context with the same threads, isa, device and log, even from one that is closed. Pickling does the same
    without the log function, which belongs to its process. The stream, the workspace and the message stay behind: a
    copy on CUDA begins with the default stream.
    """

    _handle: Optional[int] = None

    def __init__(
        self,
        *,
        threads: int = 0,
        isa: Union[str, int] = "auto",
        device: str = "cpu",
        stream: Optional[int] = None,
        log: Optional[Callable[[int, str], Any]] = None,
    ) -> None:
        self._process = os.getpid()
        lock = threading.Lock()
        self._acquire = lock.acquire
        self._release = lock.release
        message = ctypes.create_string_buffer(512)
        options = ContextOptions(
            struct_size=ctypes.sizeof(ContextOptions),
            device=_parse_device(device),
            threads=int32("context_create", "threads", threads),
            isa=_number(Isa, "context_create", "isa", isa),
            stream=_address("context_create", stream),
            message=ctypes.addressof(message),
            message_size=len(message),
        )
        if log is not None and not callable(log):
            raise wrong("context_create", "log", log, "a function or None", types=True)
        self._options: Dict[str, Any] = dict(threads=threads, isa=isa, device=device, log=log)
        if log is not None:
            # Kept for as long as the context may call it.
            self._log = options.log = LogCallback(lambda user, level, text: log(level, text.decode(errors="replace")))
        handle = ctypes.c_void_p()
        status = _create(options, handle)
        if status:
            raise failure(status, message.value.decode(errors="replace"))
        self._handle = handle.value

    def __copy__(self) -> Context:
        return type(self)(**self._options)

    def __deepcopy__(self, memo: Any) -> Context:
        return self.__copy__()

    def __reduce__(self) -> Any:
        return functools.partial(type(self), **{**self._options, "log": None}), ()

    def _open_handle(self) -> int:
        if self._handle is None:
            raise InvalidError("context: it is closed, must be open")
        return self._handle

    @property
    def device(self) -> str:
        """The name that the constructor takes: "cpu", or "cuda:0" and so on."""
        device = _device(self._open_handle())
        return "cpu" if device.type == DeviceType.CPU else f"{DeviceType(device.type).name.lower()}:{device.id}"

    @property
    def threads(self) -> int:
        """How many threads calls run on."""
        return _threads(self._open_handle())

    @property
    def isa(self) -> str:
        """The instruction set that calls use, never "auto"."""
        return _isa_name(_isa(self._open_handle())).decode()

    @property
    def message(self) -> str:
        """The message of the last call that failed, "" before the first."""
        return _message(self._open_handle()).decode(errors="replace")

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory held for the next call."""
        return _workspace(self._open_handle())

    def trim(self) -> None:
        """Gives the scratch memory back."""
        self._enter()
        try:
            _trim(self._open_handle())
        finally:
            self._release()

    def reserve(self, size: int) -> None:
        """Takes at least `size` bytes of scratch memory now: before a CUDA graph is captured, say."""
        self._call(_reserve, integer("context_reserve", "size", size, 0, 1 << 64))

    def set_stream(self, stream: Optional[int]) -> None:
        """Goes on on another CUDA stream, given by its address; work there waits for what was queued before."""
        self._call(_set_stream, _address("context_set_stream", stream))

    def synchronize(self) -> None:
        """Waits for all work of a CUDA context and raises what went wrong with it; nothing to wait for on the CPU."""
        self._call(_synchronize)

    def _call(self, function: Any, *arguments: Any) -> None:
        self._enter()
        try:
            handle = self._open_handle()
            status = function(handle, *arguments)
            if status:
                raise failure(status, _message(handle).decode(errors="replace"))
        finally:
            self._release()

    def close(self) -> None:
        """Frees the context; a second time does nothing."""
        self._enter()
        try:
            handle, self._handle = self._handle, None
            # In a forked child another thread may have been in the middle of a call on this context.
            if handle is not None and self._process == os.getpid():
                _destroy(handle)
        finally:
            self._release()

    def _enter(self) -> None:
        if not self._acquire(False):
            raise InvalidError("context: it is in use by another call; give each thread a context of its own")

    def __enter__(self) -> Context:
        self._open_handle()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __del__(self, _destroy: Any = _destroy, _getpid: Any = os.getpid) -> None:
        if self._handle is not None and self._process == _getpid():
            _destroy(self._handle)

    def __repr__(self) -> str:
        if self._handle is None:
            return "<poslabel.Context closed>"
        return f"<poslabel.Context device={self.device} threads={self.threads} isa={self.isa}>"


_local = threading.local()


def default_context() -> Context:
    """The context of the calling thread, for calls that name none: the CPU, every core, made on first use, and anew
    after it was closed."""
    context = getattr(_local, "context", None)
    if context is None or context._handle is None:
        context = _local.context = Context()
    return context
