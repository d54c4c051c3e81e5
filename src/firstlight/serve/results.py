"""What the page shows of a run's training and its test. Axes: N images, K classes."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Response

from firstlight.errors import UserError
from firstlight.evaluate.calibrate import accuracy_at_coverage
from firstlight.evaluate.mistakes import worst_mistakes
from firstlight.evaluate.paired import paired
from firstlight.runs.record import Answers, read_epochs
from firstlight.serve.answers import json_response, png
from firstlight.serve.limits import RefusedError
from firstlight.serve.predictor import Predictor
from firstlight.serve.service import Service

MOST = 60
"""Pictures behind one cell of the confusion matrix."""
POINTS = 200
"""Of the curve of accuracy against coverage."""

Name = Annotated[str, Path(description="A run.")]


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/api", tags=["results"])

    @router.get("/runs", summary="The runs that are served")
    async def runs() -> Response:
        """What each was trained on, and whether it can answer."""
        return json_response([_described(p) for p in service.predictors.values()])

    @router.get("/runs/{run}/training", summary="Training, epoch by epoch")
    async def training(run: Name) -> Response:
        """The lines of `epochs.csv` so far, and whether more will come."""
        predictor = service.run(run)
        epochs = _read(lambda: read_epochs(predictor.folder), []) if _has_epochs(predictor) else []
        return json_response(
            {
                "finished": predictor.ready,
                "epochs": epochs,
                "total": predictor.folder.recipe().train.epochs,
            }
        )

    @router.get("/runs/{run}/results", summary="The test set")
    async def results(run: Name) -> Response:
        """`metrics.json`, and accuracy against coverage by threshold; null before `evaluate`."""
        predictor = service.run(run)
        answers = await service.aside(lambda: predictor.answers)
        if answers is None:
            return json_response(None)
        metrics = predictor.folder.read_json("metrics.json")
        return json_response({"metrics": metrics, "coverage": _coverage(answers)})

    @router.get("/runs/{run}/cell", summary="The pictures behind a cell of the confusion matrix")
    async def cell(
        run: Name, truth: Annotated[int, Query(ge=0)], said: Annotated[int, Query(ge=0)]
    ) -> Response:
        """Test images of class number `truth` that were taken for class number `said`, the surest
        first."""
        predictor = service.run(run)
        answers = await _evaluated(service, predictor)
        chosen = np.flatnonzero((answers.true_N == truth) & (answers.predicted_N == said))
        sure_N = answers.probabilities_NK[chosen].max(axis=1, initial=0)
        order = chosen[np.argsort(-sure_N, kind="stable")]
        return json_response(
            {"count": len(chosen), "pictures": [_row(answers, i) for i in order[:MOST]]}
        )

    @router.get("/runs/{run}/mistakes", summary="The worst mistakes")
    async def mistakes(run: Name) -> Response:
        """Wrong answers, the least probable truth first."""
        answers = await _evaluated(service, service.run(run))
        worst = worst_mistakes(answers.true_N, answers.probabilities_NK, MOST)
        wrong = int((answers.true_N != answers.predicted_N).sum())
        return json_response({"count": wrong, "pictures": [_row(answers, i) for i in worst]})

    @router.get("/runs/{run}/test", summary="Some test images")
    async def some(
        run: Name,
        start: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=100)] = 12,
    ) -> Response:
        """Their numbers and true classes; `total` is 0 where the images are not to be found."""
        predictor = service.run(run)
        data = await service.aside(lambda: service.data(predictor))
        total = 0 if data is None else len(data.test)
        rows = [
            {"index": i, "truth": data.test.class_names[data.test.labels_N[i]]}
            for i in range(start, min(start + count, total))
            if data is not None
        ]
        return json_response({"total": total, "pictures": rows})

    @router.get("/runs/{run}/test/{index}.png", summary="One test image")
    async def image(run: Name, index: Annotated[int, Path(ge=0)]) -> Response:
        """As the network is shown it."""
        predictor = service.run(run)
        data = await service.aside(lambda: service.data(predictor))
        if data is None or index >= len(data.test):
            raise RefusedError(status=404, message="no such test image, or not on this machine")
        return Response(
            png(data.test.images_NHWC[index]),
            media_type="image/png",
            headers={"Cache-Control": "private, max-age=3600"},
        )

    @router.get("/compare", summary="Two runs on one test set")
    async def compare(first: str, second: str) -> Response:
        """The images that only one of them has right, and the exact McNemar test."""
        one, other = service.run(first), service.run(second)
        a, b = await _evaluated(service, one), await _evaluated(service, other)
        same = one.described["test"] == other.described["test"]
        if not same or not np.array_equal(a.true_N, b.true_N):
            raise RefusedError(status=422, message="these runs were tested on different images")
        result = paired(a.predicted_N == a.true_N, b.predicted_N == b.true_N)
        return json_response(
            {"only_first": result.only_first, "only_second": result.only_second, "p": result.p}
        )

    return router


def _described(predictor: Predictor) -> dict[str, Any]:
    described, recipe = predictor.described, predictor.folder.recipe()
    height, width, channels = described["image_shape"]
    values: dict[str, Any] = {
        "name": predictor.name,
        "ready": predictor.ready,
        "data": described["name"],
        "recipe": recipe.name,
        "seed": recipe.train.seed,
        "classes": described["class_names"],
        "image": {"height": height, "width": width, "channels": channels},
        "draws": False,
        "calibration": None,
        "evaluated": (predictor.folder.path / "metrics.json").is_file(),
    }
    if predictor.ready:
        saved = predictor.saved
        values["draws"] = saved.preprocess.centred_strokes
        if saved.calibration is not None:
            values["calibration"] = {
                "threshold": saved.calibration.threshold,
                "coverage": saved.calibration.coverage,
            }
    return values


def _has_epochs(predictor: Predictor) -> bool:
    return (predictor.folder.path / "epochs.csv").is_file()


def _read(read: Any, otherwise: Any) -> Any:
    """What a file holds, or ``otherwise`` while it is being made."""
    try:
        return read()
    except UserError:
        return otherwise


async def _evaluated(service: Service, predictor: Predictor) -> Answers:
    answers = await service.aside(lambda: predictor.answers)
    if answers is None:
        raise RefusedError(
            status=409, message=f"{predictor.name} was not measured yet: firstlight evaluate"
        )
    return answers


def _row(answers: Answers, i: int) -> dict[str, Any]:
    return {
        "index": int(i),
        "truth": int(answers.true_N[i]),
        "said": int(answers.predicted_N[i]),
        "confidence": float(answers.probabilities_NK[i].max()),
    }


def _coverage(answers: Answers) -> list[dict[str, float]]:
    """Threshold, share answered and accuracy of the answered, from all answers to the surest."""
    confidence_N = answers.probabilities_NK.max(axis=1)
    coverage_N, accuracy_N = accuracy_at_coverage(
        answers.predicted_N == answers.true_N, confidence_N
    )
    thresholds_N = np.sort(confidence_N)[::-1]
    places = np.unique(np.linspace(len(thresholds_N) - 1, 0, POINTS).round().astype(int))[::-1]
    return [
        {
            "threshold": float(thresholds_N[i]),
            "coverage": float(coverage_N[i]),
            "accuracy": float(accuracy_N[i]),
        }
        for i in places
    ]
