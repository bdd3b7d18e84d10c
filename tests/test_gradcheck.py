"""The finite-difference checker agrees with right gradients and finds wrong ones."""

import numpy as np
import pytest

from gradcheck import gradcheck

ARGUMENTS = {"a": np.array([[0.3, -0.7], [1.1, 0.2]]), "b": np.array([0.5, -2.0])}


def loss(a: np.ndarray, b: np.ndarray) -> float:
    return float((np.exp(a) * b).sum())


def right() -> dict[str, np.ndarray]:
    a, b = ARGUMENTS["a"], ARGUMENTS["b"]
    return {"a": np.exp(a) * b, "b": np.exp(a).sum(axis=0)}


def test_a_right_gradient_passes() -> None:
    assert gradcheck(loss, ARGUMENTS, right()).error < 1e-11


@pytest.mark.parametrize("wrong", [1e-7, -1.0, np.nan])
def test_the_worst_element_is_named(wrong: float) -> None:
    gradients = right()
    gradients["a"][1, 0] += wrong
    with pytest.raises(AssertionError, match=r"name='a', index=\(1, 0\)"):
        gradcheck(loss, ARGUMENTS, gradients)


def test_a_missing_gradient_a_shape_and_a_dtype_are_refused() -> None:
    with pytest.raises(AssertionError, match="b: no gradient"):
        gradcheck(loss, ARGUMENTS, {"b": None})
    with pytest.raises(AssertionError, match=r"b: \(1,\) for \(2,\)"):
        gradcheck(loss, ARGUMENTS, {"b": np.zeros(1)})
    with pytest.raises(AssertionError, match="b: expected float64, got float32"):
        gradcheck(loss, {"b": np.zeros(2, np.float32)}, {"b": np.zeros(2)})
