"""Threads belong to the process that uses them, and a fork breaks nothing.

Every program runs in a process of its own. It gets `run()`, a training step whose work is worth
several threads, which returns the bytes of all results.
"""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from bits import assert_same_bits
from recurra import functional
from steady import HANGS

PRELUDE = """
import hashlib, os, sys, threading, warnings
import numpy as np
# Python warns of any fork beside any thread; this one is meant.
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)

def tasks():
    return len(os.listdir("/proc/self/task"))

def names():
    paths = (f"/proc/self/task/{task}/comm" for task in os.listdir("/proc/self/task"))
    every = sorted(open(path).read().strip() for path in paths)
    return [name for name in every if name.startswith("recurra-")]

def run(n_threads=None):
    from recurra import functional
    rng = np.random.default_rng(0)
    x, w_ih, w_hh = (rng.normal(size=s) / 4 for s in [(20, 30, 24), (128, 24), (128, 32)])
    out = functional.lstm_forward(x, w_ih, w_hh, n_threads=n_threads)
    grads = functional.lstm_backward(out.saved, out.y, n_threads=n_threads)
    results = [*out[:3], *(g for g in grads if g is not None)]
    return hashlib.sha256(b"".join(result.tobytes() for result in results)).hexdigest()
"""

needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"),  # noqa: PTH112
    reason="threads are counted in /proc",
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def python(code: str, **environment: str) -> str:
    """Return what a program prints; one that hangs fails, and is ended with all that it forked."""
    program = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "RECURRA_NUM_THREADS": "3"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = program.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(program.pid, signal.SIGKILL)
        program.kill()
        program.communicate()
        raise
    assert (program.returncode, err) == (0, "")
    return out.strip()


# --- when there are threads


@needs_proc
def test_import_creates_no_thread() -> None:
    assert python("before = tasks(); import recurra; print(tasks() - before)") == "0"


@needs_proc
def test_one_thread_creates_no_thread() -> None:
    assert python("before = tasks(); run(n_threads=1); print(tasks() - before)") == "0"


@needs_proc
def test_one_thread_in_the_environment_creates_no_thread() -> None:
    code = "before = tasks(); run(); print(tasks() - before)"
    assert python(code, RECURRA_NUM_THREADS="1") == "0"


@needs_proc
@pytest.mark.parametrize("how", ["recurra._core.set_num_threads(1)", "recurra.set_num_threads(1)"])
def test_one_thread_for_the_process_creates_no_thread(how: str) -> None:
    assert python(f"import recurra; {how}; before = tasks(); run(); print(tasks() - before)") == "0"


@needs_proc
def test_little_work_creates_no_thread() -> None:
    code = """
from recurra.functional import rnn_forward
before = tasks()
rnn_forward(np.ones((8, 8, 8)), np.ones((8, 8)), np.ones((8, 8)), n_threads=8)
print(tasks() - before)
"""
    assert python(code) == "0"


@needs_proc
def test_threads_stay_for_the_next_call() -> None:
    """The caller is one of the three."""
    code = """
run()
first = os.listdir("/proc/self/task")
run(2)
run()
print(len(first), set(first) == set(os.listdir("/proc/self/task")))
"""
    assert python(code) == "3 True"


@needs_proc
def test_threads_have_names() -> None:
    code = """
import time
run()
while len(names()) < 2:
    time.sleep(0.01)  # a thread gives itself its name
print(*names())
"""
    assert python(code) == "recurra-0 recurra-1"


@needs_proc
def test_the_environment_and_the_context_set_the_number() -> None:
    code = """
import recurra
with recurra.num_threads(2):
    run()
    print(tasks(), recurra.get_num_threads())
run()
print(tasks() > 2, recurra.get_num_threads())
"""
    assert python(code).split() == ["2", "2", "True", "3"]


@needs_proc
def test_the_caller_works_alone_where_no_thread_can_be_started() -> None:
    """A call that needs far less memory than a thread's stack, and no memory for the stack."""
    code = """
import resource
from recurra.functional import rnn_forward
x, w = np.ones((16, 16, 64), np.float32), np.full((64, 64), 0.01, np.float32)
def call(n_threads=None):
    return rnn_forward(x, w, w, save=False, n_threads=n_threads).y.tobytes()
expected = call(1)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (1 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
print(call() == expected, tasks())
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(call() == expected, tasks())
"""
    assert python(code).splitlines() == ["True 1", "True 3"]


# --- forks


@needs_fork
def test_a_fork_after_use() -> None:
    """The child makes its own threads, and so does its child."""
    code = """
expected = run()
for generation in range(3):
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert run() == expected
        sys.exit(os.waitstatus_to_exitcode(status))
    assert run() == expected
print("done")
"""
    assert python(code) == "done"


@needs_fork
@needs_proc
def test_a_child_has_threads_of_its_own() -> None:
    code = """
run()
child = os.fork()
if not child:
    before = tasks()
    run()
    print(before, tasks(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    assert python(code) == "1 3"


@needs_fork
def test_a_pool_of_forked_processes() -> None:
    code = """
import multiprocessing
expected = run()
with multiprocessing.get_context("fork").Pool(3) as pool:
    results = pool.map(run, [None, 1, 2, 3, 5, None])
print({expected} == set(results), run() == expected)
"""
    assert python(code) == "True True"


@needs_fork
def test_a_fork_while_another_thread_computes() -> None:
    code = """
expected, stop = run(), threading.Event()
def compute():
    n = 2
    while not stop.is_set():
        n = 2 + n % 4  # the pool is replaced again and again
        assert run(n) == expected
thread = threading.Thread(target=compute)
thread.start()
try:
    for _ in range(20):
        child = os.fork()
        if not child:
            os._exit(0 if run() == expected else 1)
        assert os.waitpid(child, 0)[1] == 0
finally:
    stop.set()
    thread.join()
print("done")
"""
    assert python(code) == "done"


@needs_fork
def test_a_fork_before_use() -> None:
    code = """
import recurra
child = os.fork()
result = run()
if not child:
    os._exit(0 if result == run(1) else 1)
print(os.waitpid(child, 0)[1])
"""
    assert python(code) == "0"


# --- callers in several threads


def test_calls_from_many_threads_at_once() -> None:
    """They share packed weights and what was saved, and agree on every bit."""
    rng = np.random.default_rng(0)
    x, w_ih, w_hh = (rng.normal(size=s) / 4 for s in [(20, 30, 24), (96, 24), (96, 32)])
    weights = functional.pack("gru", w_ih, w_hh, training=True)
    shared = functional.gru_forward(x, w_ih, w_hh)

    def call(n_threads: int) -> dict[str, Any]:
        y, h_n, _, saved = weights.forward(x, save=True, n_threads=n_threads)
        own = functional.gru_backward(saved, y, h_n, n_threads=n_threads)
        also = functional.gru_backward(shared.saved, y, h_n, n_threads=n_threads)
        assert_same_bits(own, also)
        step, _ = weights.step(x[:, 0])
        return {"y": y, "step": step, **own._asdict()}

    expected, failures = call(1), []

    def caller(number: int) -> None:
        try:
            for n_threads in (1, 2, 3, number + 1):
                assert_same_bits(call(n_threads), expected)
        except BaseException as error:  # it would only be printed
            failures.append(error)

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(HANGS)
        assert not thread.is_alive()
    assert failures == []


def test_a_daemon_may_compute_while_the_process_ends() -> None:
    code = """
run()
def compute():
    while True:
        run()
for _ in range(3):
    threading.Thread(target=compute, daemon=True).start()
run()
print("done")
"""
    assert python(code) == "done"
