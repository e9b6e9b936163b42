"""The command line: one module per verb, each of which turns options into one library call.

Nothing heavy is imported before a verb needs it, so that ``--help`` and ``info`` answer at once.
"""

from __future__ import annotations

import logging
from typing import Any

import click

from aecompress import ranks
from aecompress.cli.anomalies import anomalies
from aecompress.cli.colorize import colorize
from aecompress.cli.compare import compare
from aecompress.cli.completion import completion
from aecompress.cli.defaults import load_defaults
from aecompress.cli.demo import demo
from aecompress.cli.denoise import denoise
from aecompress.cli.embed import embed
from aecompress.cli.failures import failures
from aecompress.cli.fit import fit
from aecompress.cli.info import info
from aecompress.cli.logs import log_to_stderr
from aecompress.cli.pack import pack
from aecompress.cli.report import report
from aecompress.cli.sample import sample
from aecompress.cli.search import search
from aecompress.cli.unpack import unpack
from aecompress.cli.verify import verify
from aecompress.spec import VERSION

__all__ = ["cli"]

_log = logging.getLogger(__name__)

#: Verbs whose fit several processes share.
_SPREAD = ("fit", "pack")


class _Verbs(click.Group):
    """Commands in the order a newcomer meets them, whose errors become one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        with failures():
            return super().invoke(ctx)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="aecompress", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", count=True, help="Say what is decided and what it costs; -vv: of every block too.")
@click.option("-q", "--quiet", is_flag=True, help="Show errors alone, and no progress.")
@click.pass_context
def cli(ctx: click.Context, verbose: int, quiet: bool) -> None:
    """Pack large sets of similar arrays at an error you name, and get them back within it.

    Exit codes: 0 done, 1 it cannot be done (one sentence says why), 2 wrong usage, 3 an archive failed its
    verification, 130 and 143 stopped by SIGINT and SIGTERM. Defaults of options may stand in aecompress.toml, or the
    file that AECOMPRESS_CONFIG names.
    """
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other.")
    if ranks.started() > 1 and ctx.invoked_subcommand not in _SPREAD:
        raise click.UsageError(
            f"torchrun is for {' and '.join(_SPREAD)}: fit a model with it, and start {ctx.invoked_subcommand} without."
        )
    log_to_stderr(verbose, quiet)
    path, ctx.default_map = load_defaults(cli)
    if path is not None:
        _log.info("defaults of options are taken from %s", path)


for _verb in (
    demo,
    pack,
    unpack,
    info,
    verify,
    fit,
    embed,
    anomalies,
    search,
    compare,
    report,
    denoise,
    colorize,
    sample,
    completion,
):
    cli.add_command(_verb)
