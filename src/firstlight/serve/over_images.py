"""What the page shows of a network over many test images: the most exciting ones of a map, dead
maps, and the images in two dimensions.

Axes: N images, M images of the test set that are looked at, F features, C maps.
"""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Path, Query, Response

from firstlight.data.dataset import Dataset
from firstlight.errors import UserError
from firstlight.explain import words
from firstlight.explain.activity import LayerActivity, activity
from firstlight.explain.maps import MapSource, map_sources
from firstlight.explain.neighbours import last_features
from firstlight.explain.plane import neighbourhoods, plane
from firstlight.packages import imported
from firstlight.runs.checkpoint import SavedModel
from firstlight.serve.answers import json_response
from firstlight.serve.inside import network_of
from firstlight.serve.limits import RefusedError
from firstlight.serve.predictor import Predictor
from firstlight.serve.results import answer_of, evaluated
from firstlight.serve.service import Service
from firstlight.serve.studies import Progress, Working

MOST_ACTIVE = 1000
"""Images over which maps are counted."""
MOST_POINTS = 2000
"""Images on the plane."""
MOST_NUMBERS = 2**23
"""Numbers in all features together: 32 MB. With more features there are fewer images."""

Name = Annotated[str, Path(description="A run.")]
Float32Array = npt.NDArray[np.float32]


def routes(service: Service) -> APIRouter:
    """The routes."""
    router, page = APIRouter(prefix="/api", tags=["looking inside"]), _OverImages(service)
    for path, answer, summary in (
        ("/runs/{run}/exciting", page.exciting, "The test images that excite a map most"),
        ("/runs/{run}/activity", page.activity, "Dead and saturated maps"),
        ("/runs/{run}/plane", page.plane, "The test images in two dimensions"),
    ):
        router.add_api_route(path, answer, summary=summary)
    return router


@dataclass(frozen=True, kw_only=True, eq=False)
class _Active:
    """The activity of every layer."""

    images_M: npt.NDArray[np.int64]
    """Numbers of the test images."""
    layers: list[LayerActivity]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Featured:
    """The features of the test images."""

    images_M: npt.NDArray[np.int64]
    features_MF: Float32Array


class _OverImages:
    """The routes' answers. The methods' docstrings appear in the OpenAPI document."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def exciting(
        self,
        run: Name,
        layer: Annotated[int, Query(ge=0, lt=10_000)],
        channel: Annotated[int, Query(ge=0, lt=100_000)],
    ) -> Response:
        """Of up to 1,000 test images those with the largest values of a map, the largest first. Of
        each the `value`, its `row` and `column` in the map, and the `box` of pixels that change it:
        top, left, bottom and right, the latter two excluded.

        `state` is `working` until all maps of the network have been looked at; ask again then.
        """
        predictor, saved, test = await self._opened(run)
        found = await self._active(predictor, saved, test)
        if isinstance(found, Working):
            return _working(found)
        if layer >= len(found.layers):
            raise _outside("layer", len(found.layers), layer)
        at = found.layers[layer]
        if channel >= len(at.images_CT):
            raise _outside("map", len(at.images_CT), channel)
        # A map that is exactly zero is not excited.
        rows = found.images_M[at.images_CT[channel][at.values_CT[channel] != 0]]

        def look() -> list[MapSource]:
            images = np.asarray(test.images_NHWC[rows])
            return map_sources(saved.model, saved.preprocess, images, layer, channel)

        sources = await self._service.aside(look) if len(rows) else []
        pictures = [
            {
                "index": row,
                "truth": test.label_of(row),
                "value": source.value,
                "row": source.row,
                "column": source.column,
                "box": source.box,
            }
            for row, source in zip(rows.tolist(), sources, strict=True)
        ]
        says = words.of_exciting(len(found.images_M)).text
        return json_response({"state": "done", "says": says, "pictures": pictures})

    async def activity(self, run: Name) -> Response:
        """Each activation over up to 1,000 test images: for each map the share of its numbers that
        are `off` (not above zero), which maps are `dead` (never above zero), and for a sigmoid or
        tanh the share that is `saturated`. `number` is the layer's number in the network.

        `state` is `working` until all images have been looked at; ask again then.
        """
        predictor, saved, test = await self._opened(run)
        found = await self._active(predictor, saved, test)
        if isinstance(found, Working):
            return _working(found)
        layers = [
            {
                "number": number,
                "name": layer.name,
                "kind": layer.kind,
                "off": _rounded(layer.off_C),
                "dead": np.flatnonzero(layer.dead).tolist(),
                "saturated": None if layer.saturated_C is None else _rounded(layer.saturated_C),
            }
            for number, layer in enumerate(found.layers)
            if layer.is_activation
        ]
        squeezed = any(layer.saturated_C is not None for layer in found.layers)
        says = words.of_activity(len(found.images_M), squeezed=squeezed).text
        return json_response({"state": "done", "says": says, "layers": layers})

    async def plane(
        self,
        run: Name,
        way: Annotated[
            Literal["pca", "tsne"],
            Query(description="Principal components, or t-SNE, which needs scikit-learn."),
        ] = "pca",
    ) -> Response:
        """Up to 2,000 test images by their features, the input of the last layer: of each its
        number, true class, answer and place. `tsne` says whether t-SNE is possible here.

        `state` is `working` until it is done; ask again then.
        """
        predictor, saved, test = await self._opened(run)
        answers = await evaluated(self._service, predictor)
        if len(answers.names) != len(test):
            raise RefusedError(
                status=409, message=f"{predictor.name} was evaluated on other test images"
            )
        if way == "tsne":
            try:
                imported("sklearn.manifold", "t-SNE", "'firstlight[sklearn]'")
            except UserError as error:
                raise RefusedError(status=409, message=str(error)) from error
        featured = await self._service.studies.result(
            (predictor, "features"), partial(_features, saved, test)
        )
        if isinstance(featured, Working):
            return _working(featured)
        features_MF, count = featured.features_MF, len(featured.images_M)
        placed: npt.NDArray[np.float64] | Working
        if way == "pca":
            flat = await self._service.studies.result(
                (predictor, "pca"), lambda _: plane(features_MF)
            )
            if isinstance(flat, Working):
                return _working(flat)
            placed, caption = flat.places_NC, words.of_components(count, flat.shares_C.sum())
        else:
            placed = await self._service.studies.result(
                (predictor, "tsne"), lambda _: neighbourhoods(features_MF)
            )
            if isinstance(placed, Working):
                return _working(placed)
            caption = words.of_neighbourhoods(count)
        right_N = answers.right
        points = [
            {**answer_of(answers, row), "right": bool(right_N[row]), "x": x, "y": y}
            for row, (x, y) in zip(featured.images_M.tolist(), placed.tolist(), strict=True)
        ]
        return json_response(
            {
                "state": "done",
                "says": caption.text,
                "tsne": find_spec("sklearn") is not None,
                "points": points,
            }
        )

    async def _opened(self, run: str) -> tuple[Predictor, SavedModel, Dataset]:
        """Return a run that can be looked into, and its test images. Raises ``RefusedError``."""
        predictor = self._service.predictor(run)
        saved = network_of(predictor)
        test = await self._service.aside(lambda: self._service.test_images(predictor))
        if test is None or not len(test):
            raise RefusedError(
                status=404, message=f"the test images of {predictor.name} are not on this machine"
            )
        return predictor, saved, test

    async def _active(
        self, predictor: Predictor, saved: SavedModel, test: Dataset
    ) -> _Active | Working:
        return await self._service.studies.result(
            (predictor, "activity"), partial(_activity, saved, test)
        )


def _activity(saved: SavedModel, test: Dataset, progress: Progress) -> _Active:
    rows_M = spread(len(test), MOST_ACTIVE)
    chosen = _Chosen(test, rows_M)
    layers = activity(saved.model, saved.preprocess, chosen, progress)
    return _Active(images_M=rows_M, layers=layers)


def _features(saved: SavedModel, test: Dataset, progress: Progress) -> _Featured:
    first_1F = last_features(saved.model, saved.preprocess, test.images_NHWC[:1])
    most = max(2, min(MOST_POINTS, MOST_NUMBERS // first_1F.shape[1]))
    rows_M = spread(len(test), most)
    chosen = _Chosen(test, rows_M)
    features_MF = last_features(saved.model, saved.preprocess, chosen, progress)
    return _Featured(images_M=rows_M, features_MF=features_MF)


def spread(total: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most ``most`` numbers below ``total``, evenly spaced."""
    count = min(total, most)
    return np.arange(count) * total // count


class _Chosen:
    """Some images of a set, read a batch at a time."""

    def __init__(self, test: Dataset, rows_M: npt.NDArray[np.int64]) -> None:
        self._test, self._rows_M = test, rows_M

    def __len__(self) -> int:
        return len(self._rows_M)

    def __getitem__(self, rows: slice) -> npt.NDArray[np.uint8]:
        return np.asarray(self._test.images_NHWC[self._rows_M[rows]])


def _working(study: Working) -> Response:
    return json_response({"state": "working", "done": study.done, "total": study.total})


def _rounded(shares_C: npt.NDArray[np.float64]) -> list[float]:
    return [round(share, 4) for share in shares_C.tolist()]


def _outside(what: str, count: int, got: int) -> RefusedError:
    return RefusedError(status=422, message=f"wanted a {what} from 0 to {count - 1}, got {got}")
