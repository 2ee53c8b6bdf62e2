# SPDX-License-Identifier: Apache-2.0
"""Who allocates results: PyTorch where the arguments are its tensors, else NumPy. PyTorch is never imported here."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Dict, Tuple, Type, Union

import numpy as np

from ._pytorch import is_common, is_torch
from ._values import wrong
from .status import Error, OutOfMemoryError
from .tensor import no_array, shape_and_dtype


class UnknownDtype(Exception):
    """A framework has no dtype of a name; str() is the rule."""


class NumPy:
    """Results as numpy.ndarray."""

    _dtypes: Dict[Any, np.dtype] = {
        name: np.dtype(name) for name in ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
    }
    _float64 = _dtypes["float64"]

    @classmethod
    def dtype(cls, name: Any) -> np.dtype:
        """A dtype given by name or as NumPy writes it, else UnknownDtype."""
        try:
            return cls._dtypes[name]
        except (KeyError, TypeError):
            pass
        try:
            return np.dtype(name)
        except Exception:
            if name == "bfloat16":
                raise UnknownDtype("one that NumPy has, or import ml_dtypes first, which has it") from None
            raise UnknownDtype("a dtype of NumPy or its name") from None

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
    def shape(array: Any, what: str) -> Tuple[int, ...]:
        """The sizes of `array`; `what` is "<operation>: <argument>"."""
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
    def shape(array: Any, what: str) -> Tuple[int, ...]:
        return shape_and_dtype(array, what)[0]


class Torch:
    """Results as torch.Tensor, on the device of the argument."""

    @staticmethod
    def dtype(name: Any) -> Any:
        """A dtype given by name or as PyTorch writes it, else UnknownDtype."""
        torch = sys.modules["torch"]
        dtype = getattr(torch, name, None) if isinstance(name, str) else name
        if not isinstance(dtype, torch.dtype):
            raise UnknownDtype("a dtype of PyTorch or its name")
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
    def shape(array: Any, what: str) -> Tuple[int, ...]:
        """The sizes of `array`; `what` is "<operation>: <argument>"."""
        return array.shape


Framework = Union[Type[NumPy], Type[Foreign], Type[Torch]]

# The frameworks of the common types. A table of every type would keep classes alive.
_frameworks: Dict[type, Framework] = {np.ndarray: NumPy}


def framework_like(operation: str, like: Any) -> Framework:
    """The framework of `like`: an array, the module numpy or torch, or None for NumPy."""
    if like is None or like is np:
        return NumPy
    if isinstance(like, ModuleType) and like.__name__ == "torch":
        return Torch
    kind = type(like)
    if kind in _frameworks or issubclass(kind, np.ndarray) or hasattr(kind, "__dlpack__"):
        return framework_of(f"{operation}: like", like)
    raise wrong(operation, "like", like, "an array, or the module numpy or torch", types=True)


def framework_of(what: str, array: Any) -> Framework:
    """The framework of an array; `what` is "<operation>: <argument>"."""
    kind = type(array)
    found = _frameworks.get(kind)
    if found is not None:
        return found
    if issubclass(kind, np.ndarray):
        return NumPy
    if is_torch(kind):
        if is_common(kind):
            _frameworks[kind] = Torch
        return Torch
    if hasattr(kind, "__dlpack__"):
        return Foreign
    raise no_array(array, False, what)


def last_sizes(what: str, array: Any, rank: int) -> tuple:
    """The last `rank` sizes; 1 for those that a tensor of a wrong rank lacks, which the library then reports."""
    shape = tuple(framework_of(what, array).shape(array, what))
    return ((1,) * rank + shape)[-rank:]


def make(
    framework: Framework, operation: str, argument: str, like: Any, shape: Tuple[int, ...], dtype: Any, dtype_name: str
) -> Any:
    """Fresh memory for an output of a shape and a dtype that the caller chose; `dtype_name` is the dtype's argument."""
    try:
        return framework.empty(like, shape, dtype)
    except UnknownDtype as error:
        raise wrong(operation, dtype_name, dtype, str(error)) from None
    except Error:
        raise
    except Exception as error:
        raise OutOfMemoryError(f"{operation}: {argument} of shape {list(shape)} cannot be made: {error}") from error
