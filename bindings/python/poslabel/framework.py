# SPDX-License-Identifier: Apache-2.0
"""Who allocates results: PyTorch where the arguments are its tensors, else NumPy. PyTorch is never imported here."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Dict, Tuple, Type, Union

import numpy as np

from .status import InvalidError, UnsupportedError
from .tensor import is_torch, shape_and_dtype


class NumPy:
    """Results as numpy.ndarray."""

    _dtypes: Dict[Any, np.dtype] = {
        name: np.dtype(name) for name in ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
    }
    _float64 = _dtypes["float64"]

    @classmethod
    def dtype(cls, name: Any) -> np.dtype:
        """A dtype given by name or as NumPy writes it."""
        try:
            return cls._dtypes[name]
        except (KeyError, TypeError):
            pass
        try:
            return np.dtype(name)
        except TypeError:
            if name == "bfloat16":
                raise UnsupportedError("dtype bfloat16: NumPy has it once the package ml_dtypes is imported") from None
            raise InvalidError(f"dtype = {name!r}, must be a dtype of NumPy or its name") from None

    @classmethod
    def empty(cls, like: Any, shape: Tuple[int, ...], dtype: Any) -> np.ndarray:
        """Fresh memory; `like` is an array of this framework."""
        return np.empty(shape, cls.dtype(dtype))

    @staticmethod
    def empty_like(array: Any) -> np.ndarray:
        """Fresh memory in the shape and dtype of `array`."""
        return np.empty_like(array, subok=False)

    @classmethod
    def real(cls, array: Any) -> str:
        """The dtype of sums over `array`."""
        return "float64" if array.dtype == cls._float64 else "float32"

    @staticmethod
    def dtype_of(array: Any) -> Any:
        """The dtype of `array`."""
        return array.dtype

    @staticmethod
    def shape(array: Any) -> Tuple[int, ...]:
        """The sizes of `array`."""
        return array.shape


class Foreign(NumPy):
    """Arrays of another framework, read through DLPack; results as numpy.ndarray."""

    @classmethod
    def empty_like(cls, array: Any) -> np.ndarray:  # type: ignore[override]
        shape, dtype = shape_and_dtype(array, "array")
        return np.empty(shape, cls.dtype(dtype))

    @classmethod
    def real(cls, array: Any) -> str:
        return "float64" if shape_and_dtype(array, "array")[1] == "float64" else "float32"

    @staticmethod
    def dtype_of(array: Any) -> str:
        return shape_and_dtype(array, "array")[1]

    @staticmethod
    def shape(array: Any) -> Tuple[int, ...]:
        return shape_and_dtype(array, "array")[0]


class Torch:
    """Results as torch.Tensor, on the device of the argument."""

    @staticmethod
    def dtype(name: Any) -> Any:
        """A dtype given by name or as PyTorch writes it."""
        torch = sys.modules["torch"]
        dtype = getattr(torch, name, None) if isinstance(name, str) else name
        if not isinstance(dtype, torch.dtype):
            raise InvalidError(f"dtype = {name!r}, must be a dtype of PyTorch or its name")
        return dtype

    @classmethod
    def empty(cls, like: Any, shape: Tuple[int, ...], dtype: Any) -> Any:
        """Fresh memory; `like` is a tensor or the module torch."""
        if isinstance(like, ModuleType):
            return like.empty(shape, dtype=cls.dtype(dtype))
        return like.new_empty(shape, dtype=cls.dtype(dtype))

    @staticmethod
    def empty_like(array: Any) -> Any:
        """Fresh memory in the shape and dtype of `array`."""
        return sys.modules["torch"].empty_like(array, requires_grad=False)

    @staticmethod
    def real(array: Any) -> str:
        """The dtype of sums over `array`."""
        return "float64" if array.dtype is sys.modules["torch"].float64 else "float32"

    @staticmethod
    def dtype_of(array: Any) -> Any:
        """The dtype of `array`."""
        return array.dtype

    @staticmethod
    def shape(array: Any) -> Tuple[int, ...]:
        """The sizes of `array`."""
        return array.shape


Framework = Union[Type[NumPy], Type[Foreign], Type[Torch]]

_frameworks: Dict[type, Framework] = {np.ndarray: NumPy}


def framework_like(what: str, like: Any) -> Framework:
    """The framework of `like`: an array, the module numpy or torch, or None for NumPy."""
    if like is None or like is np:
        return NumPy
    if isinstance(like, ModuleType) and like.__name__ == "torch":
        return Torch
    return framework_of(what, like)


def framework_of(what: str, array: Any) -> Framework:
    """The framework of an array."""
    kind = type(array)
    found = _frameworks.get(kind)
    if found is not None:
        return found
    if issubclass(kind, np.ndarray):
        found = NumPy
    elif is_torch(kind):
        found = Torch
    elif hasattr(kind, "__dlpack__"):
        found = Foreign
    else:
        raise TypeError(f"{what}: expected an array, got {kind.__name__}")
    _frameworks[kind] = found
    return found
