"""The table of rules, by operator; each module beside this one adds those of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.fx import Node

from ..network import Network

# What is to stand in the place of a call: None, or the node itself, where it stays.
Rule = Callable[[Network, Node], Node | None]

RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Registers a function as the rule of these operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return register
