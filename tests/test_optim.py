"""Optimizers and clipping: reference numbers, state, errors; and a whole training run."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from optimizers import CASES, GOLDEN, feed, leaf, start
from recurra import Tensor

CHARLM = np.load(Path(__file__).parent / "golden" / "torch_charlm.npz")


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, dtype: Any, tolerance: float) -> None:
    params = start(name, dtype)
    optimizer = CASES[name](params)
    for step in range(12):
        feed(name, params, step)
        optimizer.step()
        for i, p in enumerate(params):
            np.testing.assert_allclose(
                p.data, GOLDEN[f"{name}/after{i}"][step], rtol=0, atol=tolerance
            )


def test_every_optimizer_of_the_golden_numbers_is_here() -> None:
    assert {key.split("/")[0] for key in GOLDEN if key.endswith("/grads0")} == set(CASES)


def test_clip_value_golden() -> None:
    params = [Tensor(np.zeros(s), requires_grad=True) for s in ((3, 4), (5,))]
    for i, p in enumerate(params):
        p.grad = GOLDEN[f"clip_value/grad{i}"].copy()
    recurra.clip_grad_value(params, 1.0)
    for i, p in enumerate(params):
        np.testing.assert_array_equal(p.grad, GOLDEN[f"clip_value/clipped{i}"])


def test_clip_golden() -> None:
    params = [Tensor(np.zeros(s), requires_grad=True) for s in ((3, 4), (5,))]
    for i, p in enumerate(params):
        p.grad = GOLDEN[f"clip_norm/grad{i}"].copy()
    norm = recurra.clip_grad_norm(params, 1.0)
    assert isinstance(norm, float)
    np.testing.assert_allclose(norm, GOLDEN["clip_norm/total"], rtol=1e-14)
    for i, p in enumerate(params):
        np.testing.assert_allclose(p.grad, GOLDEN[f"clip_norm/clipped{i}"], rtol=1e-14)


class CharLM(recurra.Module):
    def __init__(self) -> None:
        self.embedding = recurra.Embedding(11, 6, dtype=np.float64)
        self.rnn = recurra.LSTM(6, 8, 2, dtype=np.float64)
        self.fc = recurra.Linear(8, 11, dtype=np.float64)

    def forward(self, ids: Any, state: Any) -> Any:
        y, state = self.rnn(self.embedding(ids), state)
        return self.fc(y), state


def named(prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): CHARLM[n] for n in CHARLM.files if n.startswith(prefix)}


def test_forty_steps_of_a_character_model() -> None:
    """Truncated backpropagation with Adam and clipping: every loss, norm and final parameter."""
    model, ids, T = CharLM(), CHARLM["ids"], 9
    model.load_state_dict(named("start/"))
    optimizer, state = recurra.Adam(model.parameters(), lr=0.02), None
    for step, (loss_wanted, norm_wanted) in enumerate(
        zip(CHARLM["losses"], CHARLM["grad_norms"], strict=True)
    ):
        k = step % 4 * T
        logits, after = model(ids[:, k : k + T], state if k else None)
        state = tuple(part.detach() for part in after)
        loss = recurra.cross_entropy(logits, ids[:, k + 1 : k + T + 1])
        optimizer.zero_grad()
        loss.backward()
        norm = recurra.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        assert abs(loss.item() - loss_wanted) < 1e-9
        assert abs(norm - norm_wanted) < 1e-9
    for name, wanted in named("end/").items():
        np.testing.assert_allclose(model.state_dict()[name], wanted, rtol=0, atol=1e-9)


class TestClip:
    def test_small_gradients_stay(self) -> None:
        p = leaf(0, 0)
        p.grad = np.array([0.3, 0.4])
        assert recurra.clip_grad_norm([p], 1.0) == 0.5
        assert p.grad.tolist() == [0.3, 0.4]

    def test_no_gradients(self) -> None:
        assert recurra.clip_grad_norm([leaf(1)], 1.0) == 0

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_norm_that_is_no_number_is_returned(self, value: float) -> None:
        p, q = leaf(0), leaf(0)
        p.grad, q.grad = np.array([value]), np.array([1.0])
        norm = recurra.clip_grad_norm([p, q], 1.0)
        assert not np.isfinite(norm)
        assert np.isnan(p.grad).all()

    def test_bad_limit(self) -> None:
        text = "clip_grad_norm: max_norm: expected 0 <= max_norm < inf, got nan"
        with raises(ValueError, text):
            recurra.clip_grad_norm([leaf(1)], float("nan"))
        text = "clip_grad_value: clip_value: expected 0 <= clip_value < inf, got -1"
        with raises(ValueError, text):
            recurra.clip_grad_value([leaf(1)], -1)

    def test_values_that_are_no_numbers_stay(self) -> None:
        p, q = leaf(0, 0, 0), leaf(0)
        p.grad = np.array([np.nan, np.inf, -np.inf])
        p.grad.flags.writeable = False
        kept = p.grad
        recurra.clip_grad_value([p, q], 2.0)
        np.testing.assert_array_equal(p.grad, [np.nan, 2, -2])
        assert np.isinf(kept[1])
        assert q.grad is None


@pytest.mark.parametrize("name", CASES)
class TestState:
    def test_it_goes_on_as_if_never_stopped(self, name: str) -> None:
        params = start(name)
        first = CASES[name](params)
        for step in range(5):
            feed(name, params, step)
            first.step()
        resumed = [Tensor(p.data.copy(), requires_grad=True) for p in params]
        second = CASES[name](resumed)
        second.load_state_dict(first.state_dict())
        for step in range(5, 12):
            for optimizer, group in ((first, params), (second, resumed)):
                feed(name, group, step)
                optimizer.step()
        assert [p.data.tobytes() for p in params] == [p.data.tobytes() for p in resumed]

    def test_the_state_is_a_copy_of_arrays(self, name: str) -> None:
        params = start(name)
        optimizer = CASES[name](params)
        feed(name, params, 0)
        optimizer.step()
        state = optimizer.state_dict()
        assert all(isinstance(a, np.ndarray) for a in state.values())
        assert all(a.dtype in (np.float64, np.int64) for a in state.values())
        before = {key: a.tobytes() for key, a in state.items()}
        feed(name, params, 1)
        optimizer.step()
        assert before == {key: a.tobytes() for key, a in state.items()}

    def test_a_parameter_without_gradient_is_left_alone(self, name: str) -> None:
        params = start(name)
        optimizer = CASES[name](params)
        feed(name, params, 0)
        params[1].grad = None
        before = params[1].data.copy()
        optimizer.step()
        np.testing.assert_array_equal(params[1].data, before)
        assert "step.0" in optimizer.state_dict()
        assert "step.1" not in optimizer.state_dict()
        feed(name, params, 0)  # the first step of this one, later than the other's
        optimizer.step()
        np.testing.assert_allclose(params[1].data, GOLDEN[f"{name}/after1"][0], rtol=1e-13)

    def test_zero_grad(self, name: str) -> None:
        params = start(name)
        feed(name, params, 0)
        CASES[name](params).zero_grad()
        assert [p.grad for p in params] == [None, None]


def test_names_in_the_state() -> None:
    model = recurra.Linear(2, 1)
    optimizer = recurra.Adam(model.named_parameters())
    model(np.ones((1, 2), np.float32)).sum().backward()
    optimizer.step()
    settings = ["lr", "beta1", "beta2", "eps", "weight_decay"]
    weight, bias = ([f"{key}.{name}" for key in ("step", "m", "v")] for name in ("weight", "bias"))
    assert list(optimizer.state_dict()) == settings + weight + bias


def test_the_learning_rate_may_change_and_is_kept() -> None:
    p = leaf(1)
    optimizer = recurra.SGD([p], lr=1.0)
    optimizer.lr = 0.25
    p.grad = np.array([2.0])
    optimizer.step()
    assert p.data.tolist() == [0.5]
    other = recurra.SGD([p], lr=1.0)
    other.load_state_dict(optimizer.state_dict())
    assert other.lr == 0.25


def test_bad_states_change_nothing() -> None:
    p = leaf(1, 2)
    p.grad = np.ones(2)
    optimizer = recurra.SGD([p], lr=1.0, momentum=0.5)
    optimizer.step()
    before = optimizer.state_dict()
    state = before | {
        "velocity.0": np.zeros(3),
        "velocity.9": np.zeros(2),
        "momentum": np.array(0.9),
    }
    del state["step.0"]
    text = (
        "SGD.load_state_dict: state: missing step.0; unexpected velocity.9; "
        "velocity.0: expected float64 (2,), got float64 (3,); "
        "momentum: expected 0.5 as this optimizer has, got 0.9"
    )
    with raises(ValueError, text):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert {k: a.tobytes() for k, a in before.items()} == {k: a.tobytes() for k, a in after.items()}


def test_a_step_makes_older_graphs_stale() -> None:
    w, x = leaf(1), leaf(2)
    old = w * x
    (w * 3).sum().backward()
    recurra.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="updated since"):
        old.backward()


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (
            lambda: recurra.SGD([leaf(1)], lr=-1),
            ValueError,
            "SGD: lr: expected 0 <= lr < inf, got -1",
        ),
        (
            lambda: recurra.SGD([leaf(1)], lr=1, nesterov=True),
            ValueError,
            "SGD: nesterov: expected a momentum > 0 with it, got 0",
        ),
        (
            lambda: recurra.Adam([leaf(1)], betas=(0.9, 1)),
            ValueError,
            "Adam: betas[1]: expected 0 <= betas[1] < 1, got 1",
        ),
        (
            lambda: recurra.AdamW([leaf(1)], lr=float("nan")),
            ValueError,
            "AdamW: lr: expected 0 <= lr < inf, got nan",
        ),
        (
            lambda: recurra.Adam([]),
            ValueError,
            "Adam: params: expected at least one tensor, got none",
        ),
        (
            lambda: recurra.Adam(leaf(1)),
            TypeError,
            "Adam: params: expected an iterable of tensors, got one tensor",
        ),
        (
            lambda: recurra.Adam([leaf(1), Tensor([1.0])]),
            TypeError,
            "Adam: params: expected leaf tensors that require grad, "
            "got a tensor that does not require grad as 1",
        ),
        (
            lambda: recurra.Adam([("w", leaf(1) * 2)]),
            TypeError,
            "Adam: params: expected leaf tensors that require grad, "
            "got the result of an operation as w",
        ),
        (
            lambda: recurra.Adam([np.zeros(1)]),
            TypeError,
            "Adam: params: expected leaf tensors that require grad, got ndarray as 0",
        ),
        (
            lambda: recurra.Adam([leaf(1)] * 2),
            ValueError,
            "Adam: params: expected each name and tensor once, got repeats",
        ),
    ],
)
def test_bad_arguments(make: Any, kind: type[Exception], text: str) -> None:
    p = leaf(1)
    recurra.Adam([p])
    with raises(kind, text):
        make()


def test_repeated_tensors_are_refused() -> None:
    p = leaf(1)
    text = "SGD: params: expected each name and tensor once, got repeats"
    for params in ([p, p], [("a", p), ("b", p)], [("a", p), ("a", leaf(1))]):
        with raises(ValueError, text):
            recurra.SGD(params, lr=1)


@pytest.mark.parametrize("data", [np.zeros((2, 3)).T, np.broadcast_to(0.0, (2, 3))])
def test_values_that_cannot_be_updated_in_place(data: np.ndarray) -> None:
    p = Tensor(data, requires_grad=True)
    p.grad = np.ones(p.shape)
    text = "SGD.step: 0: expected a writable C-contiguous array, got one that is not"
    with raises(ValueError, text):
        recurra.SGD([p], lr=1).step()


def test_a_gradient_of_any_layout() -> None:
    p = Tensor(np.zeros((2, 3)), requires_grad=True)
    p.grad = np.arange(6.0).reshape(3, 2).T
    recurra.SGD([p], lr=1).step()
    np.testing.assert_array_equal(p.data, [[0, -2, -4], [-1, -3, -5]])


@pytest.mark.parametrize(
    ("grad", "kind", "text"),
    [
        (np.ones(3), ValueError, "grad of 1: expected shape of the parameter = (2,), got (3,)"),
        (np.ones(2, np.float32), TypeError, "grad of 1: expected float64, got float32"),
    ],
)
def test_bad_gradients_change_nothing(grad: Any, kind: type[Exception], text: str) -> None:
    p, q = leaf(1, 2), leaf(1, 2)
    p.grad, q.grad = np.ones(2), grad
    optimizer = recurra.Adam([p, q])
    with raises(kind, f"Adam.step: {text}"):
        optimizer.step()
    assert p.data.tolist() == [1, 2]
    assert "step.0" not in optimizer.state_dict()


def test_clipping_copies_gradients_that_cannot_be_scaled_in_place() -> None:
    everyone = np.array([[3.0, 0.0], [4.0, 0.0]])
    strided, constant = everyone[:, 0], np.array([12.0])
    constant.flags.writeable = False
    params = [recurra.Tensor(np.zeros(n), requires_grad=True) for n in (2, 1)]
    params[0].grad, params[1].grad = strided, constant
    assert recurra.clip_grad_norm(params, max_norm=1.3) == 13.0
    np.testing.assert_allclose(np.concatenate([p.grad for p in params]), [0.3, 0.4, 1.2], rtol=1e-6)
    assert (everyone[:, 0].tolist(), constant.tolist()) == ([3.0, 4.0], [12.0])


def test_a_refusal_by_the_core_changes_no_parameter() -> None:
    params = [leaf(1, 2), leaf(3, 4)]
    params[0].grad = np.ones(2)
    params[1].grad = params[1].data
    optimizer = recurra.Adam(params)
    text = "adam_step: grad: expected memory of its own, got memory that param has, too"
    with raises(ValueError, text):
        optimizer.step()
    assert [p.data.tolist() for p in params] == [[1, 2], [3, 4]]
    assert not [key for key in optimizer.state_dict() if key.startswith(("step", "m.", "v."))]


def test_parameters_of_one_memory_have_their_turns() -> None:
    values = np.array([1.0, 2.0, 3.0])
    params = [Tensor(values[:2], requires_grad=True), Tensor(values[1:], requires_grad=True)]
    for p in params:
        p.grad = np.ones(2)
    recurra.SGD(params, lr=0.5).step()
    assert values.tolist() == [0.5, 1.0, 2.5]


def test_one_group_may_have_both_precisions() -> None:
    params = [leaf(1, dtype=np.float32), leaf(1, dtype=np.float64)]
    for p in params:
        p.grad = np.ones_like(p.data)
    assert recurra.clip_grad_norm(params, 1.0) == np.sqrt(2)
    recurra.NAdam(params, lr=0.25).step()
    assert [p.dtype for p in params] == [np.float32, np.float64]
    assert abs(params[0].item() - params[1].item()) < 1e-7
    assert params[1].item() < 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"grads": []}, "grad: expected one for each of 1 parameters, got 0"),
        ({"steps": [1, 2]}, "steps: expected one for each of 1 parameters, got 2"),
        ({"steps": [0]}, "step: expected an integer from 1 on, got 0"),
        ({"m": [np.zeros(2)]}, "m: expected shape of param = (1,), got (2,)"),
        ({"v": [np.zeros(1, np.float32)]}, "v: expected dtype float64 as param has, got float32"),
    ],
)
def test_lists_that_do_not_fit(change: dict[str, Any], text: str) -> None:
    given = {name: [np.ones(1)] for name in ("params", "grads", "m", "v")} | {"steps": [1]} | change
    names = ("lr", "beta1", "beta2", "eps", "weight_decay")
    numbers = dict(zip(names, (0.1, 0.9, 0.999, 1e-8, 0.0), strict=True))
    with raises((TypeError, ValueError), f"adam_step: {text}"):
        recurra._core.adam_step(**given, v_max=None, **numbers, decoupled=False)
    assert given["params"][0] == 1
