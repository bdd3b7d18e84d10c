"""What layer and batch normalization share."""

from recurra import checks
from recurra.autograd import Tensor


def check_affine(operation: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Refuse a weight or a bias that is not (F,) for x (..., F), F >= 1."""
    if x.shape[-1:] in ((), (0,)):
        raise ValueError(f"{operation}: x: expected shape (..., F) with F >= 1, got {x.shape}")
    if weight is None and bias is not None:
        raise ValueError(f"{operation}: bias: expected None without weight, got an array")
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            checks.float_array(operation, name, given.data, x.dtype)
            checks.shape(operation, name, given.data, "(F,)", x.shape[-1:])
