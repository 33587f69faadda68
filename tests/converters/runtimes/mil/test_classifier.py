"""A classifier's answer from its probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from converters.runtimes.mil.classifier import classify


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1)])
@pytest.mark.parametrize("labels", [["cat", "dog", "bird"], [7, 8, 9]])
def test_the_most_probable_label(labels: list[Any], shape: tuple[int, ...]) -> None:
    for best in range(3):
        values = torch.full((3,), 0.1)
        values[best] = 0.8
        label, probabilities = classify(values.reshape(shape), labels)
        assert (label if isinstance(label, str) else label.item()) == labels[best]
        assert probabilities.tolist() == values.tolist()


def test_of_equals_the_first() -> None:
    assert classify(torch.tensor([0.4, 0.4, 0.2]), ["a", "b", "c"])[0] == "a"


@pytest.mark.parametrize("labels", [[], ["a"], ["a", "b", "c"]])
def test_labels_that_do_not_fit(labels: list[str]) -> None:
    with pytest.raises(ValueError, match="2 probabilities for"):
        classify(torch.tensor([0.5, 0.5]), labels)
