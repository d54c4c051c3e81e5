"""The examples in docs/serve.md work."""

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.serve.running import Running, running
from tests.test_documents import ROOT, blocks

import firstlight as fl
from firstlight.serve.limits import Limits

DOCUMENT = "docs/serve.md"
INTERPRETERS = {"sh": ["bash", "-e"], "python": [sys.executable], "js": ["node"]}


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run]) as service:
        yield service


@pytest.mark.parametrize(
    ("language", "number"), [("sh", 0), ("sh", 1), ("python", 0), ("python", 1), ("js", 0)]
)
def test_the_examples_run_and_get_answers(
    served: Running, digits_run: fl.Run, tmp_path: Path, language: str, number: int
) -> None:
    interpreter = INTERPRETERS[language]
    if shutil.which(interpreter[0]) is None:
        pytest.skip(f"{interpreter[0]} is not on this machine")
    image = fl.load("digits").test.images_NHWC[0]
    Image.fromarray(image[..., 0]).save(tmp_path / "my-digit.png")
    (expected,) = digits_run.predict(image[None])
    program = blocks(DOCUMENT, language)[number]
    program = program.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}")
    script = tmp_path / ("example.mjs" if language == "js" else "example")
    script.write_text(program.replace("mnist-quick-1", digits_run.path.name))

    done = subprocess.run(
        [*interpreter, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or language == "sh"  # curl shows its progress there
    answers = {"sh": f'"answer":"{expected.answer}"', "js": str(expected.answer)}
    wanted = (
        "[b'"
        if (language, number) == ("python", 1)
        else answers.get(language, str(expected.answer))
    )
    assert wanted in done.stdout


def test_every_block_of_code_is_one_that_is_run_or_cannot_be() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w+)$", text, flags=re.MULTILINE)
    assert sorted(n for n in found if n in INTERPRETERS) == ["js", "python", "python", "sh", "sh"]
    assert set(found) - set(INTERPRETERS) <= {"console", "nginx", "ini", "dockerfile", "text"}


def test_the_limits_it_names_are_those_in_force() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    limits = Limits()
    mib = 1024**2
    rows = {
        "waiting images": f"{limits.waiting}",
        "from a complete request to its answer": f"{limits.answer_seconds:g} s",
        "a request's body, as received and unpacked": f"{limits.body_bytes // mib} MiB",
        "all bodies in progress, unpacked": f"{limits.all_bodies_bytes // mib} MiB",
        "memory for pictures while they are decoded": f"{limits.decoding_bytes // mib} MiB",
        "answers that clients have not read": f"{limits.unsent_bytes // mib} MiB",
        "a picture, by its header": f"{limits.pixels / 1e6:.0f} megapixels",
        "images in a request": f"{limits.images}",
        "a request's head: its first line and its fields": f"{limits.header_bytes // 1024} KiB",
        "time to receive a head": f"{limits.header_seconds:g} s",
        "time to receive head and body": f"{limits.body_seconds:g} s",
        "time for a client to read some of its answer": f"{limits.stall_seconds:g} s",
        "connections": f"{limits.connections}",
    }
    for what, value in rows.items():
        assert f"| {what} | {value}" in text
    unnamed = {"idle_seconds"}
    assert len(rows) == len(dataclasses.fields(limits)) - len(unnamed)
