"""Operators that change a shape, an order or the place of blocks, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.runtimes.mil.ops import OPERATORS
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.known import PRECISIONS, Case, known, normal

X = normal(2, 3, 4)
SINGLES = normal(1, 3, 1, 2)
WHOLE = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
IMAGE, NINES = normal(4, 3, 4, 6), normal(1, 2, 6, 3)


def unshuffled(x: np.ndarray, f: int) -> np.ndarray:
    """(B,C,H*f,W*f) to (B,C*f*f,H,W) pixel by pixel, as torch documents PixelUnshuffle."""
    batch, channels, height, width = x.shape
    result = np.empty((batch, channels * f * f, height // f, width // f))
    for c, i, j in np.ndindex(channels, f, f):
        result[:, (c * f + i) * f + j] = x[:, c, i::f, j::f]
    return result


def deepened(x: np.ndarray, f: int) -> np.ndarray:
    """(B,C,H*f,W*f) to (B,C*f*f,H,W) pixel by pixel, as TensorFlow documents space_to_depth."""
    batch, channels, height, width = x.shape
    result = np.empty((batch, channels * f * f, height // f, width // f))
    for c, i, j in np.ndindex(channels, f, f):
        result[:, (i * f + j) * channels + c] = x[:, c, i::f, j::f]
    return result


def batched(x: np.ndarray, blocks: tuple[int, int]) -> np.ndarray:
    """(B,C,H*b,W*b) to (B*b*b,C,H,W) pixel by pixel, as TensorFlow documents space_to_batch."""
    down, right = blocks
    return np.concatenate([x[:, :, i::down, j::right] for i, j in np.ndindex(down, right)])


def windows(x: np.ndarray, axis: int, size: int, stride: int) -> np.ndarray:
    starts = range(0, x.shape[axis] - size + 1, stride)
    return np.stack([np.take(x, range(s, s + size), axis) for s in starts], axis)


CASES = [
    known("expand_dims", X[:, None], x=X, axes=[1]),
    known("expand_dims", X[None, :, :, :, None], x=X, axes=[-1, 0]),
    known("expand_dims", X[:, None, None], x=X, axes=[2, 1]),
    known("expand_dims", np.array([[1.5]]), x=np.array(1.5), axes=[0, 1]),
    known("squeeze", SINGLES[0, :, 0], x=SINGLES),
    known("squeeze", SINGLES[0], x=SINGLES, axes=[0]),
    known("squeeze", SINGLES[:, :, 0], x=SINGLES, axes=[-2]),
    # Not NumPy's behaviour: an axis of another size stays.
    known("squeeze", SINGLES[:, :, 0], x=SINGLES, axes=[1, 2]),
    known("reshape", X.reshape(4, 6), x=X, shape=[4, 6]),
    known("reshape", X.reshape(2, 12), x=X, shape=[2, -1]),
    known("reshape", X.reshape(2, 12, 1), x=X, shape=[0, -1, 1]),
    known("reshape", X.reshape(2, 12, 1), x=X, shape=[0, -1, 1], op_set="CoreML7"),
    # The example of the reference: from iOS17 on the zeros are matched from the right.
    known("reshape", normal(2, 50)[None, None], x=normal(2, 50), shape=[1, 0, -1, 0],
          op_set="CoreML7"),
    known("reshape", X.reshape(6, 4), x=X, shape=[-1, 0], op_set="CoreML8"),
    known("reshape_like", WHOLE.reshape(6, 4), x=WHOLE, ref_tensors=[np.zeros((6, 2)), np.zeros(4)],
          begins=[np.array(0), np.array(0)], ends=[np.array(1), np.array(0)],
          end_masks=[np.array(False), np.array(True)]),
    known("reshape_like", normal(60).reshape(2, 5, 6),
          x=normal(60), ref_tensors=[np.zeros((2, 3, 4)), np.zeros((1, 5, 6))],
          begins=[np.array(0), np.array(1)], ends=[np.array(1), np.array(0)],
          end_masks=[np.array(False), np.array(True)]),
    # The examples of the reference.
    known("flatten2d", normal(1, 3), x=normal(3), axis=-1),
    known("flatten2d", normal(3, 1), x=normal(3), axis=1),
    known("flatten2d", normal(6, 2), x=normal(2, 3, 2), axis=-1),
    known("flatten2d", normal(5, 10), x=normal(5, 5, 2)),
    known("flatten2d", normal(1, 24), x=X, axis=0),
    known("transpose", X.transpose(2, 0, 1), x=X, perm=[2, 0, 1]),
    known("transpose", X.transpose(0, 2, 1), x=X, perm=[0, -1, -2]),
    known("reverse", X[::-1, ::-1, ::-1], x=X),
    known("reverse", X[:, ::-1], x=X, axes=[1]),
    known("reverse", X[::-1, :, ::-1], x=X, axes=[-1, 0]),
    known("reverse_sequence", np.array([[1, 2, 3], [6, 5, 4], [8, 7, 9]]),
          x=np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), lengths=[1, 3, 2],
          seq_axis=1, batch_axis=0),
    known("reverse_sequence", np.array([[1, 5, 6], [4, 2, 3], [7, 8, 9]]),
          x=np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), lengths=[1, 2, 2],
          seq_axis=0, batch_axis=-1),
    known("sliding_windows", windows(X, 2, 2, 1), x=X, axis=2, size=2),
    known("sliding_windows", windows(WHOLE, 1, 2, 1), x=WHOLE, axis=-2, size=2, stride=1),
    known("sliding_windows", windows(X, 2, 1, 3), x=X, axis=-1, size=1, stride=3),
    known("pixel_unshuffle", unshuffled(IMAGE, 2), x=IMAGE, downscale_factor=2),
    known("pixel_shuffle", IMAGE, x=unshuffled(IMAGE, 2), upscale_factor=2),
    known("pixel_unshuffle", unshuffled(NINES, 3), x=NINES, downscale_factor=3),
    known("pixel_shuffle", NINES, x=unshuffled(NINES, 3), upscale_factor=3),
    known("space_to_depth", deepened(NINES, 3), x=NINES, block_size=3),
    known("depth_to_space", NINES, x=deepened(NINES, 3), block_size=3),
    known("space_to_depth", deepened(IMAGE, 2), x=IMAGE, block_size=2),
    known("depth_to_space", IMAGE, x=deepened(IMAGE, 2), block_size=2),
    # The documented example of tf.nn.depth_to_space, and of tf.nn.pixel_shuffle's other order.
    known("depth_to_space", np.array([[[[1.0, 2, 5, 6], [3, 4, 7, 8]]]]),
          x=np.array([[[[1.0, 5]], [[2, 6]], [[3, 7]], [[4, 8]]]]), block_size=2),
    known("space_to_batch", batched(IMAGE, (2, 3)),
          x=IMAGE, block_shape=[2, 3], paddings=np.zeros((2, 2), dtype=np.int32)),
    known("space_to_batch", batched(np.pad(IMAGE, ((0, 0), (0, 0), (2, 0), (1, 1))), (3, 2)),
          x=IMAGE, block_shape=[3, 2], paddings=np.array([[2, 0], [1, 1]])),
    known("batch_to_space", IMAGE, x=batched(IMAGE, (2, 3)),
          block_shape=[2, 3], crops=np.zeros((2, 2), dtype=np.int32)),
    known("batch_to_space", IMAGE[:, :, 1:, 2:-1], x=batched(IMAGE, (2, 3)),
          block_shape=[2, 3], crops=np.array([[1, 0], [2, 1]])),
]  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_known_answers(case: Case, dtype: torch.dtype) -> None:
    case.check(dtype)


def test_before_ios17_a_zero_needs_its_counterpart() -> None:
    with pytest.raises(UnknownOperator, match="another rank"):
        OPERATORS["reshape"](x=torch.ones(2, 3), shape=torch.tensor([1, 0, -1]), op_set="CoreML6")
