from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.lowering.arrangement import View, by_place, fresh, same_atoms
from converters.lowering.program import Tensor


def _view(*shape: int) -> View:
    return fresh(Tensor("x", shape))


def _numbers(view: View) -> np.ndarray:
    """What the logical tensor holds where the array holds 0, 1, 2, ..."""
    data = np.arange(math.prod(view.tensor.shape)).reshape([atom.size for atom in view.memory])
    atoms = [atom for axis in view.axes for atom in axis]
    return data.transpose([view.memory.index(atom) for atom in atoms]).reshape(view.shape)


_SHAPES = st.lists(st.sampled_from((1, 2, 3, 4, 6)), min_size=1, max_size=4)


@settings(deadline=None)
@given(_SHAPES, st.data())
def test_permutations_and_reshapes(shape: list[int], data: st.DataObject) -> None:
    view = _view(*shape)
    expected = np.arange(math.prod(shape)).reshape(shape)
    for _ in range(4):
        order = data.draw(st.permutations(range(expected.ndim)))
        view, expected = view.permuted(order), expected.transpose(order)
        new = data.draw(_shapes_of(expected.size))
        reshaped = view.reshaped(new)
        if reshaped is not None:
            view, expected = reshaped, expected.reshape(new)
        assert view.shape == expected.shape
        assert np.array_equal(_numbers(view), expected)


@st.composite
def _shapes_of(draw: st.DrawFn, count: int) -> list[int]:
    shape = [1] * draw(st.integers(0, 1))
    while count > 1:
        side = draw(st.sampled_from([n for n in range(2, count + 1) if count % n == 0]))
        shape.append(side)
        count //= side
    return shape


@pytest.mark.parametrize(
    "new", [(2, 48, 5), (96, 5), (2, 2, 3, 8, 5), (1, 2, 6, 1, 4, 2, 5), (480,)]
)
def test_shapes_that_cut_no_atom(new: Sequence[int]) -> None:
    view = _view(2, 6, 8, 5).reshaped(new)
    assert view is not None and view.shape == tuple(new)


@pytest.mark.parametrize("new", [(2, 4, 12, 5), (5, 2, 6, 8), (2, 6, 5, 8)])
def test_shapes_that_cut_one(new: Sequence[int]) -> None:
    assert _view(2, 6, 8, 5).reshaped(new) is None


def test_what_lies_in_one_piece_may_be_cut() -> None:
    view = _view(5, 6, 8).permuted([1, 2, 0]).flattened()  # 6 and 8 are one piece, 5 is not
    assert [atom.size for atom in view.axes[0]] == [48, 5]
    cut = view.reshaped((4, 12, 5))
    assert cut is not None
    expected = np.arange(240).reshape(5, 48).T.reshape(4, 12, 5)
    assert np.array_equal(_numbers(cut), expected)


def test_partition() -> None:
    view = _view(2, 1, 12).reshaped((2, 3, 4))
    assert view is not None
    assert [[atom.size for atom in part] for part in view.partition() or []] == [[2], [], [3, 4]]
    other = View(Tensor("y", (4, 6)), view.memory, view.axes)  # 3 would reach over the border
    assert other.partition() is None


def test_same_atoms() -> None:
    a = _view(12, 5)
    b = _view(3, 4, 5).reshaped((12, 5))
    assert b is not None
    for one, other in ((a, b), (b, a)):
        pair = same_atoms(one, other, [(0, 0), (1, 1)])
        assert pair is not None
        sizes = [[[atom.size for atom in axis] for axis in view.axes] for view in pair]
        assert sizes[0] == sizes[1] == [[3, 4], [5]]
    uneven = _view(4, 3, 5).reshaped((12, 5))
    assert uneven is not None
    assert same_atoms(b, uneven, [(0, 0)]) is None
    assert same_atoms(uneven, b, [(0, 0)]) is None
    assert same_atoms(b, uneven, [(1, 1)]) is not None


def test_channels_of_a_map_have_the_last_place() -> None:
    b, c, h, w = (axis[0] for axis in _view(2, 3, 4, 5).axes)
    assert by_place([b, c, h, w]) == (b, h, w, c)
