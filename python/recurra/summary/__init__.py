"""What a model is made of, and what a training step of it takes in memory: `model.summary()`."""

from recurra.summary.measure import summarize as summarize
from recurra.summary.table import Row as Row
from recurra.summary.table import Summary as Summary
