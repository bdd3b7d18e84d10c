"""Groups of parameters: settings of their own, names, saved states, refusals."""

import re
from typing import Any

import numpy as np
import pytest

import recurra
from optimizers import leaf


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def stepped(optimizer: recurra.optim.Optimizer) -> None:
    for p in optimizer.params.values():
        p.grad = np.ones(p.shape)
    optimizer.step()


def two(lr: float = 1.0, **options: Any) -> recurra.optim.Optimizer:
    a, b = leaf(1), leaf(1, 2)
    groups = [{"params": [("a", a)], "lr": 0.5}, {"params": [("b", b)], **options}]
    return recurra.SGD(groups, lr=lr)


def test_each_group_has_its_own_settings() -> None:
    optimizer = two(weight_decay=0.5)
    stepped(optimizer)
    assert optimizer.params["a"].data.tolist() == [0.5]
    assert optimizer.params["b"].data.tolist() == [-0.5, 0]
    assert [dict(g)["weight_decay"] for g in optimizer.param_groups] == [0, 0.5]
    assert optimizer.param_groups[1]["params"][0] is optimizer.params["b"]
    settings = "{'lr': 1.0, 'momentum': 0.0, 'nesterov': False, 'weight_decay': 0.5}"
    assert repr(optimizer.param_groups[1]) == f"Group(b: {settings})"


def test_settings_may_be_assigned_for_one_group_or_all() -> None:
    optimizer = two()
    assert optimizer.lr == 0.5  # the first group's
    optimizer.param_groups[1]["lr"] = 0.25
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]
    optimizer.lr = 2
    assert [g["lr"] for g in optimizer.param_groups] == [2, 2]
    optimizer.param_groups[0].update(lr=3)
    assert optimizer.lr == 3


def test_betas_of_a_group() -> None:
    optimizer = recurra.Adam([{"params": [leaf(1)], "betas": (0.5, 0.25)}, {"params": [leaf(1)]}])
    assert [(g["beta1"], g["beta2"]) for g in optimizer.param_groups] == [(0.5, 0.25), (0.9, 0.999)]
    optimizer.param_groups[1]["betas"] = (0.1, 0.2)
    assert optimizer.param_groups[1]["beta2"] == 0.2


def test_moments_are_those_of_the_group() -> None:
    optimizer = two(momentum=0.9, nesterov=True)
    stepped(optimizer)
    names = [name for name in optimizer.state_dict() if name.split(".")[0] in ("step", "velocity")]
    assert names == ["step.a", "step.b", "velocity.b"]


def test_unnamed_parameters_are_numbered_through() -> None:
    groups = [{"params": [leaf(1), leaf(1)]}, {"params": [leaf(1)]}]
    optimizer = recurra.Adam(groups)
    optimizer.add_param_group({"params": [leaf(1)], "lr": 0.5})
    optimizer.add_param_group({"params": [("last", leaf(1))]})
    assert list(optimizer.params) == ["0", "1", "2", "3", "last"]
    assert [g["lr"] for g in optimizer.param_groups] == [1e-3, 1e-3, 0.5, 1e-3]


class TestState:
    def test_it_goes_on_with_groups(self) -> None:
        first = two(momentum=0.9)
        stepped(first)
        second = two(lr=7.0, momentum=0.9)
        second.load_state_dict(first.state_dict())
        for p, q in zip(first.params.values(), second.params.values(), strict=True):
            q.data[...] = p.data
        stepped(first)
        stepped(second)
        for p, q in zip(first.params.values(), second.params.values(), strict=True):
            assert p.data.tobytes() == q.data.tobytes()

    def test_names(self) -> None:
        assert list(two().state_dict()) == [
            *(f"groups.0.{name}" for name in ("lr", "momentum", "nesterov", "weight_decay")),
            *(f"groups.1.{name}" for name in ("lr", "momentum", "nesterov", "weight_decay")),
            *("group.a", "group.b"),
        ]

    def test_another_group_is_refused(self) -> None:
        a, b = leaf(1), leaf(1)
        groups = [{"params": [("a", a)]}, {"params": [("b", b)]}]
        state = recurra.SGD(groups, lr=1).state_dict()
        other = recurra.SGD(groups[::-1], lr=2)
        text = (
            "SGD.load_state_dict: state: group.b: expected 0 as this optimizer has, got 1; "
            "group.a: expected 1 as this optimizer has, got 0"
        )
        with raises(ValueError, text):
            other.load_state_dict(state)
        assert other.lr == 2

    def test_another_number_of_groups_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"missing lr; .*unexpected groups\.0\.lr"):
            recurra.SGD([leaf(1)], lr=1).load_state_dict(two().state_dict())

    @pytest.mark.parametrize("lr", [np.nan, -1.0])
    def test_a_bad_rate_is_refused(self, lr: float) -> None:
        optimizer = two()
        state = optimizer.state_dict() | {"groups.1.lr": np.array(lr)}
        text = f"SGD.load_state_dict: state: groups.1.lr: expected 0 <= lr < inf, got {lr}"
        with raises(ValueError, text):
            optimizer.load_state_dict(state)

    def test_a_bad_step_is_refused(self) -> None:
        optimizer = two()
        stepped(optimizer)
        state = optimizer.state_dict() | {"step.a": np.array(0)}
        text = "SGD.load_state_dict: state: step.a: expected a number from 1 on, got 0"
        with raises(ValueError, text):
            optimizer.load_state_dict(state)


SHARED = leaf(1)


@pytest.mark.parametrize(
    ("params", "kind", "text"),
    [
        ([{}], ValueError, "params[0]: expected the key 'params', got nothing"),
        (
            [{"params": [leaf(1)]}, {"parms": [leaf(1)], "lr": 1}],
            ValueError,
            "params[1]: expected the key 'params', got parms, lr",
        ),
        (
            [{"params": [leaf(1)]}, {"params": []}],
            ValueError,
            "params[1]: expected at least one tensor, got none",
        ),
        (
            [{"params": leaf(1)}],
            TypeError,
            "params[0]: expected an iterable of tensors, got one tensor",
        ),
        (
            [{"params": [leaf(1), np.ones(2)]}],
            TypeError,
            "params[0]: expected leaf tensors that require grad, got ndarray as 1",
        ),
        (
            [{"params": [leaf(1)]}, leaf(1)],
            TypeError,
            "params: expected groups or tensors, got both",
        ),
        (
            [{"params": [SHARED]}, {"params": [leaf(1), SHARED]}],
            ValueError,
            "params: expected each name and tensor once, got 2 in two groups",
        ),
        (
            [{"params": [("w", leaf(1))]}, {"params": [("w", leaf(1))]}],
            ValueError,
            "params: expected each name and tensor once, got w in two groups",
        ),
        (
            [{"params": [leaf(1)], "beta1": 1.0}],
            ValueError,
            "betas[0]: expected 0 <= betas[0] < 1, got 1.0",
        ),
        (
            [{"params": [leaf(1)], "betas": 0.9}],
            ValueError,
            "betas: expected two numbers, got 0.9",
        ),
        ([{"params": [leaf(1)], "lr": np.nan}], ValueError, "lr: expected 0 <= lr < inf, got nan"),
        (
            [{"params": [leaf(1)], "momentum": 0.9}],
            ValueError,
            "options: expected some of lr, beta1, beta2, eps, weight_decay, amsgrad; "
            "got 'momentum'",
        ),
        (
            [{"params": [leaf(1)], "amsgrad": "yes"}],
            TypeError,
            "amsgrad: expected True or False, got str",
        ),
        ({"params": [leaf(1)]}, TypeError, "params: expected a list of tensors, got a dict"),
    ],
)
def test_bad_groups(params: Any, kind: type[Exception], text: str) -> None:
    with raises(kind, f"Adam: {text}"):
        recurra.Adam(params)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("lr", -1, "lr: expected 0 <= lr < inf, got -1"),
        ("lr", np.nan, "lr: expected 0 <= lr < inf, got nan"),
        (
            "rate",
            1,
            "options: expected some of lr, momentum, nesterov, weight_decay; got 'rate'",
        ),
        ("nesterov", True, "nesterov: expected a momentum > 0 with it, got 0"),
        (
            "momentum",
            0.5,
            "momentum: expected a value with which a parameter has no moments as before, got 0.5",
        ),
    ],
)
def test_bad_assignments_change_nothing(name: str, value: Any, text: str) -> None:
    optimizer = two()
    before = dict(optimizer.param_groups[1].settings)
    with raises(ValueError, f"SGD: {text}"):
        optimizer.param_groups[1][name] = value
    assert optimizer.param_groups[1].settings == before


def test_a_bad_value_for_all_groups_changes_none() -> None:
    optimizer = two()
    with raises(ValueError, "SGD: lr: expected 0 <= lr < inf, got inf"):
        optimizer.lr = np.inf
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 1.0]
    with raises(TypeError, "SGD: options: expected all of them to stay, got del 'lr'"):
        del optimizer.param_groups[0]["lr"]


def test_a_refused_group_is_not_added() -> None:
    optimizer = two()
    with pytest.raises(ValueError, match="in two groups"):
        optimizer.add_param_group({"params": [("c", optimizer.params["a"])]})
    assert (list(optimizer.params), len(optimizer.param_groups)) == (["a", "b"], 2)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
    model = recurra.Linear(4, 2, dtype=np.float64)
    recurra.mse(model(x), y).backward()
    whole = [p.grad for p in model.parameters()]
    model.zero_grad()
    for xs, ys in zip(np.split(x, 3), np.split(y, 3), strict=True):
        (recurra.mse(model(xs), ys) / 3).backward()
    for p, expected in zip(model.parameters(), whole, strict=True):
        np.testing.assert_allclose(p.grad, expected, rtol=1e-13)
