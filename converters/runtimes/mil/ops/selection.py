"""Sorting, the largest elements, and non-maximum suppression."""

from __future__ import annotations

import torch
from torch import Tensor

from ..numerics import HELD
from ..values import UnknownOperator
from .arguments import flag, integer
from .registry import operator, since


@operator("argsort")
def argsort(x: Tensor, axis: Tensor | None = None, ascending: Tensor | None = None) -> Tensor:
    """Where the elements along `axis` (the last) are, largest first; equals in their order."""
    order = torch.argsort(x, dim=integer(axis, -1), descending=not flag(ascending), stable=True)
    return order.to(torch.int32)


@operator("topk")
def topk(
    x: Tensor,
    k: Tensor | None = None,
    axis: Tensor | None = None,
    ascending: Tensor | None = None,
    sort: Tensor | None = None,
    return_indices: Tensor | None = None,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """The k (1) largest elements along `axis` (the last) in order, and where they are.

    If ascending, the smallest; k = -1 takes all. Without `sort` any order would do.
    """
    place = integer(axis, -1)
    count = integer(k, 1)
    count = x.shape[place] if count == -1 else count
    values, indices = torch.topk(x, count, dim=place, largest=not flag(ascending))
    if not flag(return_indices, True):
        return values
    return values, indices.to(HELD[output_indices_dtype])


@operator("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: Tensor,
    max_boxes: Tensor,
    score_threshold: Tensor | None = None,
    per_class_suppression: Tensor | None = None,
    *,
    op_set: str = "CoreML5",
) -> tuple[Tensor, ...]:
    """Boxes (centre x, centre y, width, height) that overlap no better one beyond a threshold.

    boxes (B,N,4) and scores (B,N,K) give boxes (B,M,4), scores (B,M,K), indices (B,M) and counts
    (B), M being `max_boxes`; rows that are left over are 0, indices -1. From CoreML7 on N and M
    are the last axes and there are neither counts nor a score threshold. A box's class and score
    are those of its largest score; boxes suppress those of their class, or any.
    """
    last = since(op_set, 7)
    if last:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    limit = int(max_boxes)
    results = (
        boxes.new_zeros(len(boxes), limit, 4),
        scores.new_zeros(len(boxes), limit, scores.shape[-1]),
    )
    indices = torch.full((len(boxes), limit), -1, dtype=torch.int32)
    counts = torch.zeros(len(boxes), dtype=torch.int32)
    for image, (frame, table) in enumerate(zip(boxes, scores, strict=True)):
        best, classes = table.max(dim=-1)
        if not flag(per_class_suppression):
            classes = torch.zeros_like(classes)
        candidates = torch.argsort(best, descending=True, stable=True)
        if score_threshold is not None:
            candidates = candidates[best[candidates] >= score_threshold]
        kept = _survivors(frame, classes, candidates, float(iou_threshold), limit)
        if not len(kept):
            raise UnknownOperator("non_maximum_suppression", "no box above the score threshold")
        results[0][image, : len(kept)] = frame[kept]
        results[1][image, : len(kept)] = table[kept]
        indices[image, : len(kept)] = kept.to(torch.int32)
        counts[image] = len(kept)
    if last:
        return results[0].transpose(1, 2), results[1].transpose(1, 2), indices
    return *results, indices, counts


def _survivors(
    boxes: Tensor, classes: Tensor, candidates: Tensor, threshold: float, limit: int
) -> Tensor:
    """The first `limit` candidates that no earlier survivor suppresses."""
    kept: list[Tensor] = []
    while len(candidates) and len(kept) < limit:
        best, candidates = candidates[0], candidates[1:]
        kept.append(best)
        suppressed = _overlap(boxes[best], boxes[candidates]) > threshold
        candidates = candidates[~(suppressed & (classes[candidates] == classes[best]))]
    return torch.stack(kept) if kept else candidates


def _overlap(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of one box with others (N,4)."""
    low = torch.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = torch.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    common = (high - low).clamp(min=0).prod(dim=-1)
    return common / (box[2:].prod() + others[:, 2:].prod(dim=-1) - common)
