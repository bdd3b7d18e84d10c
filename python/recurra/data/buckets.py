"""Batches of sequences of similar lengths."""

import numpy as np

from recurra import checks
from recurra.data.batch import Lengths
from recurra.data.order import check_seed
from recurra.data.plan import Plan, cut_by_count, cut_by_tokens

__all__ = ["plan_sequences"]


def plan_sequences(
    operation: str,
    lengths: Lengths,
    batch_size: int | None,
    max_tokens: int | None,
    bucket_width: int | None,
    shuffle: bool,
    seed: int,
    drop_last: bool,
) -> Plan:
    """Which of the sequences of `lengths (n,)` make which batch; `Sequences` says how."""
    keys = None if bucket_width is None else _keys(operation, lengths, bucket_width)
    seed, rows = check_seed(operation, seed), len(lengths)
    if batch_size is not None:
        checks.size(operation, "batch_size", batch_size)
    if drop_last:
        _check_drop_last(operation, rows, batch_size, keys is None and max_tokens is None)
    if max_tokens is not None:
        settled = keys is not None or not shuffle
        costs = _costs(lengths, keys)
        _check_budget(operation, max_tokens, int(costs.max()), settled)
        cuts = cut_by_tokens(costs, max_tokens, batch_size)
    elif batch_size is not None:
        cuts = cut_by_count(rows, batch_size, drop_last)
    else:
        raise ValueError(f"{operation}: batch_size: expected it or max_tokens, got neither")
    return Plan(rows, cuts, shuffle, seed, keys)


def _keys(operation: str, lengths: Lengths, width: int) -> Lengths:
    """The bucket of each row: its length in multiples of `width`, rounded up."""
    checks.size(operation, "bucket_width", width)
    return -(-lengths // width)


def _costs(lengths: Lengths, keys: Lengths | None) -> Lengths:
    """The steps that each row, in the order that is cut, may take up: the most of its bucket."""
    if keys is not None:
        buckets, place = np.unique(keys, return_inverse=True)
        longest = np.zeros(len(buckets), np.int64)
        np.maximum.at(longest, place, lengths)
        lengths = longest[np.sort(place)]
    return np.maximum(lengths, 1)


def _check_budget(operation: str, max_tokens: int, longest: int, settled: bool) -> None:
    checks.size(operation, "max_tokens", max_tokens)
    if max_tokens < longest:
        raise ValueError(
            f"{operation}: max_tokens: expected at least {longest}, the longest row, "
            f"got {max_tokens}"
        )
    if not settled:
        raise ValueError(
            f"{operation}: max_tokens: expected bucket_width with shuffle: other batches in every "
            "epoch would not be of one number"
        )


def _check_drop_last(operation: str, rows: int, batch_size: int | None, in_order: bool) -> None:
    if not in_order or batch_size is None:
        raise ValueError(
            f"{operation}: drop_last: expected neither bucket_width nor max_tokens: it would leave "
            "out the longest rows in every epoch"
        )
    if rows < batch_size:
        raise ValueError(
            f"{operation}: drop_last: expected at least batch_size = {batch_size} rows, got {rows}"
        )
