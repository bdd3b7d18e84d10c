"""What is kept for backward, what is not, and what happens when there is no memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cells import BIASES, VARIANTS, Variant, draw, forward
from recurra import functional
from steady import HANGS, STEADY

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
needs_statm = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is measured in /proc"
)

# Numbers of H kept for a step: the gates, or what backward makes more of; and `r h` of the GRU of
# 2014 and the unprojected output of the projected LSTM.
KEPT = {"rnn_tanh": 0, "rnn_relu": 0, "lstm": 4, "lstm_projected": 5, "gru": 4, "gru_before": 4}

MEASURED = """
import resource, sys
import numpy as np
from recurra.functional import *

def field(name):
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10

def limit(more):
    resource.setrlimit(resource.RLIMIT_AS, (field("VmSize") + more, resource.RLIM_INFINITY))

def unlimit():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def python(code: str, **environment: str) -> list[str]:
    """Run a program in a process of its own and return the lines that it prints.

    It starts no thread, which would take memory of its own.
    """
    result = subprocess.run(
        [sys.executable, "-c", STEADY + MEASURED + code],
        env=os.environ | {"RECURRA_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


@every_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", [None, [7, 0, 3, 7, 1]], ids=["full", "ragged"])
def test_what_is_kept(variant: Variant, dtype: type, lengths: list[int] | None) -> None:
    """The inputs, states and gates of the steps that are run, and the states before them."""
    B, T, I, H = 5, 7, 3, 11
    P = H - 1 if variant.projected else H
    steps = B * T if lengths is None else sum(lengths)
    numbers = steps * (I + KEPT[variant.name] * H) + (steps + B) * P
    if variant.cell == "lstm":
        numbers += (steps + B) * H
    for bias in BIASES:
        arguments = draw(
            variant, np.random.default_rng(1), B=B, T=T, I=I, H=H, bias=bias, dtype=dtype
        )
        output = forward(functional, variant, arguments, lengths=lengths)
        assert output.saved.nbytes == numbers * np.dtype(dtype).itemsize


@every_variant
@pytest.mark.parametrize("B", [1, 40])
def test_what_is_kept_with_low_memory(variant: Variant, B: int) -> None:
    """Every eighth step's state at most, and none of the inputs."""
    T, I, H = 800, 12, 12
    arguments = draw(variant, np.random.default_rng(1), B=B, T=T, I=I, H=H)
    keep, low = (
        forward(functional, variant, arguments, memory=memory).saved.nbytes
        for memory in ("keep", "low")
    )
    state = arguments["h0"].shape[1] + (H if variant.cell == "lstm" else 0)
    assert 8 * B * state <= low <= 8 * B * (T // 8) * state
    assert keep / low > (16 if variant.cell == "rnn" else 24)


def test_ragged_checkpoints_are_of_the_rows_that_have_the_step() -> None:
    x, lengths = np.ones((500, 4096, 1)), np.ones(500, int)
    lengths[7] = 4096
    saved = functional.gru_forward(
        x, np.ones((9, 1)), np.ones((9, 3)), lengths=lengths, memory="low"
    ).saved
    assert saved.nbytes <= 8 * (500 + 8) * 3


PEAK = """
x, w = np.ones((16, 2048, 64)), np.ones(({gates} * 64, 64)) / 64
def train(x):
    out = {cell}_forward(x, w, w, memory="{memory}", n_threads=1)
    {cell}_backward(out.saved, out.y, input_gradient=False, n_threads=1)
    return out.y.nbytes
train(x[:, :64])
before = field("VmRSS")
y = train(x)
print(field("VmHWM") - before - y)
"""


@needs_statm
@pytest.mark.parametrize(("cell", "gates"), [("gru", 3), ("lstm", 4)])
def test_low_memory_takes_a_tenth_of_a_training_step(cell: str, gates: int) -> None:
    """All that forward and backward take beside what goes in and comes out."""
    codes = [PEAK.format(cell=cell, gates=gates, memory=memory) for memory in ("keep", "low")]
    keep, low = (int(python(code)[0]) for code in codes)
    span = 1024 * 64 * 8 * {"gru": 6, "lstm": 7}[cell]  # its inputs, states and gates
    assert low > span
    assert keep / low > 15


SAVES = """
x, w_ih, w_hh = np.ones((8, 2048, 16)), np.ones((256, 16)) / 64, np.ones((256, 64)) / 64
lstm_forward(x[:, :64], w_ih, w_hh, n_threads=1)
saved = 16384 * (16 + 6 * 64) * 8
def growth(save):
    before = field("VmRSS")
    out = lstm_forward(x, w_ih, w_hh, save=save, n_threads=1)
    return field("VmRSS") - before - out.y.nbytes, out.saved
without, nothing = growth(False)
with_, something = growth(True)
assert nothing is None and something.nbytes >= saved
print(without / saved, with_ / saved)
"""


@needs_statm
def test_save_false_keeps_nothing() -> None:
    """Against what `save=True` keeps: at most a fiftieth of it, and that is the workspace."""
    without, with_ = (float(word) for word in python(SAVES)[0].split())
    assert without < 0.02
    assert with_ > 0.9


TIGHT = """
x, w_ih, w_hh = np.ones((8, 2048, 16)), np.ones((256, 16)) / 64, np.ones((256, 64)) / 64
lstm_forward(x[:, :64], w_ih, w_hh, n_threads=1)
limit(16384 * 64 * 8 + (12 << 20))  # y and a little
try:
    lstm_forward(x, w_ih, w_hh, n_threads=1)
except MemoryError as error:
    print(error)
print(lstm_forward(x, w_ih, w_hh, save=False, n_threads=1).y.shape)
"""


@needs_statm
def test_save_false_does_not_even_ask_for_memory() -> None:
    refusal, shape = python(TIGHT)
    assert refusal.startswith("not enough memory for what backward needs: ")
    assert shape == "(8, 2048, 64)"


IMPOSSIBLE = """
def ones(*shape):
    return np.broadcast_to(np.float64(1), shape)
H = 1 << 22  # w_ih would take 168 MB, w_hh 141 TB
unused = field("VmHWM")
limit(1 << 30)
try:
    rnn_forward(ones(1, 1, 5), ones(H, 5), ones(H, H))
except MemoryError as error:
    print(error)
print(field("VmHWM") - unused)
"""


@needs_statm
def test_memory_is_asked_for_before_any_is_filled() -> None:
    refusal, growth = python(IMPOSSIBLE)
    assert refusal.startswith("not enough memory for packed weights: ")
    assert int(growth) < 32 << 20


LEAKS = """
dtypes = np.dtype(np.float32), np.dtype(np.int64)
x, w_ih, w_hh = (np.ones(s, np.float32) for s in [(8, 64, 32), (96, 32), (96, 32)])
lengths = np.full(8, 50, np.int32)
def use():
    out = gru_forward(x.tolist() and x, w_ih, w_hh, lengths=lengths, n_threads=1)
    gru_backward(out.saved, out.y[:, ::-1], n_threads=1)
    gru_step(x[:, 0], w_ih, w_hh)
    pack("gru", w_ih, w_hh, training=True).step(x[:, 0])
    for wrong in (dict(h0=x[:, 0, :7]), dict(lengths=[99] * 8), dict(n_threads=0), dict(h0="x")):
        try:
            gru_forward(x, w_ih, w_hh, **wrong)
        except (TypeError, ValueError):
            pass
for _ in range(50):
    use()
counts, before = [sys.getrefcount(d) for d in dtypes], field("VmRSS")
for _ in range(400):
    use()
print(max(abs(sys.getrefcount(d) - n) for d, n in zip(dtypes, counts)))
print((field("VmRSS") - before) / 400)
"""


@needs_statm
def test_nothing_leaks() -> None:
    references, bytes_per_use = (float(line) for line in python(LEAKS))
    assert references < 10
    assert bytes_per_use < 4096


# Every amount of free memory from nothing to plenty: each of the allocations is the first to fail
# at one of them. The arrays are large enough for the allocator to ask the system for each, and it
# is told not to change its mind about what is large.
SCARCE = """
n = 1 << 17
x, w_ih, w_hh, lengths = np.ones((n // 32, 32, 2)), {w_ih}, {w_hh}, np.full(n // 32, 32)
def forward():
    return {cell}_forward(
        x, w_ih, w_hh, w_ih[:, 0], lengths=lengths, memory="{memory}", n_threads=1
    )
def backward():
    return {cell}_backward(out.saved, out.y, n_threads=1)
def step():
    return {cell}_step(many, w_ih, w_hh)
many = np.ones((2 * n, 2))
out = forward()
{cell}_forward(x[:1, :1], w_ih, w_hh)
for call in (forward, backward, step):
    refused = done = 0
    for more in range(0, 28 << 20, 1 << 18):
        limit(more)
        try:
            call()
            done += 1
        except MemoryError:
            refused += 1
        finally:
            unlimit()
    print(call.__name__, refused > 3, done > 3)
"""


@needs_statm
@pytest.mark.parametrize("memory", ["keep", "low"])
@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_running_out_of_memory_is_an_exception(cell: str, gates: int, memory: str) -> None:
    weights = {"w_ih": f"np.ones(({gates}, 2)) / 8", "w_hh": f"np.ones(({gates}, 1)) / 8"}
    code = SCARCE.format(cell=cell, memory=memory, **weights)
    lines = python(code, MALLOC_MMAP_THRESHOLD_="65536")
    assert lines == [f"{call} True True" for call in ("forward", "backward", "step")]


def test_a_stack_that_no_memory_holds_is_refused_at_once() -> None:
    """Each layer alone would do: without a look at them all they are made until memory ends."""
    lines = python("""
import recurra
limit(1 << 30)
for layer in (recurra.RNN, recurra.LSTM, recurra.GRU):
    for count in (2**21, 2**31, 2**62):
        try:
            layer(1, 1, count, bidirectional=count == 2**31, bias=False)
        except MemoryError as error:
            print(error)
""")
    assert len(lines) == 9
    assert {line.split(", got")[0].split(": ", 1)[1] for line in lines} == {
        "parameters: expected a shape that memory holds"
    }
