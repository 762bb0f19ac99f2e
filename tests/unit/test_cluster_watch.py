"""Whoever waits for a Ray cluster learns that it is gone."""

import socket
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest

from bench import cluster_watch
from bench.cluster_watch import ClusterWatch
from bench.errors import BenchError


class FakeRay:
    """What a watch asks Ray for, with real ports to listen on."""

    def __init__(self):
        self.store, self.raylet = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.cpus = 2

    def get_runtime_context(self):
        host, port = self.store.getsockname()
        return SimpleNamespace(gcs_address=f"{host}:{port}", get_node_id=lambda: "here")

    def nodes(self):
        host, port = self.raylet.getsockname()
        here = {"NodeID": "here", "NodeManagerAddress": host, "NodeManagerPort": port}
        return [here | {"NodeID": "elsewhere", "NodeManagerPort": 1}, here]

    def cluster_resources(self):
        return {"CPU": float(self.cpus)}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(cluster_watch, "_EVERY_S", 0.01)
    ray = FakeRay()
    with closing(ray.store), closing(ray.raylet):
        yield ray


@pytest.mark.parametrize(
    ("lost", "named"),
    [("store", r"Ray's head node at 127\.0\.0\.1:\d+"), ("raylet", "Ray on this")],
)
def test_a_loss_is_told_once_and_stays(fake, lost, named):
    told, losses = threading.Event(), []
    watch = ClusterWatch(fake, lambda loss: (losses.append(loss), told.set()))
    watch.check()
    getattr(fake, lost).close()
    assert told.wait(20)
    with pytest.raises(BenchError, match=f"{named}.* is gone; what was measured is kept"):
        watch.check()
    assert losses == [watch.loss]


def test_nodes_that_join_are_seen(fake):
    watch = ClusterWatch(fake, pytest.fail)
    assert watch.resources == {"CPU": 2.0}
    fake.cpus = 8
    for _ in range(2000):
        if watch.resources == {"CPU": 8.0}:
            break
        threading.Event().wait(0.01)
    assert watch.resources == {"CPU": 8.0}
    watch.stop()
