"""Schedules: PyTorch's rates step by step, counts, saved states, refusals."""

import re
from typing import Any

import numpy as np
import pytest

import recurra
from optimizers import GOLDEN, leaf
from recurra import schedules as s


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def two_groups(adam: bool = False) -> recurra.optim.Optimizer:
    groups = [{"params": [leaf(0)]}, {"params": [leaf(0)], "lr": 0.3}]
    return recurra.Adam(groups, lr=0.1) if adam else recurra.SGD(groups, lr=0.1, momentum=0.9)


SCHEDULES: dict[str, Any] = {
    "step": lambda o: s.StepLR(o, 3, 0.5),
    "multi_step": lambda o: s.MultiStepLR(o, [2, 5, 5, 11], 0.3),
    "exponential": lambda o: s.ExponentialLR(o, 0.9),
    "cosine": lambda o: s.CosineAnnealingLR(o, 10, eta_min=0.001),
    "restarts": lambda o: s.CosineAnnealingWarmRestarts(o, 5, eta_min=0.002),
    "restarts_longer": lambda o: s.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
    "one_cycle": lambda o: s.OneCycleLR(o, max_lr=0.1, total_steps=20),
    "one_cycle_linear": lambda o: s.OneCycleLR(
        o,
        max_lr=[0.1, 0.4],
        epochs=4,
        steps_per_epoch=6,
        anneal_strategy="linear",
        pct_start=0.4,
        div_factor=10.0,
        final_div_factor=100.0,
        base_momentum=[0.5, 0.6],
        max_momentum=[0.8, 0.9],
    ),
    "one_cycle_three_phases": lambda o: s.OneCycleLR(
        o, max_lr=0.1, total_steps=20, three_phase=True, cycle_momentum=False
    ),
    "linear_warmup": lambda o: s.LinearLR(o, 0.1, 1.0, 5),
    "constant": lambda o: s.ConstantLR(o, 0.25, 4),
    "lambda": lambda o: s.LambdaLR(o, lambda n: 1 / (1 + n)),
    "sequential": lambda o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 12), s.ExponentialLR(o, 0.9)],
        [4, 12],
    ),
    "chained": lambda o: s.ChainedScheduler(
        o, [s.LinearLR(o, 0.1, 1.0, 5), s.ExponentialLR(o, 0.9), s.StepLR(o, 7, 0.5)]
    ),
}

PLATEAUS: dict[str, dict[str, Any]] = {
    "plateau": {"factor": 0.5, "patience": 2},
    "plateau_max": {
        "mode": "max",
        "patience": 1,
        "threshold": 0.05,
        "threshold_mode": "abs",
        "cooldown": 2,
        "factor": 0.3,
        "min_lr": [0.01, 0.02],
    },
    "plateau_eager": {"patience": 0, "threshold": 0.2, "eps": 0.005, "factor": 0.4},
}


def rates(optimizer: recurra.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def test_every_schedule_of_the_golden_numbers_is_here() -> None:
    names = {key.split("/")[1] for key in GOLDEN if key.startswith("schedule/")}
    assert names == set(SCHEDULES) | set(PLATEAUS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_golden(name: str) -> None:
    optimizer = two_groups(adam=name == "one_cycle_linear")
    schedule = SCHEDULES[name](optimizer)
    momentum = "beta1" if name == "one_cycle_linear" else "momentum"
    for count, expected in enumerate(GOLDEN[f"schedule/{name}"]):
        # PyTorch steps from rate to rate, which adds up roundings that a formula has not.
        np.testing.assert_allclose(rates(optimizer), expected, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(schedule.rates(count), rates(optimizer))
        if f"schedule/{name}/momentum" in GOLDEN:
            got = [group[momentum] for group in optimizer.param_groups]
            wanted = GOLDEN[f"schedule/{name}/momentum"][count]
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-15)
        schedule.step()


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau_golden(name: str) -> None:
    optimizer = two_groups()
    schedule = s.ReduceLROnPlateau(optimizer, **PLATEAUS[name])
    metrics = GOLDEN[f"schedule/{name}/metric"]
    assert len({tuple(r) for r in GOLDEN[f"schedule/{name}"]}) > 1
    for metric, expected in zip(metrics, GOLDEN[f"schedule/{name}"], strict=True):
        np.testing.assert_allclose(rates(optimizer), expected, rtol=0, atol=1e-16)
        schedule.step(metric)


@pytest.mark.parametrize("name", SCHEDULES)
class TestState:
    def test_fresh_objects_go_on_from_any_count(self, name: str) -> None:
        first = two_groups()
        schedule = SCHEDULES[name](first)
        for _ in range(18):
            saved = schedule.state_dict()
            second = two_groups()
            other = SCHEDULES[name](second)
            second.lr = 123.0  # what the rate was before does not matter
            other.load_state_dict(saved)
            assert rates(second) == rates(first)
            assert other.count == schedule.count
            schedule.step()
            other.step()
            assert rates(second) == rates(first)

    def test_the_optimizer_first(self, name: str) -> None:
        """A saved optimizer may be loaded before its schedule is made, but for its momentum."""
        first = two_groups()
        schedule = SCHEDULES[name](first)
        schedule.step()
        second = two_groups()
        second.varying.add("momentum")
        second.load_state_dict(first.state_dict())
        other = SCHEDULES[name](second)
        other.load_state_dict(schedule.state_dict())
        assert rates(second) == rates(first)
        assert other.base_lrs == schedule.base_lrs


def test_other_settings_are_refused() -> None:
    optimizer = two_groups()
    schedule = s.SequentialLR(optimizer, [s.StepLR(optimizer, 3), s.StepLR(optimizer, 2)], [4])
    schedule.step()
    state = schedule.state_dict()
    other = s.SequentialLR(optimizer, [s.StepLR(optimizer, 3), s.StepLR(optimizer, 5)], [6])
    text = (
        "SequentialLR.load_state_dict: state: milestones: expected [6.0] as this schedule has, "
        "got [4.0]; 1.step_size: expected 5 as this schedule has, got 2"
    )
    with raises(ValueError, text):
        other.load_state_dict(state)
    assert other.count == 0
    with pytest.raises(ValueError, match="missing gamma"):
        s.ExponentialLR(optimizer, 0.9).load_state_dict(state)
    text = "SequentialLR.load_state_dict: state: base_lrs: expected finite numbers from 0 on"
    with pytest.raises(ValueError, match=text):
        schedule.load_state_dict(state | {"base_lrs": np.array([0.1, np.nan])})
    with pytest.raises(ValueError, match="count: expected a number from 0 on, got -1"):
        schedule.load_state_dict(state | {"count": np.array(-1)})


def test_the_base_is_what_the_first_schedule_found() -> None:
    optimizer = two_groups()
    s.LinearLR(optimizer, 0.5)
    assert rates(optimizer) == [0.05, 0.15]
    assert s.ExponentialLR(optimizer, 0.5).base_lrs == [0.1, 0.3]
    assert rates(optimizer) == [0.1, 0.3]


def test_one_cycle_ends() -> None:
    optimizer = two_groups()
    schedule = s.OneCycleLR(optimizer, 0.1, total_steps=2)
    schedule.step()
    schedule.step()
    at_the_end = rates(optimizer)
    np.testing.assert_allclose(at_the_end, 0.1 / 25 / 1e4)
    with raises(ValueError, "OneCycleLR.step: expected at most 2 steps, got one more"):
        schedule.step()
    assert (schedule.count, rates(optimizer)) == (2, at_the_end)


@pytest.mark.parametrize("pct_start", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("total", [1, 2, 10])
def test_one_cycle_has_finite_rates_in_the_extremes(
    pct_start: float, three_phase: bool, total: int
) -> None:
    schedule = s.OneCycleLR(
        two_groups(), 0.1, total_steps=total, pct_start=pct_start, three_phase=three_phase
    )
    every = np.array([schedule.rates(count) for count in range(total + 1)])
    assert np.isfinite(every).all()
    assert every.min() >= 0
    assert every.max() <= 0.1 + 1e-15


def test_a_metric_that_is_nan_is_not_better() -> None:
    optimizer = two_groups()
    schedule = s.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    for _ in range(2):
        schedule.step(np.nan)
    assert schedule.best == np.inf
    assert rates(optimizer) == [0.05, 0.15]


def test_plateau_states() -> None:
    optimizer = two_groups()
    schedule = s.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    schedule.step(1.0)
    schedule.step(1.0)
    other = s.ReduceLROnPlateau(two_groups(), factor=0.5, patience=0)
    other.load_state_dict(schedule.state_dict())
    assert rates(other.optimizer) == [0.05, 0.15]
    assert (other.best, other.count, other.bad) == (1.0, 2, 0)
    text = "ReduceLROnPlateau.load_state_dict: state: patience: expected 3 as this schedule has"
    with pytest.raises(ValueError, match=text):
        s.ReduceLROnPlateau(optimizer, factor=0.5, patience=3).load_state_dict(
            schedule.state_dict()
        )


def test_groups_that_came_later_are_refused() -> None:
    optimizer = two_groups()
    schedule, plateau = s.ExponentialLR(optimizer, 0.5), s.ReduceLROnPlateau(optimizer)
    optimizer.add_param_group({"params": [leaf(1)]})
    text = "step: optimizer: expected 2 groups as when the schedule was made, got 3"
    with raises(ValueError, f"ExponentialLR.{text}"):
        schedule.step()
    with raises(ValueError, f"ReduceLROnPlateau.{text}"):
        plateau.step(1.0)
    assert (schedule.count, plateau.count) == (0, 0)


def plain() -> recurra.optim.Optimizer:
    return recurra.SGD([leaf(1)], lr=1)


OWN = plain()


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (
            lambda: s.StepLR(OWN, 0),
            ValueError,
            "StepLR: step_size: expected an int >= 1, got 0",
        ),
        (
            lambda: s.StepLR(OWN, 2, gamma=np.nan),
            ValueError,
            "StepLR: gamma: expected 0 <= gamma < inf, got nan",
        ),
        (
            lambda: s.StepLR([leaf(1)], 2),  # type: ignore[arg-type]
            TypeError,
            "StepLR: optimizer: expected an Optimizer, got list",
        ),
        (
            lambda: s.ReduceLROnPlateau(None),  # type: ignore[arg-type]
            TypeError,
            "ReduceLROnPlateau: optimizer: expected an Optimizer, got NoneType",
        ),
        (
            lambda: s.MultiStepLR(OWN, [3, 2]),
            ValueError,
            "MultiStepLR: milestones: expected an ascending order, got [3, 2]",
        ),
        (
            lambda: s.LambdaLR(OWN, [abs, abs]),
            ValueError,
            "LambdaLR: factor: expected 1 functions, got 2",
        ),
        (
            lambda: s.OneCycleLR(OWN, 0.1),
            ValueError,
            "OneCycleLR: total_steps: expected it, or epochs and steps_per_epoch, got neither",
        ),
        (
            lambda: s.OneCycleLR(OWN, 0.1, 10, pct_start=1.5),
            ValueError,
            "OneCycleLR: pct_start: expected 0 <= pct_start <= 1, got 1.5",
        ),
        (
            lambda: s.OneCycleLR(OWN, [0.1, 0.2], 10),
            ValueError,
            "OneCycleLR: max_lr: expected 1 numbers, got 2",
        ),
        (
            lambda: s.OneCycleLR(OWN, -0.1, 10),
            ValueError,
            "OneCycleLR: max_lr: expected finite numbers from 0 on, got -0.1",
        ),
        (
            lambda: s.OneCycleLR(OWN, 0.1, 10, div_factor=0),
            ValueError,
            "OneCycleLR: div_factor: expected a finite number above 0, got 0",
        ),
        (
            lambda: s.OneCycleLR(OWN, 0.1, 10, anneal_strategy="log"),
            ValueError,
            "OneCycleLR: anneal_strategy: expected 'cos' or 'linear', got 'log'",
        ),
        (
            lambda: s.OneCycleLR(OWN, 0.1, 10),
            ValueError,
            "OneCycleLR: optimizer: expected one with momentum or betas to cycle, "
            "got SGD without (cycle_momentum=False leaves them alone)",
        ),
        (
            lambda: s.SequentialLR(OWN, [s.StepLR(OWN, 2)], [3]),
            ValueError,
            "SequentialLR: milestones: expected one less than schedules, 0, got 1",
        ),
        (
            lambda: s.ChainedScheduler(OWN, []),
            ValueError,
            "ChainedScheduler: schedulers: expected at least one, got none",
        ),
        (
            lambda: s.ChainedScheduler(OWN, [s.StepLR(OWN, 2), s.StepLR(plain(), 2)]),
            ValueError,
            "ChainedScheduler: schedulers[1]: expected one of the same optimizer, got another's",
        ),
        (
            lambda: s.ChainedScheduler(OWN, [s.ReduceLROnPlateau(OWN)]),  # type: ignore[list-item]
            TypeError,
            "ChainedScheduler: schedulers[0]: expected a schedule of the count alone, "
            "got ReduceLROnPlateau",
        ),
        (
            lambda: s.ReduceLROnPlateau(OWN, mode="least"),
            ValueError,
            "ReduceLROnPlateau: mode: expected 'min' or 'max', got 'least'",
        ),
        (
            lambda: s.ReduceLROnPlateau(OWN, factor=1.0),
            ValueError,
            "ReduceLROnPlateau: factor: expected 0 <= factor < 1, got 1.0",
        ),
    ],
)
def test_bad_arguments(make: Any, kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        make()


def test_a_rate_that_the_optimizer_refuses_is_refused() -> None:
    with raises(ValueError, "SGD: lr: expected 0 <= lr < inf, got -1.0"):
        s.LambdaLR(plain(), lambda n: -1.0)
