"""What the run ran on."""

import os
import platform
import sys
from pathlib import Path

import numpy as np

import recurra
from recurra import _core


def describe() -> dict[str, str]:
    """Processor, threads, versions, and how busy the machine is."""
    return {
        "processor": _processor(),
        "threads": f"{recurra.get_num_threads()} of {os.cpu_count()}",
        "recurra": f"{_core.version()}, {_core.isa()}",
        "python": f"{sys.version.split()[0]}, NumPy {np.__version__}",
        "system": platform.platform(),
        "load average": load(),
    }


def _processor() -> str:
    """The name of its model, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def load() -> str:
    """Processes that wanted to run in the last 1, 5 and 15 minutes; not on Windows."""
    if not hasattr(os, "getloadavg"):
        return "unknown"
    return " ".join(f"{value:.2f}" for value in os.getloadavg())
