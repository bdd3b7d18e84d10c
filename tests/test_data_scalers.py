"""Scalers against plain formulas, back again, and with what is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recurra import checkpoint
from recurra.data import MinMaxScaler, RobustScaler, Scaler, StandardScaler

SCALERS = [StandardScaler, MinMaxScaler, lambda: MinMaxScaler(-1, 1), RobustScaler]
each_scaler = pytest.mark.parametrize(
    "make", SCALERS, ids=["standard", "minmax", "-1..1", "robust"]
)

COLUMNS = np.array([[1.0, -10], [2, 30], [4, 50], [9, 20]])


GAPS = np.insert(COLUMNS, 2, np.nan, axis=0)


class TestAgainstFormulas:
    """A column at a time, in plain Python."""

    def test_standard(self) -> None:
        scaled = StandardScaler().fit_transform(COLUMNS)
        assert np.allclose(scaled.mean(axis=0), 0, atol=1e-15)
        assert np.allclose((scaled**2).mean(axis=0), 1, rtol=1e-15)
        assert np.allclose(scaled[:, 0], [(x - 4) / 9.5**0.5 for x in (1, 2, 4, 9)], rtol=1e-15)

    def test_min_max(self) -> None:
        scaled = MinMaxScaler().fit_transform(COLUMNS)
        assert scaled[:, 0].tolist() == [0, 1 / 8, 3 / 8, 1]
        assert scaled[:, 1].tolist() == [0, 4 / 6, 1, 3 / 6]
        assert MinMaxScaler(-3, 5).fit_transform(COLUMNS)[:, 0].tolist() == [-3, -2, 0, 5]

    def test_robust(self) -> None:
        scaled = RobustScaler().fit_transform(COLUMNS)
        # Quartiles of 1 2 4 9, interpolated: 1.75, 3, 5.25.
        assert scaled[:, 0].tolist() == [(x - 3) / 3.5 for x in (1, 2, 4, 9)]


@each_scaler
class TestEveryScaler:
    @given(
        values=hnp.arrays(
            np.float64,
            st.tuples(st.integers(1, 20), st.integers(1, 4)),
            elements=st.floats(-1e6, 1e6),
        )
    )
    def test_back_again(self, make: Any, values: np.ndarray) -> None:
        scaler = make().fit(values)
        back = scaler.inverse_transform(scaler.transform(values))
        assert np.abs(back - values).max() <= 1e-9 * np.abs(values).max() + 1e-12

    def test_windows_are_scaled_like_the_series(self, make: Any) -> None:
        scaler = make().fit(COLUMNS)
        windows = np.stack([COLUMNS[:2], COLUMNS[1:3]])
        assert np.array_equal(scaler.transform(windows)[1], scaler.transform(COLUMNS)[1:3])
        assert np.array_equal(make().fit(windows).center, make().fit(windows.reshape(4, 2)).center)

    def test_nothing_else_is_looked_at(self, make: Any) -> None:
        """What is fitted is the training part: later values change nothing."""
        scaler = make().fit(COLUMNS[:3])
        before = scaler.state_dict()
        scaler.transform(COLUMNS)
        after = scaler.state_dict()
        assert all(np.array_equal(before[name], after[name]) for name in before)

    def test_missing_values_are_left_out_and_kept(self, make: Any) -> None:
        values, whole = np.vstack([GAPS, [np.nan, 20]]), make().fit(COLUMNS)
        scaler = make().fit(GAPS)
        assert np.array_equal(scaler.center, whole.center)
        assert np.array_equal(scaler.scale, whole.scale)
        assert np.array_equal(np.isnan(scaler.transform(values)), np.isnan(values))
        back = scaler.inverse_transform(scaler.transform(values))
        assert np.allclose(back, values, rtol=1e-14, equal_nan=True)

    def test_some_columns_back(self, make: Any) -> None:
        values = np.column_stack([COLUMNS, 7 * COLUMNS[:, 0] + 1])
        scaler = make().fit(values)
        scaled = scaler.transform(values)
        for columns in ([2], [2, 0], slice(1, 3), [-1]):
            assert np.allclose(
                scaler.inverse_transform(scaled[:, columns], columns), values[:, columns]
            )
            assert np.array_equal(scaler.transform(values[:, columns], columns), scaled[:, columns])
        forecast = scaled[:, 2].reshape(2, 2)  # (n, horizon)
        assert np.allclose(scaler.inverse_transform(forecast, 2), values[:, 2].reshape(2, 2))

    def test_a_series(self, make: Any) -> None:
        series = COLUMNS[:, 0]
        scaler, column = make().fit(series), make().fit(series[:, None])
        assert scaler.center.shape == scaler.scale.shape == ()
        assert np.array_equal(scaler.transform(series), column.transform(series[:, None])[:, 0])
        windows = np.stack([series[:3], series[1:]])[..., None]
        assert scaler.transform(windows).shape == (2, 3, 1)

    @pytest.mark.parametrize("constant", [5.0, 0.1])
    def test_a_constant_column(self, make: Any, constant: float) -> None:
        # The mean of many 0.1 is not 0.1, nor is their deviation 0, to the last bit.
        values = np.column_stack([COLUMNS[:, 0], np.full(4, 5.0)]).repeat(25, axis=0)
        values[:, 1] = constant
        scaler = make().fit(values)
        scaled = scaler.transform(values)
        assert scaler.scale[1] == 1
        assert set(scaled[:, 1]) == {getattr(scaler, "low", 0)}
        assert np.allclose(scaler.inverse_transform(scaled)[:, 1], constant, rtol=1e-15)

    def test_one_row(self, make: Any) -> None:
        scaler = make().fit([[3.0, 4.0]])
        assert scaler.scale.tolist() == [1, 1]
        assert scaler.inverse_transform(scaler.transform([[5.0, 6.0]])).tolist() == [[5, 6]]

    def test_dtypes_and_copies(self, make: Any) -> None:
        scaler = make().fit(COLUMNS.astype(np.float32))
        assert scaler.center.dtype == scaler.scale.dtype == np.float64
        assert scaler.transform(COLUMNS.astype(np.float32)).dtype == np.float32
        assert scaler.inverse_transform(COLUMNS.astype(np.float32)).dtype == np.float32
        assert scaler.transform(COLUMNS.astype(int)).dtype == np.float64
        assert not np.shares_memory(scaler.transform(COLUMNS), COLUMNS)
        narrow = np.float32(1e8) + np.arange(4, dtype=np.float32)[:, None] * 16
        scaled = make().fit(narrow).transform(narrow)
        assert np.allclose(scaled, make().fit(narrow * 1.0).transform(narrow.astype(float)), 1e-6)

    def test_the_state_is_plain_arrays(self, make: Any, tmp_path: Path) -> None:
        scaler = make().fit(COLUMNS)
        checkpoint.save(tmp_path / "scaler.safetensors", scaler.state_dict())
        again = make()
        again.load_state_dict(checkpoint.load(tmp_path / "scaler.safetensors")[0])
        assert again.transform(COLUMNS).tobytes() == scaler.transform(COLUMNS).tobytes()
        scaler.state_dict()["center"][:] = 9
        assert not (scaler.center == 9).any(), "a state is a copy"

    @pytest.mark.parametrize(
        ("values", "kind", "message"),
        [
            ([], ValueError, "expected at least one row, got 0"),
            (np.zeros((3, 0)), ValueError, r"expected some numbers, got shape \(3, 0\)"),
            (3.0, ValueError, r"expected rows \(n, ...\), got shape \(\)"),
            (["a"], TypeError, "expected numbers, got <U1"),
            ([1.0, np.inf], ValueError, "expected finite numbers or NaN, got an infinity"),
            ([[1, np.nan], [2, np.nan]], ValueError, "expected a number in column 1, got NaN only"),
            (
                [-1.7e308, -1.7e308, 1.7e308, 1.7e308],
                ValueError,
                "expected numbers of a finite spread in column 0",
            ),
            ([np.nan], ValueError, "expected a number in column 0, got NaN only"),
        ],
    )
    def test_bad_values(self, make: Any, values: Any, kind: type[Exception], message: str) -> None:
        scaler = make().fit(COLUMNS)
        before = scaler.state_dict()
        with pytest.raises(kind, match=f"^{type(scaler).__name__}.fit: values: {message}"):
            scaler.fit(values)
        assert all(np.array_equal(before[k], v) for k, v in scaler.state_dict().items())

    def test_before_fit(self, make: Any) -> None:
        for call in ("transform", "inverse_transform"):
            with pytest.raises(RuntimeError, match=f"{call}: expected fit before it"):
                getattr(make(), call)(COLUMNS)
        with pytest.raises(RuntimeError, match="state_dict: expected fit before it"):
            make().state_dict()


@pytest.mark.parametrize(
    ("values", "columns", "kind", "message"),
    [
        (np.zeros((2, 3)), None, ValueError, r"values: expected shape \(..., 2\), got \(2, 3\)"),
        (np.zeros((2, 2)), [0], ValueError, r"values: expected shape \(..., 1\), got \(2, 2\)"),
        (3.0, None, ValueError, r"values: expected shape \(..., 2\), got \(\)"),
        (np.zeros((2, 1)), [2], IndexError, "columns: expected -2 <= column < 2, got 2"),
        (np.zeros((2, 1)), ["a"], TypeError, "columns: expected column numbers, got"),
        (["a"], None, TypeError, "values: expected numbers, got <U1"),
    ],
)
def test_bad_shapes(values: Any, columns: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=rf"^StandardScaler\.inverse_transform: {message}"):
        StandardScaler().fit(COLUMNS).inverse_transform(values, columns)


def test_a_series_has_no_columns() -> None:
    with pytest.raises(ValueError, match="columns: expected None after a series, got 0"):
        StandardScaler().fit([1.0, 2.0]).transform([1.0], columns=0)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (np.nan, 1), (0, np.inf)])
def test_bad_ranges(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="MinMaxScaler: low: expected low < high"):
        MinMaxScaler(low, high)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"center": np.zeros(2)}, r"expected center and scale, got \['center'\]"),
        ({"center": np.zeros(2), "scale": np.ones(3)}, r"expected two shapes .* got \(2,\) and"),
        ({"center": np.zeros((1, 2)), "scale": np.ones((1, 2))}, "expected two shapes"),
        ({"center": np.zeros(2), "scale": np.zeros(2)}, "expected finite numbers, scale above 0"),
        ({"center": [np.nan], "scale": [1]}, "expected finite numbers, scale above 0"),
    ],
)
def test_bad_states(state: Any, message: str) -> None:
    scaler: Scaler = RobustScaler()
    with pytest.raises(ValueError, match=rf"^RobustScaler\.load_state_dict: state: {message}"):
        scaler.load_state_dict(state)
    assert scaler.center is None
