"""Modules from functions, for tests that need no layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


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
