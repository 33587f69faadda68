"""What each stage of a network gives out and costs, found by running it on the meta device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .registry import build_network, model_card


@dataclass(frozen=True)
class Stage:
    """One line of a model's table; `shape` is the output without the batch."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    macs: int  # multiply-accumulates of one image, attention counted


def measure_stages(name: str, input_size: tuple[int, int]) -> list[Stage]:
    """The parts of a reference model in the order in which they run, for (height, width)."""
    with torch.device("meta"):
        card = model_card(name)
        model = build_network(card, num_classes=card.num_classes).eval()
        image = torch.empty(1, 3, *input_size)
    return _measure(model, image)


def _measure(model: nn.Module, image: Tensor) -> list[Stage]:
    shapes: dict[str, tuple[int, ...]] = {}
    parts = dict(_parts(model))

    def remember(part: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            shapes[part] = tuple(output.shape[1:])

        return hook

    hooks = [m.register_forward_hook(remember(part)) for part, m in parts.items()]
    with FlopCounterMode(display=False) as counter:
        model(image)
    for hook in hooks:
        hook.remove()
    root = type(model).__name__
    flops = {
        part: sum(counter.get_flop_counts().get(f"{root}.{part}", {}).values()) for part in shapes
    }
    return [
        Stage(part, shape, sum(p.numel() for p in parts[part].parameters()), flops[part] // 2)
        for part, shape in shapes.items()
    ]


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The model's children; a container of stages is taken apart."""
    parts: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            parts += [(f"{name}.{i}", stage) for i, stage in child.named_children()]
        else:
            parts.append((name, child))
    return parts
