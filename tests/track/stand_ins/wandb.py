"""Stands in for Weights & Biases: the signatures of wandb 0.31.0, as far as they are called.

It writes each call as a line of JSON into ``$STAND_IN_CALLS``, and does at the call that
``$STAND_IN_FAILS`` names what a broken package does.
"""

import json
import os
from pathlib import Path
from typing import Any


def _called(call: str, /, **given: Any) -> None:
    with Path(os.environ["STAND_IN_CALLS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"call": call, **given}, default=str) + "\n")
    how = os.environ.get("STAND_IN_FAILS", "").partition(":")
    if how[0] == call:
        if how[2] == "crash":
            os._exit(7)
        if how[2] == "hang":
            reading, _ = os.pipe()
            os.read(reading, 1)
        raise ConnectionError(f"{call} was refused\nand more")


class Settings:
    def __init__(
        self,
        *,
        console: str = "auto",
        silent: bool = False,
        disable_git: bool = False,
        save_code: bool | None = None,
        x_disable_stats: bool = False,
    ) -> None:
        self.values = {"console": console, "silent": silent, "x_disable_stats": x_disable_stats}


class Image:
    def __init__(self, data_or_path: str, mode: str | None = None, caption: str | None = None):
        self.path = data_or_path

    def __str__(self) -> str:
        return f"image {Path(self.path).name}"


class Artifact:
    def __init__(self, name: str, type: str, description: str | None = None) -> None:  # noqa: A002
        self.name, self.type, self.files = name, type, list[str]()

    def add_file(self, local_path: str, name: str | None = None) -> None:
        assert Path(local_path).is_file()
        self.files.append(name or local_path)


class _Config:
    def update(self, d: dict[str, Any], allow_val_change: bool | None = None) -> None:
        _called("config.update", values=d)


class _Summary:
    def update(self, d: dict[str, Any]) -> None:
        _called("summary.update", values=d)

    def __setitem__(self, key: str, val: Any) -> None:
        _called("summary", name=key, value=val)


class Run:
    offline, url = True, None

    def __init__(self) -> None:
        self.config, self.summary = _Config(), _Summary()

    def log(
        self, data: dict[str, Any], step: int | None = None, commit: bool | None = None
    ) -> None:
        _called("log", values=data, step=step)

    def log_artifact(self, artifact_or_path: Artifact, name: str | None = None) -> Artifact:
        _called("log_artifact", name=artifact_or_path.name, files=artifact_or_path.files)
        return artifact_or_path

    def finish(self, exit_code: int | None = None) -> None:
        _called("finish", exit_code=exit_code)


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: str | None = None,  # noqa: A002
    id: str | None = None,  # noqa: A002
    name: str | None = None,
    resume: bool | str | None = None,
    settings: Settings | None = None,
) -> Run:
    _called("init", project=project, id=id, name=name, resume=resume)
    return Run()
