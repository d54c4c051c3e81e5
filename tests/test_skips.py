"""A test that should have run is not skipped silently."""

import re
from pathlib import Path

import pytest
from tests.skips import BY_PACKAGE, EXPECTED, unexpected

CUDA = "tests/training/test_replayed.py:160: Skipped: there is no CUDA device"
BROWSER = "tests/serve/conftest.py:76: Skipped: there is no Chromium on this machine"


def test_only_skips_that_nothing_explains_fail_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRSTLIGHT_SKIPS", raising=False)
    monkeypatch.delenv("FIRSTLIGHT_MISSING", raising=False)
    assert unexpected([CUDA, BROWSER]) == []
    monkeypatch.setenv("FIRSTLIGHT_SKIPS", "expected")
    assert unexpected([CUDA, BROWSER]) == [BROWSER]
    monkeypatch.setenv("FIRSTLIGHT_MISSING", " chromium fonts-dejavu-core")
    assert unexpected([CUDA, BROWSER]) == []


def test_every_expected_reason_is_one_that_a_test_gives() -> None:
    files = Path(__file__).parent.rglob("*.py")
    sources = "".join(one.read_text(encoding="utf-8") for one in files if one.name != "skips.py")
    sources = sources.replace("{interpreter[0]}", "node").replace("{name}", "fashion_mnist")
    own = [one for one in EXPECTED if not one.startswith(("SCIPY", "Firstlight"))]
    for reason in (*own, *BY_PACKAGE.values()):
        for one in reason.split("|"):
            assert re.search(one, sources), f"no test is skipped for: {one}"
