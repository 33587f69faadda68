"""Rules for what moves data, or leaves it as it is."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch.fx import Node

from ..network import Network, argument, dtype_of, shape_of
from .rules import rule
from .views import expand, joined, permute, reshape, sliced

aten = torch.ops.aten


@rule(
    aten.alias.default, aten.clone.default, aten.contiguous.default, aten.detach.default,
    aten.lift_fresh_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device,
    aten.to.other, aten.type_as.default, aten._to_copy.default,
)  # fmt: skip
def _identity(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    if dtype_of(x) == dtype_of(node):
        return x
    if node.target is aten.to.dtype and len(node.args) == 2:
        return node
    return network.call(aten.to.dtype, x, dtype_of(node), at=node)


@rule(aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)
def _dropout(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    return node if argument(node, 2, "train") else x


@rule(aten.copy.default)
def _copy(network: Network, node: Node) -> Node:
    """What a write into all of a tensor leaves there."""
    source: Any = node.args[1]
    if dtype_of(source) != dtype_of(node):
        source = network.call(aten.to.dtype, source, dtype_of(node), at=node)
    return expand(network, source, shape_of(node), at=node)


@rule(
    aten.flatten.using_ints, aten.view.default, aten._unsafe_view.default, aten.reshape.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
    aten.unflatten.int, aten.view_as.default, aten.reshape_as.default, aten.ravel.default,
    aten.atleast_1d.default, aten.atleast_2d.default, aten.atleast_3d.default,
)  # fmt: skip
def _reshape(network: Network, node: Node) -> Node:
    return reshape(network, node.args[0], shape_of(node), at=node)


@rule(
    aten.permute.default, aten.transpose.int, aten.t.default, aten.swapaxes.default,
    aten.swapdims.default, aten.movedim.int, aten.movedim.intlist, aten.moveaxis.int,
    aten.moveaxis.intlist, aten.numpy_T.default, aten.mT.default, aten.adjoint.default,
)  # fmt: skip
def _permute(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    rest: Any = node.args[1:]
    axes = list(range(len(shape_of(x))))
    match node.target:
        case aten.permute.default:
            axes = [axis % len(axes) for axis in rest[0]]
        case aten.transpose.int | aten.swapaxes.default | aten.swapdims.default:
            i, j = (axis % len(axes) for axis in rest)
            axes[i], axes[j] = j, i
        case aten.mT.default | aten.adjoint.default:
            axes[-2:] = axes[-1], axes[-2]
        case aten.movedim.int | aten.movedim.intlist | aten.moveaxis.int | aten.moveaxis.intlist:
            axes = _moved(axes, *rest)
        case _:
            axes.reverse()
    return permute(network, x, axes, at=node)


def _moved(axes: list[int], source: Any, destination: Any) -> list[int]:
    """The order of axes after `movedim`."""
    sources = [source] if isinstance(source, int) else source
    places = [destination] if isinstance(destination, int) else destination
    rank = len(axes)
    fixed = {to % rank: axis % rank for axis, to in zip(sources, places, strict=True)}
    rest = iter(axis for axis in axes if axis not in fixed.values())
    return [fixed[place] if place in fixed else next(rest) for place in range(rank)]


@rule(aten.expand.default, aten.expand_as.default, aten.broadcast_to.default)
def _expand(network: Network, node: Node) -> Node:
    return expand(network, node.args[0], shape_of(node), at=node)


@rule(aten.slice.Tensor, aten.narrow.default)
def _slice(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(x))
    start, end, step = argument(node, 2, "start"), argument(node, 3, "end"), 1
    if node.target is aten.narrow.default:
        start = start % shape_of(x)[axis] if start else 0
        end = start + argument(node, 3, "length")
    else:
        step = argument(node, 4, "step", 1)
    start, end, step = slice(start, end, step).indices(shape_of(x)[axis])
    if step == 1:
        return sliced(network, x, axis, start, max(start, end), at=node)
    return network.call(aten.slice.Tensor, x, axis, start, end, step, at=node)


@rule(aten.select.int)
def _select(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    rest: Any = node.args[1:]
    axis = rest[0] % len(shape_of(x))
    index = rest[1] % shape_of(x)[axis]
    part = sliced(network, x, axis, index, index + 1, at=node)
    return reshape(network, part, shape_of(node), at=node)


@rule(
    aten.split.Tensor, aten.split_with_sizes.default, aten.split.sizes, aten.chunk.default,
    aten.unbind.int, aten.tensor_split.sections, aten.tensor_split.indices,
    aten.unsafe_split.Tensor, aten.unsafe_chunk.default,
)  # fmt: skip
def _split(network: Network, node: Node) -> None:
    """A slice for each part that is read."""
    x: Any = node.args[0]
    is_unbind = node.target is aten.unbind.int
    axis = int(argument(node, 1 if is_unbind else 2, "dim", 0)) % len(shape_of(x))
    starts = [0]
    for part in node.meta["val"]:
        starts.append(starts[-1] + (1 if is_unbind else part.shape[axis]))
    for reader in list(node.users):
        if reader.target is not operator.getitem:
            return
    for reader in list(node.users):
        place: Any = reader.args[1]
        i = place % (len(starts) - 1)
        part = sliced(network, x, axis, starts[i], starts[i + 1], at=reader)
        network.replace(reader, reshape(network, part, shape_of(reader), at=reader))


@rule(aten.stack.default)
def _stack(network: Network, node: Node) -> Node:
    tensors: Any = node.args[0]
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    shape = list(shape_of(node))
    shape[axis] = 1
    parts = [reshape(network, one, shape, at=node) for one in tensors]
    return joined(network, parts, axis, at=node)


@rule(aten.cat.default, aten.concat.default)
def _cat(network: Network, node: Node) -> Node:
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    tensors: Any = node.args[0]
    # A part of one axis without numbers fits to anything, and adds nothing.
    return joined(network, [t for t in tensors if shape_of(t) != (0,)], axis, at=node)


@rule(aten.slice_scatter.default, aten.select_scatter.default)
def _write_part(network: Network, node: Node) -> Node:
    """What a write into a part of a tensor leaves: what is before, the part, what is behind."""
    x: Any
    part: Any
    x, part = node.args[:2]
    if node.target is aten.select_scatter.default:
        axis, index = argument(node, 2, "dim"), argument(node, 3, "index")
        axis %= len(shape_of(x))
        start, end, step = index % shape_of(x)[axis], index % shape_of(x)[axis] + 1, 1
        shape = list(shape_of(x))
        shape[axis] = 1
        part = reshape(network, part, shape, at=node)
    else:
        axis = argument(node, 2, "dim", 0) % len(shape_of(x))
        bounds = (argument(node, i, name) for i, name in ((3, "start"), (4, "end"), (5, "step")))
        start, end, step = slice(*bounds).indices(shape_of(x)[axis])
    if step != 1:
        return node
    before = sliced(network, x, axis, 0, start, at=node)
    behind = sliced(network, x, axis, max(start, end), shape_of(x)[axis], at=node)
    return joined(network, [before, part, behind], axis, at=node)


@rule(aten.roll.default)
def _roll(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    shifts: Any = node.args[1]
    axes = argument(node, 2, "dims", ())
    if not axes:
        return node
    for shift, axis in zip(shifts, axes, strict=True):
        axis %= len(shape_of(x))
        side = shape_of(x)[axis]
        cut = -shift % side
        if cut:
            behind = sliced(network, x, axis, cut, side, at=node)
            before = sliced(network, x, axis, 0, cut, at=node)
            x = joined(network, [behind, before], axis, at=node)
    return x


@rule(aten.flip.default)
def _flip(network: Network, node: Node) -> Node:
    """As few slices as colours have channels; a longer axis stays."""
    x: Any = node.args[0]
    axes: Any = node.args[1]
    axes = [axis % len(shape_of(x)) for axis in axes]
    if any(shape_of(x)[axis] > 4 for axis in axes):
        return node
    for axis in axes:
        places = reversed(range(shape_of(x)[axis]))
        parts = [sliced(network, x, axis, i, i + 1, at=node) for i in places]
        x = joined(network, parts, axis, at=node)
    return x


@rule(aten.repeat.default, aten.tile.default)
def _repeat(network: Network, node: Node) -> Node:
    """Copies side by side along an axis: a new axis of copies before it, merged with it."""
    x: Any = node.args[0]
    times: Any = node.args[1]
    rank = max(len(times), len(shape_of(x)))
    times = [1] * (rank - len(times)) + list(times)
    shape = (1,) * (rank - len(shape_of(x))) + shape_of(x)
    apart = [side for pair in zip((1,) * rank, shape, strict=True) for side in pair]
    wide = [side for pair in zip(times, shape, strict=True) for side in pair]
    if math.prod(times) == 1:
        return reshape(network, x, shape, at=node)
    y = expand(network, reshape(network, x, apart, at=node), wide, at=node)
    return reshape(network, y, shape_of(node), at=node)


@rule(aten.repeat_interleave.self_int)
def _repeat_each(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    axis = argument(node, 2, "dim")
    shape = list(shape_of(x))
    if axis is None:
        shape, axis = [math.prod(shape)], 0
    axis %= len(shape)
    return _each_copied(network, reshape(network, x, shape, at=node), {axis}, at=node)


def _each_copied(network: Network, x: Any, axes: set[int], *, at: Node) -> Node:
    """Each element as often behind itself on these axes as the result of `at` is larger."""
    apart: list[int] = []
    wide: list[int] = []
    for axis, (side, got) in enumerate(zip(shape_of(x), shape_of(at), strict=True)):
        apart += [side, 1] if axis in axes else [side]
        wide += [side, got // side] if axis in axes else [side]
    y = expand(network, reshape(network, x, apart, at=at), wide, at=at)
    return reshape(network, y, shape_of(at), at=at)


@rule(
    aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default,
    aten._upsample_nearest_exact2d.vec, aten._upsample_nearest_exact2d.default,
)  # fmt: skip
def _nearest(network: Network, node: Node) -> Node:
    """By whole factors."""
    x: Any = node.args[0]
    ratios = [got / side for side, got in zip(shape_of(x)[2:], shape_of(node)[2:], strict=True)]
    if "vec" in str(node.target):
        factors = argument(node, 2, "scale_factors") or ratios
    else:
        given = (argument(node, 2, "scales_h"), argument(node, 3, "scales_w"))
        factors = [g or r for g, r in zip(given, ratios, strict=True)]
    if list(factors) != ratios or not all(ratio.is_integer() for ratio in ratios):
        return node
    return _each_copied(network, x, {2, 3}, at=node)


@rule(aten.pixel_shuffle.default)
def _pixel_shuffle(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    r: Any = node.args[1]
    *batch, c, h, w = shape_of(x)
    n = len(batch)
    y = reshape(network, x, (*batch, c // (r * r), r, r, h, w), at=node)
    y = permute(network, y, [*range(n + 1), n + 3, n + 1, n + 4, n + 2], at=node)
    return reshape(network, y, shape_of(node), at=node)


@rule(aten.pixel_unshuffle.default)
def _pixel_unshuffle(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    r: Any = node.args[1]
    *batch, c, h, w = shape_of(x)
    n = len(batch)
    y = reshape(network, x, (*batch, c, h // r, r, w // r, r), at=node)
    y = permute(network, y, [*range(n + 1), n + 2, n + 4, n + 1, n + 3], at=node)
    return reshape(network, y, shape_of(node), at=node)


@rule(aten.im2col.default)
def _unfold(network: Network, node: Node) -> Node:
    """Windows side by side, without padding: patches (B, C kh kw, N)."""
    args: Any = node.args
    x, (rows, columns), _, padding, stride = args
    *batch, c, h, w = shape_of(x)
    if [*stride] != [rows, columns] or any(padding) or h % rows or w % columns:
        return node
    n = len(batch)
    y = reshape(network, x, (*batch, c, h // rows, rows, w // columns, columns), at=node)
    order = [*range(n + 1), n + 2, n + 4, n + 1, n + 3]
    return reshape(network, permute(network, y, order, at=node), shape_of(node), at=node)


@rule(aten.col2im.default)
def _fold(network: Network, node: Node) -> Node:
    """Patches back into a map, where they do not overlap."""
    args: Any = node.args
    x, (h, w), (rows, columns), _, padding, stride = args
    if [*stride] != [rows, columns] or any(padding) or h % rows or w % columns:
        return node
    *batch, c, _, _ = shape_of(node)
    n = len(batch)
    y = reshape(network, x, (*batch, c, rows, columns, h // rows, w // columns), at=node)
    order = [*range(n + 1), n + 3, n + 1, n + 4, n + 2]
    return reshape(network, permute(network, y, order, at=node), shape_of(node), at=node)


@rule(aten.channel_shuffle.default)
def _channel_shuffle(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    groups: Any = node.args[1]
    b, c, *sides = shape_of(x)
    y = reshape(network, x, (b, groups, c // groups, *sides), at=node)
    y = permute(network, y, [0, 2, 1, *range(3, len(sides) + 3)], at=node)
    return reshape(network, y, shape_of(node), at=node)


@rule(aten.pad.default, aten.constant_pad_nd.default)
def _pad(network: Network, node: Node) -> Node:
    x: Any = node.args[0]
    widths: Any = node.args[1]
    value = argument(node, 2, "value", 0)
    if node.target is aten.pad.default:
        if argument(node, 2, "mode", "constant") != "constant":
            return node
        value = argument(node, 3, "value") or 0
    if not any(widths):
        return x
    return network.call(aten.constant_pad_nd.default, x, list(widths), value, at=node)
