"""CTC and the CRF on one thread and on two, CTC beside PyTorch where it is installed.

Loss and gradient in float32, or decoding, in turns. Loss and gradient of both libraries are
compared first, in float64: in float32 PyTorch adds up logarithms of that precision. Its time
includes its `log_softmax`: `recurra.ctc_loss` takes logits.
"""

import sys
from collections.abc import Iterator
from typing import Any

import beside
import numpy as np
from beside import Call, Row, torch

import recurra

TOLERANCE = 1e-9
CTC = [(16, 200, 32, 30), (32, 500, 64, 60), (8, 100, 2000, 20), (1, 1000, 32, 150)]
CRF = [(32, 50, 9), (32, 100, 40)]


def main(arguments: list[str] | None = None) -> int:
    """Print a table of medians, and put it into a page."""
    return beside.main("labelling", __doc__, rows, arguments)


def rows() -> Iterator[Row]:
    """What is measured, and the same in PyTorch."""
    rng = np.random.default_rng(0)
    for B, T, V, S in CTC:
        logits = rng.standard_normal((B, T, V)).astype(np.float32)
        labels = rng.integers(1, V, (B, S))
        name, theirs = f"CTC loss B{B} T{T} V{V} S{S}", None
        if torch is not None:
            theirs = torch_ctc(logits, labels)
            compare(name, logits.astype(np.float64), labels)
        yield name, lambda z=logits, y=labels: ctc(z, y), theirs
    B, T, V, _ = CTC[0]
    logits = rng.standard_normal((B, T, V)).astype(np.float32)
    yield f"CTC beams B{B} T{T} V{V}", lambda: recurra.ctc_beam_decode(logits), None
    for B, T, K in CRF:
        layer, x = recurra.CRF(K), rng.standard_normal((B, T, K)).astype(np.float32)
        tags = rng.integers(0, K, (B, T))
        yield f"CRF loss B{B} T{T} K{K}", lambda c=layer, x=x, y=tags: crf(c, x, y), None
        yield f"CRF decoding B{B} T{T} K{K}", lambda c=layer, x=x: c.decode(x), None


def compare(name: str, logits: np.ndarray, labels: np.ndarray) -> None:
    """End the run if the losses or gradients of the two differ."""
    for got, wanted in zip(ctc(logits, labels), torch_ctc(logits, labels)(), strict=True):
        if np.abs(got - wanted).max() > TOLERANCE * np.abs(wanted).max():
            raise SystemExit(f"{name}: recurra and PyTorch do not agree")


def ctc(logits: np.ndarray, labels: np.ndarray) -> tuple[float, Any]:
    """Loss and gradient."""
    z = recurra.Tensor(logits, requires_grad=True)
    loss = recurra.ctc_loss(z, labels)
    loss.backward()
    return loss.item(), z.grad


def crf(layer: recurra.CRF, emissions: np.ndarray, tags: np.ndarray) -> tuple[float, Any]:
    """Loss and gradient."""
    x = recurra.Tensor(emissions, requires_grad=True)
    loss = layer.loss(x, tags)
    loss.backward()
    return loss.item(), x.grad


def torch_ctc(logits: np.ndarray, labels: np.ndarray) -> Call:
    """What computes the same in PyTorch."""
    z = torch.tensor(logits.swapaxes(0, 1).copy(), requires_grad=True)
    steps, counts = (torch.full((len(labels),), n) for n in (len(z), labels.shape[1]))

    def call() -> tuple[float, Any]:
        z.grad = None
        scores = z.log_softmax(-1)
        loss = torch.nn.functional.ctc_loss(scores, torch.tensor(labels), steps, counts)
        loss.backward()
        return loss.item(), np.asarray(z.grad).swapaxes(0, 1)

    return call


if __name__ == "__main__":
    sys.exit(main())
