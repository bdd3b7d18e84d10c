"""Make torch_blocks.npz with PyTorch: convolution, pooling, normalization, attention.

    python make_blocks.py OUT_DIR            recompute the numbers for the inputs stored beside this
                                             file, print how far they are from the stored ones
    python make_blocks.py OUT_DIR --seed N   the same cases with newly drawn inputs

Needs torch and NumPy. Everything is float64 on one thread; a right float64 implementation agrees to
about 1e-12. "meta" has one line of JSON a case: the kind of layer, its options, and "arrays", the
name and shape of each array, which stand one after the other in "values" (lengths and masks as
numbers). Convolutions have kernel_size 3 where nothing else is said. Letters: B rows, T steps, C
channels, Q queries, K keys.

in/NAME     what goes in: x (B, T, C), query, key, value, lengths (B,), mask (B, Q, K).
param/NAME  the parameters. g/NAME: the gradients that come back for the outputs NAME.
out/NAME    the outputs; with lengths, each row is computed alone without its padding, and the
            rest is zero. Batch normalization has x and y of several steps (S, B, T, C), after
            each of them the running averages, and y_eval, x of the first step in eval mode.
grad/NAME   the gradients of the sum of g * output for every float input and parameter; for
            batch normalization of the sum over all steps, and grad_eval for y_eval alone.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

HERE = Path(__file__).parent
Arrays = dict[str, np.ndarray]
Tensors = dict[str, torch.Tensor]

B, T, C, O = 3, 7, 4, 4
LENGTHS = [7, 3, 5]

ATTENTIONS = ("additive", "dot", "general", "concat", "scaled", "multihead")
CONVOLUTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"stride": 2},
    {"stride": 3, "padding": 2},
    {"dilation": 2, "padding": 1},
    {"padding": "same"},
    {"padding": "same", "kernel_size": 4, "dilation": 2},
    {"padding": "causal", "dilation": 3},
    {"padding": "causal", "stride": 2},
    {"padding": "valid", "kernel_size": 1},
    {"groups": 2},
    {"groups": 4, "padding": "same"},
]
POOLS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
]


def cases() -> list[dict[str, Any]]:
    """Return the lines of meta."""
    found: list[dict[str, Any]] = []
    for lengths in (False, True):
        kinds: list[tuple[str, dict[str, Any]]] = [("conv1d", c) for c in CONVOLUTIONS]
        kinds += [(kind, pool) for kind in ("max_pool1d", "avg_pool1d") for pool in POOLS]
        kinds += [("avg_pool1d", POOLS[2] | {"count_include_pad": False})]
        kinds += [("adaptive_avg_pool1d", {"output_size": n}) for n in (1, 3, 9)]
        kinds += [("batch_norm", c) for c in ({}, {"momentum": None}, {"affine": False})]
        found += [{"kind": k, "lengths": lengths, "options": c} for k, c in kinds]
    norms: list[dict[str, Any]] = [{}, {"bias": False}, {"elementwise_affine": False, "eps": 1e-3}]
    found += [{"kind": "layer_norm", "lengths": False, "options": c} for c in norms]
    for lengths, mask in ((False, False), (True, True)):
        kinds = [(kind, {"mask": mask}) for kind in ATTENTIONS]
        found += [{"kind": k, "lengths": lengths, "options": c} for k, c in kinds]
    found.append({"kind": "scaled", "lengths": False, "options": {"mask": False, "causal": True}})
    return found


# --- Convolution and pooling, (B, T, C) outside and (B, C, T) in PyTorch


def draw_sliding(case: dict[str, Any], rng: np.random.Generator) -> Arrays:
    out = {"in/x": rng.normal(size=(B, T, C))}
    options = case["options"]
    if case["kind"] == "conv1d":
        channels = C // options.get("groups", 1)
        shape = (O, channels, options.get("kernel_size", 3))
        out["param/weight"] = rng.normal(size=shape)
        if options.get("bias", True):
            out["param/bias"] = rng.normal(size=shape[0])
    return out


def slide(case: dict[str, Any], x: torch.Tensor, given: Tensors) -> torch.Tensor:
    """x (1, C, T) to (1, O, N)."""
    options = dict(case["options"])
    if case["kind"] != "conv1d":
        return getattr(functional, case["kind"])(x, **options)
    room = options.get("dilation", 1) * (options.pop("kernel_size", 3) - 1)
    options.pop("bias", None)
    if options.get("padding") == "causal":
        options["padding"], x = 0, functional.pad(x, (room, 0))
    return functional.conv1d(x, given["param/weight"], given.get("param/bias"), **options)


def answer_sliding(case: dict[str, Any], given: Tensors) -> Tensors:
    x, lengths = given["in/x"].transpose(1, 2), given.get("in/lengths", torch.full((B,), T))
    rows = [slide(case, x[b : b + 1, :, :n], given)[0].T for b, n in enumerate(lengths)]
    whole = slide(case, torch.zeros(1, C, T), given).shape[2]
    return {
        "out/y": torch.stack([functional.pad(row, (0, 0, 0, whole - len(row))) for row in rows])
    }


# --- Normalization

STEPS = 2


def draw_norm(case: dict[str, Any], rng: np.random.Generator) -> Arrays:
    is_batch = case["kind"] == "batch_norm"
    out = {"in/x": 2 * rng.normal(size=(STEPS, B, T, C) if is_batch else (B, T, C)) + 0.5}
    options = case["options"]
    if options.get("affine", options.get("elementwise_affine", True)):
        out["param/weight"] = rng.normal(size=C)
        if options.get("bias", True):
            out["param/bias"] = rng.normal(size=C)
    return out


def answer_layer_norm(case: dict[str, Any], given: Tensors) -> Tensors:
    eps = case["options"].get("eps", 1e-5)
    weight, bias = given.get("param/weight"), given.get("param/bias")
    return {"out/y": functional.layer_norm(given["in/x"], (C,), weight, bias, eps)}


def answer_batch_norm(case: dict[str, Any], given: Tensors) -> Tensors:
    layer, x = torch.nn.BatchNorm1d(C, **case["options"]), given["in/x"]
    lengths = given.get("in/lengths", torch.full((B,), T))
    valid = torch.arange(T) < lengths[:, None]
    parameters = {n[6:]: given[n] for n in ("param/weight", "param/bias") if n in given}

    def run(x: torch.Tensor) -> torch.Tensor:
        rows = torch.func.functional_call(layer, parameters, (x[valid],))
        return torch.zeros(x.shape).masked_scatter(valid[..., None], rows)

    out, ys = {}, []
    for step in range(STEPS):
        ys.append(run(x[step]))
        for name in ("running_mean", "running_var"):
            out[f"out/{name}_{step}"] = getattr(layer, name).clone()
    layer.eval()
    return {"out/y": torch.stack(ys), "out/y_eval": run(x[0])} | out


# --- Attention

Q, K, CQ, CK, CV, HIDDEN, HEADS = 4, 6, 4, 6, 5, 7, 2
KEY_LENGTHS = [6, 1, 3]


def attention_shapes(kind: str) -> tuple[int, int, dict[str, tuple[int, ...]]]:
    """Return Cq, Ck and the shapes of the parameters."""
    if kind == "additive":
        shapes = {"query_layer.weight": (HIDDEN, CQ), "key_layer.weight": (HIDDEN, CK)}
        return CQ, CK, shapes | {"weight": (HIDDEN,)}
    if kind == "general":
        return CQ, CK, {"weight": (CQ, CK)}
    if kind == "concat":
        return CQ, CK, {"weight": (HIDDEN, CQ + CK), "vector": (HIDDEN,)}
    if kind == "multihead":
        e = CK
        shapes = {"in_proj_weight": (3 * e, e), "in_proj_bias": (3 * e,)}
        return e, e, shapes | {"out_proj.weight": (e, e), "out_proj.bias": (e,)}
    return CQ, CQ, {}


def draw_attention(case: dict[str, Any], rng: np.random.Generator) -> Arrays:
    query, key, shapes = attention_shapes(case["kind"])
    value = key if case["kind"] == "multihead" else CV
    out = {f"param/{name}": rng.normal(size=shape) for name, shape in shapes.items()}
    out |= {"in/query": rng.normal(size=(B, Q, query)), "in/key": rng.normal(size=(B, K, key))}
    out["in/value"] = rng.normal(size=(B, K, value))
    if case["options"]["mask"]:
        mask = rng.random((B, Q, K)) < 0.6
        mask[:, :, 0] = True  # PyTorch gives NaN for a query without any key
        out["in/mask"] = mask
    return out


def score(kind: str, q: torch.Tensor, k: torch.Tensor, given: Tensors) -> torch.Tensor:
    if kind == "dot":
        return q @ k.transpose(1, 2)
    if kind == "general":
        return torch.einsum("bqi,ij,bkj->bqk", q, given["param/weight"], k)
    if kind == "concat":
        pairs = torch.cat(
            [q[:, :, None].expand(-1, -1, K, -1), k[:, None].expand(-1, Q, -1, -1)], 3
        )
        return torch.tanh(pairs @ given["param/weight"].T) @ given["param/vector"]
    left = q @ given["param/query_layer.weight"].T
    right = k @ given["param/key_layer.weight"].T
    return torch.tanh(left[:, :, None] + right[:, None]) @ given["param/weight"]


def answer_attention(case: dict[str, Any], given: Tensors) -> Tensors:
    kind, options = case["kind"], case["options"]
    q, k, v = given["in/query"], given["in/key"], given["in/value"]
    lengths = given.get("in/lengths", torch.full((B,), K))
    allowed = given.get("in/mask", torch.ones(B, Q, K, dtype=torch.bool))
    allowed = allowed & (torch.arange(K) < lengths[:, None])[:, None]
    if options.get("causal"):
        allowed = allowed & torch.ones(Q, K, dtype=torch.bool).tril()
    if kind == "multihead":
        layer = torch.nn.MultiheadAttention(CK, HEADS, batch_first=True)
        parameters = {name[6:]: p for name, p in given.items() if name.startswith("param/")}
        options = {"attn_mask": ~allowed.repeat_interleave(HEADS, 0), "average_attn_weights": False}
        y, weights = torch.func.functional_call(layer, parameters, (q, k, v), options)
        return {"out/context": y, "out/weights": weights}
    if kind == "scaled":
        context = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        weights = functional.scaled_dot_product_attention(
            q, k, torch.eye(K).expand(B, K, K), allowed
        )
        return {"out/context": context, "out/weights": weights}
    weights = score(kind, q, k, given).masked_fill(~allowed, -torch.inf).softmax(2)
    return {"out/context": weights @ v, "out/weights": weights}


# --- All of them

ANSWERS: dict[str, Callable[[dict[str, Any], Tensors], Tensors]] = {
    "conv1d": answer_sliding,
    "max_pool1d": answer_sliding,
    "avg_pool1d": answer_sliding,
    "adaptive_avg_pool1d": answer_sliding,
    "layer_norm": answer_layer_norm,
    "batch_norm": answer_batch_norm,
}


def draw(case: dict[str, Any], rng: np.random.Generator) -> Arrays:
    kind = case["kind"]
    if kind.endswith("norm"):
        out = draw_norm(case, rng)
    else:
        out = (draw_sliding if kind in ANSWERS else draw_attention)(case, rng)
    if case["lengths"]:
        out["in/lengths"] = np.array(LENGTHS if kind in ANSWERS else KEY_LENGTHS)
    with torch.no_grad():
        outputs = ANSWERS.get(kind, answer_attention)(case, tensors(out))
    for name in outputs:
        if "running" not in name:
            out[name.replace("out/", "g/")] = rng.normal(size=outputs[name].shape)
    return out


def tensors(data: Arrays) -> Tensors:
    return {name: torch.tensor(value) for name, value in data.items()}


def answer(case: dict[str, Any], data: Arrays) -> Arrays:
    given = tensors(data)
    leaves = {
        n: t.requires_grad_() for n, t in given.items() if t.is_floating_point() and n[0] in "ip"
    }
    outputs = ANSWERS.get(case["kind"], answer_attention)(case, given)
    out = {name: value.detach().numpy() for name, value in outputs.items()}
    groups = [["out/y"], ["out/y_eval"]] if "out/y_eval" in outputs else [list(data)]
    for prefix, group in zip(("grad/", "grad_eval/"), groups, strict=False):
        names = [name for name in outputs if name in group or name.replace("out/", "g/") in group]
        loss = sum((outputs[n] * given[n.replace("out/", "g/")]).sum() for n in names)
        found = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
        out |= {prefix + n.split("/")[1]: g.numpy() for n, g in zip(leaves, found, strict=True)}
    return out


def read(path: Path) -> list[tuple[dict[str, Any], Arrays]]:
    """Return each stored case with its arrays."""
    file, found, at = np.load(path), [], 0
    for line in file["meta"]:
        case, arrays = json.loads(str(line)), {}
        for name, shape in case.pop("arrays"):
            end = at + int(np.prod(shape))
            dtype = {"in/lengths": np.int64, "in/mask": np.bool_}.get(name, np.float64)
            arrays[name] = file["values"][at:end].reshape(shape).astype(dtype)
            at = end
        found.append((case, arrays))
    return found


def write(path: Path, cases: list[tuple[dict[str, Any], Arrays]]) -> None:
    meta = [
        json.dumps(case | {"arrays": [[name, a.shape] for name, a in arrays.items()]})
        for case, arrays in cases
    ]
    values = [a.astype(np.float64).ravel() for _, arrays in cases for a in arrays.values()]
    np.savez_compressed(path, meta=np.array(meta), values=np.concatenate(values))


def rounded(drawn: Arrays) -> Arrays:
    """Round what goes in, so that the file is small."""
    return {name: a.round(3) if a.dtype == np.float64 else a for name, a in drawn.items()}


def is_answer(name: str) -> bool:
    return name.split("/", maxsplit=1)[0] in ("out", "grad", "grad_eval")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the golden numbers with PyTorch.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--seed", type=int, help="draw new inputs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.seed is None:
        known = read(HERE / "torch_blocks.npz")
    else:
        rng = np.random.default_rng(arguments.seed)
        known = [(case, rounded(draw(case, rng))) for case in cases()]
    far, found = 0.0, []
    for case, arrays in known:
        inputs = {name: a for name, a in arrays.items() if not is_answer(name)}
        answers = answer(case, inputs)
        before = {name: a for name, a in arrays.items() if is_answer(name)}
        far = max([far, *(float(np.abs(answers[n] - a).max()) for n, a in before.items())])
        found.append((case, inputs | answers))
    state = f"at most {far:.1e} from the stored ones" if arguments.seed is None else "new"
    print(f"torch_blocks: {len(found)} cases, {state}")
    write(arguments.out / "torch_blocks.npz", found)


if __name__ == "__main__":
    main()
