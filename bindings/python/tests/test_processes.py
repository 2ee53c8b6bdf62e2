# SPDX-License-Identifier: Apache-2.0
"""Processes that start in other ways: forked before the library is loaded, spawned, short of threads or memory.

Each case is a program of its own, since this one has loaded the library.
"""

import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest

from cases import TestCase, needs_torch

import poslabel
from poslabel._library import library

FOLDER = pathlib.Path(poslabel.__file__).resolve().parent.parent

# A call that is worth two threads, and how many it had.
CALL = """
import os, signal, sys, threading

def call(context=None):
    import poslabel
    masks = poslabel.random_mask(196, batch=4096, step=1, context=context)
    assert masks.ids_keep.shape == (4096, 49), masks.ids_keep.shape

def own_context(_=None):
    import poslabel
    with poslabel.Context(threads=2) as context:
        call(context)
        return context.threads

def run_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status == 0, status

def both():
    call()
    assert own_context() == 1
"""

# A pool of OpenMP's in the parent: PyTorch's, or that of libgomp itself.
TORCH_POOL = """
import torch
torch.set_num_threads(2)
def start_pool():
    torch.ones(4096, 4096).sum()
start_pool()
"""
GNU_POOL = """
import ctypes
gomp, libc = ctypes.CDLL("libgomp.so.1"), ctypes.CDLL(None)
def start_pool():
    gomp.GOMP_parallel(libc.getpid, None, 2, 0)
start_pool()
"""

FORK_IN_A_THREAD = """
def fork():
    start_pool()
    run_child(both)
    done.append(1)
done = []
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert done
"""

WORKERS = """
import multiprocessing
def run_workers(method):
    signal.alarm(100)
    with multiprocessing.get_context(method).Pool(2) as workers:
        threads = workers.map(own_context, range(4))
    assert len(threads) == 4 and set(threads) <= {1, 2}, threads
    assert method != "fork" or set(threads) == {1}, threads
"""

DATA_LOADER = """
class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return own_context()
signal.alarm(100)
loader = torch.utils.data.DataLoader(Images(), batch_size=2, num_workers=2, multiprocessing_context="fork")
for threads in loader:
    assert threads.tolist() == [1, 1], threads
"""

LITTLE_MEMORY = """
import resource
import poslabel
with poslabel.Context(threads=1) as context:
    call(context)  # so that all else is there
with poslabel.Context(threads=64) as context:
    used = 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), hard))
    call(context)
    assert context.threads == 1, context.threads
"""


def has_gnu_pool():
    """Whether GNU OpenMP is there, whose pool forks lose."""
    try:
        ctypes.CDLL("libgomp.so.1").GOMP_parallel
    except (OSError, AttributeError):
        return False
    return True


needs_gnu_pool = unittest.skipUnless(has_gnu_pool(), "GNU OpenMP is not installed")


@unittest.skipIf(not hasattr(os, "fork"), "there is no fork")
class Processes(TestCase):
    def run_program(self, *parts):
        """Runs the parts as a file, since spawned workers read their functions from one."""
        main = textwrap.indent("\n".join(parts), "    ")
        environment = dict(os.environ, PYTHONPATH=str(FOLDER), POSLABEL_LIBRARY=library._name)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "program.py"
            path.write_text(f'{CALL}\nif __name__ == "__main__":\n{main}\n')
            done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout + done.stderr

    def forks(self, pool):
        self.run_program(pool, "run_child(both)")
        self.run_program(pool, "run_child(lambda: run_child(both))")
        self.run_program(pool, FORK_IN_A_THREAD)
        self.run_program("call()", pool, "run_child(both)", "call()")  # the parent has loaded the library, too

    @needs_gnu_pool
    def test_fork_after_a_pool(self):
        self.forks(GNU_POOL)

    @needs_torch
    def test_fork_after_torch(self):
        self.forks(TORCH_POOL)

    def workers(self, pool):
        for method in ("fork", "forkserver", "spawn"):
            with self.subTest(method=method):
                self.run_program(pool, WORKERS, f"run_workers({method!r})")

    @needs_gnu_pool
    def test_multiprocessing(self):
        self.workers(GNU_POOL)

    @needs_torch
    def test_multiprocessing_after_torch(self):
        self.workers(TORCH_POOL)

    @needs_torch
    def test_data_loader(self):
        self.run_program(TORCH_POOL, DATA_LOADER)

    def test_no_memory_for_threads(self):
        """Under a limit of memory that leaves no room for stacks, a context of many threads runs on one."""
        self.assertEqual(self.run_program(LITTLE_MEMORY), "")


if __name__ == "__main__":
    unittest.main()
