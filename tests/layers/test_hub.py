"""A model that is named by its place on the hub, where there is no network."""

from __future__ import annotations

import socket
import time

import pytest
from pvq.layers import hub
from pvq.layers.format import LayerError
from pvq.layers.models import load_model
from tiny_models import build, save_tokenizer


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no proxy, and no connection to anywhere; names that were asked for."""
    from huggingface_hub import constants

    asked = []

    def connect(place, *_, **__):
        asked.append(place)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s to try again"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return asked


def test_one_line_and_no_second_try(cache, capfd) -> None:
    with pytest.raises(LayerError, match="cannot be loaded: We couldn't connect to") as found:
        load_model("transformers:nobody/nothing")
    assert "\n" not in str(found.value)
    assert capfd.readouterr() == ("", "")
    assert cache[0] == ("huggingface.co", 443)


def test_what_the_cache_has_is_loaded(cache, tmp_path) -> None:
    kept = tmp_path / "models--some--bert"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    model = build("bert")
    model.save_pretrained(kept / "snapshots" / ("0" * 40))
    save_tokenizer(kept / "snapshots" / ("0" * 40))
    found = load_model("transformers:some/bert")
    assert found.name == "bert"
    assert found.tokenizer is not None
    assert found.tokenizer()("the cat", max_length=9, truncation=True)["input_ids"] == [3, 4]
    weight = dict(found.module.named_parameters())["embeddings.word_embeddings.weight"]
    assert weight.equal(model.embeddings.word_embeddings.weight)


@pytest.mark.usefixtures("cache")
def test_a_proxy_is_asked_and_not_the_hub(monkeypatch) -> None:
    assert not hub.is_hub_reachable()
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert hub.is_hub_reachable()
    monkeypatch.setenv("no_proxy", "huggingface.co")
    assert not hub.is_hub_reachable()


def test_a_server_that_answers(monkeypatch) -> None:
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.is_hub_reachable()
    assert not hub.is_hub_reachable()
