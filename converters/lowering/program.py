"""What a direct route emits: operations on arrays as they lie in memory, channels last.

Between the ATen graph and a file stands a `Program`. Its tensors are physical: a shape is the order
of the bytes, a map is (B, H, W, C), and nothing is implied. Every operation is one that TFLite and
XNNPACK both have, with the meaning below, so that an emitter translates line by line.

The operations, by `kind`, with their inputs (I: constant always) and attributes:

    conv2d              x (B,H,W,C), weight I (O,kh,kw,C/groups), bias I (O) or none
                        stride (2), dilation (2), padding (top,left,bottom,right) with zeros, groups
    depthwise_conv2d    x (B,H,W,C), weight I (1,kh,kw,C*m), bias I (C*m) or none; output channel i
                        reads input channel i // m; stride, dilation, padding
    fully_connected     x (...,K), weight I (N,K), bias I (N) or none -> (...,N)
    batch_matmul        a (...,M,K), b (...,K,N), or (...,N,K) with transpose_b; equal batch axes
    add subtract multiply divide maximum minimum
                        two operands, broadcast as in NumPy; either may be constant
    clamp               low, high (None: unbounded); relu is (0, None)
    sigmoid tanh gelu hardswish abs negate square sqrt rsqrt exp log floor ceil sin cos
    elu leaky_relu      alpha
    softmax             over the last axis
    mean                axes (sorted, not negative); kept with size 1
    average_pool2d      kernel (2), stride (2), padding (4); divides by the values that are there
    max_pool2d          kernel (2), stride (2), padding (4), dilation (2)
    resize_bilinear     size (2), align_corners, half_pixel_centers
    reshape             to the output's shape
    transpose           order: output axis i is input axis order[i]
    concatenate         axis; any number of inputs, constants among them
    slice               begin, size, for every axis
    pad                 before, after, for every axis; value
    cast                to the output's dtype

`activation` is a further attribute of conv2d, depthwise_conv2d, fully_connected, add, subtract,
multiply and divide: (low, high) to clamp the result to, None for neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(eq=False)
class Tensor:
    """An array of a program, by identity; `data` for a constant."""

    name: str  # unique in the program
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: NDArray[Any] | None = None


@dataclass(eq=False)
class Operation:
    """One step; `module` is the path of the source's module that it comes from."""

    kind: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    attributes: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""


@dataclass
class Program:
    """Operations in an order in which they can run.

    `inputs` are in the file's own order; `outputs` by name. An output may be an input, a constant,
    or given twice.
    """

    inputs: list[Tensor]
    outputs: dict[str, Tensor]
    operations: list[Operation]

    def constants(self) -> Iterator[Tensor]:
        """Each constant once, in the order of use."""
        read = [tensor for operation in self.operations for tensor in operation.inputs]
        read += self.outputs.values()
        yield from dict.fromkeys(tensor for tensor in read if tensor.data is not None)


class NotCovered(Exception):
    """A direct route does not cover this graph; the message names the first reason."""
