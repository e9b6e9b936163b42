"""Defaults of options, from a file: ``aecompress.toml`` in the working directory, or what AECOMPRESS_CONFIG names.

    [pack]
    workers = 8
    max-error = 0.01

What stands on the command line goes before it; and a target there replaces one in the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import click

from aecompress.errors import InputError

_VARIABLE = "AECOMPRESS_CONFIG"
_FILE = "aecompress.toml"


def load_defaults(group: click.Group) -> tuple[Path | None, dict[str, dict[str, Any]]]:
    """(the file, values by verb and parameter, as click's ``default_map`` takes them); (None, {}) without a file.

    Raises:
        InputError: the file cannot be read, or has a table or a key that is no verb or no option of it.
    """
    named = os.environ.get(_VARIABLE)
    path = Path(named or _FILE)
    if not named and not path.is_file():
        return None, {}
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as err:
        raise InputError(f"Cannot read {path}, which {_VARIABLE} names: {err.strerror}.") from err
    except ValueError as err:
        raise InputError(f"{path} is not TOML: {err}.") from err
    return path, {verb: _of_verb(group, path, verb, values) for verb, values in tables.items()}


def _of_verb(group: click.Group, path: Path, verb: str, values: Any) -> dict[str, Any]:
    if verb not in group.commands or not isinstance(values, dict):
        raise InputError(f"{path}: [{verb}] is no command; use tables named as one of {', '.join(group.commands)}.")
    names = {option: param.name for param in group.commands[verb].params for option in _long(param)}
    for key, value in values.items():
        if key not in names:
            raise InputError(f"{path}: {key} is no option of {verb}; it takes {', '.join(names)}.")
        if not isinstance(value, str | int | float):
            raise InputError(f"{path}: {key} of {verb} is {value!r}; give a text, a number, true or false.")
    return {str(names[key]): value for key, value in values.items()}


def _long(param: click.Parameter) -> list[str]:
    """The names of an option that begin with two dashes, without them."""
    return [name[2:] for name in param.opts if name.startswith("--")]
