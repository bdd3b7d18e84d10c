"""Plots: what the artists hold, not pixels."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import inspect, plots

matplotlib = pytest.importorskip("matplotlib", reason="plots need matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

DRAWN = {
    "history": {"a": [1.0, 2.0]},
    "forecast": [1.0, 2.0],
    "confusion_matrix": [[1, 2], [3, 4]],
    "attention": [[0.5, 0.5]],
    "saliency": [[0.5, -0.5]],
    "activations": [[0.5, 0.5]],
    "gradient_norms": {"l0": [1.0, 2.0]},
    "spectrum": {"h": np.array([1j, -1j])},
}
every_plot = pytest.mark.parametrize("name", DRAWN)


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


@pytest.fixture(autouse=True)
def _no_figure_is_left() -> Iterator[None]:
    yield
    pyplot.close("all")


def labels(artists: Any) -> list[str]:
    return [artist.get_label() for artist in artists]


def drawn(ax: Axes) -> None:
    """Draw everything: some of what is wrong shows only then."""
    ax.figure.savefig("/dev/null" if sys.platform != "win32" else "NUL", format="png")


# ---- what all have in common


@every_plot
def test_they_draw_into_the_axes_given_and_return_it(name: str, ax: Axes) -> None:
    assert getattr(plots, name)(DRAWN[name], ax) is ax
    assert pyplot.get_fignums() == []
    drawn(ax)


@every_plot
def test_they_make_one_figure_where_none_is_given(name: str) -> None:
    ax = getattr(plots, name)(DRAWN[name])
    assert isinstance(ax, Axes)
    assert len(pyplot.get_fignums()) == 1


@every_plot
def test_without_matplotlib_the_error_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=rf"^{name}: matplotlib: expected .* 'recurra\[plot\]'$"):
        getattr(plots, name)(DRAWN[name])


def test_matplotlib_is_imported_when_it_is_used() -> None:
    code = "import sys, recurra.plots; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_tensors_and_float32_are_numbers_too(ax: Axes) -> None:
    plots.attention(recurra.Tensor(np.ones((2, 3), np.float32), requires_grad=True), ax)
    assert ax.images[0].get_array().shape == (2, 3)


# ---- training and results


def test_history_has_a_line_for_each_name_with_gaps(ax: Axes) -> None:
    plots.history({"train": [3, 2, 1], "validation": [None, 2.5]}, ax)
    train, validation = ax.lines
    assert labels(ax.lines) == ["train", "validation"]
    np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(train.get_ydata(), [3, 2, 1])
    np.testing.assert_array_equal(validation.get_ydata(), [np.nan, 2.5])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "validation"]


def test_of_a_training_losses_and_metrics_are_drawn(ax: Axes) -> None:
    model = recurra.Linear(2, 3)
    data = np.eye(2, dtype=np.float32), np.array([0, 2])
    found = recurra.train.fit(
        model,
        data,
        recurra.cross_entropy,
        recurra.SGD(model.parameters(), 0.1),
        epochs=3,
        validation=data,
        metrics=[recurra.metrics.Accuracy(), recurra.metrics.ConfusionMatrix()],
    )
    plots.history(found, ax)
    names = ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert labels(ax.lines) == names
    for name, line in zip(names, ax.lines, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), found[name])


def test_history_at_steps_of_its_own(ax: Axes) -> None:
    plots.history({"loss": [3, 2]}, ax, steps=[100, 200])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [100, 200])
    assert ax.get_xlabel() == "step"


def test_a_forecast_begins_where_the_past_ends(ax: Axes) -> None:
    intervals = {0.5: ([1, 1], [3, 3]), 0.9: ([0, 0], [4, 5])}
    plots.forecast([2, 2], ax, intervals=intervals, past=[7, 8, 9], actual=[2, 6])
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["past"].get_xdata(), [-2, -1, 0])
    np.testing.assert_array_equal(lines["past"].get_ydata(), [7, 8, 9])
    np.testing.assert_array_equal(lines["forecast"].get_xdata(), [1, 2])
    np.testing.assert_array_equal(lines["actual"].get_ydata(), [2, 6])
    assert labels(ax.collections) == ["90 %", "50 %"]  # the widest at the back
    corners = ax.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in corners} == {(1, 0), (2, 0), (1, 4), (2, 5)}


@pytest.mark.parametrize(
    ("normalize", "shares"),
    [
        ("none", [["3", "1", "0"], ["0", "0", "0"], ["1", "0", "5"]]),
        ("true", [["0.75", "0.25", "0.00"], ["nan"] * 3, ["0.17", "0.00", "0.83"]]),
        ("predicted", [["0.75", "1.00", "0.00"], ["0.00"] * 3, ["0.25", "0.00", "1.00"]]),
        ("all", [["0.30", "0.10", "0.00"], ["0.00"] * 3, ["0.10", "0.00", "0.50"]]),
    ],
)
def test_a_confusion_matrix_says_its_numbers(
    normalize: str, shares: list[list[str]], ax: Axes
) -> None:
    counts = [[3, 1, 0], [0, 0, 0], [1, 0, 5]]
    plots.confusion_matrix(counts, ax, labels=["a", "b", "c"], normalize=normalize)
    at = {text.get_position(): text.get_text() for text in ax.texts}
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            assert at[j, i] == share
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    drawn(ax)


# ---- inside


def test_attention_keeps_rows_as_queries(ax: Axes) -> None:
    weights = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    plots.attention(weights, ax, queries=["x", "y"], keys=["a", "b", "c"])
    np.testing.assert_array_equal(ax.images[0].get_array(), weights)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y"]
    assert ax.images[0].get_clim() == (0, 0.7)


def test_negative_values_put_zero_in_the_middle(ax: Axes) -> None:
    values = np.array([[0.5, -2.0], [np.nan, 1.0], [0.0, 0.0]])
    plots.saliency(values, ax, names=["a", "b"])
    shown = ax.images[0]
    np.testing.assert_array_equal(np.ma.filled(shown.get_array(), np.nan), values.T)
    assert shown.get_clim() == (-2, 2)
    drawn(ax)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (recurra.RNN, ["h"]),
        (recurra.LSTM, ["i", "f", "g", "o", "c", "h"]),
        (recurra.GRU, ["r", "z", "n", "h"]),
    ],
)
def test_gates_draw_every_gate_and_state_of_a_row(layer: Any, names: list[str]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 9, 3))
    found = inspect.activations(layer(3, 4, dtype=np.float64), x, lengths=[9, 5])["l0"]
    shown = plots.gates(found, row=1)
    assert [ax.get_title() for ax in shown] == names
    h = np.ma.filled(shown[-1].images[0].get_array(), np.nan)
    np.testing.assert_array_equal(h, found.h[1].T)
    assert np.isnan(h[:, 5:]).all()
    drawn(shown[0])


def test_gradient_norms_are_logarithmic_and_name_the_radius(ax: Axes) -> None:
    layer = recurra.LSTM(1, 4)
    x = np.ones((2, 20, 1), np.float32)
    norms = inspect.gradient_norms(layer, lambda: recurra.ops.sum(layer(x)[0][:, 9]))
    radii = inspect.spectral_radius(layer)
    plots.gradient_norms(norms, ax, radii=radii)
    y = ax.lines[0].get_ydata()
    np.testing.assert_array_equal(y[:10], norms["l0"][:10])
    assert np.isnan(y[10:]).all()  # after what the loss sees there is no gradient: zero
    assert ax.get_yscale() == "log"
    assert ax.lines[0].get_label() == "l0, spectral radii " + ", ".join(
        f"{gate} {radius:.3g}" for gate, radius in radii["l0"].items()
    )
    drawn(ax)


def test_norms_of_nothing_but_zeros_can_be_drawn(ax: Axes) -> None:
    plots.gradient_norms({"l0": [0.0, 0.0]}, ax)
    drawn(ax)


def test_a_spectrum_has_every_eigenvalue_and_the_unit_circle(ax: Axes) -> None:
    found = inspect.eigenvalues(recurra.GRU(2, 8))["l0"]
    plots.spectrum(found, ax)
    assert labels(ax.collections) == ["r", "z", "n"]
    for points, values in zip(ax.collections, found.values(), strict=True):
        at = np.column_stack([values.real, values.imag])
        np.testing.assert_array_equal(points.get_offsets(), at)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(np.hypot(x, y), 1, rtol=1e-14)
    assert ax.get_aspect() == 1


# ---- refusals


@pytest.mark.parametrize(
    ("name", "given", "options", "text"),
    [
        ("history", {"a": [[1.0]]}, {}, r"history: a: expected shape \(N,\), got \(1, 1\)"),
        ("history", {"a": [1.0]}, {"steps": [1, 2]}, "history: a: expected 2 values, one a step"),
        ("forecast", [[1.0]], {}, r"forecast: predicted: expected shape \(T,\), got \(1, 1\)"),
        (
            "forecast",
            [1.0],
            {"actual": [1, 2]},
            r"forecast: actual: expected shape \(T,\) = \(1,\)",
        ),
        ("forecast", [1.0], {"intervals": {90: ([0], [1])}}, "forecast: intervals: expected prob"),
        (
            "forecast",
            [1.0],
            {"intervals": {0.9: ([2], [1])}},
            r"forecast: intervals\[0.9\]: expect",
        ),
        ("confusion_matrix", [[1, 2]], {}, r"confusion_matrix: counts: expected shape \(C, C\) = "),
        ("confusion_matrix", [[1]], {"normalize": "row"}, "confusion_matrix: normalize: expected"),
        ("confusion_matrix", [[1]], {"labels": "ab"}, "confusion_matrix: labels: expected 1 names"),
        ("attention", [0.5], {}, r"attention: weights: expected shape \(Tq, Tk\), got \(1,\)"),
        ("attention", [[0.5]], {"keys": []}, "attention: keys: expected 1 names, got 0"),
        ("saliency", [[0.5]], {"names": "ab"}, "saliency: names: expected 1 names, got 2"),
        ("activations", [0.5], {}, r"activations: values: expected shape \(T, H\), got \(1,\)"),
        ("gradient_norms", {"a": [1]}, {"radii": {}}, r"gradient_norms: radii: expected those of"),
        ("spectrum", {"h": np.eye(2)}, {}, r"spectrum: h: expected shape \(P,\), got \(2, 2\)"),
    ],
)
def test_refusals(name: str, given: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        getattr(plots, name)(given, **options)
    assert pyplot.get_fignums() == []


def test_refusals_of_what_is_no_number() -> None:
    with pytest.raises(TypeError, match=r"^history: loss: expected numbers \(N,\), got "):
        plots.history({"loss": ["a"]})
    found = inspect.activations(recurra.RNN(1, 2), np.ones((1, 3, 1), np.float32))["l0"]
    with pytest.raises(ValueError, match=r"^gates: row: expected 0 <= row < B = 1, got 1$"):
        plots.gates(found, row=1)
    with pytest.raises(ValueError, match=r"^gates: axs: expected 1 Axes, got 2$"):
        plots.gates(found, axs=Figure().subplots(2))
