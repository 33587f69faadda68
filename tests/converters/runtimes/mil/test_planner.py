"""Programs that contradict themselves are refused before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.errors import ArtifactError
from converters.runtimes.mil import Evaluator
from tests.converters.handmade import assert_one_line
from tests.converters.runtimes.mil.programs import edit, main_block


def operation(model: Any, kind: str) -> Any:
    return next(one for one in main_block(model).operations if one.type == kind)


def renamed(name: str, **place: Any) -> Callable[[Any], None]:
    """Another name for the first result of an operator."""

    def change(model: Any) -> None:
        operation(model, place["of"]).outputs[0].name = name

    return change


def reads(name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        operation(model, "relu").inputs["x"].arguments[0].name = name

    return change


def size(value: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        kind = operation(model, "relu").outputs[0].type.tensorType
        kind.dimensions[0].constant.size = value

    return change


def rank(count: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        kind = operation(model, "relu").outputs[0].type.tensorType
        for _ in range(count):
            kind.dimensions.add().constant.size = 1

    return change


def without_input(model: Any) -> None:
    del operation(model, "linear").inputs["weight"]


def with_two(model: Any) -> None:
    arguments = operation(model, "relu").inputs["x"].arguments
    arguments.append(arguments[0])


def without_blocks(model: Any) -> None:
    operation(model, "relu").type = "cond"


def with_two_predicates(model: Any) -> None:
    relu = operation(model, "relu")
    relu.type = "cond"
    relu.inputs["pred"].arguments.extend([relu.inputs["x"].arguments[0]] * 2)
    del relu.inputs["x"]
    relu.blocks.add().outputs.append("product")
    relu.blocks.add().outputs.append("product")


def swapped(model: Any) -> None:
    """Reads what is defined later."""
    block = main_block(model)
    kept = [block.operations[i] for i in (0, 1, 3, 2)]
    copies = [type(one).FromString(one.SerializeToString()) for one in kept]
    del block.operations[:]
    block.operations.extend(copies)


def constexpr_of_a_variable(model: Any) -> None:
    operation(model, "relu").type = "constexpr_cast"


DAMAGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "undefined": (reads("nowhere"), "operator relu reads nowhere, which nothing defines"),
    "itself": (reads("out"), "operator relu reads out, which nothing defines"),
    "later": (swapped, "operator relu reads product, which nothing defines"),
    "output": (renamed("other", of="relu"), "a block reads out, which nothing defines"),
    "twice": (renamed("product", of="relu"), "product is defined twice"),
    "cursor": (reads("\x1b[2J\n"), "operator relu reads"),
    "input left out": (without_input, r"operator linear \(product\) lacks its input weight"),
    "two arguments": (with_two, r"operator relu \(out\) is malformed"),
    "two predicates": (with_two_predicates, r"operator cond \(out\) is malformed"),
    "cond without blocks": (without_blocks, r"operator cond \(out\) is malformed"),
    "constant of a variable": (
        constexpr_of_a_variable,
        r"operator constexpr_cast \(out\) is malformed",
    ),
    "no value": (
        lambda m: operation(m, "const").attributes.clear(),
        r"operator const \(product_weight_0\) is malformed",
    ),
    "absurd size": (size(2**40), r"out has the absurd shape \[1099511627776, 4\]"),
    "absurd rank": (rank(20), "out has the absurd shape"),
    "description's input": (
        lambda m: setattr(m.description.input[0], "name", "y"),
        "its description and its program disagree about inputs",
    ),
    "description's output": (
        lambda m: setattr(m.description.output[0], "name", "y"),
        "its description and its program disagree about outputs",
    ),
    "description's function": (
        lambda m: setattr(m.description, "defaultFunctionName", "y"),
        "its program has no function y",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_programs(name: str, small_package: Path) -> None:
    change, said = DAMAGE[name]
    with pytest.raises(ArtifactError, match=said) as caught:
        Evaluator(edit(small_package, change))
    assert_one_line(caught.value, str(small_package))
