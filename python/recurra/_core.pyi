"""The core, in Rust: private; what users call is documented where it is public.

`recurra.functional`, `recurra.layers`, `recurra.losses`, `recurra.optim`, `recurra.config` and
`recurra.checkpoint` are thin around it. All float arrays of a call have one dtype.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recurra.results import Array

__all__ = [
    "Saved",
    "Weights",
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "additive_backward",
    "additive_forward",
    "available_isas",
    "backward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_statistics",
    "blend_",
    "clamp_",
    "cos",
    "crf_decode",
    "crf_loss",
    "crf_marginals",
    "cross_entropy",
    "ctc_beam_decode",
    "ctc_greedy_decode",
    "ctc_loss",
    "deserialize_safetensors",
    "embedding_backward",
    "embedding_forward",
    "force_isa",
    "forward",
    "get_num_threads",
    "grad_norm",
    "isa",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_backward_each",
    "linear_forward",
    "linear_forward_each",
    "lion_step",
    "nadam_step",
    "pow",
    "radam_step",
    "rmsprop_step",
    "scale_",
    "serialize_safetensors",
    "set_num_threads",
    "sgd_step",
    "softmax_backward",
    "softmax_forward",
    "squared_error",
    "squared_error_backward",
    "step",
    "version",
]

_Cell: TypeAlias = Literal["rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before"]
_Memory: TypeAlias = Literal["keep", "low"]
_Softmax: TypeAlias = Literal["softmax", "log_softmax", "attention"]
_Backward: TypeAlias = Literal["rnn_backward", "lstm_backward", "gru_backward"]

# ---- the process

def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def isa() -> str: ...
def available_isas() -> list[str]: ...
def force_isa(name: str) -> None: ...
def version() -> str: ...

# ---- recurrent layers

@final
class Saved:
    """What a forward call keeps for backward."""

    @property
    def nbytes(self) -> int: ...

@final
class Weights:
    """The packed weights of one layer and direction: a snapshot."""

    def __new__(
        cls,
        cell: _Cell,
        w_ih: ArrayLike,
        w_hh: ArrayLike,
        b_ih: ArrayLike | None,
        b_hh: ArrayLike | None,
        w_hr: ArrayLike | None,
        training: bool,
    ) -> Weights: ...
    def forward(
        self,
        x: ArrayLike,
        h0: ArrayLike | None = None,
        c0: ArrayLike | None = None,
        *,
        lengths: object = None,
        reverse: bool | None = None,
        save: bool | None = None,
        memory: _Memory | None = None,
        n_threads: int | None = None,
        y: Array | None = None,
    ) -> tuple[Array, Array, Array | None, Saved | None]:
        """`y, h_n, c_n, saved`; None for `save` is False, and True needs `training` in `pack`."""

    def step(
        self, x: ArrayLike, h0: ArrayLike | None = None, c0: ArrayLike | None = None
    ) -> tuple[Array, Array | None]:
        """`h, c`."""

def forward(
    cell: _Cell,
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None,
    b_hh: ArrayLike | None,
    w_hr: ArrayLike | None,
    h0: ArrayLike | None,
    c0: ArrayLike | None,
    lengths: object,
    reverse: bool,
    save: bool,
    memory: _Memory,
    n_threads: int | None,
    y: Array | None = None,
) -> tuple[Array, Array, Array | None, Saved | None]:
    """`y, h_n, c_n, saved`; `y` is a new array, or the one that is given to be written."""

def step(
    cell: _Cell,
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None,
    b_hh: ArrayLike | None,
    w_hr: ArrayLike | None,
    h0: ArrayLike | None,
    c0: ArrayLike | None,
) -> tuple[Array, Array | None]:
    """`h, c`."""

def backward(
    operation: _Backward,
    saved: object,
    dy: ArrayLike | None,
    dh_n: ArrayLike | None,
    dc_n: ArrayLike | None,
    input_gradient: bool,
    n_threads: int | None,
) -> tuple[
    Array | Any, Array, Array, Array | None, Array | None, Array | None, Array, Array | None
]:
    """`dx, dw_ih, dw_hh, db_ih, db_hh, dw_hr, dh0, dc0`; `dx` is None without input_gradient."""

# ---- layers and losses: N rows, I inputs, O outputs, V classes or table rows, E table columns

def linear_forward(
    x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None, n_threads: int | None = None
) -> Array:
    """x (..., I), w (O, I), b (O,): x w^T + b (..., O)."""

def linear_backward(
    x: ArrayLike,
    w: ArrayLike,
    dy: ArrayLike,
    input_gradient: bool = True,
    n_threads: int | None = None,
) -> tuple[Array | Any, Array, Array]:
    """x (..., I), w (O, I), dy (..., O): `dx, dw, db`; `dx` is None without input_gradient."""

def linear_forward_each(x: ArrayLike, w: ArrayLike, n_threads: int | None = None) -> Array:
    """x (B, N, I), w (B, O, I): x w^T (B, N, O)."""

def linear_backward_each(
    x: ArrayLike, w: ArrayLike, dy: ArrayLike, n_threads: int | None = None
) -> tuple[Array, Array]:
    """dy (B, N, O): `dx, dw`."""

def additive_forward(
    query: ArrayLike, key: ArrayLike, weight: ArrayLike, n_threads: int | None = None
) -> Array:
    """query (B, Q, H), key (B, K, H), weight (H,): weight . tanh(query + key) (B, Q, K)."""

def additive_backward(
    query: ArrayLike,
    key: ArrayLike,
    weight: ArrayLike,
    dscores: ArrayLike,
    n_threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """dscores (B, Q, K): `dquery, dkey, dweight`."""

def embedding_forward(weight: ArrayLike, ids: ArrayLike, n_threads: int | None = None) -> Array:
    """weight (V, E), ids (N,): (N, E)."""

def embedding_backward(
    dy: ArrayLike, ids: ArrayLike, num_embeddings: int, n_threads: int | None = None
) -> Array:
    """dy (N, E), ids (N,): the gradient of the table (V, E)."""

def softmax_forward(
    form: _Softmax, x: ArrayLike, mask: ArrayLike | None = None, n_threads: int | None = None
) -> Array:
    """x (B, Q, K), mask (B, Q, K) of booleans: (B, Q, K)."""

def softmax_backward(
    form: _Softmax, y: ArrayLike, dy: ArrayLike, n_threads: int | None = None
) -> Array:
    """y, dy (B, Q, K): the gradient of x."""

def layer_norm_forward(
    x: ArrayLike,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    eps: float,
    n_threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """x (N, F), weight and bias (F,): y (N, F), mean (N,), 1 / sqrt(variance + eps) (N,)."""

def layer_norm_backward(
    x: ArrayLike,
    weight: ArrayLike | None,
    mean: ArrayLike,
    scale: ArrayLike,
    dy: ArrayLike,
    n_threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """dy (N, F): `dx (N, F), dweight (F,), dbias (F,)`."""

def batch_norm_statistics(
    x: ArrayLike, valid: ArrayLike | None, n_threads: int | None = None
) -> tuple[Array, Array]:
    """x (N, F), valid (N,) of booleans: mean and variance (F,) of the valid rows."""

def batch_norm_forward(
    x: ArrayLike,
    valid: ArrayLike | None,
    mean: ArrayLike,
    scale: ArrayLike,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    n_threads: int | None = None,
) -> Array:
    """All but x and valid (F,): y (N, F), zeros where not valid."""

def batch_norm_backward(
    x: ArrayLike,
    valid: ArrayLike | None,
    mean: ArrayLike,
    scale: ArrayLike,
    weight: ArrayLike | None,
    dy: ArrayLike,
    of_batch: bool,
    n_threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """dy (N, F): `dx (N, F), dweight (F,), dbias (F,)`; of_batch: mean and scale are of x."""

def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> tuple[Array, Array]:
    """logits (N, V), targets (N,), weights (N,), class_weights (V,).

    The losses, (N,) or (1,), and their gradient (N, V).
    """

def squared_error(
    prediction: ArrayLike, target: ArrayLike, weights: ArrayLike | None, divisor: float | None
) -> tuple[Array, Array]:
    """The losses, with a `divisor` their sum () divided by it, and the differences.

    All arrays of one shape.
    """

def squared_error_backward(
    differences: ArrayLike, weights: ArrayLike | None, dlosses: ArrayLike, divisor: float
) -> Array:
    """The gradient of the prediction; `dlosses` of the shape of the others, or of one element."""

# ---- labellings: B rows, T steps, V classes, K tags; losses are float64 (B,), and weights their
# factors in the sum that follows them and in the gradients, which are None without `gradient`

def ctc_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    input_lengths: ArrayLike | None,
    target_lengths: ArrayLike,
    blank: int,
    zero_infinity: bool,
    weights: ArrayLike | None,
    gradient: bool,
    n_threads: int | None = None,
) -> tuple[NDArray[np.float64], float, Array | Any]:
    """logits (B, T, V), targets (sum of target_lengths,): losses, their sum, gradient."""

def ctc_greedy_decode(
    logits: ArrayLike, input_lengths: ArrayLike | None, blank: int, n_threads: int | None = None
) -> list[tuple[NDArray[np.int64], float]]:
    """logits (B, T, V): labels and log probability of each row."""

def ctc_beam_decode(
    logits: ArrayLike,
    input_lengths: ArrayLike | None,
    blank: int,
    beam_width: int,
    n_threads: int | None = None,
) -> list[list[tuple[NDArray[np.int64], float]]]:
    """logits (B, T, V): labels and log probabilities of each row, best first."""

def crf_loss(
    emissions: ArrayLike,
    tags: ArrayLike,
    transitions: ArrayLike,
    start_transitions: ArrayLike,
    end_transitions: ArrayLike,
    lengths: ArrayLike | None,
    weights: ArrayLike | None,
    gradient: bool,
    n_threads: int | None = None,
) -> tuple[NDArray[np.float64], float, list[Array] | Any]:
    """emissions (B, T, K), tags (B, T) int64: losses, their sum, the gradients of the floats."""

def crf_marginals(
    emissions: ArrayLike,
    transitions: ArrayLike,
    start_transitions: ArrayLike,
    end_transitions: ArrayLike,
    lengths: ArrayLike | None,
    n_threads: int | None = None,
) -> Array:
    """The probabilities (B, T, K)."""

def crf_decode(
    emissions: ArrayLike,
    transitions: ArrayLike,
    start_transitions: ArrayLike,
    end_transitions: ArrayLike,
    lengths: ArrayLike | None,
    n_threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tags (B, T) and scores (B,)."""

# ---- optimizers: lists with a place for each parameter, whose arrays have one shape. All but
# `grads` are changed in place: they must be writable, C-contiguous and aligned, and those of one
# parameter share no memory. All are checked before the first one changes

def sgd_step(
    params: list[Array],
    grads: list[Array],
    momentum_buffers: list[Array] | None,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    first: list[bool],
    n_threads: int | None = None,
) -> None: ...
def adam_step(
    params: list[Array],
    grads: list[Array],
    m: list[Array],
    v: list[Array],
    v_max: list[Array] | None,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    steps: list[int],
    n_threads: int | None = None,
) -> None: ...
def nadam_step(
    params: list[Array],
    grads: list[Array],
    m: list[Array],
    v: list[Array],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled: bool,
    steps: list[int],
    mu_products: list[float],
    n_threads: int | None = None,
) -> list[float]: ...
def radam_step(
    params: list[Array],
    grads: list[Array],
    m: list[Array],
    v: list[Array],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    steps: list[int],
    n_threads: int | None = None,
) -> None: ...
def adamax_step(
    params: list[Array],
    grads: list[Array],
    m: list[Array],
    u: list[Array],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    steps: list[int],
    n_threads: int | None = None,
) -> None: ...
def rmsprop_step(
    params: list[Array],
    grads: list[Array],
    v: list[Array],
    averages: list[Array] | None,
    momentum_buffers: list[Array] | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    n_threads: int | None = None,
) -> None: ...
def adagrad_step(
    params: list[Array],
    grads: list[Array],
    sums: list[Array],
    lr: float,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    steps: list[int],
    n_threads: int | None = None,
) -> None: ...
def adadelta_step(
    params: list[Array],
    grads: list[Array],
    v: list[Array],
    u: list[Array],
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    n_threads: int | None = None,
) -> None: ...
def lion_step(
    params: list[Array],
    grads: list[Array],
    m: list[Array],
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    n_threads: int | None = None,
) -> None: ...
def grad_norm(grads: Sequence[ArrayLike], n_threads: int | None = None) -> float:
    """The 2-norm of all arrays together."""

def scale_(arrays: Sequence[Array], factor: float, n_threads: int | None = None) -> None:
    """Multiplies the elements in place; C or Fortran order."""

def clamp_(arrays: Sequence[Array], limit: float, n_threads: int | None = None) -> None:
    """Brings the elements into -limit..limit in place; C or Fortran order."""

def blend_(
    averages: list[Array], values: list[Array], weight: float, n_threads: int | None = None
) -> None:
    """`average += weight * (values - average)` for each of them, in place."""

def pow(base: float, exponent: float) -> float: ...
def cos(x: float) -> float:
    """As `pow`, and unlike Python's: the same bits on every machine."""

# ---- files

def serialize_safetensors(
    tensors: dict[str, NDArray[Any]], metadata: Mapping[str, str]
) -> bytes: ...
def deserialize_safetensors(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]: ...
