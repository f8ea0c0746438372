"""The workers of a training on several machines, as the environment variable TF_CONFIG names them.

Every launcher can set it (two terminals, Slurm, Kubernetes, Ray), and TensorFlow reads it too. Here it is checked
before work starts, for TensorFlow waits for ever for a worker whose address is mistyped.
"""

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rawcnn.errors import UsageError

TF_CONFIG = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
_ADDRESS = re.compile(r"(\S+):(\d{1,5})")


@dataclass(frozen=True)
class Cluster:
    """The addresses (host:port) of all workers, the chief first, and which of them this process is."""

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.index == 0

    def check_port(self) -> None:
        """Raise `UsageError` if another process of this machine has the port of this worker."""
        port = int(self.workers[self.index].rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose last user is gone is free
            try:
                tried.bind(("", port))
            except OSError as error:
                raise UsageError(
                    f"Port {port} of this worker cannot be used ({error.strerror}): end the process that has it, or "
                    f"choose another port in the {TF_CONFIG} of all workers."
                ) from None


def cluster_of(environment: Mapping[str, str] | None = None) -> Cluster:
    """The cluster that TF_CONFIG describes. Raises `UsageError` that says what is wrong with it.

    >>> cluster_of({"TF_CONFIG": EXAMPLE})
    Cluster(workers=('host1:2222', 'host2:2222'), index=0)
    """
    text = (os.environ if environment is None else environment).get(TF_CONFIG)
    if not text:
        raise UsageError(
            f"strategy=multi_worker needs the environment variable {TF_CONFIG}, which names all workers and says which "
            f"of them this process is, such as {TF_CONFIG}='{EXAMPLE}'."
        )
    try:
        told = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is not JSON ({error})") from None
    cluster, task = (told.get(name) if isinstance(told, dict) else None for name in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _wrong("needs a cluster and a task, both JSON objects")
    if unknown := sorted(set(cluster) - {"chief", "worker"}):
        raise _wrong(f"has tasks of the type {unknown[0]!r}, but only chief and worker train here")
    chiefs, workers = (_addresses(cluster, kind) for kind in ("chief", "worker"))
    if len(chiefs) > 1:
        raise _wrong(f"names {len(chiefs)} chiefs, but there can be one")
    everyone = (*chiefs, *workers)
    if not everyone:
        raise _wrong("names no worker")
    if twice := [address for address in everyone if everyone.count(address) > 1]:
        raise _wrong(f"names {twice[0]} twice")
    return Cluster(everyone, _index(task, len(chiefs), len(workers)))


def _index(task: dict[str, Any], chiefs: int, workers: int) -> int:
    """Which of all workers the task is, the chief being number 0."""
    kind, index = task.get("type"), task.get("index")
    counts = {"chief": chiefs, "worker": workers}
    if kind not in counts:
        raise _wrong(f"says that this process is a {kind!r}, but only chief and worker train here")
    if isinstance(index, str) and index.isdecimal():  # TensorFlow takes it too
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < counts[kind]:
        many = f"of which there are {counts[kind]}, counted from 0" if counts[kind] else "of which the cluster has none"
        raise _wrong(f"says that this process is {kind} {index!r}, {many}")
    return index + (chiefs if kind == "worker" else 0)


def _addresses(cluster: dict[str, Any], kind: str) -> tuple[str, ...]:
    given = cluster.get(kind, [])
    if not isinstance(given, list):
        raise _wrong(f"must list the addresses of {kind}, and says {given!r}")
    for address in given:
        match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
        if match is None or not 0 < int(match[2]) < 65536:
            raise _wrong(f"has the address {address!r}, which is not host:port, as in host1:2222")
    return tuple(given)


def _wrong(what: str) -> UsageError:
    return UsageError(f"{TF_CONFIG} {what}. It should look like {EXAMPLE}.")
