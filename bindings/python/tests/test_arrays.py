# SPDX-License-Identifier: Apache-2.0
"""How arrays come in and go out: no copies, strides, read-only arrays, DLPack capsules of other frameworks."""

import ctypes
import gc
import unittest
import weakref

import numpy as np
import poslabel
from cases import TestCase, needs_torch, torch
from poslabel import tensor
from poslabel._call import Call
from poslabel.droppos import _LOSS

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

try:
    import jax.numpy
except ImportError:
    jax = None


def described(value, writable=False):
    """What the library is told about an array, as (data, shape, strides or None, dtype)."""
    call = Call(_LOSS)
    found = tensor.Tensor.from_address((call.write if writable else call.read)("logits", value))
    sizes = ctypes.c_int64 * found.ndim
    shape = tuple(sizes.from_address(found.shape)) if found.ndim else ()
    strides = tuple(sizes.from_address(found.strides)) if found.ndim and found.strides else None
    assert (found.device.type, found.device.id, found.dtype.lanes) == (1, 0, 1)
    return found.data + found.byte_offset, shape, strides, (found.dtype.code, found.dtype.bits)


class Capsule:
    """An array of some other framework."""

    def __init__(self, array, versioned, flags=0, major=1):
        self.array, self.exported = array, []
        self.address, self.kept = tensor.describe(array, False, "test")
        self.versioned, self.flags, self.major = versioned, flags, major

    def __dlpack__(self, **arguments):
        if arguments and not self.versioned:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        if not self.versioned:
            return make(self.address, b"dltensor", None)
        described = tensor.Tensor.from_address(self.address)
        self.exported.append(tensor._Versioned(major=self.major, minor=0, flags=self.flags, tensor=described))
        return make(ctypes.addressof(self.exported[-1]), b"dltensor_versioned", None)


class Descriptors(TestCase):
    def test_numpy_is_not_copied(self):
        array = np.zeros((4, 6, 5), np.float32)
        for view in (array, array[1:, ::2, :3], array.transpose(1, 0, 2), array[0, 0, 0], array[:, :0]):
            if isinstance(view, np.generic):
                continue
            data, shape, strides, dtype = described(view)
            self.assertEqual(shape, view.shape)
            if view.size:
                self.assertEqual(data, view.__array_interface__["data"][0])
                if strides is None:
                    self.assertTrue(view.flags.c_contiguous)
                for length, stride, step in zip(shape, strides or (), view.strides):
                    self.assertTrue(length == 1 or 4 * stride == step)
            self.assertEqual(dtype, (2, 32))

    def test_numpy_dtypes(self):
        known = dict(int32=(0, 32), int64=(0, 64), uint8=(1, 8), float16=(2, 16), float32=(2, 32), float64=(2, 64))
        for name, dtype in known.items():
            self.assertEqual(described(np.zeros(3, name))[3], dtype)
            self.assertEqual(described(np.zeros(3, name), writable=True)[3], dtype)
        for array in (np.zeros((2, 3), bool), np.zeros((2, 6), bool)[:, ::2]):
            self.assertIn(described(array)[3], ((6, 8), (1, 8)))  # uint8 before NumPy 1.25
            self.assertEqual(described(array)[0], array.__array_interface__["data"][0])
            self.assertEqual(described(array)[1], (2, 3))

    def test_read_only_inputs(self):
        array = np.arange(6, dtype=np.float32)
        array.flags.writeable = False
        for view in (array, np.broadcast_to(array, (4, 6)), np.zeros(3, bool)[None]):
            view.flags.writeable = False
            data, shape, strides, _ = described(view)
            self.assertEqual(data, view.__array_interface__["data"][0])
            self.assertEqual(shape, view.shape)
        self.assertEqual(described(np.broadcast_to(array, (4, 6)))[2], (0, 1))

    def test_subclasses(self):
        class Mine(np.ndarray):
            pass

        array = np.zeros((2, 3), np.float32)
        self.assertEqual(described(array.view(Mine))[0], array.__array_interface__["data"][0])
        result = poslabel.position_cross_entropy(array.view(Mine), np.zeros(2, int), grad_logits=True)
        self.assertIs(type(result.grad_logits), np.ndarray)

    def test_scalars(self):
        for value, dtype in ((1.5, (2, 64)), (np.float32(2), (2, 32)), (np.float64(2), (2, 64)), (3, (2, 64))):
            self.assertEqual(described(value)[1:], ((), None, dtype))

    def test_bad_numpy_arrays(self):
        swapped = np.zeros(3, np.dtype(np.float32).newbyteorder())
        odd = np.zeros((3, 2), dtype=[("a", "i1"), ("b", "<f4")])["b"][:, 0]
        for array, kind, text in (
            (swapped, poslabel.InvalidError, "has dtype .f4, must be in the byte order of this machine"),
            (np.zeros(3, complex), None, None),
            (np.array(["x"]), poslabel.InvalidError, "has dtype str32, must be one of float16,"),
            (odd, poslabel.UnsupportedError, "strides"),
        ):
            if kind is None:  # DLPack knows it; the library does not
                kind, text = poslabel.InvalidError, "logits"
            with self.assertRaisesRegex(kind, text):
                poslabel.droppos_loss(array, np.zeros(3, int), grid=(1, 3), loss=np.zeros(()))

    def test_nothing_is_kept(self):
        logits, positions = np.zeros((3, 6), np.float32), np.zeros(3, np.int64)
        gradient = np.empty_like(logits)
        alive = [weakref.ref(array) for array in (logits, positions, gradient)]
        poslabel.droppos_loss(logits, positions, grid=(2, 3), grad_logits=gradient)
        del logits, positions, gradient
        gc.collect()
        self.assertEqual([array() for array in alive], [None] * 3)

    def test_no_class_is_kept(self):
        def classes():
            yield type("Array", (np.ndarray,), {}), lambda kind: np.zeros((2, 4)).view(kind)
            yield type("Other", (Capsule,), {}), lambda kind: kind(np.zeros((2, 4)), True)
            if torch is not None:
                yield type("Mine", (torch.Tensor,), {}), lambda kind: torch.zeros(2, 4).as_subclass(kind)

        for kind, make in classes():
            with self.subTest(kind.__name__):
                alive = weakref.ref(kind)
                array = make(kind)
                for _ in range(3):
                    poslabel.position_cross_entropy(array, np.zeros(2, int), grad_logits=True)
                poslabel.absolute_labels((2, 2), like=array)
                del array, kind, make
                gc.collect()
                self.assertIsNone(alive())

    @unittest.skipIf(ml_dtypes is None, "ml_dtypes is not installed")
    def test_bfloat16_in_numpy(self):
        array = np.linspace(-2, 2, 18).reshape(3, 6).astype(ml_dtypes.bfloat16)
        self.assertEqual(described(array)[0], array.__array_interface__["data"][0])
        self.assertEqual(described(array)[3], (4, 16))
        self.assertEqual(described(array, writable=True)[3], (4, 16))
        result = poslabel.position_cross_entropy(array, np.arange(3), grad_logits=True)
        expected = poslabel.position_cross_entropy(array.astype(np.float32), np.arange(3), grad_logits=True)
        self.assertEqual(result.grad_logits.dtype, array.dtype)
        self.assertEqual(result.loss, expected.loss)
        self.close(result.grad_logits.astype(np.float32), expected.grad_logits, "bfloat16")
        self.assertEqual(poslabel.smoothing_map((2, 2), 1, dtype="bfloat16").dtype, array.dtype)

    @needs_torch
    def test_torch_is_not_copied(self):
        array = torch.zeros(4, 6, 5)
        views = (array, array[1:, ::2, :3], array.transpose(0, 1), array[0, 0, 0], array.expand(2, 4, 6, 5))
        for view in (*views, torch.nn.Parameter(array, requires_grad=False)):
            for writable in (False, True):
                data, shape, strides, dtype = described(view, writable)
                self.assertEqual((data, shape, dtype), (view.data_ptr(), tuple(view.shape), (2, 32)))
                if strides is None:
                    self.assertTrue(view.is_contiguous())
                for length, stride, step in zip(shape, strides or (), view.stride()):
                    self.assertTrue(length == 1 or stride == step)
        known = dict(int32=(0, 32), int64=(0, 64), uint8=(1, 8), bool=(6, 8), bfloat16=(4, 16), float16=(2, 16))
        for name, dtype in known.items():
            self.assertEqual(described(torch.zeros(3, dtype=getattr(torch, name)))[3], dtype)


class OtherFrameworks(TestCase):
    def setUp(self):
        self.logits = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
        self.positions = np.array([1, 5, 0])
        self.expected = poslabel.position_cross_entropy(self.logits, self.positions, grad_logits=True)

    def test_inputs(self):
        for versioned, flags in ((False, 0), (True, 0), (True, 1)):
            logits, positions = (Capsule(array, versioned, flags) for array in (self.logits, self.positions))
            self.assertEqual(described(logits)[0], self.logits.__array_interface__["data"][0])
            result = poslabel.position_cross_entropy(logits, positions, grad_logits=True)
            self.assertIsInstance(result.grad_logits, np.ndarray)
            self.same(result.loss, self.expected.loss)
            self.same(result.grad_logits, self.expected.grad_logits)
            double = Capsule(self.logits.astype(np.float64), versioned, flags)
            self.assertEqual(poslabel.position_cross_entropy(double, positions, grad_logits=True)[1].dtype, np.float64)

    def test_outputs(self):
        target = np.zeros_like(self.logits)
        out = Capsule(target, True)
        result = poslabel.position_cross_entropy(self.logits, self.positions, grad_logits=out)
        self.assertIs(result.grad_logits, out)
        self.same(target, self.expected.grad_logits)
        for refused, text in (
            (Capsule(target, True, flags=1), "is read-only, must be writable"),
            (Capsule(target, False), "does not say that it is writable, must be one of DLPack 1.0"),
        ):
            with self.assertRaisesRegex(
                poslabel.InvalidError, f"position_cross_entropy: grad_logits is a Capsule that {text}"
            ):
                poslabel.position_cross_entropy(self.logits, self.positions, grad_logits=refused)

    def test_newer_dlpack(self):
        with self.assertRaisesRegex(poslabel.UnsupportedError, "logits is of DLPack 2.0, must be of 1.x"):
            poslabel.position_cross_entropy(Capsule(self.logits, True, major=2), self.positions)

    def test_capsules_that_cannot_be_read(self):
        class Once(Capsule):
            """Gives the capsule that another reader has had."""

            def __dlpack__(self, **arguments):
                capsule = super().__dlpack__(**arguments)
                rename = ctypes.pythonapi.PyCapsule_SetName
                rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
                rename(capsule, b"used_dltensor_versioned" if self.versioned else b"used_dltensor")
                return capsule

        class Odd:
            def __dlpack__(self, **arguments):
                return 7

        class Failing:
            def __dlpack__(self, **arguments):
                raise BufferError("no memory here")

        text = "is a {} whose __dlpack__.. gave .*, must be a capsule that nobody has read before"
        for logits, kind, message in (
            (Once(self.logits, True), poslabel.InvalidError, text.format("Once")),
            (Once(self.logits, False), poslabel.InvalidError, text.format("Once")),
            (Odd(), poslabel.InvalidError, text.format("Odd")),
            (Failing(), poslabel.UnsupportedError, "is a Failing, must be an array that DLPack can carry: no memory"),
            (Capsule(self.logits, True).__dlpack__(), poslabel.InvalidTypeError, "is a PyCapsule, must be an array"),
        ):
            with self.assertRaisesRegex(kind, f"^position_cross_entropy: logits {message}"):
                poslabel.position_cross_entropy(logits, self.positions)

    def test_dtypes_that_numpy_lacks(self):
        for code, bits, name in (
            (10, 8, "float8_e4m3fn"),
            (12, 8, "float8_e5m2"),
            (5, 64, "complex64"),
            (0, 4, "{code 0"),
        ):
            logits = Capsule(self.logits, True)
            tensor.Tensor.from_address(logits.address).dtype = tensor.DType(code, bits, 1)
            with self.assertRaisesRegex(poslabel.InvalidError, f"logits has dtype {name}.*, must be float32"):
                poslabel.position_cross_entropy(logits, self.positions)

    @unittest.skipIf(jax is None, "JAX is not installed")
    def test_jax(self):
        logits, positions = jax.numpy.asarray(self.logits), jax.numpy.asarray(self.positions)
        result = poslabel.position_cross_entropy(logits, positions, grad_logits=True)
        self.assertIsInstance(result.grad_logits, np.ndarray)
        self.same(result.grad_logits, self.expected.grad_logits)
        half = poslabel.position_cross_entropy(logits.astype("bfloat16"), positions)
        self.close(half.loss, self.expected.loss, "bfloat16")
        with self.assertRaisesRegex(poslabel.InvalidError, "grad_logits is a .*, which is read-only"):
            poslabel.position_cross_entropy(logits, positions, grad_logits=jax.numpy.zeros((3, 6)))


if __name__ == "__main__":
    unittest.main()
