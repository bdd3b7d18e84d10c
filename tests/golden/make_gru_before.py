"""Make gru_before.npz: GRU stacks with reset_after=False, which PyTorch does not have, with Keras.

    python make_gru_before.py OUT_DIR            recompute the numbers for the stored inputs and
                                                 print how far they are from the stored ones
    python make_gru_before.py OUT_DIR --seed N   the same cases with newly drawn inputs

Needs keras 3, tensorflow-cpu (the one backend on which Keras 3.15 computes in float64: on jax and
torch its functions promote float64 to float32) and NumPy for the numbers; onnx and onnxruntime
confirm the outputs in float32 (GRU with linear_before_reset=0) to 1e-5 before anything is written.

Keys and shapes are those of torch_layers.npz, parameters in this project's layout: gates r z n,
rows first. Keras has z r n, rows last, and a single bias, which stands for the sum of bias_ih and
bias_hh (without a reset gate on it, b_hn is no different from b_in), so that both have its
gradient. ONNX has z r n, rows first, and both biases.
"""

import argparse
import os
from pathlib import Path

import numpy as np

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
import keras
import onnxruntime
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
Arrays = dict[str, np.ndarray]

B, T, I, H = 4, 7, 5, 6
LENGTHS = [5, 7, 0, 3]


def cases() -> list[str]:
    """Return the lines of meta."""
    rows = [(n, both, True, lens) for n in (1, 2) for both in (0, 1) for lens in (0, 1)]
    rows += [(1, both, False, lens) for both in (0, 1) for lens in (0, 1)]
    line = "c{:03d} GRU_before num_layers={} bidirectional={} bias={} lengths={} proj_size=0"
    return [
        line.format(k, n, bool(both), bias, bool(lens))
        for k, (n, both, bias, lens) in enumerate(rows)
    ]


def settings(line: str) -> tuple[str, int, int, bool]:
    """Return the key, the layers, the directions, and whether there are biases."""
    key, _, *items = line.split()
    s = dict(item.split("=") for item in items)
    return key, int(s["num_layers"]), 1 + (s["bidirectional"] == "True"), s["bias"] == "True"


def suffixes(layers: int, directions: int) -> list[list[str]]:
    return [[f"l{k}", f"l{k}_reverse"][:directions] for k in range(layers)]


def draw(rng: np.random.Generator) -> Arrays:
    meta = cases()
    out: Arrays = {"meta": np.array(meta)}
    for line in meta:
        key, L, D, bias = settings(line)
        shapes = {"x": (B, T, I), "gy": (B, T, D * H), "h0": (L * D, B, H), "gh": (L * D, B, H)}
        out |= {f"{key}/{name}": rng.normal(size=shape) for name, shape in shapes.items()}
        out[f"{key}/lengths"] = np.array(LENGTHS if "lengths=True" in line else [T] * B)
        for k, names in enumerate(suffixes(L, D)):
            for name in names:
                shapes = {"weight_ih": (3 * H, D * H if k else I), "weight_hh": (3 * H, H)}
                shapes |= {"bias_ih": (3 * H,), "bias_hh": (3 * H,)} if bias else {}
                for kind, shape in shapes.items():
                    out[f"{key}/param/{kind}_{name}"] = 0.6 * rng.normal(size=shape)
    return out


def swap(a: np.ndarray) -> np.ndarray:
    """Exchange the gates r and z, the first two thirds of the rows: its own inverse."""
    return np.concatenate([a[H : 2 * H], a[:H], a[2 * H :]])


def keras_layer(case: Arrays, name: str) -> keras.layers.GRU:
    bias = f"param/bias_ih_{name}" in case
    layer = keras.layers.GRU(
        H,
        reset_after=False,
        use_bias=bias,
        return_sequences=True,
        return_state=True,
        go_backwards=name.endswith("reverse"),
        zero_output_for_mask=True,
    )
    weights = [case[f"param/weight_ih_{name}"], case[f"param/weight_hh_{name}"]]
    if bias:
        weights.append(case[f"param/bias_ih_{name}"] + case[f"param/bias_hh_{name}"])
    layer.build((B, T, weights[0].shape[1]))
    layer.set_weights([swap(w).T for w in weights])
    return layer


def keras_answer(line: str, case: Arrays) -> Arrays:
    _, L, D, _ = settings(line)
    x, h0 = (tf.constant(case[name]) for name in ("x", "h0"))
    mask = tf.constant(np.arange(T) < case["lengths"][:, None])
    y, last, layers = x, [], {}
    with tf.GradientTape() as tape:
        tape.watch([x, h0])
        for names in suffixes(L, D):
            outs = []
            for name in names:
                layers[name] = keras_layer(case, name)
                out, h = layers[name](y, mask=mask, initial_state=h0[len(last)])
                outs.append(out[:, ::-1] if name.endswith("reverse") else out)
                last.append(h)
            y = tf.concat(outs, axis=2)
        h_n = tf.stack(last)
        loss = tf.reduce_sum(y * case["gy"]) + tf.reduce_sum(h_n * case["gh"])
    weights = [[w.value for w in layer.trainable_weights] for layer in layers.values()]
    dx, dh0, dweights = tape.gradient(loss, (x, h0, weights))
    out = {"y": y, "h_n": h_n, "dx": dx, "dh0": dh0}
    for name, grads in zip(layers, dweights, strict=True):
        kinds = [["weight_ih"], ["weight_hh"], ["bias_ih", "bias_hh"]]
        for kind, grad in zip(kinds, grads, strict=False):
            out |= {f"grad/{k}_{name}": swap(grad.numpy().T) for k in kind}
    return {k: np.asarray(v) for k, v in out.items()}


def onnx_layer(case: Arrays, names: list[str], x: np.ndarray, h0: np.ndarray) -> list[np.ndarray]:
    """Return y (B, T, D*H) and h_n (D, B, H) of one layer in both directions, from ONNX Runtime."""
    weights = {
        "W": np.stack([swap(case[f"param/weight_ih_{name}"]) for name in names]),
        "R": np.stack([swap(case[f"param/weight_hh_{name}"]) for name in names]),
    }
    if f"param/bias_ih_{names[0]}" in case:
        pairs = [(case[f"param/bias_ih_{n}"], case[f"param/bias_hh_{n}"]) for n in names]
        weights["B"] = np.stack([np.concatenate([swap(i), swap(h)]) for i, h in pairs])
    inputs = {"X": x.transpose(1, 0, 2), "lengths": case["lengths"], "h0": h0}
    node = helper.make_node(
        "GRU",
        ["X", "W", "R", "B" if "B" in weights else "", "lengths", "h0"],
        ["Y", "Y_h"],
        hidden_size=H,
        linear_before_reset=0,
        direction="bidirectional" if len(names) == 2 else "forward",
    )
    graph = helper.make_graph(
        [node],
        "gru",
        [
            helper.make_tensor_value_info(
                k, TensorProto.INT32 if k == "lengths" else TensorProto.FLOAT, v.shape
            )
            for k, v in inputs.items()
        ],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in ("Y", "Y_h")],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    feed = {k: v.astype(np.int32 if k == "lengths" else np.float32) for k, v in inputs.items()}
    y, h_n = onnxruntime.InferenceSession(model).run(None, feed)
    return [y.transpose(2, 0, 1, 3).reshape(B, T, -1), h_n]


def confirm(line: str, case: Arrays, answer: Arrays) -> float:
    """Return how far ONNX Runtime's float32 outputs are from Keras'; refuse more than 1e-5.

    The last state of rows of length 0 is left out: ONNX Runtime gives 0 there, whatever h0 is.
    """
    _, L, D, _ = settings(line)
    y, last = case["x"], []
    for k, names in enumerate(suffixes(L, D)):
        y, h_n = onnx_layer(case, names, y, case["h0"][k * D : (k + 1) * D])
        last.append(h_n)
    some = case["lengths"] > 0
    far_h = np.abs(np.concatenate(last) - answer["h_n"])[:, some].max()
    far = [np.abs(y - answer["y"]).max(), far_h]
    if not max(far) < 1e-5:
        raise SystemExit(f"{line}: ONNX Runtime is {far} from Keras in y and h_n")
    return float(max(far))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make gru_before.npz with Keras.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--seed", type=int, help="draw new inputs")
    arguments = parser.parse_args()
    keras.config.set_floatx("float64")
    if arguments.seed is None:
        data = dict(np.load(HERE / "gru_before.npz"))
    else:
        data = draw(np.random.default_rng(arguments.seed))
    answers, far = {}, 0.0
    for line in data["meta"]:
        key = line.split()[0]
        case = {k.removeprefix(f"{key}/"): v for k, v in data.items() if k.startswith(f"{key}/")}
        answer = keras_answer(line, case)
        far = max(far, confirm(line, case, answer))
        answers |= {f"{key}/{k}": v for k, v in answer.items()}
    print(f"{len(data['meta'])} cases; ONNX Runtime's outputs are at most {far:.1e} away")
    if arguments.seed is None:
        far = max(np.abs(value - data[key]).max() for key, value in answers.items())
        print(f"at most {far:.1e} from the stored numbers")
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.out / "gru_before.npz", **(data | answers))


if __name__ == "__main__":
    main()
