"""`fit` and `evaluate`: what a training is called with."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from recurra import checks
from recurra.data import Arrays, Batches
from recurra.metrics import Metric
from recurra.module import Module
from recurra.optim import Optimizer
from recurra.schedules.base import an_optimizer
from recurra.train import files, loop
from recurra.train.callback import Callback
from recurra.train.calling import Caller, Loss
from recurra.train.checkpoints import Checkpoints
from recurra.train.history import ALWAYS, History
from recurra.train.interrupt import interruptible
from recurra.train.progress import Progress, is_watched
from recurra.train.run import Run
from recurra.train.schedules import Scheduler, rates_kept

__all__ = ["Data", "Metrics", "as_batches", "evaluate", "fit"]

Data: TypeAlias = Batches | tuple[Any, Any]
Metrics: TypeAlias = Mapping[str, Metric] | Iterable[Metric]
PathLike: TypeAlias = str | os.PathLike[str]


def fit(
    model: Module,
    data: Data,
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int = 1,
    validation: Data | None = None,
    metrics: Metrics = (),
    schedule: Any | Callable[[int], float] | None = None,
    schedule_every: str = "step",
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | PathLike | None = None,
    resume: bool | PathLike = False,
    batch_size: int = 32,
    seed: int | None = 0,
    progress: bool | None = None,
) -> History:
    """Train a model in place, and tell how it went.

    `data` and `validation` are batches (`recurra.data.Batches`) or pairs of inputs and targets
    (N, ...), which are read as `recurra.data.Arrays`, `batch_size` rows at a time; the training's
    are shuffled by `seed` (None: not). The
    whole model is in training mode while it learns, and as it was before afterwards.
    `loss` is called with the outputs and the targets, or with the outputs and the batch if its
    second argument is called `batch`. `metrics` are of `recurra.metrics`, with their names or
    under those of their classes, over the training and the validation.

    **The loss reported** is the mean over batches, each weighed by its targets and their `weights`,
    or by its rows for a loss that takes `lengths` itself, such as `CRF.loss`. Where a loss divides
    by something else, as with `class_weights` or `ignore_index`, all targets count in it as if
    alike; with `weights` of the data instead it is exact.

    **A step** is one update of the weights: from one batch, or from the mean loss of `accumulate`
    batches. `clip_norm` is the largest 2-norm that the gradient keeps, and then `clip_value` the
    largest size of each of its elements. `schedule` is an object with `step()`, called after each
    step or, with `schedule_every="epoch"`, each epoch (one whose `step` takes a value is given the
    validation's loss), or a function from the number of steps done to the factor of the learning
    rate, which makes a `recurra.schedules.LambdaLR`.

    **State.** A model whose forward has an argument `state` returns `(outputs, state)`. For a
    batch that `carries`, the state goes on from the batch before, without its gradient (truncated
    backpropagation through time: Williams and Peng, 1990); for any other, and for the first of an
    epoch, it is None. With `lengths`, what lies behind is in no loss and no metric.

    **Checkpoints** go to a folder (see `Checkpoints`). `resume` names a file of one, or is True
    for the last in that folder if there is any: training goes on from there to the bit, also in
    the middle of an epoch. It must be the same training: another optimizer or schedule, another
    number of batches, form of the first one or `seed` (an attribute that the data may have) is
    refused. Ctrl-C ends the training after the step under way, saves if there is a
    folder, and returns the history; a second one is a `KeyboardInterrupt` at once.

    A loss or gradient that is not finite is a `FloatingPointError` that names the layer and the
    step where it arose, before it reaches the weights.

    `progress` shows a bar on standard error, with the epoch, the loss and the last validation's;
    None does so in a terminal or a notebook only.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.train import fit
    >>> recurra.manual_seed(0)
    >>> waves = np.sin(np.arange(33) / 4 + np.linspace(0, 6, 64)[:, None])
    >>> waves = waves[..., None].astype(np.float32)  # (B, T, I)
    >>> model = recurra.Sequential(recurra.GRU(1, 16), recurra.Linear(16, 1))
    >>> optimizer = recurra.Adam(model.parameters(), lr=0.02)
    >>> history = fit(
    ...     model, (waves[:, :-1], waves[:, 1:]), recurra.mse, optimizer, epochs=20, clip_norm=1.0
    ... )
    >>> history["loss"][-1] < 0.01
    True
    """
    if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
        checkpoints = Checkpoints(checkpoints)
    _refuse_others(callbacks)
    watching = (
        [Progress()]
        if (is_watched() if progress is None else checks.flag("fit", "progress", progress))
        else []
    )
    # The checkpoints come last: they keep what the others have seen.
    last = [checkpoints] if checkpoints is not None else []
    with rates_kept(an_optimizer("fit", optimizer)):
        run = Run(
            model=model,
            optimizer=optimizer,
            caller=Caller(model, loss),
            scheduler=Scheduler(schedule, optimizer, schedule_every),
            data=as_batches("data", data, batch_size, seed),
            validation=None if validation is None else _validation(validation, batch_size),
            metrics=named(metrics),
            epochs=checks.size("fit", "epochs", epochs, 0),
            clip_norm=checks.positive_or_none("fit", "clip_norm", clip_norm),
            clip_value=checks.positive_or_none("fit", "clip_value", clip_value),
            accumulate=checks.size("fit", "accumulate", accumulate),
            callbacks=[*callbacks, *watching, *last],
        )
        if (path := _resumed(resume, checkpoints)) is not None:
            _take_up(run, path)
    _run(run)
    return run.history


def evaluate(
    model: Module,
    data: Data,
    loss: Loss,
    metrics: Metrics = (),
    batch_size: int = 32,
) -> dict[str, Any]:
    """The mean loss of a target and the metrics, without gradients and dropout.

    Arguments as in `fit`; the model is left as it was. A loss with `class_weights` or
    `ignore_index` is averaged over batches as if all targets counted alike, so that it depends on
    `batch_size`; `weights` of the data are exact.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra import metrics
    >>> from recurra.train import evaluate
    >>> x = np.zeros((4, 2), np.float32)
    >>> model = recurra.Linear(2, 3, bias=False)
    >>> evaluate(model, (x, np.zeros(4, int)), recurra.cross_entropy, [metrics.Accuracy()])
    {'loss': 1.098612..., 'accuracy': 1.0}
    """
    batches = _validation(data, batch_size)
    return loop.measure(model, Caller(model, loss), batches, named(metrics))


def named(metrics: Metrics) -> dict[str, Metric]:
    """Metrics by name: that of their class in small letters if they are given without."""
    if isinstance(metrics, Mapping):
        _refuse_no_metrics(metrics.values())
        _refuse_taken(metrics)
        return dict(metrics)
    given = checks.items("fit", "metrics", metrics, "Metrics")
    _refuse_no_metrics(given)
    pairs = [(_snake(type(metric).__name__), metric) for metric in given]
    if len(dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"fit: metrics: expected different classes, or a dict, got {names}")
    _refuse_taken(dict(pairs))
    return dict(pairs)


def _refuse_taken(names: Iterable[str]) -> None:
    """Refuse names under which the history has something else."""
    for name in names:
        if name in ALWAYS or str(name).startswith("validation_"):
            raise ValueError(
                f"fit: metrics: expected names other than {', '.join(ALWAYS)} and validation_..., "
                f"got {name!r}"
            )


def _refuse_no_metrics(metrics: Iterable[object]) -> None:
    for metric in metrics:
        checks.instance("fit", "metrics", metric, Metric, "Metrics")


def _run(run: Run) -> None:
    def interrupt() -> None:
        run.history.interrupted = True
        run.stop("interrupted")

    with ExitStack() as stack:
        stack.enter_context(interruptible(interrupt))
        for callback in run.callbacks:
            stack.callback(callback.close)
        for callback in run.callbacks:
            with loop.noting(f"fit: in the callback {type(callback).__name__}.on_fit_begin"):
                callback.on_fit_begin(run)
        loop.train(run)
        # In reverse: the checkpoints keep the weights before another puts back the best ones.
        for callback in reversed(run.callbacks):
            with loop.noting(f"fit: in the callback {type(callback).__name__}.on_fit_end"):
                callback.on_fit_end(run)


def _refuse_others(callbacks: object) -> None:
    for callback in checks.items("fit", "callbacks", callbacks, "Callbacks"):
        if not isinstance(callback, Callback):
            kind = type(callback).__name__
            raise TypeError(f"fit: callbacks: expected Callbacks, got {kind}")


def _resumed(resume: object, checkpoints: Checkpoints | None) -> Path | None:
    if resume is True:
        if checkpoints is None:
            raise ValueError("fit: resume: expected checkpoints with True, got none")
        return checkpoints.last if checkpoints.last.exists() else None
    if resume is False:
        return None
    if isinstance(resume, str | os.PathLike):
        return Path(resume)
    got = type(resume).__name__
    raise TypeError(f"fit: resume: expected a path, True or False, got {got}")


def _take_up(run: Run, path: Path) -> None:
    state = files.load(path)
    try:
        run.load_state_dict(state)
    except (KeyError, TypeError, ValueError) as error:
        error.add_note(f"fit: resume: {path} belongs to another training")
        raise


def as_batches(argument: str, data: Any, batch_size: int, seed: int | None) -> Batches:
    """`data` if it has epochs, or the batches of a pair; shuffled by `seed`, None keeps its order.

    >>> import numpy as np
    >>> from recurra.train.fitting import as_batches
    >>> data = as_batches("data", (np.arange(5), np.arange(5)), batch_size=2, seed=None)
    >>> [batch.inputs.tolist() for batch in data.epoch(0)]
    [[0, 1], [2, 3], [4]]
    """
    if isinstance(data, tuple) and len(data) == 2 and not hasattr(data, "epoch"):
        with loop.noting(f"fit: {argument}"):
            return Arrays(
                *data, batch_size, shuffle=seed is not None, seed=0 if seed is None else seed
            )
    if not (hasattr(data, "epoch") and hasattr(data, "__len__")):
        raise TypeError(
            f"fit: {argument}: expected a pair of arrays, or batches with `epoch(number)` and a "
            f"length, got {type(data).__name__}"
        )
    if not len(data):
        raise ValueError(f"fit: {argument}: expected at least one batch in an epoch, got none")
    batches: Batches = data
    return batches


def _validation(data: Data, batch_size: int) -> Batches:
    return as_batches("validation", data, batch_size, seed=None)


def _snake(name: str) -> str:
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
