"""Stands in for Trackio: the signatures of trackio 0.43.0, as far as they are called. It writes
each call as a line of JSON into ``$STAND_IN_CALLS``."""

import json
import os
from pathlib import Path
from typing import Any


def _called(call: str, /, **given: Any) -> None:
    with Path(os.environ["STAND_IN_CALLS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"call": call, **given}, default=str) + "\n")


class Image:
    def __init__(self, value: Path, caption: str | None = None) -> None:
        assert value.read_bytes().startswith(b"\x89PNG")


class Run:
    def __init__(self) -> None:
        self.config: dict[str, Any] = {}

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        _called("log", values=metrics, step=step, config=self.config)

    def finish(self) -> None:
        _called("finish")


def init(
    project: str,
    name: str | None = None,
    group: str | None = None,
    space_id: str | None = None,
    server_url: str | None = None,
    config: dict[str, Any] | None = None,
    resume: str = "never",
    embed: bool = True,
    auto_log_gpu: bool | None = None,
    auto_log_cpu: bool | None = None,
) -> Run:
    _called("init", project=project, name=name, resume=resume)
    return Run()


def log_artifact(
    artifact_or_path: Path,
    name: str | None = None,
    type: str | None = None,  # noqa: A002
    aliases: list[str] | None = None,
    overwrite: bool = False,
) -> None:
    assert artifact_or_path.is_file()
    _called("log_artifact", name=name, type=type)
