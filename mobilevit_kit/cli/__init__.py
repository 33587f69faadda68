"""The command line, `mvkit`: one file a verb.

A verb parses its options, calls one function of the library and prints. Nothing heavy is imported
until a verb runs.
"""

from __future__ import annotations

import io
import sys
import traceback

import click

from .bench import bench
from .clean import clean
from .compare import compare
from .completion import completion
from .convert import convert
from .devices import devices
from .export import export
from .info import info
from .inspect import inspect
from .models import models
from .options import SuggestingGroup
from .predict import predict
from .rewrites import rewrites
from .runner import runner
from .runs import runs
from .store import store
from .verify import verify

_TOOLS = ("torch", "litert-torch", "ai-edge-litert", "coremltools", "executorch", "tensorflow")


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    import importlib.metadata
    import platform

    click.echo(f"mvkit {importlib.metadata.version('mobilevit-kit')}")
    click.echo(f"python {platform.python_version()}")
    for tool in _TOOLS:
        try:
            click.echo(f"{tool} {importlib.metadata.version(tool)}")
        except importlib.metadata.PackageNotFoundError:
            click.echo(f"{tool} not installed")
    context.exit()


@click.group(cls=SuggestingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the versions of mvkit and of the vendors' tools, and exit.",
)
def cli() -> None:
    """Converts PyTorch vision models for phones and proves that each file is right.

    A converted file stands beside its manifest and its golden tensors, so that it can be
    verified again, years later, with no PyTorch.
    """


for _verb in (
    *(models, info, convert, verify, inspect, predict, rewrites),
    *(devices, bench, clean, runner, runs, compare, export, store),
    completion,
):
    cli.add_command(_verb)


def main() -> None:
    """Runs the command: exit code 0, 1 for a failed check, 2 for a user's mistake."""
    debug = "--debug" in sys.argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a character that we print
            stream.reconfigure(errors="replace")
    try:
        code = cli(prog_name="mvkit", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message().replace("\n", " "), error.exit_code, debug)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130, debug=False)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 2, debug)
    except Exception as error:
        from converters.errors import MvkitError  # its package imports NumPy

        if isinstance(error, MvkitError):
            _fail(str(error), error.exit_code, debug)
        line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        _fail(f"internal error: {line}; --debug shows where", 1, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"mvkit: {message}", err=True)
    sys.exit(code)
