"""TensorBoard: one event file each time that a run is trained or copied.

TensorBoard's own package writes them, which does not need TensorFlow. The files are in
``tensorboard/NAME`` beside the run folder.
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from firstlight.track.tracker import Opening, Setting
from firstlight.untrusted import markdown_text, shell_word


class TensorBoard:
    """A ``Tracker``; its key is the name of the folder with the event files."""

    def __init__(self, opening: Opening) -> None:
        folder = opening.folder
        beside = folder.parent if folder.name not in ("", "..") else folder.resolve().parent
        root = beside / "tensorboard"
        # A name from a run folder must not act as a path.
        self.key = Path(opening.key).name or _free(root, opening.name)
        self.where = f"see it with: tensorboard --logdir {shell_word(root)}"
        self._writer = EventFileWriter(str(root / self.key))

    def settings(self, values: Mapping[str, Setting]) -> None:
        data = HParamsPluginData(version=0)
        for name, value in values.items():
            one = data.session_start_info.hparams[name]
            if isinstance(value, bool):
                one.bool_value = value
            elif isinstance(value, str):
                one.string_value = value
            else:
                one.number_value = value
        data.session_start_info.start_time_secs = time.time()
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
        marked = SummaryMetadata(plugin_data=plugin)
        self._add(Summary.Value(tag="_hparams_/session_start_info", metadata=marked), 0)
        rows = [f"| {markdown_text(k)} | {markdown_text(str(v))} |" for k, v in values.items()]
        self._text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._add(Summary.Value(tag=name, simple_value=value), number)

    def results(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.epoch(epoch, figures)

    def picture(self, name: str, path: Path, epoch: int) -> None:
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])  # size of a PNG
        image = Summary.Image(
            height=height, width=width, colorspace=4, encoded_image_string=content
        )
        self._add(Summary.Value(tag=name, image=image), epoch)

    def file(self, path: Path) -> None:
        self._text(f"files/{path.name}", f"`{path.resolve()}`")

    def flush(self) -> None:
        self._writer.flush()

    def end(self, finished: bool) -> None:
        self._writer.close()

    def _text(self, name: str, markdown: str) -> None:
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        tensor.tensor_shape.dim.add(size=1)
        marked = SummaryMetadata(plugin_data=plugin)
        self._add(Summary.Value(tag=name, tensor=tensor, metadata=marked), 0)

    def _add(self, value: Summary.Value, step: int) -> None:
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=[value]))
        self._writer.add_event(event)


def _free(root: Path, name: str) -> str:
    """Return the run's name, or a similar one if another run has it."""
    number, found = 1, name
    while (root / found).exists():
        number += 1
        found = f"{name}-again-{number}"
    return found
