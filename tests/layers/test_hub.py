"""A model that is named by its place on the hub, where there is no network."""

from __future__ import annotations

import socket
import sys
import time
import types
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from pvq.layers import hub
from pvq.layers.format import LayerError
from pvq.layers.models import load_model
from safetensors.torch import load_file, save_file
from tiny_models import build, save_tokenizer


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no proxy, and no connection to anywhere; names that were asked for."""
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


@pytest.fixture
def timm(monkeypatch):
    """A package that looks for three files of a model, as timm does: the last one's absence is its error."""
    package = types.ModuleType("timm")
    package.data = SimpleNamespace(
        resolve_model_data_config=lambda module: {}, create_transform=lambda is_training: lambda image: image
    )

    def create_model(name, pretrained):
        module = torch.nn.Linear(3, 2)
        names = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin") if pretrained else ()
        for file in names:
            try:
                path = hf_hub_download(f"timm/{name}", file)
            except EntryNotFoundError:
                if file == names[-1]:
                    raise
            else:
                module.load_state_dict(load_file(path))
                break
        return module

    package.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", package)


@pytest.mark.usefixtures("timm")
def test_timm_is_told_once_and_does_not_try_again(cache, capfd) -> None:
    with pytest.raises(LayerError, match="timm:net: cannot be loaded: An error happened while trying to") as found:
        load_model("timm:net")
    assert "\n" not in str(found.value)
    assert capfd.readouterr() == ("", "")
    assert cache == [("huggingface.co", 443)]
    assert not constants.HF_HUB_OFFLINE  # of others in this process, who may come online again


@pytest.mark.usefixtures("timm")
def test_what_the_cache_has_of_timm_is_loaded(cache, tmp_path) -> None:
    kept = tmp_path / "models--timm--net"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    snapshot = kept / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    weight = torch.arange(6.0).reshape(2, 3)
    save_file({"weight": weight, "bias": torch.zeros(2)}, snapshot / "model.safetensors")
    assert load_model("timm:net").module.weight.equal(weight)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["net", "local-dir:net"])
def test_weights_of_ones_own_ask_nobody(cache, tmp_path, name) -> None:
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, tmp_path / "own.safetensors")
    assert load_model(f"timm:{name}", tmp_path / "own.safetensors").module.weight.sum() == 6
    assert cache == []


def test_who_wants_to_be_offline_is_not_asked_for(cache, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.is_hub_reachable()
    with hub.cache_only_if_unreachable():
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE
    assert cache == []


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
