"""What the page shows about a run's training and test. Axes: N images, K classes."""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Path, Query, Response

from firstlight.data.encode import png
from firstlight.differences import differences
from firstlight.errors import DataError
from firstlight.evaluate.calibrate import Calibration, accuracy_at_coverage
from firstlight.evaluate.mistakes import worst_mistakes
from firstlight.evaluate.paired import paired
from firstlight.layers.diagram import diagram
from firstlight.runs.record import Answers, AnyAnswers, LabelAnswers, in_both
from firstlight.serve.answers import json_response
from firstlight.serve.limits import RefusedError
from firstlight.serve.predictor import Predictor
from firstlight.serve.service import Service

MOST = 60
"""Most pictures shown for one cell of the confusion matrix."""
POINTS = 200
"""Points on the curve of accuracy against coverage."""
FINISHED, TRAINING, STOPPED = "finished", "training", "stopped"

Name = Annotated[str, Path(description="A run.")]


def routes(service: Service) -> APIRouter:
    """The routes."""
    router, page = APIRouter(prefix="/api", tags=["results"]), _Results(service)
    cell = "The pictures of a cell of the confusion matrix"
    for path, answer, summary in (
        ("/runs", page.runs, "The runs that are served"),
        ("/runs/{run}/training", page.training, "Training, epoch by epoch"),
        ("/runs/{run}/results", page.results, "The test set"),
        ("/runs/{run}/cell", page.cell, cell),
        ("/runs/{run}/mistakes", page.mistakes, "The worst mistakes"),
        ("/runs/{run}/network.svg", page.network, "Diagram of the network"),
        ("/runs/{run}/test", page.some, "Some test images"),
        ("/runs/{run}/test/{index}.png", page.image, "One test image"),
        ("/compare", page.compare, "Two runs compared on one test set"),
    ):
        router.add_api_route(path, answer, summary=summary)
    return router


class _Results:
    """The routes' answers. The methods' docstrings appear in the OpenAPI document."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def runs(self) -> Response:
        """Lists the runs: what each was trained on, and whether it can answer."""
        self._service.look()
        return json_response([_described(p) for p in self._service.predictors.values()])

    async def training(self, run: Name) -> Response:
        """Returns the lines of `epochs.csv` and `layers.csv` so far, and whether more will come.
        `summary` has the figures of the finished run."""
        predictor = self._service.run(run)
        # Read the state first: whatever is written later is requested again.
        state = _state(predictor)
        return json_response(
            {
                "state": state,
                "epochs": predictor.epochs,
                "layers": _layers(predictor),
                "total": predictor.recipe.train.epochs,
                "summary": predictor.summary if state == FINISHED else None,
            }
        )

    async def results(self, run: Name) -> Response:
        """Returns `metrics.json`, and the accuracy and coverage for each threshold (null with
        several labels). Null before `evaluate`."""
        predictor = self._service.run(run)
        answers = await _answers(self._service, predictor)
        if answers is None:
            return json_response(None)
        coverage = _coverage(answers) if isinstance(answers, Answers) else None
        return json_response({"metrics": predictor.metrics, "coverage": coverage})

    async def cell(
        self, run: Name, truth: Annotated[int, Query(ge=0)], said: Annotated[int, Query(ge=0)]
    ) -> Response:
        """Lists the test images of class number `truth` that were classified as class number
        `said`, the most confident first."""
        predictor = self._service.run(run)
        answers = await evaluated(self._service, predictor)
        if isinstance(answers, LabelAnswers):
            raise RefusedError(status=422, message="this run answers with several labels")
        chosen_N = (answers.true_N == truth) & (answers.predicted_N == said)
        return json_response(
            {"count": int(chosen_N.sum()), "pictures": _surest(answers, np.flatnonzero(chosen_N))}
        )

    async def mistakes(self, run: Name) -> Response:
        """Lists wrong answers, the least probable true class first."""
        answers = await evaluated(self._service, self._service.run(run))
        wrong_N = ~answers.right
        worst = worst_mistakes(wrong_N, _believed(answers), MOST)
        pictures = [answer_of(answers, i) for i in worst]
        return json_response({"count": int(wrong_N.sum()), "pictures": pictures})

    async def network(self, run: Name) -> Response:
        """Describes each layer's output, from top to bottom, with text for screen readers."""
        predictor = self._service.predictor(run)
        saved = predictor.model.saved
        if saved is None or saved.architecture.network.code is not None:
            raise RefusedError(status=404, message="this model does not list its layers")
        built = saved.architecture
        drawn = diagram(built.network, built.image_shape, built.classes)
        return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

    async def some(
        self,
        run: Name,
        page: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=100)] = 12,
    ) -> Response:
        """Lists the numbers and true classes of `count` test images from the whole set, different
        ones on every page. `total` is 0 if the images are not on this machine."""
        predictor = self._service.run(run)
        test = await self._service.aside(lambda: self._service.test_images(predictor))
        total = 0 if test is None else len(test)
        pages = max(1, -(-total // count))
        rows = [
            {"index": i, "truth": test.label_of(i)}
            for i in range(page, total if page < pages else 0, pages)
            if test is not None
        ]
        return json_response({"total": total, "pictures": rows})

    async def image(self, run: Name, index: Annotated[int, Path(ge=0)]) -> Response:
        """Returns a test image as the network's input, a PNG."""
        predictor = self._service.run(run)
        test = await self._service.aside(lambda: self._service.test_images(predictor))
        if test is None or index >= len(test):
            raise RefusedError(status=404, message="no such test image, or not on this machine")
        return Response(
            png(test.images_NHWC[index]),
            media_type="image/png",
            headers={"Cache-Control": "no-store"},
        )

    async def compare(self, first: str, second: str) -> Response:
        """Compares two runs: the images that only one of them gets right, the other's answers, the
        exact McNemar test, and the differences of their recipes."""
        one, other = self._service.run(first), self._service.run(second)
        a, b = await evaluated(self._service, one), await evaluated(self._service, other)
        a_M, b_M = in_both(a, b, (one.described, other.described))
        if not len(a_M):
            raise RefusedError(status=422, message="these runs were evaluated on different images")
        right_a_M, right_b_M = (of.right[at] for of, at in ((a, a_M), (b, b_M)))
        result = paired(right_a_M, right_b_M)
        only_first, only_second = b_M[right_a_M & ~right_b_M], a_M[right_b_M & ~right_a_M]
        return json_response(
            {
                "only_first": {"count": result.only_first, "pictures": _surest(b, only_first)},
                "only_second": {"count": result.only_second, "pictures": _surest(a, only_second)},
                "p": result.p,
                "images": result.images,
                "differences": [
                    {"choice": each.choice, "values": each.short}
                    for each in differences([one.recipe, other.recipe])
                ],
            }
        )


def _described(predictor: Predictor) -> dict[str, Any]:
    described, recipe = predictor.described, predictor.recipe
    height, width, channels = described["image_shape"]
    values: dict[str, Any] = {
        "name": predictor.name,
        "state": _state(predictor),
        "data": described["name"],
        "recipe": recipe.name,
        "seed": recipe.train.seed,
        "classes": described["class_names"],
        "image": {"height": height, "width": width, "channels": channels},
        "draws": False,
        "layers": False,
        "calibration": None,
        "evaluated": predictor.evaluated,
        **({"labels": described["labels"]} if described.get("labels") else {}),
    }
    if values["state"] == FINISHED:
        values["draws"] = predictor.preprocess.light_on_dark
        values["layers"] = predictor.lists_layers
        if isinstance(calibration := predictor.calibration, Calibration):
            values["calibration"] = {
                "threshold": calibration.threshold,
                "coverage": calibration.coverage,
            }
        elif calibration is not None:
            values["calibration"] = {"thresholds": calibration.thresholds}
    return values


def _layers(predictor: Predictor) -> list[dict[str, Any]]:
    """Return each layer's name, and its figures epoch by epoch."""
    found: dict[str, dict[str, Any]] = {}
    for line in predictor.layers:
        one = found.setdefault(line["layer"], {"layer": line["layer"]})
        for name in ("epoch", "weights", "gradients", "update"):
            one.setdefault(name, []).append(line[name])
    return list(found.values())


def _state(predictor: Predictor) -> str:
    if predictor.ready:
        return FINISHED
    return TRAINING if predictor.in_training else STOPPED


async def _answers(service: Service, predictor: Predictor) -> AnyAnswers | None:
    try:
        return await service.aside(lambda: predictor.answers)
    except DataError as error:
        raise RefusedError(
            status=409,
            message=(
                f"the answers of {predictor.name} on the test images cannot be read. Write them "
                "again with: firstlight evaluate RUN"
            ),
        ) from error


async def evaluated(service: Service, predictor: Predictor) -> AnyAnswers:
    """Return a run's answers on its test images. Raises ``RefusedError`` before ``evaluate``."""
    answers = await _answers(service, predictor)
    if answers is None:
        raise RefusedError(
            status=409,
            message=(
                f"{predictor.name} has not been evaluated yet. Evaluate it with: firstlight "
                "evaluate RUN"
            ),
        )
    return answers


def _surest(answers: AnyAnswers, chosen: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return at most ``MOST`` of the chosen images by index, those with the most probable answers
    first, or with several labels those whose true labels were found least probable."""
    sure_N = answers.confidence_N if isinstance(answers, Answers) else -_believed(answers)
    return [
        answer_of(answers, i) for i in chosen[np.argsort(-sure_N[chosen], kind="stable")][:MOST]
    ]


def _believed(answers: AnyAnswers) -> npt.NDArray[np.float32]:
    """Return a number for each image: the more probable the truth was found, the larger."""
    if isinstance(answers, LabelAnswers):
        return (-answers.losses).astype(np.float32)
    return answers.truth_N


def answer_of(answers: AnyAnswers, i: int) -> dict[str, Any]:
    """Return the number, true class, answer and confidence of a test image, as values for
    JSON."""
    if isinstance(answers, LabelAnswers):
        truth_K, said_K = answers.true_NK[i], answers.given_NK[i]
        return {
            "index": int(i),
            "truth": np.flatnonzero(truth_K).tolist(),
            "said": np.flatnonzero(said_K).tolist(),
            "confidence": None,
        }
    return {
        "index": int(i),
        "truth": int(answers.true_N[i]),
        "said": int(answers.predicted_N[i]),
        "confidence": float(answers.confidence_N[i]),
    }


def _coverage(answers: Answers) -> list[dict[str, float]]:
    """Return threshold, coverage and accuracy of the answered images, from full coverage
    downwards."""
    confidence_N = answers.confidence_N
    coverage_N, accuracy_N = accuracy_at_coverage(
        answers.predicted_N == answers.true_N, confidence_N
    )
    thresholds_N = np.sort(confidence_N)[::-1]
    # Equal confidences are answered together, so only the last of them is a threshold.
    ends = np.flatnonzero(np.append(thresholds_N[1:] < thresholds_N[:-1], True))
    places = ends[np.unique(np.linspace(len(ends) - 1, 0, POINTS).round().astype(int))[::-1]]
    return [
        {
            "threshold": float(thresholds_N[i]),
            "coverage": float(coverage_N[i]),
            "accuracy": float(accuracy_N[i]),
        }
        for i in places
    ]
