"""ClusterConfig: where to compute. connect() gives a client to workers that have proved able to do it."""

from __future__ import annotations

import difflib
import inspect
import logging
import os
import re
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hsi_dask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client

Kind = Literal["local", "scheduler"]

# Nobody else needs to reach workers on this machine; the dashboard is off unless asked for, and what is left of its
# server takes any free port, without a warning that 8787 is taken
_LOCAL: dict[str, Any] = {
    "host": "127.0.0.1",
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
    "silence_logs": logging.ERROR,
}
# Dask's profiler keeps an hour of call trees: on workers 60 kB a small tile, memory that grows as long as a run does
_NO_PROFILE = {"distributed.worker.profile.enabled": False}
# evaluated on workers, so that nothing of ours needs to be importable there to find out
_VERSION = "__import__('hsi_dask.batch.tile').__version__"
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


class ClusterConfig(BaseModel):
    """Where to compute: the kind of cluster, and the options of the class that makes it. Frozen.

    Environment variables in options are expanded when the configuration is made.

    Examples
    --------
    >>> ClusterConfig(kind="local", options={"n_workers": 2}).options
    {'n_workers': 2}
    >>> ClusterConfig(knid="local")
    Traceback (most recent call last):
    hsi_dask.errors.ConfigError: unknown key knid; did you mean kind?
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field("local")
    wait: float = Field(60.0, gt=0, allow_inf_nan=False, strict=True)
    options: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values | {"options": _expanded(values.get("options") or {}, "options")})
        except ValidationError as error:
            raise ConfigError("; ".join(map(_sentence, error.errors()))) from None

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> ClusterConfig:
        """The configuration in a YAML file, such as those in `cluster_configs`."""
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"cannot read the cluster configuration {os.fspath(path)}: {reason}") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}: " if mark else ""
            problem = getattr(error, "problem", None) or error
            raise ConfigError(f"{os.fspath(path)}: {where}not YAML: {problem}") from None
        if not isinstance(values, dict):
            found = "empty" if values is None else f"a {type(values).__name__}"
            raise ConfigError(f"{os.fspath(path)} is {found}; a cluster configuration has the key kind")
        try:
            return cls(**{str(key): value for key, value in values.items()})
        except ConfigError as error:
            raise ConfigError(f"{os.fspath(path)}: {error}") from None


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Client]:
    """A client to the cluster's workers, each of which can import this version of hsi_dask.

    What was started for it ends with it.

    Raises
    ------
    ConfigError
        An option that the cluster's class does not know, or a value that it refuses.
    ClusterError
        The scheduler cannot be reached, no worker comes in time, or a worker has no or another hsi_dask.
    """
    started = {"local": _local, "scheduler": _scheduler}[config.kind](config)
    with started as client:
        _require_workers(client, config.wait)
        yield client


@contextmanager
def _local(config: ClusterConfig) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster, Nanny, Worker

    _require_known(config.options, (LocalCluster, Nanny, Worker))
    defaults = {k: v for k, v in _LOCAL.items() if k != "scheduler_kwargs" or "dashboard_address" not in config.options}
    try:
        with dask.config.set(_NO_PROFILE), _sheltered():
            cluster = LocalCluster(**defaults | config.options)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise ConfigError(f"the local workers do not start with these options: {error}") from error
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _sheltered() -> Iterator[None]:
    """Threads and processes started inside never see Ctrl-C: it is for this process, which ends them in order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _scheduler(config: ClusterConfig) -> Iterator[Client]:
    from distributed import Client, Security

    _require_known(config.options, (Client,))
    options = dict(config.options)
    where = options.get("address") or options.get("scheduler_file")
    if not where:
        raise ConfigError("options.address is missing; give the scheduler's, such as tcp://127.0.0.1:8786")
    try:
        if isinstance(options.get("security"), dict):
            options["security"] = Security(**options["security"])
        client = Client(**{"timeout": config.wait} | options)
    except (OSError, TypeError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {where} ({error}); start it, or correct options.address"
        ) from error
    with client:
        yield client


def _require_workers(client: Client, wait: float) -> None:
    """Import the package on every worker: a task that cannot be imported there would kill worker after worker."""
    try:
        client.wait_for_workers(1, timeout=wait)
    except TimeoutError as error:
        raise ClusterError(
            f"the scheduler has no worker after {wait:g} s; start some, or raise the key wait"
        ) from error
    here = eval(_VERSION)
    for worker, version in client.run(eval, _VERSION, on_error="return").items():
        if isinstance(version, BaseException):
            raise ClusterError(f"worker {worker} cannot import hsi_dask ({version}); install it where workers run")
        if version != here:
            raise ClusterError(f"worker {worker} has hsi_dask {version}, this is {here}; install the same one there")


# ------------------------------------------------------------------------------------------------ sentences


def _require_known(options: Mapping[str, Any], classes: Iterable[type]) -> None:
    """Refuse options that none of the classes names: they would be passed on and lost, or fail on workers."""
    parameters = [p for cls in classes for p in inspect.signature(cls.__init__).parameters.values()]  # type: ignore[misc]
    known = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"self"}
    for name in options:
        if name not in known:
            raise ConfigError(f"unknown key options.{name}; {_hint(str(name), sorted(known), 'options.')}")


def _hint(name: str, known: list[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {prefix}{near[0]}?" if near else f"known keys are {', '.join(known)}"


def _sentence(error: Any) -> str:
    """One pydantic error as: the key, its value and what it may be."""
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; {_hint(key, list(ClusterConfig.model_fields))}"
    allowed = {"kind": " or ".join(get_args(Kind)), "wait": "seconds, above 0"}.get(key, "a mapping")
    return f"{key} is {error['input']!r}; it must be {allowed}"


def _expanded(value: Any, key: str) -> Any:
    """Environment variables and ~ expanded in every string below."""
    if isinstance(value, Mapping):
        return {k: _expanded(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [_expanded(v, key) for v in value]
    if not isinstance(value, str):
        return value
    expanded = os.path.expanduser(os.path.expandvars(value))
    if unset := _VARIABLE.search(expanded):
        raise ConfigError(
            f"{key} is {value!r}, but {unset[0]} is not set in the environment; set it or write the value"
        )
    return expanded
