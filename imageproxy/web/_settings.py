"""The options of an app's own configuration, and of the environment: of the service, and of the adapters."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from imageproxy.config import _PREFIX, _VARIABLES, Config, _read_bool
from imageproxy.errors import ConfigError

from ._options import Options

__all__ = ["read_settings"]

_READERS: Mapping[str, Callable[[str], Any]] = {"bool": _read_bool, "int": int, "float | None": float, "str": str}
# signing_keys is a list, which an app can have and the environment cannot.
_OPTIONS = {option.name.upper(): option for option in fields(Options)}


def read_settings(given: Mapping[str, object], environ: Mapping[str, str] | None = None) -> tuple[Config, Options]:
    """Options by their names in capitals: those of ``Config.from_env``, and the fields of ``web.Options``.

    given: with ``IMAGE_PROXY_`` before each name. Text as in the environment, or a value; ``None``: the default. What
        is not here is taken from the environment.
    environ: what stands in for ``os.environ``.

    Raises ConfigError that names the option, its value and what would do.
    """
    known = sorted({_PREFIX + name for name in (*_VARIABLES, *_OPTIONS)})
    for name in given:
        if name not in known:
            raise ConfigError(f"{name} is no option{_hint(name, known)}", option=name, value=given[name])
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {name: environ[name] for name in known if environ.get(name)}
    values = {name: value for name, value in {**values, **given}.items() if value is not None}
    config = Config.from_env({_PREFIX + name: _text(_PREFIX + name, values) for name in _VARIABLES})
    return config, _read_options(values)


def _read_options(values: Mapping[str, object]) -> Options:
    read: dict[str, Any] = {}
    for name, option in _OPTIONS.items():
        value = values.get(_PREFIX + name)
        reader = _READERS.get(str(option.type))
        if isinstance(value, str) and reader is not None:
            with suppress(ValueError):  # it is told below, with what would do
                value = reader(value)
        if value is not None:
            read[option.name] = value
    try:
        return Options(**read)
    except ConfigError as error:
        field = error.option or ""
        name = _PREFIX + field.upper()
        raise ConfigError(name + str(error).removeprefix(field), option=name, value=error.value) from None


def _text(name: str, values: Mapping[str, object]) -> str:
    value = values.get(name, "")
    if isinstance(value, (str, bool, int, float, os.PathLike)):
        return str(value)
    raise ConfigError(
        f"{name} is a {type(value).__name__}; it must be text, a number, True or False", option=name, value=value
    )


def _hint(name: str, known: list[str]) -> str:
    close = get_close_matches(name.removeprefix(_PREFIX), [each.removeprefix(_PREFIX) for each in known], 1)
    return f"; did you mean {_PREFIX}{close[0]}?" if close else f"; there are: {', '.join(known)}"
