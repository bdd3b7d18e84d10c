"""Programs that measure their memory, on a machine that does other things too."""

__all__ = ["HANGS", "STEADY"]

# Seconds after which a program is taken to hang: no test is about how long one takes.
HANGS = 600

# Linux counts a process's pages for each processor apart and adds them up now and then: on one
# processor nothing is outstanding. And it may make small pages large at any time.
STEADY = """
import ctypes, os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
"""
