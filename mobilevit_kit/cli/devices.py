"""`mvkit devices`: the phones that adb knows, and this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import Output, output_options

if TYPE_CHECKING:
    from android_harness.devices import Seen


@click.command(short_help="Lists phones and what they say of themselves.")
@output_options
def devices(output: Output) -> None:
    """Lists the phones that adb knows, and this machine.

    Each with its model, processor, Android version, ABIs, temperature and battery, and what to do
    about a phone that takes no commands. Nothing on a phone is changed.
    """
    from android_harness.devices import find_devices, host_seen

    from .console import print_json

    seen = [*find_devices(), host_seen()]
    if output.json:
        print_json([_document(one) for one in seen])
    elif not output.quiet:
        _print(seen)


def _print(seen: list[Seen]) -> None:
    from converters.errors import one_line

    from .console import plain_table, print_line, print_table

    table = plain_table(
        "device", "state", "model", "SoC", "system", "ABIs", "temperature", "battery",
        right=("temperature", "battery"),
    )  # fmt: skip
    for one in seen:
        info = one.info
        facts: tuple[str | None, ...] = (None,) * 4
        if info is not None:
            model = f"{info.model} (emulated)" if info.emulated else info.model
            facts = (model, info.soc, info.os, " ".join(info.abis))
        cells = (one.serial, one.state, *facts, *_warmth(one))
        table.add_row(*("-" if cell is None else one_line(cell) for cell in cells))
    print_table(table)
    for one in seen:
        if one.advice is not None:
            print_line(f"{one_line(one.serial)}: {one_line(one.state)}; {one_line(one.advice)}")


def _warmth(seen: Seen) -> tuple[str | None, str | None]:
    from android_harness.conditions import warmest

    if seen.conditions is None:
        return None, None
    sensor = warmest(seen.conditions)
    level = seen.conditions.battery_level
    return (
        None if sensor is None else f"{sensor[1]:.1f} °C",
        None if level is None else f"{level} %",
    )


def _document(seen: Seen) -> dict[str, Any]:
    from dataclasses import asdict

    document = asdict(seen)
    if seen.conditions is not None:
        document["conditions"]["moment"] = seen.conditions.moment.isoformat()
    return document
