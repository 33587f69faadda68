"""`mvkit runner`: the native programs that measure on a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Output, SuggestingGroup, output_options

if TYPE_CHECKING:
    from android_harness.bundles import Bundle

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=SuggestingGroup, short_help="Builds the programs that measure on a device.")
def runner() -> None:
    """Builds and lists the native programs that run a file on a device and time it.

    They are kept in ~/.cache/mvkit/runners, or in MVKIT_CACHE.
    """


@runner.command(short_help="Builds the runners for an ABI.")
@click.option(
    "--abi",
    type=click.Choice(["host", "linux-arm64", "arm64-v8a"]),
    default="host",
    show_default=True,
    help="This machine, Linux on 64-bit Arm, or Android phones.",
)
@click.option(
    "--target",
    type=click.Choice(["tflite", "executorch", "all"]),
    default="all",
    show_default=True,
    help="Which files it is to run.",
)
@click.option("--ndk", type=_FOLDER, help="The Android NDK.  [default: ANDROID_NDK_HOME]")
@click.option(
    "--runtime",
    "runtime_folder",
    type=_FOLDER,
    help="For arm64-v8a: a folder with the vendor's libraries for Android; needs --target.",
)
@output_options
def build(
    abi: str, target: str, ndk: Path | None, runtime_folder: Path | None, output: Output
) -> None:
    """Builds self-contained bundles, unless they are there.

    host and linux-arm64 take the vendors' libraries from their Python packages. arm64-v8a needs an
    Android NDK and --runtime; it was written without either at hand and has never been built.
    """
    from android_harness.building import build_bundle
    from android_harness.bundles import PROGRAMS
    from converters.errors import UsageError

    from .console import print_json, progress

    if abi == "arm64-v8a" and target == "all":
        raise UsageError("--abi arm64-v8a needs --target tflite or executorch, and its --runtime")
    if ndk is not None and abi != "arm64-v8a":
        raise UsageError("--ndk is only used with --abi arm64-v8a")
    targets = tuple(PROGRAMS) if target == "all" else (target,)
    built = []
    with progress(len(targets), "build", quiet=output.quiet) as (phase, done):
        for one in targets:
            phase(one, f"compiling {PROGRAMS[one]}")
            built.append(build_bundle(one, abi, ndk=ndk, runtime_folder=runtime_folder))
            done(one)
    if output.json:
        print_json([_document(bundle) for bundle in built])
    elif not output.quiet:
        _print_bundles(built)


@runner.command("list", short_help="Lists the runners that are built.")
@output_options
def list_(output: Output) -> None:
    """Lists the bundles in the cache. An old one is of other sources and is not used."""
    from android_harness.bundles import bundles_folder, list_bundles

    from .console import print_json, print_line

    found = list_bundles()
    if output.json:
        print_json([_document(bundle) for bundle in found])
    elif output.quiet:
        return
    elif found:
        _print_bundles(found)
    else:
        print_line(f"no runners in {bundles_folder()}; build them with: mvkit runner build")


def _document(bundle: Bundle) -> dict[str, Any]:
    return {
        "target": bundle.target,
        "abi": bundle.abi,
        "runtime": bundle.runtime,
        "compiler": bundle.compiler,
        "built": bundle.built,
        "current": bundle.is_current,
        "bytes": bundle.size,
        "path": str(bundle.path),
    }


def _print_bundles(bundles: list[Bundle]) -> None:
    from converters.errors import one_line

    from .console import plain_table, print_table, size_text

    table = plain_table("target", "abi", "runtime", "compiler", "size", "", right=("size",))
    for bundle in bundles:
        table.add_row(
            bundle.target,
            bundle.abi,
            one_line(bundle.runtime, 60),
            one_line(bundle.compiler, 60),
            size_text(bundle.size),
            "" if bundle.is_current else "old",
        )
    print_table(table)
