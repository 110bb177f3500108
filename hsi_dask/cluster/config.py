"""ClusterConfig: where to compute, a typed model of the files in `cluster_configs`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hsi_dask.errors import ConfigError
from hsi_dask.limits import Limits
from hsi_dask.yaml_text import joined, load_file, plain, shortened, unknown_key

Queued = Literal["slurm", "pbs", "lsf", "sge", "htcondor"]
Kind = Literal["local", "scheduler", "slurm-allocation", Queued]
QUEUED: tuple[str, ...] = get_args(Queued)

WAIT, WAIT_QUEUED = 60.0, 3600.0  # seconds; a process only has to start, a job may be pending for long
# Deprecated keys that dask-jobqueue still accepts, with a warning that ends up in a job's log
_RENAMED = {
    "env_extra": "job_script_prologue",
    "extra": "worker_extra_args",
    "header_skip": "job_directives_skip",
    "job_extra": "job_extra_directives",
}
_MOST_MEMORY = 2**60  # bytes
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")

Count = Annotated[int, Field(ge=1, strict=True)]
Text = Annotated[str, Field(strict=True)]
Lines = list[Text]


def bytes_of(memory: str | int) -> int:
    """The number of bytes in words such as 16GiB; ValueError where it is none that a machine may have."""
    from dask.utils import parse_bytes

    try:
        found = int(parse_bytes(memory))
    except OverflowError:
        found = 0
    if not 0 < found < _MOST_MEMORY:
        raise ValueError(f"{memory!r:.80} is no memory of a machine")
    return found


class JobOptions(BaseModel):
    """Options of a worker job that all batch schedulers share; the scheduler's own class checks the others."""

    model_config = ConfigDict(frozen=True, extra="allow")

    cores: Count
    memory: Text | Count
    processes: Count = 1
    walltime: Text | None = None
    interface: Text | None = None
    log_directory: Text | None = None
    shared_temp_directory: Text | None = None
    local_directory: Text | None = None
    python: Text | None = None
    queue: Text | None = None
    death_timeout: Count = 60
    worker_extra_args: Lines = Field(default_factory=list)
    job_script_prologue: Lines = Field(default_factory=list)
    job_extra_directives: Lines | dict[str, Any] = Field(default_factory=list)
    scheduler_options: dict[str, Any] = Field(default_factory=dict)
    security: bool | dict[str, Any] = True

    @property
    def threads(self) -> int:
        """Threads of each worker process."""
        return self.cores // self.processes

    @property
    def memory_limit(self) -> int:
        """Bytes of each worker process."""
        return self.memory_bytes // self.processes

    @property
    def memory_bytes(self) -> int:
        return bytes_of(self.memory)


class AllocationOptions(BaseModel):
    """The options of kind slurm-allocation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interface: Text | None = None
    memory_limit: Text | Count | None = None
    local_directory: Text | None = None
    log_directory: Text | None = None
    shared_temp_directory: Text = "."
    security: Annotated[bool, Field(strict=True)] = True
    scheduler_options: dict[str, Any] = Field(default_factory=dict)


class ClusterConfig(BaseModel):
    """Where to compute: the kind of cluster, and the options of the class that makes it. Frozen.

    Environment variables in options are expanded when the configuration is made; `$$NAME` stays `$NAME`, for the
    shell of a job to expand.

    Attributes
    ----------
    wait : seconds without any worker after which a run gives up; by default 60, and 3600 for worker jobs
    stuck : seconds without progress after which a tile is taken from its worker, which is restarted; the tile is tried
        once more, on another host if there is one, and then counts as failed
    jobs : number of worker jobs; one that ends early is replaced
    options : keyword arguments of the class that makes the cluster
    driver : options that differ for the job that `hsi-dask submit` writes

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
    wait: float = Field(WAIT, gt=0, allow_inf_nan=False, strict=True)
    stuck: float = Field(Limits.stuck, gt=0, allow_inf_nan=False, strict=True)
    jobs: Count = 1
    options: dict[str, Any] = Field(default_factory=dict)
    driver: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, /, **values: Any) -> None:
        queued = values.get("kind") in QUEUED
        defaults = {"wait": WAIT_QUEUED} if queued else {}
        expanded = {key: _expanded(values.get(key) or {}, key) for key in ("options", "driver")}
        try:
            super().__init__(**defaults | values | expanded)
        except ValidationError as error:
            raise ConfigError(joined(map(_sentence, error.errors()))) from None
        if self.kind == "slurm-allocation":
            self.allocation_options()
        if queued:
            self.job_options()
            self.job_options(driver=True)
        elif unused := sorted({"jobs", "driver"} & values.keys()):
            raise ConfigError(f"{unused[0]} is for batch schedulers ({', '.join(QUEUED)}), not for kind {self.kind}")

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> ClusterConfig:
        """The configuration in a YAML file, such as those in `cluster_configs`."""
        values = load_file(path, "the cluster configuration")
        if not values:
            raise ConfigError(f"{os.fspath(path)} is empty; a cluster configuration has the key kind")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{os.fspath(path)}: {error}") from None

    @property
    def limits(self) -> Limits:
        """How long a run on this cluster waits; of worker jobs the watchdog counts first, and knows the reason."""
        return Limits(patience=self.wait + 60 if self.queued else Limits.patience, stuck=self.stuck)

    @property
    def queued(self) -> bool:
        """Whether workers are jobs of a batch scheduler."""
        return self.kind in QUEUED

    def job_options(self, *, driver: bool = False) -> JobOptions:
        """Options of a worker job, or of the driver's job; only for kinds of batch schedulers."""
        section, options = ("driver", self.options | self.driver) if driver else ("options", self.options)
        renamed = _RENAMED | ({"project": "account"} if self.kind in ("slurm", "pbs") else {})
        for old, new in renamed.items():
            if old in options:
                raise ConfigError(f"{section}.{old} is deprecated by dask-jobqueue; write {section}.{new}")
        try:
            job = JobOptions(**options)
            _ = job.memory_bytes
        except ValidationError as error:
            raise ConfigError(joined(_option_sentence(e, section) for e in error.errors())) from None
        except ValueError as error:
            raise ConfigError(f"{section}.memory is {shortened(options['memory'])}; {_OPTIONS['memory']}") from error
        if job.processes > job.cores:
            raise ConfigError(f"{section}.processes is {job.processes}, more than {section}.cores, {job.cores}")
        return job

    def allocation_options(self) -> AllocationOptions:
        """The options of kind slurm-allocation, with their defaults."""
        try:
            return AllocationOptions(**self.options)
        except ValidationError as error:
            raise ConfigError(joined(_option_sentence(e, "options") for e in error.errors())) from None

    def worker_size(self) -> tuple[int, int] | None:
        """Threads and bytes of memory of each worker process; None where the file does not say."""
        if self.queued:
            job = self.job_options()
            return job.threads, job.memory_limit
        limit, threads = self.options.get("memory_limit"), self.options.get("threads_per_worker")
        if self.kind != "local" or not isinstance(threads, int) or not limit or not re.match(r"\d", str(limit)):
            return None
        try:
            return threads, bytes_of(limit)
        except ValueError:
            return None


# ------------------------------------------------------------------------------------------------ sentences


def _sentence(error: Any) -> str:
    """One pydantic error as: the key, its value and what it may be."""
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return unknown_key(key, list(ClusterConfig.model_fields))
    kinds = ("local", "scheduler", "slurm-allocation", *QUEUED)
    seconds = dict.fromkeys(("wait", "stuck"), "seconds, above 0")
    allowed = seconds | {"kind": " or ".join(kinds), "jobs": "a count, 1 or more"}
    return f"{key} is {shortened(error['input'])}; it must be {allowed.get(key, 'a mapping')}"


_OPTIONS = {
    "cores": "it must be the cores of a job, a count",
    "memory": "it must be the memory of all processes of a job, such as 16GiB",
    "walltime": 'it must be text in quotes, such as "04:00:00", for YAML reads 04:00:00 as a number of seconds',
    "job_extra_directives": "it must be a list of lines, and with HTCondor a mapping",
    "scheduler_options": "it must be a mapping",
    "security": "it must be true, false or, except with kind slurm-allocation, a mapping of TLS files",
    "memory_limit": "it must be the memory of a worker, such as 7GiB",
    **dict.fromkeys(("worker_extra_args", "job_script_prologue"), "it must be a list of lines of text"),
    **dict.fromkeys(("processes", "death_timeout"), "it must be a count, 1 or more"),
}


def _option_sentence(error: Any, section: str) -> str:
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return unknown_key(key, list(AllocationOptions.model_fields), f"{section}.")
    if error["type"] == "missing":
        return f"{section}.{key} is missing; {_OPTIONS[key]}"
    return f"{section}.{key} is {shortened(error['input'])}; {_OPTIONS.get(key, 'it must be text')}"


def _expanded(value: Any, key: str) -> Any:
    """The value with environment variables and ~ expanded in all its strings; $$ becomes $."""
    if isinstance(value, Mapping):
        return {k: _expanded(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [_expanded(v, key) for v in value]
    if not isinstance(value, str):
        return value
    parts = [os.path.expandvars(part) for part in os.path.expanduser(value).split("$$")]
    for part in parts:
        if unset := _VARIABLE.search(part):
            raise ConfigError(
                f"{plain(key)} is {shortened(value)}, but {(name := plain(unset[0]))} is not set in the environment; "
                f"set it or write the value, or ${name} for a job's shell to expand"
            )
    return "$".join(parts)
