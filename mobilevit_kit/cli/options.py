"""What the verbs share: the options that each of them has, and parameter types."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem


@dataclass(frozen=True)
class Output:
    """How much a verb says, and in which form."""

    json: bool
    quiet: bool
    verbose: bool
    debug: bool


def output_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json, --quiet, --verbose and --debug, handed over as one `output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
    @click.option("-v", "--verbose", is_flag=True, help="Show what the vendors' tools print.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(verb)
    def wrapped(
        *args: Any, as_json: bool, quiet: bool, verbose: bool, debug: bool, **rest: Any
    ) -> Any:
        return verb(*args, output=Output(as_json, quiet, verbose, debug), **rest)

    return wrapped


class SuggestingGroup(click.Group):
    """A group that answers an unknown verb with the one that was probably meant."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.commands, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(self.commands)}"
            context.fail(f"unknown verb '{args[0]}'; {hint}")
        return super().resolve_command(context, args)


class ModelName(click.ParamType[str]):
    """A reference model or a user's own; only the shell's completion knows the names here."""

    name = "model"

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from mobilevit_kit.models import list_models

        return [CompletionItem(name) for name in list_models(f"{incomplete}*")]


class TargetNames(click.ParamType[tuple[str, ...]]):
    """Targets, separated by commas, or "all"; see `converters.targets.parse_targets`."""

    name = "targets"

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from converters.targets import TARGETS

        before, comma, last = incomplete.rpartition(",")
        names = TARGETS if comma else (*TARGETS, "all")
        return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(last)]


class RewriteNames(click.ParamType[str]):
    """Rewrites, separated by commas, "all" or "none"; see `converters.rewrite.parse_rewrites`."""

    name = "rewrites"

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from converters.rewrite import REWRITES

        before, comma, last = incomplete.rpartition(",")
        names = [*REWRITES] if comma else [*REWRITES, "all", "none"]
        return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(last)]


class ImageSizes(click.ParamType[tuple[tuple[int, int], ...]]):
    """Several HxW, separated by commas."""

    name = "HxW,..."

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[tuple[int, int], ...]:
        size = ImageSize()
        return tuple(size.convert(part, parameter, context) for part in str(value).split(","))


class ImageSize(click.ParamType[tuple[int, int]]):
    """HxW in pixels; one number stands for a square."""

    name = "HxW"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, int]:
        sides = str(value).lower().split("x")
        if len(sides) == 1:
            sides *= 2
        if len(sides) != 2 or not all(
            s.isascii() and s.isdecimal() and s.strip("0") for s in sides
        ):
            self.fail(f"'{value}' is not a size such as 192x320", parameter, context)
        if any(len(side) > 9 for side in sides):  # Python refuses numbers of some thousand digits
            self.fail("that is too large for an image", parameter, context)
        return int(sides[0]), int(sides[1])
