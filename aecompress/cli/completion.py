"""aecompress completion: what a shell needs to complete verbs, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that lets a shell complete commands.

    For bash and zsh put eval "$(aecompress completion bash)", or zsh, into ~/.bashrc or ~/.zshrc. For fish write the
    script to ~/.config/fish/completions/aecompress.fish.
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click does not complete for {shell}.")
    root = click.get_current_context().find_root()
    click.echo(found(root.command, {}, "aecompress", "_AECOMPRESS_COMPLETE").source())
