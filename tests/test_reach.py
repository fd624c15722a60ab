"""Without a network, an error from the hub's clients comes within seconds, not after a minute and a half of retries."""

from __future__ import annotations

import time

import pytest

from taskfold import reach
from taskfold.backbones import BackboneError, load

constants = pytest.importorskip("huggingface_hub.constants")
NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("spec", ["hf:somebody/unknown-model", "timm:hf_hub:somebody/unknown-model"])
def test_nobody_answers(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm" if spec.startswith("timm") else "transformers")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    begun = time.monotonic()
    with reach.at_once():
        assert constants.HF_HUB_OFFLINE
    assert time.monotonic() - begun < reach.SECONDS + 1
    assert not constants.HF_HUB_OFFLINE
    with pytest.raises(
        BackboneError, match=r"nobody answers at 127\.0\.0\.1 within 1 s, and there is no copy in the cache"
    ):
        load(spec)


def test_who_does_not_answer_at_all_takes_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*given: object, timeout: float) -> None:
        time.sleep(2 * timeout)
        raise OSError

    monkeypatch.setattr(reach.socket, "create_connection", silent)
    begun = time.monotonic()
    assert not reach.reachable("http://10.255.255.1")
    assert time.monotonic() - begun < 1.9
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.1")
    begun = time.monotonic()
    assert not reach.reachable("http://10.255.255.1")
    assert time.monotonic() - begun < 1


def test_who_is_offline_on_purpose_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(reach, "reachable", lambda: pytest.fail("the network was asked"))
    with reach.at_once():
        pass
    assert constants.HF_HUB_OFFLINE
