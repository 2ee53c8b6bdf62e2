"""Everything that needs a GPU, for ./run gpu-test and ./run gpu-bench: ends on one line, N passed, M failed.

    python3 tests/gpu.py {test,bench} BUILD NVCC [arguments for the benchmark]

`test`: the C suites on the CUDA backend, some of them under compute-sanitizer, and the benchmark.  `bench`: the benchmark,
and the comparison with PyTorch where there is one.  Both configure and build in BUILD first, for the card of this machine.
"""

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
what = sys.argv[1]
build = pathlib.Path(sys.argv[2]).resolve()
nvcc = pathlib.Path(sys.argv[3])
module = build / "kernels" / "libposlabel-cuda.so"

# Values on the device are what memcheck and initcheck watch, shared memory what racecheck does.
SANITIZED = {
    "memcheck": ["loss", "position", "droppos", "scale_gradient", "labels", "masks", "mask_noise", "tokens", "attention",
                 "linear", "linear_chunks", "linear_errors", "masks_cuda", "tokens_cuda"],
    "racecheck": ["loss", "droppos", "masks", "tokens", "attention", "masks_cuda"],
    "initcheck": ["loss", "position", "droppos", "masks", "tokens", "attention", "masks_cuda", "tokens_cuda"],
}
SANITIZER_MINUTES = 20

passed = failed = 0
remarks = []


def count(good, name, why=""):
    global passed, failed
    passed += good
    failed += not good
    if not good:
        remarks.append(f"failed: {name}{': ' + why if why else ''}")


def heading(text):
    print(f"\n== {text}", flush=True)


def compile_all():
    heading(f"building in {build}")
    if not (build / "build.ninja").exists():
        home = nvcc.resolve().parent.parent
        subprocess.run(["meson", "setup", build, root, "--buildtype=release", "-Dcuda=enabled",
                        "-Dcuda-architectures=native", f"-Dcuda-home={home}", "-Dtests=enabled", "-Dbench=true"], check=True)
    subprocess.run(["meson", "compile", "-C", build], check=True)


def suites():
    """The suites under `meson test`; each CMocka case counts once."""
    global passed, failed
    heading("the suites on the CUDA backend")
    log = build / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    status = subprocess.run(["meson", "test", "-C", build, "--suite", "cuda", "--print-errorlogs"]).returncode
    ran = 0
    for line in log.read_text().splitlines() if log.exists() else []:
        test = json.loads(line)
        output = test.get("stdout", "") + test.get("stderr", "")
        cases = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
        ran += 1
        if test["result"] == "OK":
            passed += max(cases, 1)
        elif test["result"] != "SKIP":
            passed += cases
            failed += max(1, sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", output)))
            remarks.append(f"failed: {test['name']} ({test['result']})")
    if not ran or (status and not failed):
        count(False, "meson test", f"status {status}, {ran} suites ran")


def sanitizers():
    tool = shutil.which("compute-sanitizer", path=str(nvcc.resolve().parent)) or shutil.which("compute-sanitizer")
    if not tool:
        heading("compute-sanitizer is not installed: left out")
        remarks.append("left out: memcheck, racecheck and initcheck, for want of compute-sanitizer (a package of the CUDA "
                       "toolkit, cuda-sanitizer-<version>)")
        return
    environment = dict(os.environ, POSLABEL_TEST_BACKEND="cuda", POSLABEL_CUDA_MODULE=str(module), POSLABEL_TEST_QUICK="1")
    for check, names in SANITIZED.items():
        heading(f"compute-sanitizer, {check}")
        for name in names:
            program = build / "tests" / f"test_{name}"
            if not program.exists():
                continue
            try:
                result = subprocess.run([tool, "--tool", check, "--error-exitcode", "99", program], env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * SANITIZER_MINUTES)
                good, output = result.returncode == 0, result.stdout
                why = "findings" if result.returncode == 99 else f"status {result.returncode}"
            except subprocess.TimeoutExpired as expired:
                good, output, why = False, str(expired.stdout or ""), f"not done in {SANITIZER_MINUTES} minutes"
            print(f"{name}: {'nothing found' if good else why}", flush=True)
            if not good:
                print("\n".join(output.splitlines()[-60:]), flush=True)
            count(good, f"{check} {name}", why)


def benchmark(arguments):
    heading("the benchmark")
    result = build / "cuda.json"
    status = subprocess.run([build / "tests" / "bench" / "bench_cuda", "--json", result, *arguments],
                            env=dict(os.environ, POSLABEL_CUDA_MODULE=str(module))).returncode
    count(status == 0, "the benchmark", f"status {status}")
    return result if status == 0 else None


def comparison():
    """Against PyTorch, in an interpreter that has it: $PYTHON, or this one."""
    heading("against PyTorch")
    python = os.environ.get("PYTHON", sys.executable)
    result = build / "compare_cuda.json"
    result.unlink(missing_ok=True)
    environment = dict(os.environ, POSLABEL_CUDA_MODULE=str(module), POSLABEL_LIBRARY=str(build / "lib" / "libposlabel.so"),
                       PYTHONPATH=str(root / "bindings" / "python"))
    status = subprocess.run([python, root / "tests" / "bench" / "compare_cuda.py", "--json", result],
                            env=environment).returncode
    count(status == 0, "the comparison with PyTorch", f"status {status}")
    return result if result.exists() else None


def report(files):
    """tests/bench/RESULTS-cuda.md's text, beside the results."""
    page = build / "RESULTS-cuda.md"
    with open(page, "w", encoding="utf-8") as out:
        status = subprocess.run([sys.executable, root / "tests" / "bench" / "table_cuda.py", *files], stdout=out).returncode
    count(status == 0, "the report")
    remarks.append(f"the results as a page: {page}; to keep them: cp {page} tests/bench/")


def finish():
    print()
    for remark in remarks:
        print(remark)
    print(f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M UTC}")
    print(f"\n{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


def main():
    try:
        compile_all()
    except (OSError, subprocess.CalledProcessError) as error:
        count(False, "the build", str(error))
        finish()
    if what == "test":
        suites()
        sanitizers()
        benchmark(["--quick"])
    else:
        measured = benchmark(sys.argv[4:])
        if measured:
            compared = comparison()
            report([measured] + ([compared] if compared else []))
    finish()


main()
