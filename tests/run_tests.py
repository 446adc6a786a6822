#!/usr/bin/python3
"""Builds what the tests need, runs them, and counts every case.

    tests/run_tests.py                        everything (make test)
    tests/run_tests.py --parts unit,fuzz      some parts

A part is a list of jobs.  A job is one command that runs some cases: a cmocka program, a pytest run, a
fuzzer, the lint script.  Jobs of one phase run side by side; phases run one after the other, so that
tests that look at time have no more beside them than they can bear.  What looks at no clock is in the
background: it runs beside all phases, and gets the CPU time that they leave (SCHED_IDLE).

The last line is "N passed, N failed"; the exit status is 0 only if nothing failed.  A job that runs no
case, crashes, hangs or skips a case has failed.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:quarantine_size_mb=16"
                    ":verify_asan_link_order=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=66:second_deadlock_stack=1",
}

# Where each kind of build goes, and how make is told.
BUILDS = {
    "release": ("build", []),
    "asan": ("build/asan", ["SANITIZE=address,undefined"]),
    "tsan": ("build/tsan", ["SANITIZE=thread"]),
    "fuzz": ("build/fuzz", ["CC=clang", "SANITIZE=address,undefined,fuzzer-no-link"]),
}


# Children that run now: they are in sessions of their own, so Ctrl-C must be passed on.
RUNNING, RUNNING_LOCK = set(), threading.Lock()
PRINT_LOCK = threading.Lock()


def kill_running(_number, _frame):
    with RUNNING_LOCK:
        for process in RUNNING:
            os.killpg(process.pid, signal.SIGKILL)
    os._exit(130)


class Result:
    """What a job's output says: how many cases passed, how many failed, and the text to show."""

    def __init__(self, passed, failed, output=""):
        self.passed, self.failed, self.output = passed, failed, output
        self.seconds = self.cpu_seconds = 0.0


class Job:
    def __init__(self, name, command, read, env=None, timeout_s=600):
        self.name, self.command, self.read = name, command, read
        self.env, self.timeout_s = env or {}, timeout_s

    def in_background(self):
        """The same with the CPU time that nobody else wants; it may have to wait for that."""
        return Job(self.name, ["chrt", "--idle", "0", *self.command], self.read, self.env, self.timeout_s + 600)

    def run(self):
        """Runs the command in a process group of its own, so that a hang leaves nothing behind."""
        began = time.monotonic()
        try:
            process = subprocess.Popen(self.command, cwd=TOP, env={**os.environ, **self.env},
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            return Result(0, 1, f"{self.name}: {error}")
        with RUNNING_LOCK:
            RUNNING.add(process)
        deadline = threading.Timer(self.timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        deadline.start()
        text = process.stdout.read().decode("utf-8", "replace")
        with RUNNING_LOCK:
            RUNNING.discard(process)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        deadline.cancel()
        seconds = time.monotonic() - began
        if seconds >= self.timeout_s:
            text += f"\n{self.name}: killed after {self.timeout_s} s\n"
        result = self.read(process.returncode, text)
        result.seconds = seconds
        result.cpu_seconds = usage.ru_utime + usage.ru_stime
        result.output = result.output or text
        if process.returncode != 0 and result.failed == 0:
            result.failed = 1
            result.output += f"\n{self.name}: exit status {process.returncode}\n"
        if result.passed + result.failed == 0:
            result.failed = 1
            result.output += f"\n{self.name}: ran no case\n"
        return result


# ---- how each kind of output is read --------------------------------------------------------------


def read_cmocka(status, text, may_skip=False):
    announced = sum(int(n) for n in re.findall(r"^\[==========\].*?Running (\d+) test", text, re.M))
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", text, re.M))
    # A crash leaves cases without a verdict; they count as failed, and so does a skipped one.
    if may_skip:
        announced -= sum(int(n) for n in re.findall(r"^\[  SKIPPED \] (\d+) test", text, re.M))
    failed = max(announced - passed, 0)
    if status != 0 and failed == 0:
        failed = 1
    return Result(passed, failed)


def read_lint(_status, text):
    return Result(len(re.findall(r"^ok      ", text, re.M)), len(re.findall(r"^FAILED  ", text, re.M)))


def pytest_reader(report_path):
    def read(_status, text):
        try:
            suites = xml.etree.ElementTree.parse(report_path).getroot().iter("testsuite")
        except (OSError, xml.etree.ElementTree.ParseError):
            return Result(0, 1, text + "\npytest left no report\n")
        total = bad = 0
        for suite in suites:
            total += int(suite.get("tests"))
            bad += sum(int(suite.get(kind)) for kind in ("failures", "errors", "skipped"))
        return Result(max(total - bad, 0), bad)
    return read


def read_fuzzer(status, text):
    """A fuzzer is one case; it must have executed something."""
    done = re.search(r"Done (\d+) runs in", text)
    ran = status == 0 and done is not None and int(done.group(1)) > 0
    return Result(1, 0) if ran else Result(0, 1)


def read_status(status, _text):
    return Result(1, 0) if status == 0 else Result(0, 1)


# ---- the parts ------------------------------------------------------------------------------------


def unit_programs(build):
    where = BUILDS[build][0]
    stems = sorted(os.path.basename(path)[:-2] for path in glob.glob(f"{TOP}/tests/unit/test_*.c"))
    return [(stem, f"{where}/{stem}") for stem in stems]


def unit_jobs(build, _options):
    return [Job(f"{stem} ({build})", [program], read_cmocka, SANITIZER_ENV)
            for stem, program in unit_programs(build)]


def read_valgrind(status, text):
    """Some cases need what valgrind does not give (such as all descriptors); they run elsewhere."""
    return read_cmocka(status, text, may_skip=True)


def valgrind_jobs(_options):
    # Programs that repeat thousands of random cases look at TEST_SCALE, a percentage.
    valgrind = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
                "--errors-for-leak-kinds=definite,indirect,possible",
                "--num-callers=30", "--read-inline-info=no"]
    return [Job(f"{stem} (valgrind)", valgrind + [program], read_valgrind, {"TEST_SCALE": "1"})
            for stem, program in unit_programs("release")]


def pytest_jobs(folder, build, options):
    report = os.path.join(options.scratch, f"{folder}-{build}.xml")
    command = [PYTHON, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "--durations=8",
               f"--junitxml={report}", f"tests/{folder}"]
    if options.pick:
        command += ["-k", options.pick]
    env = {**SANITIZER_ENV, "LOCKKEEPER": f"{TOP}/{BUILDS[build][0]}/lockkeeper",
           "LOCKKEEPER_BUILD": build}
    return [Job(f"{folder} ({build})", command, pytest_reader(report), env, timeout_s=900)]


def deploy_jobs(options):
    """Only what needs no containers; make test-deploy runs the rest."""
    report = os.path.join(options.scratch, "deploy.xml")
    command = [PYTHON, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider",
               f"--junitxml={report}", "tests/deploy/test_files.py",
               "tests/deploy/test_documents.py"]
    return [Job("deploy files", command, pytest_reader(report),
                {"LOCKKEEPER": f"{TOP}/{BUILDS['release'][0]}/lockkeeper"}, timeout_s=300)]


def width():
    """How many jobs run side by side."""
    return max(os.cpu_count() or 2, 2)


def fuzz_jobs(options):
    sources = sorted(glob.glob(f"{TOP}/tests/fuzz/fuzz_*.c"))
    seconds = options.fuzz_seconds
    if options.fuzz_total_seconds is not None:
        seconds = max(options.fuzz_total_seconds * min(width(), len(sources)) // len(sources), 1)
    jobs = []
    for source in sources:
        stem = os.path.basename(source)[:-2]
        found = f"build/fuzz/corpus/{stem}"
        seeds = f"tests/fuzz/corpus/{stem}"
        os.makedirs(os.path.join(TOP, found), exist_ok=True)
        os.makedirs(os.path.join(TOP, "build/fuzz/crashes"), exist_ok=True)
        command = [f"build/fuzz/{stem}", f"-max_total_time={seconds}", "-timeout=60",
                   "-rss_limit_mb=2048", "-print_final_stats=1",
                   f"-artifact_prefix=build/fuzz/crashes/{stem}-", found]
        if os.path.isdir(os.path.join(TOP, seeds)):
            command.append(seeds)
        dictionary = f"tests/fuzz/{stem}.dict"
        if os.path.exists(os.path.join(TOP, dictionary)):
            command.append(f"-dict={dictionary}")
        jobs.append(Job(f"{stem} ({seconds} s)", command, read_fuzzer, SANITIZER_ENV,
                        timeout_s=seconds + 120))
    return jobs


def simulation_jobs(_options):
    """A random run, which its seed repeats, and runs with faults that must be found, always the same."""
    program = "build/simulate_locks"
    return [Job("simulation of locks", [program], read_lint, timeout_s=300),
            Job("simulation of locks, faulty", [program, "--mutants", "--seed", "1"], read_lint, timeout_s=300)]


# name: (builds it needs, phase, jobs).  Phases run in order.
BACKGROUND = -1
PARTS = {
    "lint": ([], BACKGROUND, lambda o: [Job("lint", ["tests/lint/lint.sh"], read_lint)]),
    "unit": (["release"], 0, lambda o: unit_jobs("release", o)),
    "unit-asan": (["asan"], 0, lambda o: unit_jobs("asan", o)),
    "unit-tsan": (["tsan"], 0, lambda o: unit_jobs("tsan", o)),
    "valgrind": (["release"], 0, valgrind_jobs),
    "model": ([], BACKGROUND, lambda o: [Job("model of a lock", ["tests/model/run_model.py"], read_lint)]),
    "simulation": (["release"], BACKGROUND, simulation_jobs),
    "deploy": (["release"], 0, deploy_jobs),
    "system": (["release"], 1, lambda o: pytest_jobs("system", "release", o)),
    "system-asan": (["asan"], 1, lambda o: pytest_jobs("system", "asan", o)),
    "system-tsan": (["tsan"], 1, lambda o: pytest_jobs("system", "tsan", o)),
    "conformance": (["release"], 3, lambda o: pytest_jobs("conformance", "release", o)),
    "conformance-asan": (["asan"], 3, lambda o: pytest_jobs("conformance", "asan", o)),
    "faults": (["release"], 2, lambda o: pytest_jobs("faults", "release", o)),
    "chaos": (["asan"], 3, lambda o: pytest_jobs("chaos", "asan", o)),
    "fuzz": (["fuzz"], BACKGROUND, fuzz_jobs),
}
DEFAULT_PARTS = "lint,deploy,model,simulation,unit,unit-asan,valgrind,system,system-asan,faults,chaos,conformance,conformance-asan,fuzz"


def build_jobs(parts):
    """One job for each build: the program, and the test programs the parts want of it."""
    jobs = {}
    for build, (where, settings) in BUILDS.items():
        goals = []
        for part in parts:
            if build in PARTS[part][0]:
                goals += (["fuzz-programs"] if part == "fuzz" else
                          ["build/simulate_locks"] if part == "simulation" else
                          ["all"] if part.startswith(("system", "faults", "chaos", "conformance", "deploy")) else
                          ["all", "unit-programs"])
        if goals:
            command = ["make", "--no-print-directory", f"-j{os.cpu_count() or 2}", f"B={where}"]
            jobs[build] = Job(f"build ({build})", command + settings + sorted(set(goals)), read_status)
    return jobs


def report(job, result, verbose):
    word = "FAILED" if result.failed else "ok"
    with PRINT_LOCK:
        print(f"{word:7} {job.name:44} {result.passed:5} passed {result.failed:3} failed "
              f"{result.seconds:7.1f} s {result.cpu_seconds:7.1f} s of CPU", flush=True)
        if result.failed or verbose:
            print(result.output.rstrip() + "\n", flush=True)


def run_phase(jobs, max_workers, verbose):
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=max_workers) as pool:
        running = {pool.submit(job.run): job for job in jobs}
        for future in concurrent.futures.as_completed(running):
            result = future.result()
            report(running[future], result, verbose)
            passed += result.passed
            failed += result.failed
    return passed, failed


def run_jobs(builds, parts, options, change=lambda job: job):
    """The builds, then the parts phase by phase: how many cases passed and failed."""
    # Builds are not cases: one that fails counts as a failure, one that works counts nothing.
    passed, failed = 0, run_phase([change(job) for job in builds], 1, options.verbose)[1]
    if failed:
        return 0, failed
    for phase in sorted({PARTS[part][1] for part in parts}):
        jobs = [change(job) for part in parts if PARTS[part][1] == phase for job in PARTS[part][2](options)]
        counts = run_phase(jobs, width(), options.verbose)
        passed, failed = passed + counts[0], failed + counts[1]
    return passed, failed


def run_all(options):
    """What is for the background is in the foreground when nothing else is."""
    background = [part for part in options.parts if PARTS[part][1] == BACKGROUND]
    foreground = [part for part in options.parts if part not in background] or background
    needed = {build for part in foreground for build in PARTS[part][0]}
    builds = build_jobs(options.parts)
    passed, failed = run_jobs([job for build, job in builds.items() if build in needed], [], options)
    if failed:
        return passed, failed
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        beside = pool.submit(run_jobs, [job for build, job in builds.items() if build not in needed],
                             background if background is not foreground else [], options, Job.in_background)
        counts = run_jobs([], foreground, options)
    return counts[0] + beside.result()[0], counts[1] + beside.result()[1]


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--parts", default=DEFAULT_PARTS, help="comma-separated: " + ", ".join(PARTS))
    parser.add_argument("--fuzz-seconds", type=int, default=10, help="for each fuzzer")
    parser.add_argument("--fuzz-total-seconds", type=int,
                        help="for all of them together, by the clock; instead of --fuzz-seconds")
    parser.add_argument("-k", dest="pick", help="pytest's -k: which system and fault tests")
    parser.add_argument("-v", dest="verbose", action="store_true", help="show all output")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"no part is called {part!r}")
    return options


def main():
    options = read_options()
    began = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, kill_running)
    options.scratch = tempfile.mkdtemp(prefix="lockkeeper-tests-")
    # Inside make, its job server must not leak into ours.
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)
    try:
        passed, failed = run_all(options)
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)
    if passed + failed == 0:
        failed = 1
        print("no test was run")
    print(f"({time.monotonic() - began:.0f} s)")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
