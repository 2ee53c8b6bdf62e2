# SPDX-License-Identifier: Apache-2.0
"""How arrays become poslabel_tensor descriptors (poslabel/tensor.h).

A poslabel_tensor has the layout of DLPack's DLTensor, so the address inside a DLPack capsule is passed on as it is;
the capsule keeps the array alive. A descriptor of our own serves the NumPy arrays that NumPy does not export:
read-only ones, bfloat16, and bool before NumPy 1.25.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from ._declarations import DTYPES, Device, DeviceType, DType, Tensor
from .status import InvalidError, UnsupportedError


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

# For a type, the function that gives a writable array's "dltensor" capsule; None for a type that has no such function.
exporters: Dict[type, Optional[Callable[[Any], Any]]] = {np.ndarray: np.ndarray.__dlpack__}

if tuple(int(part) for part in np.__version__.split(".")[:2]) < (1, 25):

    def _export(array: np.ndarray) -> Any:
        return (array.view(np.uint8) if array.dtype.char == "?" else array).__dlpack__()

    exporters[np.ndarray] = _export


def is_torch(kind: type) -> bool:
    """Whether `kind` is torch.Tensor or derives from it, without importing torch."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in kind.__mro__)


def exporter(kind: type) -> Optional[Callable[[Any], Any]]:
    """exporters[kind], found and noted on the first call."""
    if kind not in exporters:
        found = None
        if issubclass(kind, np.ndarray):
            found = exporters[np.ndarray]
        elif is_torch(kind):
            found = sys.modules["torch"].utils.dlpack.to_dlpack
        exporters[kind] = found
    return exporters[kind]


def describe(value: Any, writable: bool, what: str) -> Tuple[int, Any]:
    """The address of a descriptor of any array, and an object that keeps the descriptor and the data alive.

    TypeError: no array. InvalidError: an output that cannot be written to. UnsupportedError: not to be described.
    """
    kind = type(value)
    export = exporter(kind)
    if isinstance(value, np.generic) and not writable:
        return _describe_numpy(np.asarray(value), writable, what)
    if isinstance(value, (float, int)) and not writable:
        return _describe_numpy(np.asarray(value, np.float64), writable, what)
    if isinstance(value, np.ndarray):
        return _describe_numpy(value, writable, what)
    if export is not None:
        try:
            capsule = export(value)
        except Exception as error:
            raise UnsupportedError(f"{what}: a {kind.__name__} that cannot be exported: {error}") from error
        return capsule_pointer(capsule, b"dltensor"), capsule
    if not hasattr(kind, "__dlpack__"):
        raise TypeError(f"{what}: expected an array, got {kind.__name__}")
    return _describe_dlpack(value, writable, what)


def _describe_numpy(array: np.ndarray, writable: bool, what: str) -> Tuple[int, Any]:
    if writable and not array.flags.writeable:
        raise InvalidError(f"{what}: the array is read-only")
    dtype, size = array.dtype, array.dtype.itemsize
    if dtype.name == "bfloat16":
        code = 4
    elif dtype.isnative and dtype.kind in _CODES:
        code = _CODES[dtype.kind]
    else:
        raise InvalidError(f"{what}: dtype {dtype.str if dtype.kind != 'V' else dtype.name} is not one of tensor.h")
    # As DLPack exporters do, so that the stride of a dimension that is never stepped along does not matter.
    strides = [stride if length > 1 else size for length, stride in zip(array.shape, array.strides)]
    if any(stride % size for stride in strides):
        raise UnsupportedError(f"{what}: strides {array.strides} are no multiples of the element size {size}")
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
    try:
        try:
            capsule = value.__dlpack__(max_version=(1, 0))
        except TypeError:  # written before DLPack 1.0
            capsule = value.__dlpack__()
    except Exception as error:
        raise UnsupportedError(f"{what}: a {type(value).__name__} that cannot be exported: {error}") from error
    if writable and type(value).__module__.partition(".")[0] in _IMMUTABLE:
        raise InvalidError(f"{what}: a {type(value).__name__} is read-only")
    if not _capsule_is(capsule, b"dltensor_versioned"):
        if writable:
            raise InvalidError(f"{what}: a {type(value).__name__} that does not say whether it may be written to")
        return capsule_pointer(capsule, b"dltensor"), capsule
    managed = _Versioned.from_address(capsule_pointer(capsule, b"dltensor_versioned"))
    if managed.major > 1:
        raise UnsupportedError(f"{what}: DLPack {managed.major}.{managed.minor}, this library knows 1.x")
    if writable and managed.flags & _READ_ONLY:
        raise InvalidError(f"{what}: a {type(value).__name__} that is read-only")
    return ctypes.addressof(managed.tensor), capsule


def shape_and_dtype(value: Any, what: str) -> Tuple[Tuple[int, ...], str]:
    """The shape of any array, and the name of its dtype."""
    address, kept = describe(value, False, what)
    tensor = Tensor.from_address(address)
    shape = tuple((ctypes.c_int64 * tensor.ndim).from_address(tensor.shape)) if tensor.ndim else ()
    del kept
    code, bits = tensor.dtype.code, tensor.dtype.bits
    return shape, _NAMES.get((code, bits), f"dtype(code={code}, bits={bits})")
