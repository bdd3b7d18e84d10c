"""The loop: batches, updates, epochs, validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from recurra import _core, random
from recurra.autograd import no_grad
from recurra.data import Batch, Batches
from recurra.metrics import Metric
from recurra.module import Module
from recurra.train.callback import Callback
from recurra.train.calling import Caller, detached
from recurra.train.nan_guard import bad_gradient, bad_loss
from recurra.train.run import Run, Totals

__all__ = ["advance", "measure", "mode", "noting", "train"]


def train(run: Run) -> None:
    """Epoch after epoch, until all are done or somebody says stop."""
    run.zero_grad()
    while run.epoch < run.epochs and not run.history.stopped:
        with mode(run.model, training=True):
            _steps(run)
        if run.batch == len(run.data):
            _end_epoch(run)


def _steps(run: Run) -> None:
    """The rest of an epoch: what a resumed training has seen of it is skipped."""
    count, on_step_end = len(run.data), _overridden(run.callbacks, "on_step_end")
    for batch in islice(run.data.epoch(run.epoch), run.batch, None):
        if run.batch == count:
            raise ValueError(f"fit: data: expected {count} batches, its length, got more")
        if advance(run, batch):
            for callback in on_step_end:
                try:  # `noting` takes as long as a small callback
                    callback.on_step_end(run)
                except Exception as error:
                    error.add_note(f"fit: in the callback {type(callback).__name__}.on_step_end")
                    raise
            if run.history.stopped:
                return
    if run.batch < count:
        raise ValueError(f"fit: data: expected {count} batches, its length, got {run.batch}")


def advance(run: Run, batch: Batch) -> bool:
    """Take in a batch, and update the weights if it is the last of its group: whether it was."""
    try:
        return _advance(run, batch)
    except Exception as error:
        run.zero_grad()
        _refuse_other(batch, error)
        error.add_note(f"fit: in epoch {run.epoch + 1}, batch {run.batch + 1}")
        raise


def _refuse_other(batch: object, error: Exception) -> None:
    """The error for what is no batch. Only after another: it costs a good batch nothing."""
    if not isinstance(batch, Batch):
        got = type(batch).__name__
        raise TypeError(f"fit: data: expected batches of class Batch, got {got}") from error


def _advance(run: Run, batch: Batch) -> bool:
    drawn = random.get_state()
    run.carried = state = detached(run.carried) if batch.carries else None
    outputs, after = run.caller.outputs(batch, state)
    loss = run.caller.value(outputs, batch)
    run.loss = loss.item()
    if not math.isfinite(run.loss):
        raise bad_loss(run, run.loss, batch, state, drawn)
    first = run.batch - run.batch % run.accumulate
    last = min(first + run.accumulate, len(run.data))
    if last - first == 1:
        loss.backward()
    else:  # the gradient of the mean of the group's losses
        loss.backward(np.full(loss.shape, 1 / (last - first), loss.dtype))
    is_last = run.batch + 1 == last
    if is_last:
        _update(run, batch, state, drawn)
    run.carried = after
    _note(run, outputs, batch)
    return is_last


def _update(run: Run, batch: Batch, state: Any, drawn: dict[str, int]) -> None:
    grads = [p.grad for p in run.parameters if p.grad is not None]
    run.grad_norm = norm = _core.grad_norm(grads)
    if not math.isfinite(norm):
        raise bad_gradient(run, batch, state, drawn)
    # The factor and its 1e-6 are those of clip_grad_norm.
    if run.clip_norm is not None and (factor := run.clip_norm / (norm + 1e-6)) < 1:
        _core.scale_(grads, factor)
    if run.clip_value is not None:
        _core.clamp_(grads, run.clip_value)
    run.optimizer.step()
    run.zero_grad()
    if run.scheduler.after_update is not None:
        run.scheduler.after_update()
    run.step += 1
    run.totals.grad_norm += norm
    run.totals.updates += 1


def _note(run: Run, outputs: Any, batch: Batch) -> None:
    for metric in run.metrics.values():
        metric.update(outputs, batch)
    run.totals.add(run.loss, run.caller.weight(batch))
    run.batch += 1


def _end_epoch(run: Run) -> None:
    """Validate, write the row of the history, and let callbacks look at it."""
    lr = run.optimizer.lr
    values: dict[str, Any] = run.totals.means() | {
        name: m.compute() for name, m in run.metrics.items()
    }
    for metric in run.metrics.values():
        metric.reset()
    run.epoch, run.batch, run.totals, run.carried = run.epoch + 1, 0, Totals(), None
    if run.validation is not None:
        with run.as_validated():
            found = measure(run.model, run.caller, run.validation, run.metrics)
        values |= {f"validation_{name}": value for name, value in found.items()}
    run.scheduler.after_epoch(values.get("validation_loss", values["loss"]))
    row = {"epoch": run.epoch, "step": run.step, "lr": lr}
    run.history.rows.append(row | values | {"seconds": run.seconds})
    for callback in _overridden(run.callbacks, "on_epoch_end"):
        with noting(f"fit: in the callback {type(callback).__name__}.on_epoch_end"):
            callback.on_epoch_end(run, run.history.rows[-1])


def measure(
    model: Module, caller: Caller, data: Batches, metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """The mean loss of a target and the metrics over the first epoch of `data`, no gradients."""
    totals, state = Totals(), None
    for metric in metrics.values():
        metric.reset()
    with mode(model, training=False), no_grad():
        for i, batch in enumerate(data.epoch(0), 1):
            with noting(f"fit: in the evaluation, batch {i}"):
                outputs, state = caller.outputs(batch, state if batch.carries else None)
                totals.add(caller.value(outputs, batch).item(), caller.weight(batch))
                for metric in metrics.values():
                    metric.update(outputs, batch)
    found = {"loss": totals.means()["loss"]} | {n: m.compute() for n, m in metrics.items()}
    for metric in metrics.values():
        metric.reset()
    return found


@contextmanager
def mode(model: Module, training: bool) -> Iterator[None]:
    """Training or evaluation inside, and each module as it was afterwards."""
    before = [(module, module.training) for _, module in model.named_modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def noting(where: str) -> Iterator[None]:
    """Say where an error arose."""
    try:
        yield
    except Exception as error:
        error.add_note(where)
        raise


def _overridden(callbacks: Any, event: str) -> list[Callback]:
    """The callbacks that do something at an event: the others cost nothing."""
    return [c for c in callbacks if getattr(type(c), event) is not getattr(Callback, event)]
