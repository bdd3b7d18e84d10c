"""The loops of the examples as they are written for PyTorch, from the same weights on.

Batch first, as its users and the examples have it. Adam is the fused one, which was the fastest of
the three where that made a difference; there is no `DataLoader`, which would take longer than the
batches that both read.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

from recurra.data import Batch, Batches
from recurra.module import Module

State = Any
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Sine(torch.nn.Module):
    """The next value of a series."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        lstm = model[0]
        self.lstm = torch.nn.LSTM(lstm.input_size, lstm.hidden_size, batch_first=True)
        self.out = torch.nn.Linear(lstm.hidden_size, 1)

    def forward(self, x: torch.Tensor, _: State) -> tuple[torch.Tensor, State]:
        y, _ = self.lstm(x)
        return self.out(y[:, -1]), None


class Characters(torch.nn.Module):
    """The logits of the next character, and the state to go on from."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        symbols, width = model.embedding.weight.shape
        size, layers = model.rnn.hidden_size, model.rnn.num_layers
        self.embedding = torch.nn.Embedding(symbols, width)
        self.rnn = torch.nn.LSTM(width, size, layers, batch_first=True)
        self.out = torch.nn.Linear(size, symbols)

    def forward(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        y, state = self.rnn(self.embedding(x), state)
        return self.out(y), state


def _sine_loss(forecast: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(forecast, truth[:, 0])


def _characters_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), ids.flatten())


TWINS: dict[str, tuple[Callable[[Any], torch.nn.Module], Loss]] = {
    "sine": (Sine, _sine_loss),
    "characters": (Characters, _characters_loss),
}


class Training:
    """The loop of an example, called for an epoch after the other: the losses of its steps.

    `settings` are what `fit` is called with, batches as its data.
    """

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        build, self.loss = TWINS[name]
        self.model = _twin(build, settings["model"])
        self.optimizer = _adam(self.model, settings["optimizer"])
        self.data: Batches = settings["data"]
        self.clip_norm: float = settings["clip_norm"]
        self.validation = [_tensors(b) for b in _batches(settings.get("validation"))]

    def epoch(self, number: int) -> list[float]:
        """Train on all batches, then look at those of the validation if there are any."""
        self.model.train()
        losses, state = [], None
        for batch in self.data.epoch(number):
            loss, state = self._step(batch, state if batch.carries else None)
            losses.append(loss)
        self._validate()
        return losses

    def _step(self, batch: Batch, state: State) -> tuple[float, State]:
        inputs, targets = _tensors(batch)
        outputs, state = self.model(inputs, state)
        loss = self.loss(outputs, targets)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        return loss.item(), None if state is None else tuple(s.detach() for s in state)

    def _validate(self) -> float:
        self.model.eval()
        with torch.inference_mode():
            losses = [self.loss(self.model(x, None)[0], t).item() for x, t in self.validation]
        return sum(losses)


def version() -> str:
    """Its version."""
    return str(torch.__version__)


def set_threads(n: int) -> None:
    """How many threads it may use."""
    torch.set_num_threads(n)


def _twin(build: Callable[[Any], torch.nn.Module], model: Module) -> torch.nn.Module:
    """The same layers with copies of the weights, which stand in the same order."""
    arrays = [parameter.data for parameter in model.parameters()]
    twin = build(model).to(torch.from_numpy(arrays[0]).dtype)
    state = zip(twin.state_dict(), arrays, strict=True)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in state})
    return twin


def _adam(twin: torch.nn.Module, ours: Any) -> torch.optim.Adam:
    betas, (group,) = (ours.beta1, ours.beta2), ours.param_groups
    if type(ours).__name__ != "Adam" or group["weight_decay"] or group["amsgrad"]:
        raise SystemExit(f"training_loops: expected plain Adam, got {ours}")
    return torch.optim.Adam(twin.parameters(), ours.lr, betas, ours.eps, fused=True)


def _batches(data: Batches | None) -> Iterator[Batch]:
    return iter(()) if data is None else data.epoch(0)


def _tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    # Views that cannot be written to would be complained about: only the validation has them.
    inputs, targets = (
        torch.from_numpy(array if array.flags.writeable else array.copy())
        for array in (batch.inputs, batch.targets)
    )
    return inputs, targets
