"""What tests of rewrites build modules of: functions, heads of attention and their sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from torch import Tensor, nn

# Of attention, drawn by hypothesis.
SIZES = {
    "batch": st.integers(1, 3),
    "heads": st.integers(1, 4),
    "width": st.integers(1, 6),
    "queries": st.integers(1, 7),
    "keys": st.integers(2, 7),
}


def by_head(layer: nn.Linear, x: Tensor, heads: int) -> Tensor:
    """What a layer makes of tokens, for each head: (B, N, C) -> (B, heads, N, D)."""
    return layer(x).unflatten(-1, (heads, -1)).transpose(1, 2)


class Function(nn.Module):
    """A function of tensors as a module: its inputs, then these constants by name."""

    def __init__(self, function: Callable[..., Any], **constants: Tensor) -> None:
        super().__init__()
        self.function = function
        self.names = tuple(constants)
        for name, value in constants.items():
            self.register_buffer(name, value)

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors, *(getattr(self, name) for name in self.names))
