"""Where weights come from: the cache, the hub (made up here), a folder."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from codec_zoo import CodecUnavailableError, huggingface
from codec_zoo.huggingface import (
    HubModel,
    folder_hash,
    hub_answers,
    load_config,
    load_model,
    local_folder,
    weight_files,
)

MODEL = HubModel("owner/name", "0123456789" * 4)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, and a hub that does not answer."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface, "hub_answers", lambda: False)
    return tmp_path


def put(cache: Path, *names: str) -> Path:
    folder = cache / "models--owner--name" / "snapshots" / MODEL.commit
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_cached_weights_need_no_network(cache):
    folder = put(cache, *MODEL.files)
    assert MODEL.missing_reason() is None
    assert MODEL.folder() == folder


def test_half_a_download_is_none(cache):
    put(cache, "config.json")
    assert MODEL.cached_folder() is None
    with pytest.raises(CodecUnavailableError, match="hub does not answer; or name a folder with"):
        MODEL.folder()


def test_another_commit_does_not_count(cache):
    put(cache, *MODEL.files)
    other = HubModel(MODEL.repository, "f" * 40)
    assert other.cached_folder() is None


def test_files_are_downloaded_by_commit(cache, monkeypatch):
    asked = []

    def download(repository: str, name: str, *, revision: str) -> str:
        asked.append((repository, name, revision))
        return str(put(cache, name) / name)

    monkeypatch.setattr(huggingface, "hub_answers", lambda: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert MODEL.missing_reason() is None
    assert MODEL.folder().name == MODEL.commit
    assert asked == [(MODEL.repository, name, MODEL.commit) for name in MODEL.files]


def test_a_failed_download_is_one_line(cache, monkeypatch):
    def fail(*_: str, **__: str) -> str:
        raise OSError("503 Service Unavailable\nRequest ID: 1")

    monkeypatch.setattr(huggingface, "hub_answers", lambda: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(CodecUnavailableError) as caught:
        MODEL.folder()
    assert "owner/name cannot be downloaded: 503 Service Unavailable; " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_that_hangs_is_given_up(monkeypatch):
    import threading

    stop = threading.Event()
    monkeypatch.setattr(huggingface, "PATIENCE_S", 0.05)
    monkeypatch.setattr(huggingface, "_ask_hub", lambda answers: stop.wait(30))
    hub_answers.cache_clear()
    assert not hub_answers()
    stop.set()
    hub_answers.cache_clear()


def test_a_folder_needs_configuration_and_weights(tmp_path):
    with pytest.raises(CodecUnavailableError, match=r"no config\.json in"):
        local_folder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CodecUnavailableError, match="no weights in"):
        local_folder(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"1")
    assert local_folder(str(tmp_path)) == tmp_path


def test_safetensors_go_first(tmp_path):
    for name in (
        "pytorch_model.bin",
        "model-00002-of-2.safetensors",
        "model-00001-of-2.safetensors",
    ):
        (tmp_path / name).write_bytes(b"1")
    assert [path.name[:11] for path in weight_files(tmp_path)] == ["model-00001", "model-00002"]


def test_hash_follows_weights_and_configuration_not_the_place(tmp_path):
    def folder(name: str, config: str, weights: bytes) -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / "config.json").write_text(config)
        (made / "model.safetensors").write_bytes(weights)
        return made

    first, same = folder("a", "{}", b"1"), folder("b", "{}", b"1")
    assert folder_hash(first) == folder_hash(same)
    assert folder_hash(first) != folder_hash(folder("c", "{ }", b"1"))
    assert folder_hash(first) != folder_hash(folder("d", "{}", b"2"))


def test_another_model_in_the_folder_is_refused(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "dac"}')
    with pytest.raises(CodecUnavailableError, match="a model of type dac, expected encodec"):
        load_config("EncodecConfig", tmp_path)


def test_a_damaged_configuration_is_one_line(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CodecUnavailableError, match=r"cannot be loaded: [^\n]*$"):
        load_config("EncodecConfig", tmp_path)


def test_transformers_without_the_model_says_so(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(CodecUnavailableError, match=r"has no NextYearsModel: pip install"):
        load_model("NextYearsModel", tmp_path)


@pytest.fixture
def hub_at(monkeypatch):
    def point_to(port: int) -> None:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        hub_answers.cache_clear()

    yield point_to
    hub_answers.cache_clear()


def test_a_hub_that_answers_is_seen(hub_at):
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # answers 501, but answers
    thread = Thread(target=server.handle_request, daemon=True)
    thread.start()
    hub_at(server.server_port)
    assert hub_answers()
    thread.join()
    server.server_close()


def test_a_hub_that_refuses_is_seen(hub_at):
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    hub_at(server.server_port)
    assert not hub_answers()
