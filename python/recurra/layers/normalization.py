"""What layer and batch normalization share."""

from recurra import checks
from recurra.autograd import Operand, Tensor, as_tensor


def affine_of(
    operation: str, x: Tensor, weight: "Operand | None", bias: "Operand | None"
) -> list[Tensor | None]:
    """Weight and bias as tensors (F,) for x (..., F), F >= 1, or None."""
    if x.shape[-1:] in ((), (0,)):
        raise ValueError(f"{operation}: x: expected shape (..., F) with F >= 1, got {x.shape}")
    if weight is None and bias is not None:
        raise ValueError(f"{operation}: bias: expected None without weight, got an array")
    found: list[Tensor | None] = []
    for name, given in (("weight", weight), ("bias", bias)):
        tensor = None if given is None else as_tensor(operation, name, given, x.dtype)
        if tensor is not None:
            checks.shape(operation, name, tensor.data, "(F,)", x.shape[-1:])
        found.append(tensor)
    return found
