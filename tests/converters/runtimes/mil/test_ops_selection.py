"""Sorting and suppression against NumPy and TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal, uniform

X = normal(3, 4, 5)
WHOLE = np.array([[3, -1, 7, 0], [5, 9, 2, -6]], dtype=np.int32)


def smallest(x: np.ndarray, k: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    indices = np.take(np.argsort(x, axis), range(k), axis)
    return np.take_along_axis(x, indices, axis), indices


def largest(x: np.ndarray, k: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    values, indices = smallest(-x, k, axis)
    return -values, indices


# Centre, width and height: B covers A by 0.6 of their union, C by none, D equals C.
BOXES = np.array([[[2.0, 2, 4, 4], [3, 2, 4, 4], [12, 2, 4, 4], [12, 2, 4, 4]]])
SCORES = np.array([[[0.5, 0.25], [0.75, 0.125], [0.25, 0.625], [0.375, 0.25]]])


def picked(order: list[int], limit: int) -> tuple[np.ndarray, ...]:
    boxes, scores = np.zeros((1, limit, 4)), np.zeros((1, limit, 2))
    boxes[0, : len(order)], scores[0, : len(order)] = BOXES[0, order], SCORES[0, order]
    indices = np.full((1, limit), -1, dtype=np.int32)
    indices[0, : len(order)] = order
    return boxes, scores, indices, np.array([len(order)], dtype=np.int32)


def moved(results: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The same in the layout of iOS17."""
    return results[0].swapaxes(1, 2), results[1].swapaxes(1, 2), results[2]


CASES = [
    known("argsort", np.argsort(-X, -1), x=X),
    known("argsort", np.argsort(X, 1), x=X, axis=1, ascending=True),
    known("argsort", np.argsort(-WHOLE, 0), x=WHOLE, axis=-2, ascending=False),
    known("topk", largest(X, 1, -1), x=X),
    known("topk", largest(X, 3, 1), x=X, k=3, axis=1),
    known("topk", smallest(X, 2, 0), x=X, k=2, axis=-3, ascending=True),
    known("topk", largest(WHOLE, 2, 1), x=WHOLE, k=2, sort=True, return_indices=True),
    known("topk", largest(X, 2, 2)[0], x=X, k=2, return_indices=False),
    known("topk", largest(X, 4, 1), x=X, k=-1, axis=1, output_indices_dtype="uint16"),
    known("non_maximum_suppression", picked([1, 2], 3),
          boxes=BOXES, scores=SCORES, iou_threshold=0.5, score_threshold=0.0, max_boxes=3),
    known("non_maximum_suppression", picked([1, 2, 0], 4),
          boxes=BOXES, scores=SCORES, iou_threshold=0.625, score_threshold=0.0, max_boxes=4),
    known("non_maximum_suppression", picked([1, 2, 3], 3),
          boxes=BOXES, scores=SCORES, iou_threshold=0.5, score_threshold=0.0, max_boxes=3,
          per_class_suppression=True),
    known("non_maximum_suppression", picked([1], 2),
          boxes=BOXES, scores=SCORES, iou_threshold=0.5, score_threshold=0.7, max_boxes=2),
    known("non_maximum_suppression", picked([1, 2], 2),
          boxes=BOXES, scores=SCORES, iou_threshold=0.99, score_threshold=0.0, max_boxes=2),
    known("non_maximum_suppression", moved(picked([1, 2], 3)),
          boxes=BOXES.swapaxes(1, 2), scores=SCORES.swapaxes(1, 2), iou_threshold=0.5, max_boxes=3,
          op_set="CoreML7"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
def test_tensorflow_suppresses_the_same_boxes(threshold: float) -> None:
    import tensorflow as tf

    centres, sizes = uniform(0, 10, 30, 2), uniform(1, 6, 30, 2, seed=1)
    scores = uniform(0, 1, 30, seed=2)
    corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)[:, [1, 0, 3, 2]]
    theirs = tf.image.non_max_suppression(
        corners.astype(np.float32), scores.astype(np.float32), 12, threshold, 0.25
    ).numpy()
    ours = OPERATORS["non_maximum_suppression"](
        boxes=torch.tensor(np.concatenate([centres, sizes], 1))[None],
        scores=torch.tensor(scores)[None, :, None],
        iou_threshold=torch.tensor(threshold),
        score_threshold=torch.tensor(0.25),
        max_boxes=torch.tensor(12),
    )
    assert ours[2][0, : len(theirs)].tolist() == theirs.tolist()
    assert ours[3].tolist() == [len(theirs)]


def test_what_is_left_when_no_box_scores_is_not_guessed() -> None:
    with pytest.raises(UnknownOperator, match="no box"):
        OPERATORS["non_maximum_suppression"](
            boxes=torch.tensor(BOXES),
            scores=torch.tensor(SCORES),
            iou_threshold=torch.tensor(0.5),
            score_threshold=torch.tensor(0.9),
            max_boxes=torch.tensor(3),
        )
