"""Options that several verbs share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from aecompress.abreast import MOST_WORKERS, WORKERS
from aecompress.config import EFFORTS, FIT_SECONDS, ROLES, Role, Target, TargetKind
from aecompress.devices import DEVICES
from aecompress.recipe import Recipe, load_recipe

Command = TypeVar("Command", bound=Callable[..., Any])

#: Kind, metavar and type of each target that takes a number, and what it promises.
_TARGETS: tuple[tuple[TargetKind, str, type, str], ...] = (
    ("max-error", "X", float, "Keep every value within X of the original."),
    ("rel-error", "R", float, "Keep every value within R x (max - min) of all finite values."),
    ("psnr", "DB", float, "Reach a peak signal-to-noise ratio of DB decibels; peak is max - min."),
    ("rmse", "X", float, "Reach a root mean squared error of X."),
    ("cosine", "C", float, "Reach a mean cosine of C between each row and what it comes back as."),
    ("ratio", "N", float, "Reach a size of 1/N of the raw bytes, the whole archive counted."),
    ("latent-dim", "K", int, "Keep K latents of each row, whatever the error."),
)


def target_options(command: Command) -> Command:
    """Add the targets; the command gets ``target``, a Target or None. Two at once are a usage error."""

    @functools.wraps(command)
    def with_target(*args: Any, per: int | None, lossless: bool, **options: Any) -> Any:
        values = {kind: options.pop(kind.replace("-", "_")) for kind, *_ in _TARGETS}
        named: dict[TargetKind, Any] = {kind: value for kind, value in values.items() if value is not None}
        if lossless:
            named["lossless"] = None
        spoken = {kind: value for kind, value in named.items() if _is_spoken(kind)}
        if spoken and "rel-error" not in spoken and not _is_spoken("per"):
            per = None
        return command(*args, target=_target(spoken or named, per), **options)

    flags = [click.option(f"--{kind}", metavar=name, type=typ, help=text) for kind, name, typ, text in _TARGETS]
    flags.insert(2, click.option("--per", metavar="AXIS", type=int, help="With --rel-error: by index of this axis."))
    flags.append(click.option("--lossless", is_flag=True, help="Give every bit back."))
    return functools.reduce(lambda inner, flag: flag(inner), reversed(flags), with_target)  # type: ignore[return-value]


def _is_spoken(option: str) -> bool:
    """True if an option stands on the command line, and not in a file of defaults."""
    source = click.get_current_context().get_parameter_source(option.replace("-", "_"))
    return source is ParameterSource.COMMANDLINE


def _target(named: dict[TargetKind, Any], per: int | None) -> Target | None:
    if len(named) > 1:
        raise click.UsageError(f"{' and '.join(f'--{kind}' for kind in named)} exclude each other: name one target.")
    if per is not None and "rel-error" not in named:
        raise click.UsageError("--per goes with --rel-error: name both or none.")
    return Target(*next(iter(named.items())), per) if named else None


class _Axes(click.ParamType[tuple[Role, ...]]):
    """Roles of axes, separated by commas; that they fit the source is for the fit to see."""

    name = "axes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        roles = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if unknown := set(roles) - set(ROLES):
            self.fail(f"{min(unknown)!r} is none of {', '.join(ROLES)}", param, ctx)
        return roles


class _RecipeFile(click.ParamType[Recipe]):
    """The path of a TOML file of settings, read to a Recipe."""

    name = "recipe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Recipe:  # noqa: ARG002
        return value if isinstance(value, Recipe) else load_recipe(value)


def fit_options(command: Command) -> Command:
    """Add what a fit takes besides source and target: ``recipe``, ``axes``, ``fit_seconds``, ``effort``, ``seed``,
    ``device``."""
    settings = click.option(
        "--model-config",
        "recipe",
        metavar="FILE",
        type=_RecipeFile(),
        help="TOML file of settings of the model: latents, hidden, loss and more.",
    )
    effort = click.option(
        "--effort",
        type=click.Choice(EFFORTS),
        default="balanced",
        show_default=True,
        help="How long to look for a smaller archive, and to code it.",
    )
    axes = click.option(
        "--axes",
        metavar="ROLES",
        type=_Axes(),
        help=f"Roles of the axes, rows first, with commas: {', '.join(ROLES)}; measured by default.",
    )
    seconds = click.option(
        "--fit-seconds",
        metavar="S",
        type=click.FloatRange(min=0),
        default=FIT_SECONDS,
        show_default=True,
        help="Time that the fit may take.",
    )
    return settings(axes(seconds(effort(seed_option(device_option(command))))))


def _formats(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of formats, for a shell to complete."""
    from aecompress.sources import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


archive_argument = click.argument("archive", type=click.Path())
source_argument = click.argument("source", type=click.Path(allow_dash=True))
format_option = click.option(
    "--format", metavar="NAME", shell_complete=_formats, help="Format of SOURCE, whatever its name and content say."
)
force_option = click.option("--force", is_flag=True, help="Replace what is at the destination.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
workers_option = click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    default=WORKERS,
    show_default=f"the cores, but at most {MOST_WORKERS}",
    help="Blocks at once.",
)
seconds_option = click.option(
    "--fit-seconds",
    metavar="S",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Time that training a network may take.",
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where networks are trained; auto: CUDA if there is one, else MPS, else the CPU.",
)
clean_option = click.option("--clean", metavar="PAIRS", help="The first rows without noise, to learn from.")
noise_option = click.option(
    "--noise", metavar="S", type=click.FloatRange(min=0), help="Standard deviation of the noise; measured by default."
)
