"""Notice when Ray itself is gone: without this, Ray ends the program a minute later, unexplained.

A run cannot do without two of Ray's processes: the control store of the cluster, which lives on its
head node, and the raylet of this machine. Both listen on a port, so they are there as long as they
take a connection. Whatever asks the control store for something would hang with it, so questions
are asked here, in a thread of its own, and only while it answers.
"""

import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from bench.errors import BenchError

_EVERY_S = 1.0
_RESOURCES_EVERY = 5
_CONNECT_TIMEOUT_S = 4.0
#: How often in a row nobody answers; Ray would end this process about 15 s after its raylet.
_MISSES = 3
Place = tuple[str, int]


class ClusterWatch:
    """Keeps what is known of a cluster up to date, and tells when it is lost.

    Args:
        ray: Connected.
        on_loss: Is given an error when the cluster is lost, in another thread.
    """

    def __init__(self, ray: Any, on_loss: Callable[[BenchError], None]) -> None:
        self._ray, self._on_loss = ray, on_loss
        self._places = _places(ray)
        self._stopped = threading.Event()
        self.resources: Mapping[str, float] = ray.cluster_resources()
        self.loss: BenchError | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def check(self) -> None:
        """Check that the cluster is there.

        Raises:
            BenchError: If not.
        """
        if self.loss:
            raise self.loss

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _watch(self) -> None:
        misses, rounds = 0, 0
        while not self._stopped.wait(_EVERY_S):
            silent = next((name for name, at in self._places.items() if not _answers(at)), None)
            misses, rounds = misses + 1 if silent else 0, rounds + 1
            if misses == _MISSES:
                self.loss = BenchError(
                    f"{silent} is gone; what was measured is kept, the same command goes on"
                )
                self._on_loss(self.loss)
                return
            if not silent and rounds % _RESOURCES_EVERY == 0:
                self.resources = self._ray.cluster_resources()


def _places(ray: Any) -> dict[str, Place]:
    """Return what must be there, by a name that the user understands, and where it listens."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    here = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    return {
        f"Ray's head node at {host}:{port}": (host.strip("[]"), int(port)),
        "Ray on this machine": (here["NodeManagerAddress"], here["NodeManagerPort"]),
    }


def _answers(place: Place) -> bool:
    try:
        socket.create_connection(place, _CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True
