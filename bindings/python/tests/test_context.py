# SPDX-License-Identifier: Apache-2.0
"""Contexts: properties, one for each thread, forked children, and how the library is found."""

import copy
import gc
import multiprocessing
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import unittest

import numpy as np
import poslabel
from cases import TestCase
from poslabel import _library
from poslabel._library import library as loaded


def loss_of(rows=64, **arguments):
    logits = np.random.default_rng(0).standard_normal((rows, 49)).astype(np.float32)
    positions = np.arange(rows) % 49
    return poslabel.droppos_loss(logits, positions, grid=(7, 7), sigma=1, grad_logits=True, **arguments)


def isa_and_loss(context):
    return context.isa, float(loss_of(context=context).loss)


class Named(poslabel.Context):
    """A context of a user's own."""


class Contexts(TestCase):
    def test_stream_and_workspace(self) -> None:
        with poslabel.Context() as context:
            context.reserve(12345)
            self.assertGreaterEqual(context.workspace, 12345)
            context.synchronize()
            context.set_stream(None)
            with self.assertRaisesRegex(poslabel.InvalidError, "context_set_stream: stream must be NULL on the CPU"):
                context.set_stream(64)

    def test_properties(self):
        with poslabel.Context(threads=2, isa="reference") as ctx:
            self.assertEqual((ctx.device, ctx.isa, ctx.message), ("cpu", "reference", ""))
            self.assertIn(ctx.threads, (1, 2))  # 1 in a build without OpenMP
            self.assertIn("isa=reference", repr(ctx))
            loss_of(context=ctx)
            self.assertGreater(ctx.workspace, 0)
            ctx.trim()
            self.assertEqual(ctx.workspace, 0)
        self.assertEqual(repr(ctx), "<poslabel.Context closed>")
        ctx.close()
        for use in (lambda: ctx.device, lambda: loss_of(context=ctx), ctx.trim, ctx.synchronize, ctx.__enter__):
            with self.assertRaisesRegex(poslabel.InvalidError, "^(context|droppos_loss): .* is closed, must be open$"):
                use()

    def test_every_isa(self):
        expected = loss_of()
        for isa in ("reference", "baseline", "avx2", "avx512"):
            supported = poslabel.isa_supported(isa)
            if not supported:
                self.assertTrue(supported.reason)
                with self.assertRaises(poslabel.UnsupportedError):
                    poslabel.Context(isa=isa)
                continue
            with poslabel.Context(isa=isa) as ctx:
                self.assertEqual(ctx.isa, isa)
                result = loss_of(context=ctx)
                self.close(result.loss, expected.loss)
                self.close(result.grad_logits, expected.grad_logits)

    def test_support(self):
        self.assertTrue(poslabel.device_supported("cpu"))
        self.assertTrue(poslabel.isa_supported(poslabel.Isa.REFERENCE))
        cuda = poslabel.device_supported("cuda")
        if not cuda:
            self.assertTrue(cuda.reason)
            with self.assertRaises(poslabel.UnsupportedError) as caught:
                poslabel.Context(device="cuda")
            self.assertTrue(str(caught.exception))
        for call, text in (
            (lambda: poslabel.device_supported("tpu"), "device_supported: device = 'tpu', must be one of cpu, cuda"),
            (lambda: poslabel.device_supported(7), "device_supported: device = 7, must be one that there is"),
            (lambda: poslabel.isa_supported(7), "isa_supported: isa = 7, must be one that there is"),
        ):
            with self.assertRaisesRegex(poslabel.InvalidError, "^" + text):
                call()

    def test_bad_options(self):
        for options, text in (
            (dict(threads=-1), "threads"),
            (dict(threads=2**33), "threads = 8589934592"),
            (dict(threads=100000), "threads"),
            (dict(isa="mmx"), "isa = 'mmx', must be one of auto, reference"),
            (dict(isa=7), "isa"),
            (dict(device="tpu"), "device = 'tpu', must be one of cpu, cuda"),
            (dict(device="cuda:x"), "device = 'cuda:x'"),
            (dict(device="cuda:2147483648"), "device = 'cuda:2147483648', must be 'cpu'"),
            (dict(device="cuda:99999999999999"), "device = 'cuda:99999999999999', must be 'cpu'"),
            (dict(device="cpu", stream=16), "stream"),
        ):
            with self.subTest(options):
                with self.assertRaisesRegex(poslabel.InvalidError, f"^context_create: .*{text}"):
                    poslabel.Context(**options)
        for name, values, rule in (
            ("threads", (2.0, "2", None, True), "an integer in"),
            ("isa", (1.5, None, True), "an integer in"),
            ("device", (0, None), "'cpu', 'cuda' or 'cuda:<number>'"),
            ("stream", (1.5, "x", True), "an integer in"),
            ("log", ("x", 1), "a function or None"),
        ):
            for value in values:
                with self.subTest(name, value=value):
                    with self.assertRaisesRegex(
                        poslabel.InvalidTypeError, f"^context_create: {name} = {value!r}, must be {rule}"
                    ):
                        poslabel.Context(**{name: value})
        with poslabel.Context() as ctx:
            for use, text in (
                (lambda: ctx.reserve(-1), "context_reserve: size = -1, must be an integer in"),
                (lambda: ctx.reserve("x"), "context_reserve: size = 'x', must be an integer in"),
                (lambda: ctx.reserve(2**64), "context_reserve: size = .*, must be an integer in"),
                (lambda: ctx.set_stream("x"), "context_set_stream: stream = 'x', must be an integer in"),
                (lambda: poslabel.device_supported(None), "device_supported: device = None, must be an integer in"),
                (lambda: poslabel.isa_supported(1.5), "isa_supported: isa = 1.5, must be an integer in"),
            ):
                with self.assertRaisesRegex(poslabel.InvalidError, "^" + text):
                    use()

    def test_log(self):
        lines = []
        with poslabel.Context(log=lambda level, text: lines.append((level, text))) as ctx:
            self.assertTrue(any(level == poslabel.LogLevel.INFO for level, _ in lines))
            with self.assertRaises(poslabel.InvalidError) as caught:
                loss_of(context=ctx, weights=np.full(64, -1.0))
        self.assertEqual(lines[-1], (poslabel.LogLevel.ERROR, str(caught.exception)))
        self.assertEqual(str(caught.exception), lines[-1][1])

    def test_a_call_back_into_the_same_context(self):
        caught = []

        def log(level, text):
            if level == poslabel.LogLevel.ERROR:
                try:
                    loss_of(context=ctx)
                except poslabel.InvalidError as error:
                    caught.append(str(error))

        with poslabel.Context(log=log) as ctx:
            with self.assertRaises(poslabel.InvalidError):
                loss_of(context=ctx, weights=np.full(64, -1.0))
            self.assertEqual(len(caught), 1)
            self.assertIn("the context is in use by another call", caught[0])
            loss_of(context=ctx)

    def test_messages_belong_to_contexts(self):
        first, second = poslabel.Context(), poslabel.Context()
        with self.assertRaises(poslabel.InvalidError) as caught:
            loss_of(context=first, weights=np.full(64, -1.0))
        self.assertEqual(first.message, str(caught.exception))
        self.assertEqual(second.message, "")

    def test_repeated_creation(self):
        for _ in range(200):
            poslabel.Context(threads=1)


class Copies(TestCase):
    def copies(self, ctx):
        return copy.copy(ctx), copy.deepcopy(ctx), copy.deepcopy([ctx])[0], pickle.loads(pickle.dumps(ctx))

    def test_options(self):
        ctx = poslabel.Context(threads=2, isa="reference")
        made = self.copies(ctx)
        expected = loss_of(context=ctx)
        for other in made:
            self.assertIsNot(other, ctx)
            self.assertEqual((other.device, other.threads, other.isa), (ctx.device, ctx.threads, "reference"))
            self.same(loss_of(context=other).loss, expected.loss)
        self.assertEqual(len({ctx._handle, *(other._handle for other in made)}), 5)
        made[0].close()
        made = None
        gc.collect()
        self.same(loss_of(context=ctx).loss, expected.loss)
        ctx.close()
        for other in self.copies(ctx):
            self.same(loss_of(context=other).loss, expected.loss)

    def test_isa_by_number(self):
        ctx = poslabel.Context(isa=poslabel.Isa.REFERENCE)
        self.assertEqual([other.isa for other in self.copies(ctx)], ["reference"] * 4)

    def test_one_copy_for_each_context(self):
        ctx = poslabel.Context(threads=1)
        first, second = copy.deepcopy([ctx, ctx])
        self.assertIs(first, second)

    def test_log(self):
        lines = []
        ctx = poslabel.Context(log=lambda level, text: lines.append(text))
        for make, logs in ((copy.copy, True), (copy.deepcopy, True), (lambda c: pickle.loads(pickle.dumps(c)), False)):
            del lines[:]
            other = make(ctx)
            del lines[:]
            with self.assertRaises(poslabel.InvalidError):
                loss_of(context=other, weights=np.full(64, -1.0))
            self.assertEqual(bool(lines), logs)

    def test_a_spawned_process(self):
        ctx = poslabel.Context(threads=1, isa="reference")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            self.assertEqual(pool.apply(isa_and_loss, (ctx,)), isa_and_loss(ctx))

    def test_subclasses(self):
        self.assertIs(type(copy.deepcopy(Named(threads=1))), Named)
        self.assertIs(type(pickle.loads(pickle.dumps(Named(threads=1)))), Named)


class Threads(TestCase):
    def test_a_closed_default_context(self):
        expected = loss_of()
        for close in (lambda: poslabel.default_context().close(), lambda: poslabel.default_context().__exit__()):
            old = poslabel.default_context()
            close()
            self.same(loss_of().loss, expected.loss)
            self.assertIsNot(poslabel.default_context(), old)
            self.assertIs(poslabel.default_context(), poslabel.default_context())
        context = poslabel.default_context()
        thread = threading.Thread(target=context.close)
        thread.start()
        thread.join()
        self.same(loss_of().loss, expected.loss)
        with self.assertRaisesRegex(poslabel.InvalidError, "^droppos_loss: the context is closed"):
            loss_of(context=context)

    def test_one_default_context_each(self):
        found, results, errors = {}, {}, []
        barrier = threading.Barrier(4)

        def work(name):
            try:
                barrier.wait()
                found[name] = poslabel.default_context()
                for _ in range(50):
                    results[name] = loss_of()
                    with np.testing.assert_raises(poslabel.InvalidError):
                        loss_of(weights=np.full(64, -1.0))
            except BaseException:
                errors.append(traceback.format_exc())

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        found["main"] = poslabel.default_context()
        self.assertIs(found["main"], poslabel.default_context())
        self.assertEqual(len(set(map(id, found.values()))), 5)
        expected = loss_of()
        for result in results.values():
            self.same(result.loss, expected.loss)
            self.same(result.grad_logits, expected.grad_logits)

    def test_two_calls_on_one_context(self):
        ctx = poslabel.Context()
        ctx._acquire(False)
        try:
            for use in (lambda: loss_of(context=ctx), ctx.close, ctx.trim):
                with self.assertRaisesRegex(poslabel.InvalidError, "in use by another call"):
                    use()
        finally:
            ctx._release()
        loss_of(context=ctx)


@unittest.skipIf(not hasattr(os, "fork"), "there is no fork")
class Fork(TestCase):
    def in_child(self, work):
        """Runs work() in a forked child and gives what it returns; a child that hangs is an error."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(writing, work())
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writing)
        timer = threading.Timer(60, os.kill, (child, 9))
        timer.start()
        try:
            with os.fdopen(reading, "rb") as pipe:
                data = pipe.read()
            self.assertEqual(os.waitpid(child, 0)[1], 0)
        finally:
            timer.cancel()
        return data

    def test_default_and_own_context(self):
        rows = 4096  # enough that the parent's threads have started
        ctx = poslabel.Context(threads=2)
        expected = loss_of(rows, context=ctx)
        self.same(loss_of(rows).loss, expected.loss)

        def work():
            both = loss_of(rows, context=ctx), loss_of(rows), loss_of(rows, context=poslabel.Context())
            return b"".join(result.grad_logits.tobytes() for result in both)

        data = self.in_child(work)
        self.assertEqual(data, 3 * expected.grad_logits.tobytes())
        self.same(loss_of(rows, context=ctx).loss, expected.loss)

    def test_an_error_in_the_child(self):
        def work():
            try:
                loss_of(weights=np.full(64, -1.0))
            except poslabel.InvalidError as error:
                return str(error).encode()
            return b""

        self.assertIn(b"weights", self.in_child(work))

    def test_contexts_of_the_parent_are_left_alone(self):
        destroyed = []
        ctx = poslabel.Context()

        def work():
            ctx.__del__(_destroy=destroyed.append)
            return b"%d" % len(destroyed)

        self.assertEqual(self.in_child(work), b"0")
        loss_of(context=ctx)


class Library(TestCase):
    def python(self, code, **environment):
        env = {**os.environ, **environment}
        package = str(pathlib.Path(poslabel.__file__).parents[1])
        env["PYTHONPATH"] = os.pathsep.join([package, env.get("PYTHONPATH", "")])
        run = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return run.returncode, run.stdout.decode(), run.stderr.decode()

    def test_a_wrong_path(self):
        code, _, error = self.python("import poslabel", POSLABEL_LIBRARY="/nonexistent/libposlabel.so.0")
        self.assertEqual(code, 1)
        self.assertIn("ImportError: poslabel: cannot load /nonexistent/libposlabel.so.0", error)
        self.assertIn("set POSLABEL_LIBRARY to the path", error)

    def test_another_library(self):
        other = next((name for name in ("libc.so.6", "libc.so") if sys.platform == "linux"), None)
        if other is None:
            self.skipTest("knows the name of another library on Linux only")
        code, _, error = self.python("import poslabel", POSLABEL_LIBRARY=other)
        self.assertEqual(code, 1)
        self.assertIn(f"ImportError: poslabel: {other} has no function poslabel_version", error)

    def test_a_copy_beside_the_package(self):
        source = pathlib.Path(os.path.realpath(loaded._name))
        if not source.is_file():
            self.skipTest("the library was found by its name alone")
        with tempfile.TemporaryDirectory() as folder:
            package = pathlib.Path(folder, "poslabel")
            shutil.copytree(pathlib.Path(poslabel.__file__).parent, package, ignore=shutil.ignore_patterns("*.so*"))
            shutil.copy(source, package / "libposlabel.so.0")
            env = {**os.environ, "PYTHONPATH": folder}
            env.pop("POSLABEL_LIBRARY", None)
            code = "from poslabel import library_path, sigma_schedule; sigma_schedule(1, 0, 1); print(library_path())"
            run = subprocess.run([sys.executable, "-c", code], env=env, cwd=folder, stdout=subprocess.PIPE, check=True)
            self.assertEqual(run.stdout.decode().strip(), str(package.resolve() / "libposlabel.so.0"))

    def test_version(self):
        self.assertEqual(
            poslabel.version_string(),
            "{}.{}.{}".format(poslabel.version() // 10000, poslabel.version() // 100 % 100, poslabel.version() % 100),
        )
        self.assertGreaterEqual(poslabel.version(), _library.NEEDED)
        for number in (99, 10000, 20300):
            with self.assertRaisesRegex(ImportError, "lib.so is version .* but these bindings need 0.1.0 or newer"):
                _library.check(number, "lib.so")
        _library.check(100, "lib.so")
        _library.check(9900, "lib.so")

    def test_torch_is_not_imported(self):
        code = (
            "import sys, numpy, poslabel; poslabel.position_cross_entropy(numpy.zeros((2, 2)), grid=(1, 2));"
            "print('torch' in sys.modules)"
        )
        self.assertEqual(self.python(code)[:2], (0, "False\n"))


if __name__ == "__main__":
    unittest.main()
