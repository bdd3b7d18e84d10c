"""Make torch_layers.npz and torch_charlm.npz with PyTorch.

    python make_torch.py OUT_DIR            recompute the numbers for the inputs stored beside this
                                            file, print how far they are from the stored ones
    python make_torch.py OUT_DIR --seed N   the same cases with newly drawn inputs

Needs torch and NumPy. Everything is float64 on one thread; a right float64 implementation agrees to
about 1e-12. Keys (B rows, T steps, I inputs, H hidden units, L layers, D directions, V symbols):

torch_layers.npz   "meta": one line a case, "KEY KIND num_layers=.. bidirectional=.. bias=..
    lengths=.. proj_size=..". KEY/x (B, T, I), KEY/h0, KEY/c0 (L*D, B, H), KEY/lengths (B,),
    KEY/param/NAME with PyTorch's names; KEY/y, KEY/h_n, KEY/c_n; and the gradients KEY/dx, KEY/dh0,
    KEY/dc0, KEY/grad/NAME of sum(gy * y) + sum(gh * h_n) [+ sum(gc * c_n)].
torch_charlm.npz   Embedding, 2-layer LSTM, Linear; Adam(lr=0.02), gradients clipped to norm 1; 40
    steps over ids (B, 4*T + 1): step k takes window k % 4 of T = 9 symbols, the state is carried
    from window to window, its gradient is not, and a pass of 4 windows starts from zeros.
    start/NAME, end/NAME: the parameters; losses (40,), grad_norms (40,) before clipping.
"""

import itertools

import numpy as np
import torch
from making import Arrays, array, main
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

B, T, I, H = 4, 7, 5, 6
LENGTHS = [5, 7, 1, 3]
KINDS = ("RNN_tanh", "RNN_relu", "LSTM", "GRU")


# --- Layers


def layer_cases() -> list[str]:
    """Return the lines of meta, without their keys."""
    cases = [
        (kind, layers, both, bias, lengths, projection)
        for kind, layers, both, bias, lengths, projection in itertools.product(
            KINDS, (1, 2), (False, True), (True, False), (False, True), (0, 3)
        )
        if (kind == "LSTM" or not projection) and (bias or (layers == 1 and not lengths))
    ]
    cases += [("LSTM", 3, True, True, True, 0), ("GRU", 3, True, True, True, 0)]
    fields = "{} num_layers={} bidirectional={} bias={} lengths={} proj_size={}"
    return [fields.format(*case) for case in cases]


def build(line: str) -> tuple[torch.nn.RNNBase, dict[str, str]]:
    """Return the layer that a line of meta describes, and the line's settings."""
    _, kind, *settings = line.split()
    s = dict(item.split("=") for item in settings)
    options = {
        "num_layers": int(s["num_layers"]),
        "bidirectional": s["bidirectional"] == "True",
        "bias": s["bias"] == "True",
        "batch_first": True,
    }
    if kind.startswith("RNN"):
        return torch.nn.RNN(I, H, nonlinearity=kind[4:], **options), s
    if kind == "LSTM":
        return torch.nn.LSTM(I, H, proj_size=int(s["proj_size"]), **options), s
    return torch.nn.GRU(I, H, **options), s


def draw_layers(rng: np.random.Generator) -> Arrays:
    meta = [f"c{n:03d} {line}" for n, line in enumerate(layer_cases())]
    out: Arrays = {"meta": np.array(meta)}
    for line in meta:
        (layer, s), key = build(line), line.split()[0]
        directions = 2 if layer.bidirectional else 1
        stack, features = layer.num_layers * directions, layer.proj_size or H
        shapes = {"x": (B, T, I), "gy": (B, T, directions * features)}
        shapes |= {"h0": (stack, B, features), "gh": (stack, B, features)}
        if isinstance(layer, torch.nn.LSTM):
            shapes |= {"c0": (stack, B, H), "gc": (stack, B, H)}
        out |= {f"{key}/{name}": rng.normal(size=shape) for name, shape in shapes.items()}
        out[f"{key}/lengths"] = np.array(LENGTHS if s["lengths"] == "True" else [T] * B)
        for name, p in layer.named_parameters():
            out[f"{key}/param/{name}"] = rng.uniform(-1, 1, p.shape) / np.sqrt(H)
    return out


def answer_layers(data: Arrays) -> Arrays:
    out: Arrays = {}
    for line in data["meta"]:
        key = line.split()[0]
        case = {k.removeprefix(f"{key}/"): v for k, v in data.items() if k.startswith(f"{key}/")}
        out |= {f"{key}/{k}": v for k, v in answer_layer(line, case).items()}
    return out


def answer_layer(line: str, case: Arrays) -> Arrays:
    layer, s = build(line)
    load(layer, case, "param/")
    x, *state = [torch.tensor(case[k], requires_grad=True) for k in ("x", "h0", "c0") if k in case]
    hx = tuple(state) if len(state) == 2 else state[0]
    if s["lengths"] == "True":
        lengths = torch.tensor(case["lengths"])
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, last = layer(packed, hx)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
    else:
        y, last = layer(x, hx)
    outputs = [y, *last] if len(state) == 2 else [y, last]
    weights = [torch.tensor(case[k]) for k in ("gy", "gh", "gc") if k in case]
    sum((a * b).sum() for a, b in zip(outputs, weights, strict=True)).backward()
    out = {k: array(v) for k, v in zip(("y", "h_n", "c_n"), outputs, strict=False)}
    out |= {k: array(v.grad) for k, v in zip(("dx", "dh0", "dc0"), (x, *state), strict=False)}
    return out | {f"grad/{name}": array(p.grad) for name, p in layer.named_parameters()}


# --- Character language model

SYMBOLS, EMBEDDING, HIDDEN, ROWS, WINDOW, STEPS = 11, 6, 8, 5, 9, 40


def language_model() -> torch.nn.ModuleDict:
    return torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(SYMBOLS, EMBEDDING),
            "rnn": torch.nn.LSTM(EMBEDDING, HIDDEN, 2, batch_first=True),
            "fc": torch.nn.Linear(HIDDEN, SYMBOLS),
        }
    )


def draw_charlm(rng: np.random.Generator) -> Arrays:
    out = {"ids": rng.integers(SYMBOLS, size=(ROWS, 4 * WINDOW + 1))}
    for name, p in language_model().named_parameters():
        one = name.startswith("embedding")
        draw = rng.normal(size=p.shape) if one else rng.uniform(-1, 1, p.shape) / np.sqrt(HIDDEN)
        out[f"start/{name}"] = draw
    return out


def answer_charlm(data: Arrays) -> Arrays:
    model, ids, state = language_model(), torch.tensor(data["ids"]), None
    load(model, data, "start/")
    adam, losses, norms = torch.optim.Adam(model.parameters(), lr=0.02), [], []
    for step in range(STEPS):
        at = step % 4 * WINDOW
        y, state = model["rnn"](model["embedding"](ids[:, at : at + WINDOW]), state if at else None)
        state = tuple(s.detach() for s in state)
        targets = ids[:, at + 1 : at + 1 + WINDOW].reshape(-1)
        loss = torch.nn.functional.cross_entropy(model["fc"](y).reshape(-1, SYMBOLS), targets)
        adam.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        adam.step()
        losses.append(loss.item())
    out = {"losses": np.array(losses), "grad_norms": np.array(norms)}
    return out | {f"end/{name}": array(p) for name, p in model.named_parameters()}


# --- All of them


def load(module: torch.nn.Module, data: Arrays, prefix: str) -> None:
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.tensor(data[prefix + name]))


if __name__ == "__main__":
    main(
        {
            "torch_layers": (draw_layers, answer_layers),
            "torch_charlm": (draw_charlm, answer_charlm),
        }
    )
