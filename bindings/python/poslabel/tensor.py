# SPDX-License-Identifier: Apache-2.0
"""How arrays become poslabel_tensor descriptors (poslabel/tensor.h).

A poslabel_tensor has the layout of DLPack's DLTensor, so the address inside a DLPack capsule is passed on as it is;
the capsule keeps the array alive. A descriptor of our own serves the NumPy arrays that NumPy does not export:
read-only ones, bfloat16, and bool before NumPy 1.25.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Dict, Tuple

import numpy as np

from ._declarations import DTYPES, Device, DeviceType, DType, Tensor
from ._pytorch import export, is_common, is_torch
from ._pytorch import exporter as torch_exporter
from ._values import wrong
from .status import Error, InvalidError, InvalidTypeError, UnsupportedError


class _Versioned(ctypes.Structure):
    """DLPack's DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


_READ_ONLY = 1
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_NAMES = {number: name for name, number in DTYPES.items()}

# Frameworks whose arrays never change, whatever their capsules say.
_IMMUTABLE = ("jax", "jaxlib", "tensorflow")

capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.restype = ctypes.c_void_p
capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_capsule_is = ctypes.pythonapi.PyCapsule_IsValid
_capsule_is.restype = ctypes.c_int
_capsule_is.argtypes = [ctypes.py_object, ctypes.c_char_p]

# For the common types, the function that gives the "dltensor" capsule of a writable array. Other types are looked at
# anew in each call: a table of them would keep classes alive.
exporters: Dict[type, Callable[[Any], Any]] = {np.ndarray: np.ndarray.__dlpack__}

if tuple(int(part) for part in np.__version__.split(".")[:2]) < (1, 25):

    def _export(array: np.ndarray) -> Any:
        return (array.view(np.uint8) if array.dtype.char == "?" else array).__dlpack__()

    exporters[np.ndarray] = _export


def describe(value: Any, writable: bool, what: str) -> Tuple[int, Any]:
    """The address of a descriptor of any array, and an object that keeps the descriptor and the data alive.

    `what` is "<operation>: <argument>". InvalidError: no array, or an output that cannot be written to.
    UnsupportedError: an array that cannot be described.
    """
    kind = type(value)
    if isinstance(value, np.ndarray):
        return _describe_numpy(value, writable, what)
    if is_torch(kind):
        if is_common(kind) and kind not in exporters:
            exporters[kind] = torch_exporter()  # for the next call
        capsule = export(value, what)
        return capsule_pointer(capsule, b"dltensor"), capsule
    if hasattr(kind, "__dlpack__") and not isinstance(value, np.generic):
        return _describe_dlpack(value, writable, what)
    if isinstance(value, (float, int, np.generic)) and not isinstance(value, (bool, np.bool_)) and not writable:
        try:
            number = np.asarray(value) if isinstance(value, np.generic) else np.asarray(value, np.float64)
        except OverflowError:
            operation, _, argument = what.partition(": ")
            raise wrong(operation, argument, value, "a number that fits into float64") from None
        return _describe_numpy(number, False, what)
    raise no_array(value, writable, what)


def no_array(value: Any, writable: bool, what: str) -> Error:
    """The exception for an argument that is no array."""
    rule = "an array: of NumPy, of PyTorch, or with a method __dlpack__"
    if writable:
        rule = "True, False or " + rule
    if value is None or isinstance(value, (bool, float, int)):
        operation, _, argument = what.partition(": ")
        return wrong(operation, argument, value, rule, types=True)
    return InvalidTypeError(f"{what} is a {type(value).__name__}, must be {rule}")


def _describe_numpy(array: np.ndarray, writable: bool, what: str) -> Tuple[int, Any]:
    dtype, size = array.dtype, array.dtype.itemsize
    if isinstance(array, np.ma.MaskedArray):
        raise InvalidTypeError(f"{what} is a masked array, must be a plain one: its mask would be lost")
    if writable and not array.flags.writeable:
        raise InvalidError(f"{what} is read-only, must be writable")
    if not dtype.isnative:
        raise InvalidError(f"{what} has dtype {dtype.str}, must be in the byte order of this machine")
    if dtype.name == "bfloat16":
        code = 4
    elif dtype.kind in _CODES:
        code = _CODES[dtype.kind]
    else:
        raise InvalidError(f"{what} has dtype {dtype.name}, must be one of {', '.join(DTYPES)}")
    # As DLPack exporters do, so that the stride of a dimension that is never stepped along does not matter.
    strides = [stride if length > 1 else size for length, stride in zip(array.shape, array.strides)]
    if any(stride % size for stride in strides):
        raise UnsupportedError(f"{what} has strides of {array.strides} bytes, must be multiples of {size}")
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    steps = (ctypes.c_int64 * array.ndim)(*(stride // size for stride in strides))
    tensor = Tensor(
        data=array.__array_interface__["data"][0],
        device=Device(DeviceType.CPU, 0),
        ndim=array.ndim,
        dtype=DType(code, 8 * size, 1),
        shape=ctypes.addressof(shape),
        strides=ctypes.addressof(steps),
    )
    return ctypes.addressof(tensor), (tensor, shape, steps, array)


def _describe_dlpack(value: Any, writable: bool, what: str) -> Tuple[int, Any]:
    name = type(value).__name__
    try:
        try:
            capsule = value.__dlpack__(max_version=(1, 0))
        except TypeError:  # written before DLPack 1.0
            capsule = value.__dlpack__()
    except Exception as error:
        raise UnsupportedError(f"{what} is a {name}, must be an array that DLPack can carry: {error}") from error
    if writable and type(value).__module__.partition(".")[0] in _IMMUTABLE:
        raise InvalidError(f"{what} is a {name}, which is read-only, must be writable")
    if not _capsule_is(capsule, b"dltensor_versioned"):
        if not _capsule_is(capsule, b"dltensor"):
            raise InvalidError(
                f"{what} is a {name} whose __dlpack__() gave {capsule!r}, must be a capsule that nobody has read before"
            )
        if writable:
            raise InvalidError(f"{what} is a {name} that does not say that it is writable, must be one of DLPack 1.0")
        return capsule_pointer(capsule, b"dltensor"), capsule
    managed = _Versioned.from_address(capsule_pointer(capsule, b"dltensor_versioned"))
    if managed.major > 1:
        raise UnsupportedError(f"{what} is of DLPack {managed.major}.{managed.minor}, must be of 1.x")
    if writable and managed.flags & _READ_ONLY:
        raise InvalidError(f"{what} is a {name} that is read-only, must be writable")
    return ctypes.addressof(managed.tensor), capsule


def shape_and_dtype(value: Any, what: str) -> Tuple[Tuple[int, ...], str]:
    """The shape of any array, and the name of its dtype."""
    address, kept = describe(value, False, what)
    tensor = Tensor.from_address(address)
    shape = tuple((ctypes.c_int64 * tensor.ndim).from_address(tensor.shape)) if tensor.ndim else ()
    del kept
    code, bits = tensor.dtype.code, tensor.dtype.bits
    return shape, _NAMES.get((code, bits), f"dtype(code={code}, bits={bits})")
