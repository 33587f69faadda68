"""`mvkit completion`: the script that makes a shell complete verbs, options and models."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Prints a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Prints the completion script of a shell.

    For bash, put this line into ~/.bashrc: eval "$(mvkit completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "mvkit", "_MVKIT_COMPLETE").source())
