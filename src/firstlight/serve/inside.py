"""What the page shows inside a network for a picture: layers' maps, Grad-CAM or attention, a map's
source, and the answer without a map.

Axes: H height, W width, C channels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response

from firstlight.explain import words
from firstlight.explain.attention import class_attention
from firstlight.explain.attribution import grad_cam
from firstlight.explain.layers import LayerMaps, layer_maps, shown
from firstlight.explain.maps import map_source
from firstlight.explain.switched_off import switched_off
from firstlight.runs.checkpoint import SavedModel
from firstlight.serve.answers import PICTURES, RunName, data_url, json_response, only_picture
from firstlight.serve.limits import RefusedError
from firstlight.serve.predictor import Predictor
from firstlight.serve.service import Service


def routes(service: Service) -> APIRouter:
    """The routes."""
    router, page = APIRouter(prefix="/api", tags=["looking inside"]), _Inside(service)
    for path, answer, summary in (
        ("/inside", page.inside, "The feature maps of each layer for a picture"),
        ("/map", page.one_map, "Where one feature map looks"),
        ("/without", page.without, "The answer without one feature map"),
    ):
        router.add_api_route(
            path, answer, methods=["POST"], openapi_extra=PICTURES, summary=summary
        )
    return router


class _Inside:
    """The routes' answers. The methods' docstrings appear in the OpenAPI document."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def inside(
        self,
        request: Request,
        run: RunName = None,
        of: Annotated[
            str | None,
            Query(description="The class that Grad-CAM explains; by default the most probable."),
        ] = None,
        whole: Annotated[
            bool, Query(description="Every layer of a long network, not a selection.")
        ] = False,
    ) -> Response:
        """Returns JSON followed by numbers: four bytes, little-endian, with the length of the JSON,
        then the JSON, padded with spaces to a multiple of four bytes, then float32 numbers.

        Each layer has its number in the network, counted from 0, the position of its first number
        (`offset`), and channels × height × width numbers. `cam` has an offset too, and the
        picture's height × width numbers. If there are more than 40 layers, some are returned, and
        `choice` says which.
        """
        predictor = self._service.predictor(run)
        picture = await only_picture(request, self._service, predictor)
        (answer,) = await self._service.predictions(predictor, [picture])
        name = of or answer.best
        if name not in predictor.class_names:
            raise RefusedError(status=422, message="no such class")
        saved = network_of(predictor)

        def look() -> tuple[list[LayerMaps], _Regions]:
            maps = layer_maps(saved.model, saved.preprocess, picture.image_HWC)
            return maps, _regions(saved, picture.image_HWC, name)

        layers, regions = await self._service.aside(look)
        stages = shown(layers)
        numbers = range(len(layers)) if whole else stages
        head: dict[str, Any] = {
            "prediction": answer.to_json(),
            "seen": data_url(picture.image_HWC),
            "layers": [
                {
                    "number": number,
                    "name": layers[number].name,
                    "kind": layers[number].kind,
                    "says": layers[number].says,
                    "shape": layers[number].maps_Chw.shape,
                }
                for number in numbers
            ],
            "all_layers": len(layers),
            "choice": words.chosen(len(stages), len(layers)) if len(stages) < len(layers) else "",
            "cam": {
                "class": name,
                "cells": regions.cells,
                "shape": regions.values_HW.shape,
                "title": regions.words.title,
                "says": regions.words.text,
            },
        }
        return _with_numbers(
            head, [layers[number].maps_Chw for number in numbers], regions.values_HW
        )

    async def one_map(
        self,
        request: Request,
        layer: Annotated[int, Query(ge=0, lt=10_000)],
        channel: Annotated[int, Query(ge=0, lt=100_000)],
        run: RunName = None,
    ) -> Response:
        """Returns the strongest value of a map, its position, how much each pixel changes it, and
        its filter."""
        predictor = self._service.predictor(run)
        picture = await only_picture(request, self._service, predictor)
        saved = network_of(predictor)
        try:
            source = await self._service.aside(
                lambda: map_source(saved.model, saved.preprocess, picture.image_HWC, layer, channel)
            )
        except ValueError as error:
            raise RefusedError(status=422, message=str(error)) from error
        return json_response(
            {
                "value": source.value,
                "row": source.row,
                "column": source.column,
                "pixels": source.pixels_HW.tolist(),
                "filter": None if source.filter_Ikk is None else source.filter_Ikk.tolist(),
                "first": _is_first(predictor, source.filter_Ikk),
            }
        )

    async def without(
        self,
        request: Request,
        layer: Annotated[int, Query(ge=0, lt=10_000)],
        channel: Annotated[int, Query(ge=0, lt=100_000)],
        run: RunName = None,
    ) -> Response:
        """The answer with a map set to zero (`without`), beside the answer with it (`with`)."""
        predictor = self._service.predictor(run)
        picture = await only_picture(request, self._service, predictor)
        saved, image_HWC = network_of(predictor), picture.image_HWC

        def answers() -> list[npt.NDArray[np.float32]]:
            whole_1K = predictor.probabilities(image_HWC[None])
            with switched_off(saved.model, saved.preprocess, image_HWC, layer, channel):
                return [whole_1K[0], predictor.probabilities(image_HWC[None])[0]]

        try:
            rows = await self._service.aside(answers)
        except ValueError as error:
            raise RefusedError(status=422, message=str(error)) from error
        whole, without = (predictor.prediction(picture, row_K).to_json() for row_K in rows)
        says = words.of_switched_off().text
        return json_response({"with": whole, "without": without, "says": says})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Regions:
    """The overlay on the picture."""

    values_HW: npt.NDArray[np.float32]
    cells: tuple[int, int]
    words: words.Words


def _regions(saved: SavedModel, image_HWC: npt.NDArray[np.uint8], name: str) -> _Regions:
    """Return Grad-CAM for a class, or the class token's attention in a vision transformer."""
    arguments = (saved.model, saved.preprocess, image_HWC)
    if (attention := class_attention(*arguments)) is not None:
        return _Regions(
            values_HW=attention.over(*image_HWC.shape[:2]),
            cells=attention.cells,
            words=words.of_attention(attention),
        )
    cam = grad_cam(*arguments, saved.class_names.index(name))
    return _Regions(values_HW=cam.values_HW, cells=cam.cells, words=words.of_grad_cam(cam, name))


def network_of(predictor: Predictor) -> SavedModel:
    """Return the network to inspect. Raises ``RefusedError`` for an exported file."""
    saved = predictor.model.saved
    if saved is None:
        raise RefusedError(
            status=409, message="an exported file has no layers to show; serve its run instead"
        )
    return saved


def _is_first(predictor: Predictor, filter_Ikk: npt.NDArray[np.float32] | None) -> bool:
    """Whether the filter reads the picture itself, so that it can be shown in colour."""
    channels = predictor.model.preprocess.channels
    return filter_Ikk is not None and len(filter_Ikk) == channels


def _with_numbers(
    head: dict[str, Any],
    maps: Sequence[npt.NDArray[np.float32]],
    cam_HW: npt.NDArray[np.float32],
) -> Response:
    """Return the JSON text with the offset of each part's numbers, and then the numbers."""
    at = 0
    for layer, maps_Chw in zip(head["layers"], maps, strict=True):
        layer["offset"] = at
        at += maps_Chw.size
    head["cam"]["offset"] = at
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    text += b" " * (-len(text) % 4)
    numbers = b"".join(part.astype("<f4").tobytes() for part in (*maps, cam_HW))
    return Response(
        len(text).to_bytes(4, "little") + text + numbers, media_type="application/octet-stream"
    )
