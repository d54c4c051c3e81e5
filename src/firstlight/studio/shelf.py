"""The runs that the studio serves: those in its folder, and the models in the box."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from firstlight.data.decode import Bounds
from firstlight.errors import UserError
from firstlight.runs.folder import RunFolder
from firstlight.serve.predictor import Predictor, RunPredictor
from firstlight.studio.workshop import Workshop


class Shelf:
    """Finds the runs, the newest first."""

    def __init__(self, workshop: Workshop, boxed: Mapping[str, Predictor], bounds: Bounds) -> None:
        """``boxed``: models that are always there."""
        self._workshop, self._boxed, self._bounds = workshop, boxed, bounds

    def current(self, known: Mapping[str, Predictor]) -> dict[str, Predictor]:
        """Return the runs by name. Those in ``known`` stay the same objects, unless their folder
        was replaced. A damaged run is left out."""
        found = dict[str, Predictor]()
        for path in self._folders():
            before = known.get(path.name)
            same = before is not None and before.path == path and before.ready <= _finished(path)
            predictor = before if same else RunPredictor(path.name, RunFolder(path), self._bounds)
            if predictor is not None and _readable(predictor):
                found[path.name] = predictor
        return {**found, **{n: one for n, one in self._boxed.items() if n not in found}}

    def _folders(self) -> Sequence[Path]:
        try:
            at = {
                path: (path / "recipe.toml").stat().st_ctime_ns
                for path in self._workshop.runs.iterdir()
                if (path / "recipe.toml").is_file()
            }
        except OSError:
            return []
        return sorted(at, key=lambda path: (-at[path], path.name))


def _finished(path: Path) -> bool:
    return (path / "summary.json").is_file()


def _readable(predictor: Predictor) -> bool:
    try:
        described = predictor.described
        if predictor.ready:
            predictor.preprocess  # noqa: B018 (reads the header of the weights)
        return "image_shape" in described and "class_names" in described and bool(predictor.recipe)
    except (UserError, TypeError):
        return False
