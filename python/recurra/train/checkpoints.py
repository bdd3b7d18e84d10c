"""Checkpoints while a training runs: the last, the best, and every so many steps."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurra import checks
from recurra.train import files
from recurra.train.best import Best
from recurra.train.callback import Callback

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["Checkpoints"]

LAST, BEST, NUMBERED = "last.safetensors", "best.safetensors", "step-{:08d}.safetensors"


class Checkpoints(Callback):
    """Keeps the whole state of the training in a folder, from which `fit` goes on to the bit.

        last.safetensors          after each epoch, every `every` steps, when training ends or
                                  is interrupted
        best.safetensors          after each epoch that is the best so far (see `EarlyStopping`)
        step-00000100.safetensors after step 100 with `every=100` and `numbered=True`, of which
                                  the newest `keep` stay (None: all)

    A file is replaced at once or not at all: whatever happens, the old one or the new one is
    there. `recurra.train.load_model` takes the model's arrays out of any of them.

    >>> import tempfile, pathlib, numpy as np
    >>> import recurra
    >>> from recurra.train import Checkpoints, fit, load_model
    >>> x = np.ones((4, 1), np.float32)
    >>> model = recurra.Linear(1, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = fit(model, (x, x), recurra.mse, recurra.SGD(model.parameters(), 0.1),
    ...             checkpoints=Checkpoints(folder))
    ...     print(sorted(path.name for path in pathlib.Path(folder).iterdir()))
    ...     model.load_state_dict(load_model(f"{folder}/best.safetensors"))
    ['best.safetensors', 'last.safetensors']
    LoadReport(missing=[], unexpected=[])
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = None,
        *,
        numbered: bool = False,
        keep: int | None = None,
        monitor: str | None = None,
        mode: str = "min",
    ) -> None:
        self.folder = checks.path("Checkpoints", "folder", folder)
        self.every = every if every is None else checks.size("Checkpoints", "every", every)
        self.keep = keep if keep is None else checks.size("Checkpoints", "keep", keep)
        self.numbered = checks.flag("Checkpoints", "numbered", numbered)
        if (numbered and every is None) or (keep is not None and not numbered):
            needed, by = ("every", "numbered=True") if every is None else ("numbered=True", "keep")
            raise ValueError(f"Checkpoints: {by}: expected {needed} with it, got none")
        self.best = Best("Checkpoints", monitor, mode)
        self._saved: tuple[int, int] | None = None

    @property
    def last(self) -> Path:
        """The file to resume from."""
        return self.folder / LAST

    def on_fit_begin(self, run: Run) -> None:
        """The folder is made here: training must not go on for hours to find it cannot be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not run.step:
            self.best.reset()
        self._saved = run.epoch, run.step

    def on_step_end(self, run: Run) -> None:
        if self.every is not None and run.step % self.every == 0:
            state = run.state_dict()
            if self.numbered:
                files.save(self.folder / NUMBERED.format(run.step), state)
                self._drop_old()
            self._save_last(run, state)

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        is_best = self.best.improved(row)
        state = run.state_dict()
        if is_best:
            files.save(self.folder / BEST, state)
        self._save_last(run, state)

    def on_fit_end(self, run: Run) -> None:
        if (run.epoch, run.step) != self._saved:
            self._save_last(run, run.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best.load_state_dict(state["best"])

    def _save_last(self, run: Run, state: dict[str, Any]) -> None:
        files.save(self.last, state)
        self._saved = run.epoch, run.step

    def _drop_old(self) -> None:
        if self.keep is None:
            return
        numbered = [p for p in self.folder.iterdir() if re.fullmatch(r"step-\d+\.\w+", p.name)]
        numbered.sort(key=lambda path: int(path.stem.removeprefix("step-")))
        for path in numbered[: -self.keep]:
            path.unlink(missing_ok=True)
