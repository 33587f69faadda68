"""`mvkit clean`: removes from a phone what the kit has put there."""

from __future__ import annotations

import click

from .options import Output, output_options


@click.command(short_help="Removes what the kit has put on a phone.")
@click.option(
    "--device",
    "names",
    metavar="SERIAL|host|all",
    multiple=True,
    required=True,
    help="Which device; may be given several times.",
)
@output_options
def clean(names: tuple[str, ...], output: Output) -> None:
    """Removes from a phone what the kit has put there.

    That is the folder /data/local/tmp/mvkit with all in it. What a killed command has left
    running is stopped first, and settings that it had changed are put back.
    """
    from android_harness.devices import open_devices
    from android_harness.reservation import clean as clean_device
    from converters.errors import one_line

    from .console import print_json, print_line

    documents = []
    for device in open_devices(names):
        notes: list[str] = []
        clean_device(device, notes.append)
        documents.append({"serial": device.serial, "removed": device.folder, "notes": notes})
        if not output.json and not output.quiet:
            for note in notes:
                print_line(note)
            print_line(f"{one_line(device.serial)}: removed {device.folder}")
    if output.json:
        print_json(documents)
