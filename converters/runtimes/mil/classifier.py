"""The operator that turns a classifier's probabilities into its answer."""

from __future__ import annotations

import torch
from torch import Tensor

from .ops import operator


@operator("classify")
def classify(probabilities: Tensor, classes: list[str | int]) -> tuple[str | Tensor, Tensor]:
    """The label with the highest probability, and the probabilities in the order of the labels."""
    values = probabilities.flatten()
    if not classes or len(classes) != len(values):
        raise ValueError(f"{len(values)} probabilities for {len(classes)} labels")
    label = classes[int(values.argmax())]
    return (label if isinstance(label, str) else torch.tensor(label)), values
