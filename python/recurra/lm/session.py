"""A training as a user sees it: progress, the best model kept, Ctrl-C."""

import math
import sys
from pathlib import Path
from typing import Never

from tqdm import tqdm

from recurra.lm import files
from recurra.lm.model import CharLM, Score
from recurra.lm.training import Report, TrainConfig, fit
from recurra.text import Ids
from recurra.train.interrupt import interruptible

__all__ = ["Session"]

BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
SMOOTHING = 0.98


class Session:
    """Trains `model` and keeps the best one, by its validation, in the file `path`.

    Progress goes to standard error as a bar, if that is a terminal; every validation prints a
    line. The first Ctrl-C ends the training after a last step and validation, the second ends it
    at once; the file is whole in either case.
    """

    best: Score | None = None
    """The score of the model in the file."""
    interrupted: bool = False
    """Whether Ctrl-C ended the training."""
    history: list[dict[str, float]]
    """A point for each validation: `step`, `characters`, `seconds`, and in bits per character
    `train` (mean of the steps since the point before) and `validation`."""

    def __init__(self, model: CharLM, config: TrainConfig, path: Path) -> None:
        self.model, self.config, self.path = model, config, path
        self.history = []
        self._losses: list[float] = []
        self._shown = math.nan

    def run(self, train: Ids, validation: Ids) -> None:
        """Train on the text `train (N,)`, validate on the text `validation (N,)`."""
        reports = fit(self.model, train, validation, self.config, lambda: self.interrupted)
        bar = tqdm(total=1.0, bar_format=BAR, disable=not sys.stderr.isatty())
        with interruptible(self._interrupt), bar:
            for report in reports:
                self._losses.append(report.loss)
                self._show(bar, report)
                if report.validation is not None:
                    bar.write(self._validated(report, report.validation))
                    sys.stdout.flush()

    def _interrupt(self) -> None:
        self.interrupted = True

    def _show(self, bar: "tqdm[Never]", report: Report) -> None:
        first = math.isnan(self._shown)
        weight = 0.0 if first else SMOOTHING
        self._shown = weight * (0.0 if first else self._shown) + (1 - weight) * report.loss
        bits, speed = self._shown / math.log(2), report.characters / report.seconds
        bar.set_postfix_str(
            f"loss {self._shown:.3f}, {bits:.3f} bits/char, {speed:,.0f} tokens/s", refresh=False
        )
        bar.update(report.fraction - bar.n)

    def _validated(self, report: Report, score: Score) -> str:
        """Note a validation, keep the model if it is the best so far, and say so."""
        train_bits = sum(self._losses) / len(self._losses) / math.log(2)
        self._losses.clear()
        point = {"step": report.step, "characters": report.characters, "seconds": report.seconds}
        self.history.append(point | {"train": train_bits, "validation": score.bits})
        if is_best := self.best is None or score.loss < self.best.loss:
            files.save(self.path, self.model, self.history)
            self.best = score
        return (
            f"step {report.step:6d}  {report.seconds:6.0f} s  train {train_bits:.3f}  "
            f"validation {score.bits:.3f} bits/char  "
            f"{report.characters / report.seconds:,.0f} tokens/s{'  saved' if is_best else ''}"
        )
