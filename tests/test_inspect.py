"""What `recurra.inspect` finds, against the equations, finite differences and known answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurra
from gradcheck import gradcheck
from recurra import _core, inspect, reference
from recurra._recurrent import Recurrent

B, T, I, H, P = 3, 5, 2, 4, 3
LENGTHS = [5, 0, 3]

LAYERS: dict[str, Callable[..., Recurrent]] = {
    "rnn_tanh": recurra.RNN,
    "rnn_relu": lambda *a, **k: recurra.RNN(*a, nonlinearity="relu", **k),
    "lstm": recurra.LSTM,
    "lstm_projected": lambda *a, **k: recurra.LSTM(*a, proj_size=P, **k),
    "gru": recurra.GRU,
    "gru_before": lambda *a, **k: recurra.GRU(*a, reset_after=False, **k),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
every_length = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])


def made(make: Callable[..., Recurrent], **options: Any) -> Recurrent:
    recurra.manual_seed(3)
    return make(I, H, dtype=np.float64, **options)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def valid(lengths: list[int] | None) -> np.ndarray:
    return np.arange(T) < np.array([T] * B if lengths is None else lengths)[:, None]


def summed(outputs: tuple[Any, Any], weights: np.ndarray) -> Any:
    """A loss that depends on every output and on every final state."""
    y, state = outputs
    parts = state if isinstance(state, tuple) else (state,)
    return sum(((part * part).sum() for part in parts), (y * weights).sum())


# ---- activations


@every_layer
@every_length
def test_states_are_what_the_layer_puts_out(make: Any, lengths: list[int] | None) -> None:
    layer, x = made(make, num_layers=2, bidirectional=True), drawn(B, T, I)
    y, state = layer(x, lengths=lengths)
    found = inspect.activations(layer, x, lengths=lengths)
    assert list(found) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    h = np.concatenate([found["l1"].h, found["l1_reverse"].h], axis=2)
    keep = valid(lengths)
    np.testing.assert_allclose(h[keep], y.data[keep], rtol=0, atol=1e-12)
    assert np.isnan(h[~keep]).all()
    assert (found["l0"].c is not None) == isinstance(state, tuple)


@every_layer
@every_length
@pytest.mark.parametrize("with_state", [False, True])
def test_activations_are_those_of_the_reference(
    make: Any, lengths: list[int] | None, with_state: bool
) -> None:
    """Both directions, against what the reference keeps of each step of its loop."""
    layer, x = made(make, bidirectional=True), drawn(B, T, I)
    x[~valid(lengths)] = np.inf  # what lies behind is not looked at
    state = [drawn(2, B, width) for width in layer._stack.widths] if with_state else []
    given = tuple(state) if len(state) == 2 else state[0] if state else None
    with inspect.watch(layer) as calls:
        layer(x, given, lengths=lengths)
    for call in calls:
        forward = getattr(reference, call.cell.forward.__name__)
        options = dict(call.cell.options, lengths=call.lengths, reverse=call.reverse)
        saved = forward(**call.arrays, **options).saved
        found = call.activations()
        shown = [*found.gates.values(), *([] if found.c is None else [found.c])] or [found.h]
        for moment in saved.moments:
            here = saved.valid[:, moment.t, 0]
            for values, kept in zip(shown, moment.kept, strict=False):
                np.testing.assert_allclose(values[here, moment.t], kept[here], rtol=0, atol=1e-13)
                assert np.isnan(values[~here, moment.t]).all()


@every_length
def test_gates_of_an_lstm_solve_its_equations(lengths: list[int] | None) -> None:
    layer, x = made(recurra.LSTM), drawn(B, T, I)
    found = inspect.activations(layer, x, lengths=lengths)["l0"]
    w = {name: p.data for name, p in layer.named_parameters()}
    assert list(found.gates) == ["i", "f", "g", "o"]
    assert found.c is not None
    for b, t in np.argwhere(valid(lengths)):
        before = (found.h[b, t - 1], found.c[b, t - 1]) if t else (np.zeros(H), np.zeros(H))
        a = w["weight_ih_l0"] @ x[b, t] + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, f, g, o = np.split(a + w["weight_hh_l0"] @ before[0], 4)
        want = {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}
        for name, values in want.items():
            np.testing.assert_allclose(found.gates[name][b, t], values, rtol=0, atol=1e-14)
        c = want["f"] * before[1] + want["i"] * want["g"]
        np.testing.assert_allclose(found.c[b, t], c, rtol=0, atol=1e-14)
        np.testing.assert_allclose(found.h[b, t], want["o"] * np.tanh(c), rtol=0, atol=1e-14)


@pytest.mark.parametrize("reset_after", [True, False])
def test_gates_of_a_gru_solve_its_equations(reset_after: bool) -> None:
    layer, x = made(recurra.GRU, reset_after=reset_after), drawn(B, T, I)
    found = inspect.activations(layer, x)["l0"]
    r, z, n = found.gates.values()
    before = np.concatenate([np.zeros((B, 1, H)), found.h[:, :-1]], axis=1)
    np.testing.assert_allclose(found.h, (1 - z) * n + z * before, rtol=0, atol=1e-14)
    w, u = np.split(layer.weight_ih_l0.data, 3), np.split(layer.weight_hh_l0.data, 3)
    b, d = np.split(layer.bias_ih_l0.data, 3), np.split(layer.bias_hh_l0.data, 3)
    for gate, k in ((r, 0), (z, 1)):
        a = x @ w[k].T + b[k] + before @ u[k].T + d[k]
        np.testing.assert_allclose(gate, sigmoid(a), rtol=0, atol=1e-14)
    inner = r * (before @ u[2].T + d[2]) if reset_after else (r * before) @ u[2].T + d[2]
    np.testing.assert_allclose(n, np.tanh(x @ w[2].T + b[2] + inner), rtol=0, atol=1e-14)


def test_float32_stays_and_a_given_state_counts() -> None:
    layer = recurra.LSTM(I, H)
    x, h, c = (drawn(*s).astype(np.float32) for s in ((B, T, I), (1, B, H), (1, B, H)))
    y, _ = layer(x, (h, c))
    found = inspect.activations(layer, x, (h, c))["l0"]
    assert found.h.dtype == found.gates["i"].dtype == np.float32
    np.testing.assert_allclose(found.h, y.data, rtol=0, atol=1e-6)
    assert np.abs(found.h - inspect.activations(layer, x)["l0"].h).max() > 0.01


# ---- gradients at the states


def continued(
    layer: Recurrent, i: int, x: np.ndarray, t: int, lengths: Any, state: dict[str, np.ndarray]
) -> Any:
    """Cell `i` of the layer over the steps after t (before it, in reverse), by the reference."""
    reverse = i % 2 == 1 and layer.bidirectional
    rest = x[:, :t] if reverse else x[:, t + 1 :]
    n = np.clip(np.array(lengths) - (0 if reverse else t + 1), 0, rest.shape[1])
    n = np.where(np.array(lengths) > t, n, 0)
    forward = getattr(reference, layer._cell.forward.__name__)
    options = dict(layer._cell.options, lengths=n, reverse=reverse, save=False)
    return forward(rest, **layer._arrays(i), **state, **options)


@every_layer
@every_length
@pytest.mark.parametrize("reverse", [False, True])
def test_state_gradients_against_finite_differences(
    make: Any, lengths: list[int] | None, reverse: bool
) -> None:
    layer, x = made(make, bidirectional=True), drawn(B, T, I)
    i, n = int(reverse), lengths or [T] * B
    width = layer.proj_size or H
    weights = drawn(B, T, 2 * width)
    with inspect.watch(layer) as calls:
        summed(layer(x, lengths=lengths), weights).backward()
    found, states = calls[i].state_gradients(), calls[i].activations()
    mine = weights[:, :, i * width : (i + 1) * width]
    for t in range(T):
        here = np.array(n) > t
        rest = (slice(None), slice(0, t) if reverse else slice(t + 1, T))

        def loss(h: np.ndarray, c: np.ndarray | None = None, t: int = t, rest: Any = rest) -> float:
            state = {"h0": h} if c is None else {"h0": h, "c0": c}
            out = continued(layer, i, x, t, n, state)
            total = (out.y * mine[rest]).sum() + (h * mine[:, t]).sum() + (out.h_n**2).sum()
            return float(total if c is None else total + (out.c_n**2).sum())

        # Rows that do not have the step would add a term of their own: they are left out.
        at = {"h": np.nan_to_num(states.h[:, t])}
        claimed = {"h": found.dh[:, t].copy()}
        if states.c is not None and found.dc is not None:
            at["c"], claimed["c"] = np.nan_to_num(states.c[:, t]), found.dc[:, t].copy()
        for name, array in claimed.items():
            assert np.isnan(array[~here]).all()
            array[~here] = (mine[~here, t] if name == "h" else 0) + 2 * at[name][~here]
        gradcheck(loss, at, claimed, tolerance=1e-9)


def test_the_layer_above_is_part_of_the_gradient() -> None:
    """dL/dh_t of layer 0 of two, where L sees the output of layer 1 alone."""
    layer, x, weights = made(recurra.GRU, num_layers=2), drawn(B, T, I), drawn(B, T, H)
    with inspect.watch(layer) as calls:
        (layer(x)[0] * weights).sum().backward()
    below = calls[0].activations().h
    for t in range(T):

        def loss(h: np.ndarray, t: int = t) -> float:
            rest = continued(layer, 0, x, t, [T] * B, {"h0": h}).y
            whole = np.concatenate([below[:, :t], h[:, None], rest], axis=1)
            return float((reference.gru_forward(whole, **layer._arrays(1)).y * weights).sum())

        gradcheck(loss, {"h": below[:, t]}, {"h": calls[0].state_gradients().dh[:, t]})


@every_layer
def test_the_walk_has_the_bits_of_the_whole(make: Any) -> None:
    """The gradient at the first state, carried one step on, is what backward gives for h0."""
    layer, x, weights = made(make), drawn(B, T, I), drawn(B, T, layer_width(make))
    with inspect.watch(layer) as calls:
        summed(layer(x, lengths=LENGTHS), weights).backward()
    call, found = calls[0], calls[0].state_gradients()
    cell, given = call.cell, {k: v for k, v in call.arrays.items() if k != "x"}
    whole = cell.forward(x=x, **given, **cell.options, lengths=LENGTHS)
    first = cell.forward(x=x[:, :1], **given, **cell.options, lengths=np.minimum(LENGTHS, 1))
    rows = np.array(LENGTHS) > 0
    arriving = [np.where(rows[:, None], d[:, 0], 0) for d in found[: cell.states] if d is not None]
    a = cell.backward(whole.saved, *(call.gradients or ()))
    b = cell.backward(first.saved, None, *arriving)
    assert (a.dh0[rows] == b.dh0[rows]).all()
    assert (a.dx[:, 0] == b.dx[:, 0]).all()


def layer_width(make: Any) -> int:
    return int(made(make)._stack.widths[0])


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_a_linear_recurrence_scales_every_step(scale: float) -> None:
    """A relu network that is always open, with a rotation times `scale` as its matrix."""
    layer = recurra.RNN(1, 2, nonlinearity="relu", bias=False, dtype=np.float64)
    turn = scale * np.array([[0.0, 1.0], [1.0, 0.0]])
    layer.weight_ih_l0.data, layer.weight_hh_l0.data = np.ones((2, 1)), turn
    x = np.ones((1, 30, 1))
    norms = inspect.gradient_norms(layer, lambda: recurra.ops.sum(layer(x)[0][:, -1]))["l0"]
    np.testing.assert_allclose(norms, np.sqrt(2) * scale ** np.arange(29, -1, -1), rtol=1e-14)
    assert inspect.spectral_radius(layer)["l0"]["h"] == pytest.approx(scale, rel=1e-14)


def test_norms_are_over_the_rows_that_have_the_step() -> None:
    layer, x = made(recurra.GRU), drawn(B, T, I)
    with inspect.watch(layer) as calls:
        layer(x, lengths=[4, 0, 2])[0].sum().backward()
    found = calls[0].state_gradients()
    norms = found.norms()
    assert np.isnan(norms[4])
    assert norms[3] == pytest.approx(np.linalg.norm(found.dh[0, 3]), rel=1e-14)
    assert norms[1] == pytest.approx(np.linalg.norm(found.dh[[0, 2], 1]), rel=1e-14)


def test_tiny_and_broken_gradients_have_norms() -> None:
    ones = np.ones((1, 3), bool)
    dh = np.array([[[3e-200, 4e-200], [0.0, np.nan], [np.inf, 0.0]]])
    norms = inspect.StateGradients(dh, None, ones).norms()
    assert norms[0] == pytest.approx(5e-200, rel=1e-14)
    assert np.isnan(norms[1])
    assert np.isinf(norms[2])


def test_a_layer_that_the_loss_does_not_see_has_zeros() -> None:
    model = recurra.Module()
    model.seen, model.unseen = made(recurra.GRU), made(recurra.GRU)
    x = drawn(B, T, I)

    def loss() -> Any:
        model.unseen(x)
        return model.seen(x)[0].sum()

    norms = inspect.gradient_norms(model, loss)
    assert (norms["unseen.l0"] == 0).all()
    assert (norms["seen.l0"] > 0).all()


def test_gradients_and_layers_stay_as_they_are() -> None:
    layer, x = made(recurra.LSTM, num_layers=2), drawn(B, T, I)
    layer.weight_ih_l0.grad = np.ones(layer.weight_ih_l0.shape)
    inspect.gradient_norms(layer, lambda: recurra.ops.sum(layer(x)[0]))
    inspect.saliency(lambda x: layer(x)[0].sum(), x)
    assert (layer.weight_ih_l0.grad == 1).all()
    assert layer.weight_hh_l0.grad is None
    assert layer._core is _core
    assert "_core" not in vars(layer)


@pytest.mark.parametrize("memory", ["keep", "low"])
def test_watching_changes_no_bit(memory: str) -> None:
    layer, x = made(recurra.GRU, memory=memory, bidirectional=True), drawn(B, T, I)
    results = []
    for watched in (False, True):
        layer.zero_grad()
        if watched:
            with inspect.watch(layer) as calls:
                y, _ = layer(x, lengths=LENGTHS)
        else:
            y, _ = layer(x, lengths=LENGTHS)
        y.sum().backward()
        results.append([y.data, *(p.grad for p in layer.parameters())])
    assert all((a == b).all() for a, b in zip(*results, strict=True))
    assert len(calls) == 2


def test_calls_in_windows_and_inside_each_other() -> None:
    layer, x = made(recurra.GRU), drawn(B, 4, I)
    with inspect.watch(layer) as outer:
        _, state = layer(x[:, :2])
        with inspect.watch(layer) as inner:
            y, _ = layer(x[:, 2:], state)
    y.sum().backward()
    assert [call.name for call in outer] == ["l0", "l0[1]"]
    assert [call.name for call in inner] == ["l0"]
    first, second = (call.state_gradients().dh for call in outer)
    layer.zero_grad()
    with inspect.watch(layer) as whole:
        layer(x)[0][:, 2:].sum().backward()
    np.testing.assert_array_equal(
        np.concatenate([first, second], axis=1), whole[0].state_gradients().dh
    )


def test_a_call_keeps_what_it_saw() -> None:
    layer, x, gradient = made(recurra.GRU), drawn(B, T, I), drawn(B, T, H)
    with inspect.watch(layer) as calls:
        y, _ = layer(x)
    y.backward(gradient)
    call = calls[0]
    before = call.activations().h, call.state_gradients().dh
    for array in (layer.weight_hh_l0.data, x, gradient):
        array[...] = 0
    np.testing.assert_array_equal(call.activations().h, before[0])
    np.testing.assert_array_equal(call.state_gradients().dh, before[1])
    np.testing.assert_array_equal(before[0], y.data)


def test_a_failing_call_leaves_the_layer_as_it_was() -> None:
    layer = made(recurra.GRU)
    with pytest.raises(ValueError, match="GRU: x: expected"), inspect.watch(layer):
        layer(np.zeros((2, 3)))
    assert "_core" not in vars(layer)


# ---- eigenvalues


def test_eigenvalues_of_known_matrices() -> None:
    layer = recurra.LSTM(1, 2, dtype=np.float64)
    turn, stretch = np.array([[0.0, 2.0], [-2.0, 0.0]]), np.diag([3.0, -0.5])
    layer.weight_hh_l0.data = np.concatenate([turn, stretch, 0 * turn, np.eye(2)])
    found = inspect.eigenvalues(layer)["l0"]
    assert np.sort_complex(found["i"]) == pytest.approx(np.array([-2j, 2j]))
    assert np.sort_complex(found["f"]) == pytest.approx(np.array([-0.5, 3]))
    radii = inspect.spectral_radius(layer)["l0"]
    assert radii == pytest.approx({"i": 2, "f": 3, "g": 0, "o": 1})


def test_eigenvalues_of_a_projected_lstm() -> None:
    layer = made(LAYERS["lstm_projected"])
    found = inspect.eigenvalues(layer)["l0"]["f"]
    product = layer.weight_hh_l0.data[H : 2 * H] @ layer.weight_hr_l0.data  # (H, H), rank P
    large = sorted(np.linalg.eigvals(product), key=abs)[-P:]
    assert np.sort(np.abs(found)) == pytest.approx(np.sort(np.abs(large)))


def test_every_layer_and_direction_has_a_name() -> None:
    model = recurra.Sequential(made(recurra.RNN, num_layers=2, bidirectional=True))
    names = ["0.l0", "0.l0_reverse", "0.l1", "0.l1_reverse"]
    assert list(inspect.eigenvalues(model)) == names


# ---- saliency


@every_layer
def test_saliency_against_finite_differences(make: Any) -> None:
    layer, x, weights = made(make), drawn(B, T, I), drawn(B, T, layer_width(make))

    def score(x: Any) -> Any:
        return (layer(x)[0] * weights).sum()

    found = inspect.saliency(score, x)
    gradcheck(lambda x: score(x).item(), {"x": x}, {"x": found.gradient})
    np.testing.assert_array_equal(found.magnitude, np.abs(found.gradient))
    np.testing.assert_array_equal(found.times_input, found.gradient * x)


# ---- refusals


def test_refusals() -> None:
    layer, x = made(recurra.GRU), drawn(B, T, I)
    with pytest.raises(ValueError, match=r"^eigenvalues: model: expected one with an RNN"):
        inspect.spectral_radius(recurra.Linear(1, 1))
    with pytest.raises(TypeError, match=r"^watch: model: expected a Module, got int$"):
        inspect.watch(3).__enter__()
    with pytest.raises(ValueError, match=r"^gradient_norms: loss: expected a function that"):
        inspect.gradient_norms(layer, lambda: layer(x)[0])
    with inspect.watch(layer) as calls:
        layer(x)
    with pytest.raises(RuntimeError, match=r"^state_gradients: call: expected one that a backward"):
        calls[0].state_gradients()
    with pytest.raises(
        ValueError, match=r"^saliency: score: expected a tensor of one element, got"
    ):
        inspect.saliency(lambda x: layer(x)[0], x)
    with pytest.raises(ValueError, match=r"^saliency: score: expected one that depends on x"):
        inspect.saliency(lambda _: layer(x)[0].sum(), x)
    with recurra.no_grad(), pytest.raises(ValueError, match=r"^saliency: score: expected one that"):
        inspect.saliency(lambda x: layer(x)[0].sum(), x)
    with pytest.raises(TypeError, match=r"^saliency: x: expected float32 or float64, got int"):
        inspect.saliency(lambda x: x.sum(), np.ones(3, int))
    layer.weight_hh_l0.data[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^eigenvalues: l0: expected finite w_hh, got NaN"):
        inspect.eigenvalues(layer)
