"""Everything that needs a GPU, for ./run gpu-test and ./run gpu-bench: ends on one line, N passed, M failed.

    python3 tests/gpu.py {test,bench} BUILD NVCC [arguments for the benchmark]

`test`: the C suites on the CUDA backend, some of them under compute-sanitizer, and the benchmark.  `bench`: the benchmark,
and the comparison with PyTorch where there is one.  Both configure and build in BUILD first, for the card of this machine.
What could not run is no pass: the lines before the last name it.
"""

import contextlib
import ctypes
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
what = sys.argv[1]
build = pathlib.Path(sys.argv[2]).resolve()
nvcc = pathlib.Path(sys.argv[3])
toolkit = nvcc.resolve().parent.parent
module = build / "kernels" / "libposlabel-cuda.so"

# Values on the device are what memcheck and initcheck watch, shared memory what racecheck does.
SANITIZED = {
    "memcheck": ["loss", "position", "droppos", "scale_gradient", "labels", "masks", "mask_noise", "tokens", "decoder",
                 "attention", "linear", "linear_chunks", "linear_errors", "masks_cuda", "tokens_cuda", "decoder_cuda"],
    "racecheck": ["loss", "droppos", "masks", "tokens", "decoder", "attention", "masks_cuda"],
    "initcheck": ["loss", "position", "droppos", "masks", "tokens", "decoder", "attention", "masks_cuda",
                  "tokens_cuda", "decoder_cuda"],
}
SANITIZER_ARGUMENTS = {"memcheck": ["--report-api-errors", "no"]}  # the driver's library asks for what it may not get
CLEAN = {"memcheck": "ERROR SUMMARY: 0 errors", "racecheck": "RACECHECK SUMMARY: 0 hazards",
         "initcheck": "ERROR SUMMARY: 0 errors"}
SANITIZER_MINUTES = 20
NO_PYTORCH = 77  # the status of compare_cuda.py

passed = failed = 0
remarks = []


def count(good, name, why=""):
    global passed, failed
    passed += good
    failed += not good
    if not good:
        remarks.append(f"failed: {name}{': ' + why if why else ''}")


def left_out(name, why):
    remarks.append(f"left out: {name}: {why}")


def heading(text):
    print(f"\n== {text}", flush=True)


def prepended(variable, *paths):
    return os.pathsep.join([*map(str, paths), *filter(None, [os.environ.get(variable)])])


def has_cublas():
    """Whether the library will find one, as the suites run."""
    for name in (os.environ.get("POSLABEL_CUBLAS"), "libcublas.so.13", "libcublas.so.12"):
        for folder in ("", f"{toolkit}/lib64/", f"{toolkit}/lib/") if name else ():
            with contextlib.suppress(OSError):
                ctypes.CDLL(folder + name)
                return True
    return False


def configure_and_compile(**options):
    tests = "-Dtests=" + ("enabled" if what == "test" else "auto")  # the benchmark needs no CMocka
    if not (build / "build.ninja").exists():
        subprocess.run(["meson", "setup", build, root, "--buildtype=release", "-Dcuda=enabled",
                        "-Dcuda-architectures=native", f"-Dcuda-home={toolkit}", tests, "-Dbench=true",
                        *([] if has_cublas() else ["-Dcblas=disabled"])],  # then no suite has the linear head
                       check=True, **options)
    elif what == "test":
        subprocess.run(["meson", "configure", build, tests], check=True, **options)
    subprocess.run(["meson", "compile", "-C", build], check=True, **options)


def compile_all():
    heading(f"building in {build}")
    configure_and_compile()


def cases(output):
    """How many of CMocka's cases passed and failed, and the names of those that were skipped."""
    numbers = [sum(map(int, re.findall(rf"\[  {word}  \] (?:\S+: )?(\d+) test", output))) for word in ("PASSED", "FAILED")]
    return *numbers, list(dict.fromkeys(re.findall(r"^\[  SKIPPED \] (\w+)\s*$", output, re.M)))


def suites():
    """The suites under `meson test`; each CMocka case counts once.  Gives the names of those that there are."""
    global passed, failed
    heading("the suites on the CUDA backend")
    log = build / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    status = subprocess.run(["meson", "test", "-C", build, "--suite", "cuda", "--print-errorlogs"]).returncode
    ran = set()
    for line in log.read_text().splitlines() if log.exists() else []:
        test = json.loads(line)
        name = re.sub("^cuda-", "", test["name"].split(" / ")[-1])
        output = test.get("stdout", "") + test.get("stderr", "")
        good, bad, skipped = cases(output)
        if test["result"] == "OK" and "[==========]" not in output:  # an example, not a suite of CMocka
            good = 1
        ran.add(name)
        passed += good
        if test["result"] not in ("OK", "SKIP"):
            failed += max(1, bad)
            remarks.append(f"failed: {name} ({test['result']})")
        elif test["result"] == "SKIP":
            left_out(name, "it skipped itself")
        elif skipped:
            left_out(name, f"{len(skipped)} cases that are of the CPU, or lack something here: {', '.join(skipped)}")
        elif not good:
            count(False, name, "it ran no case")
    if not ran or (status and not failed):
        count(False, "meson test", f"status {status}, {len(ran)} suites ran")
    if ran and "linear" not in ran:
        left_out("linear, linear_chunks and the linear head in other suites",
                 "there was no cuBLAS (a package of the CUDA toolkit: libcublas-<version>), or no CBLAS on the host, which the "
                 f"tests compare with (Debian: libopenblas-openmp-dev); delete {build} once both are installed")
    return ran


def finish_in(seconds, command, environment):
    """The status, None if it took longer, and the output.  Whatever it started ends with it."""
    with subprocess.Popen(command, env=environment, text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as child:
        try:
            output = child.communicate(timeout=seconds)[0]
            return child.returncode, output
        except BaseException as error:  # ^C, too, which another session does not see
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            output = child.communicate()[0]
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return None, output


def sanitize(tool, check, name, environment):
    program = build / "tests" / f"test_{name}"
    try:
        status, output = finish_in(60 * SANITIZER_MINUTES,
                                   [tool, "--tool", check, *SANITIZER_ARGUMENTS.get(check, []), "--error-exitcode", "99",
                                    program], environment)
    except OSError as error:
        count(False, f"{check} {name}", str(error))
        return
    good, _, skipped = cases(output)
    why = ""
    if status is None:
        why = f"not done in {SANITIZER_MINUTES} minutes"
    elif status:
        why = "findings" if status == 99 else f"status {status}"
    elif CLEAN[check] not in output:
        why = f"{check} did not say {CLEAN[check]!r}"
    elif not good and not skipped:
        why = "it ran no case"
    print(f"{name}: {why or ('nothing found' if good else 'left out')}", flush=True)
    if why:
        print("\n".join(output.splitlines()[-60:]), flush=True)
    if why or good:
        count(not why, f"{check} {name}", why)
    else:
        left_out(f"{check} {name}", "all of its cases skipped themselves")


def sanitizers(there):
    tool = shutil.which("compute-sanitizer", path=str(nvcc.resolve().parent)) or shutil.which("compute-sanitizer")
    if not tool:
        heading("compute-sanitizer is not installed: left out")
        left_out("memcheck, racecheck and initcheck", "no compute-sanitizer (a package of the CUDA toolkit, "
                                                      "cuda-sanitizer-<version>)")
        return
    environment = dict(os.environ, POSLABEL_TEST_BACKEND="cuda", POSLABEL_CUDA_MODULE=str(module), POSLABEL_TEST_QUICK="1",
                       LD_LIBRARY_PATH=prepended("LD_LIBRARY_PATH", toolkit / "lib64", toolkit / "lib"))
    for check, names in SANITIZED.items():
        heading(f"compute-sanitizer, {check}")
        for name in names:
            if name in there:
                sanitize(tool, check, name, environment)
        missing = [name for name in names if name not in there]
        if missing:
            left_out(check, f"no such suites in this build: {', '.join(missing)}")


def benchmark(arguments):
    heading("the benchmark")
    result = build / "cuda.json"
    result.unlink(missing_ok=True)
    try:
        status = subprocess.run([build / "tests" / "bench" / "bench_cuda", "--json", result, *arguments],
                                env=dict(os.environ, POSLABEL_CUDA_MODULE=str(module),
                                         LD_LIBRARY_PATH=prepended("LD_LIBRARY_PATH", toolkit / "lib64", toolkit / "lib")),
                                ).returncode
    except OSError as error:
        count(False, "the benchmark", str(error))
        return None
    count(status == 0, "the benchmark", f"status {status}")
    return result if status == 0 and result.exists() else None


def benchmark_help():
    try:
        configure_and_compile(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        sys.exit(subprocess.run([build / "tests" / "bench" / "bench_cuda", "--help"]).returncode)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{getattr(error, 'stdout', None) or ''}the benchmark cannot be built: {error}")


def comparison():
    """Against PyTorch, in an interpreter that has it: $PYTHON, or this one."""
    heading("against PyTorch")
    name = "the comparison with PyTorch"
    wanted = os.environ.get("PYTHON") or sys.executable
    python = shutil.which(wanted)
    if not python:
        print(f"PYTHON={wanted}: there is no such program")
        count(False, name, f"PYTHON={wanted}: there is no such program")
        return None
    result = build / "compare_cuda.json"
    result.unlink(missing_ok=True)
    environment = dict(os.environ, POSLABEL_CUDA_MODULE=str(module), POSLABEL_LIBRARY=str(build / "lib" / "libposlabel.so"),
                       PYTHONPATH=prepended("PYTHONPATH", root / "bindings" / "python"))
    try:
        status = subprocess.run([python, root / "tests" / "bench" / "compare_cuda.py", "--json", result],
                                env=environment).returncode
    except OSError as error:
        count(False, name, f"{python}: {error.strerror}")
        return None
    if status == NO_PYTORCH:
        left_out(name, f"{python} lacks NumPy or a PyTorch that sees the GPU, see above; PYTHON=... names another")
        return None
    count(status == 0, name, f"status {status}")
    return result if status == 0 and result.exists() else None


def report(files):
    """tests/bench/RESULTS-cuda.md's text, beside the results."""
    page = build / "RESULTS-cuda.md"
    with open(page, "w", encoding="utf-8") as out:
        status = subprocess.run([sys.executable, root / "tests" / "bench" / "table_cuda.py", *files], stdout=out).returncode
    count(status == 0, "the report")
    if status == 0:
        remarks.append(f"the results as a page: {page}; to keep them: cp {page} tests/bench/")


def finish():
    print()
    for remark in remarks:
        print(remark)
    print(f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M UTC}")
    print(f"\n{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


def main():
    if what == "bench" and "--help" in sys.argv[4:]:
        benchmark_help()
    try:
        compile_all()
    except (OSError, subprocess.CalledProcessError) as error:
        count(False, "the build", str(error))
        finish()
    if what == "test":
        sanitizers(suites())
        benchmark(["--quick"])
    else:
        measured = benchmark(sys.argv[4:])
        if measured:
            compared = comparison()
            report([measured] + ([compared] if compared else []))
        elif not failed:
            left_out("the comparison and the page", f"the benchmark wrote no {build / 'cuda.json'} (--json says elsewhere)")
    finish()


main()
