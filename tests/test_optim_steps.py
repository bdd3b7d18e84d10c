"""What an optimizer keeps from one step to the next changes nothing."""

import copy
from typing import Any

import numpy as np
import pytest

import recurra
from optimizers import CASES
from recurra import Tensor


def leaves() -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((2, 3), (3,))]


def give(params: list[Tensor], seed: int, but: int | None = None) -> None:
    """New gradients for all parameters, or all but one."""
    rng = np.random.default_rng(seed)
    for i, p in enumerate(params):
        grad = rng.standard_normal(p.shape)
        p.grad = None if i == but else grad


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_a_new_optimizer_each_time(name: str) -> None:
    params, others = leaves(), leaves()
    optimizer = CASES[name](params)
    state = CASES[name](others).state_dict()
    for seed, but in enumerate((None, None, 0, None, 1, 1, None, None)):
        give(params, seed, but)
        give(others, seed, but)
        optimizer.step()
        fresh = CASES[name](others)
        fresh.load_state_dict(state)
        fresh.step()
        state = fresh.state_dict()
        if seed == 5:
            assert sorted(optimizer.state_dict()) == sorted(state)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(params, others, strict=True))
    found = optimizer.state_dict()
    assert all(np.array_equal(found[key], state[key]) for key in state)


def test_values_put_in_place_of_others_are_updated() -> None:
    params = leaves()
    optimizer = recurra.SGD(params, lr=1.0)
    for value in (1.0, 2.0, 3.0):
        give(params, 1)
        params[0].data = np.full((2, 3), value)
        optimizer.step()
        assert params[0].grad is not None
        np.testing.assert_array_equal(params[0].data, value - params[0].grad)


@pytest.mark.parametrize(
    ("grad", "kind", "text"),
    [
        (np.ones(4), ValueError, "Adam.step: grad of 1: expected shape of the parameter = "),
        (np.ones(3, np.float32), TypeError, "Adam.step: grad of 1: expected float64, got float32"),
    ],
)
def test_a_bad_gradient_in_a_later_step_changes_nothing(grad: Any, kind: Any, text: str) -> None:
    params = leaves()
    optimizer = recurra.Adam([{"params": [p]} for p in params])
    for seed in range(2):
        give(params, seed)
        optimizer.step()
    values, state = [p.data.copy() for p in params], optimizer.state_dict()
    give(params, 2)
    optimizer.step()
    optimizer.load_state_dict(state)
    for p, value in zip(params, values, strict=True):
        p.data = value.copy()
    params[1].grad = grad
    with pytest.raises(kind, match=text):
        optimizer.step()
    assert all(np.array_equal(p.data, v) for p, v in zip(params, values, strict=True))
    assert equal(optimizer.state_dict(), state)


def test_values_made_read_only_are_refused_before_any_update() -> None:
    params = leaves()
    optimizer = recurra.SGD([{"params": [p]} for p in params], lr=1.0)
    give(params, 0)
    optimizer.step()
    before = params[0].data.copy()
    params[1].data.flags.writeable = False
    with pytest.raises(ValueError, match=r"SGD\.step: 1: expected a writable C-contiguous array"):
        optimizer.step()
    assert np.array_equal(params[0].data, before)


def test_a_copy_goes_its_own_way() -> None:
    params = leaves()
    optimizer = recurra.Adam(params)
    give(params, 0)
    optimizer.step()
    state, values = optimizer.state_dict(), params[0].data.copy()
    optimizer_too = copy.deepcopy(optimizer)
    optimizer_too.step()
    assert equal(optimizer.state_dict(), state)
    assert np.array_equal(params[0].data, values)
    assert optimizer_too.state_dict()["step.0"] == 2


def test_a_group_added_later_is_updated() -> None:
    params = leaves()
    optimizer = recurra.SGD(params[:1], lr=1.0)
    give(params, 0)
    optimizer.step()
    optimizer.add_param_group({"params": params[1:]})
    before = params[1].data.copy()
    optimizer.step()
    assert params[1].grad is not None
    np.testing.assert_array_equal(params[1].data, before - params[1].grad)
