"""The bar in a notebook, with stand-ins for the kernel and its widgets: tqdm chooses by them.

What a browser draws is not tested here.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# As much of each package as tqdm looks at.
PACKAGES = {
    "ipykernel/__init__.py": "",
    "ipykernel/zmqshell.py": "",
    "IPython/__init__.py": """
class ZMQInteractiveShell:
    config = {"IPKernelApp": {}}
def get_ipython():
    import os
    return ZMQInteractiveShell() if os.environ.get("KERNEL") else None
""",
    "IPython/display.py": """
shown = []
def display(widget):
    shown.append(widget)
""",
}
WIDGETS = """
class Widget:
    def __init__(self, children=(), **traits):
        self.children, self.value, self.bar_style = children, "", ""
        self.layout, self.style = type("Layout", (), {})(), type("Style", (), {})()
        vars(self).update(traits)
    def close(self):
        self.closed = True
FloatProgress = HTML = HBox = Widget
"""
RUN = """
import sys
import ipykernel.zmqshell, IPython.display
import numpy as np
import recurra
from recurra.train import Callback, fit

class Stop(Callback):
    def on_step_end(self, run):
        if run.step == abs(int(sys.argv[1])):
            if sys.argv[1] == "-5":
                run.stop("enough")
            else:
                raise KeyError("mine")

x = np.ones((8, 1), np.float32)
model = recurra.Linear(1, 1)
try:
    fit(model, (x, x), recurra.mse, recurra.SGD(model.parameters(), 0.1), epochs=3, batch_size=2,
        validation=(x, x), callbacks=[Stop()])
except KeyError:
    pass
for box in IPython.display.shown:
    left, bar, right = box.children
    text = (left.value + right.value).replace(chr(0x2007), " ")
    print(bar.value, bar.max, bar.bar_style, getattr(box, "closed", False), text, sep="|")
"""


def run(folder: Path, *, kernel: bool, widgets: bool = True, stop: int = 0) -> tuple[str, str]:
    """Standard output and standard error, which is no terminal."""
    files = PACKAGES | ({"ipywidgets.py": WIDGETS} if widgets else {})
    for name, code in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    path = os.pathsep.join([str(folder), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(stop)],
        env=os.environ | {"PYTHONPATH": path, "KERNEL": "1" if kernel else ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout, result.stderr


def test_a_widget_shows_the_end(tmp_path: Path) -> None:
    out, err = run(tmp_path, kernel=True)
    assert err == ""
    [line] = out.splitlines()
    value, largest, style, closed, text = line.split("|", 4)
    assert (value, largest, style, closed) == ("12", "12", "success", "False")
    assert "12/12" in text
    assert "epoch 3, loss" in text
    assert ", validation" in text


def test_an_error_leaves_the_widget_where_it_was(tmp_path: Path) -> None:
    out, err = run(tmp_path, kernel=True, stop=5)
    assert err == ""
    value, largest, style, _, text = out.split("|", 4)
    assert (largest, style) == ("12", "danger")
    assert int(value) == 4
    assert "4/12" in text


def test_a_training_that_stopped_is_no_error(tmp_path: Path) -> None:
    out, err = run(tmp_path, kernel=True, stop=-5)
    assert err == ""
    value, _, style, _, text = out.split("|", 4)
    assert (value, style) == ("5", "success")
    assert text.strip().endswith("; enough]")


def test_text_without_widgets(tmp_path: Path) -> None:
    """And tqdm's own word about what is missing."""
    out, err = run(tmp_path, kernel=True, widgets=False)
    assert out == ""
    assert "12/12" in err
    assert "TqdmWarning: IProgress not found" in err


@pytest.mark.parametrize("widgets", [True, False])
def test_quiet_where_the_package_is_imported_and_no_kernel_runs(
    widgets: bool, tmp_path: Path
) -> None:
    """As by a library of widgets in a program whose output goes to a file."""
    assert run(tmp_path, kernel=False, widgets=widgets) == ("", "")
