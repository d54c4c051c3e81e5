"""The end of a training: save weights and summary, and report if nothing was learned.

Axes: N images, K classes.
"""

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from torch import Tensor

from firstlight.devices import repeatable
from firstlight.errors import UserError
from firstlight.evaluate.label_calibration import usual_thresholds
from firstlight.evaluate.learnt import ENOUGH, above_guessing, guessing_loss, nothing_learnt
from firstlight.evaluate.task import AnyMetrics, task_of, thresholds_of
from firstlight.models.catalog import parameter_count
from firstlight.progress import Display
from firstlight.recipe import Recipe
from firstlight.runs import checkpoint, record
from firstlight.runs.folder import CONTEST_FILE, RunFolder
from firstlight.training.loop import Trainer
from firstlight.training.portion import Portion
from firstlight.untrusted import shell_word
from firstlight.verbs.held_out import answered_parts
from firstlight.verbs.job import Job
from firstlight.verbs.linear_start import finished

LOOKED_AT = 1000
"""Most training images predicted to see what was learned."""
DIVERGED = 2.0
"""If the loss rose to this multiple of the loss of uniform probabilities, the learning rate was too
large."""


def finish(folder: RunFolder, job: Job, trainer: Trainer, display: Display) -> None:
    """Write the weights and, last, the summary of a completed training.

    Raises ``UserError`` if weights or answers are not finite; nothing is then saved.
    """
    record.write_epochs(folder, trainer.records, trainer.layers)
    model, recipe, task = trainer.answering, trainer.recipe, task_of(job.data.train.several)
    calibration, class_names = None, job.data.train.class_names
    with repeatable(job.threads, job.device):
        nothing = what_was_not_learnt(trainer, class_names)
        answers = (
            trainer.validation_predictions() if recipe.train.validation == "held-out" else None
        )
    held_out = None if answers is None else (answers[0].cpu().numpy(), answers[1].cpu().numpy())
    if (begun := finished(trainer)) is not None:
        seen_M = ~np.isnan(begun.fit.held_out_NK).any(axis=1)
        calibration = task.calibrate(begun.fit.held_out_NK[seen_M], begun.labels[seen_M])
    elif held_out is not None:
        calibration = task.calibrate(*held_out)
    saved = checkpoint.SavedModel(
        model=model,
        architecture=job.architecture,
        preprocess=trainer.preprocess,
        class_names=class_names,
        calibration=calibration,
        task=task,
    )
    checkpoint.save_model(folder, saved)
    if job.side is not None and held_out is not None:
        parts = answered_parts(held_out, begun, calibration)
        folder.write_json(CONTEST_FILE, asdict(replace(job.side, parts=parts)))
    folder.write_json("summary.json", _summary(trainer, nothing))
    checkpoint.drop_state(folder)
    if task.several and recipe.train.validation == "held-out":
        thresholds = thresholds_of(calibration, len(class_names)).tolist()
        if told := usual_thresholds(thresholds, class_names):
            display.say(told)


def what_was_not_learnt(trainer: Trainer, class_names: tuple[str, ...]) -> str:
    """Return a sentence with advice if a trained network is no better than guessing, or an empty
    text.

    Images are predicted only if the last epoch's figures give reason to. Raises ``UserError`` for
    weights or answers that are not finite.
    """
    weights = trainer.answering.state_dict().values()
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise UserError(
            f"after the last step some weights are not finite. {_smaller_rate(trainer.recipe)}"
        )
    if not _suspicious(trainer, len(class_names)):
        return ""
    watched = trainer.validation
    if watched is not None and len(watched) >= ENOUGH:
        answers = trainer.validation_predictions()
        assert answers is not None, "there are images to watch"
        metrics = _measured(*answers, class_names, trainer.recipe)
        if why := nothing_learnt(metrics):
            return _told(trainer, metrics, f"it was not trained on {why}")
    some = Portion(
        images_NHWC=trainer.train_data.images_NHWC,
        targets=trainer.train_data.targets,
        rows_M=trainer.train_data.rows_M[:: math.ceil(len(trainer.train_data) / LOOKED_AT)],
    )
    metrics = _measured(*trainer.predict(some), class_names, trainer.recipe)
    if why := nothing_learnt(metrics) or above_guessing(metrics):
        return _told(trainer, metrics, f"it was trained on {why}")
    return ""


def _suspicious(trainer: Trainer, classes: int) -> bool:
    if trainer.train_data.targets.ndim == 2:  # their figures mean nothing without the probabilities
        return True
    kept, guessing = trainer.kept, math.log(classes)
    seen = [(trainer.train_data, kept.train_loss, kept.train_accuracy)]
    if trainer.validation is not None:
        assert kept.validation_loss is not None and kept.validation_accuracy is not None
        seen.append((trainer.validation, kept.validation_loss, kept.validation_accuracy))
    return any(
        # Also true if a loss is NaN.
        not loss <= guessing or accuracy <= _largest_share(portion)
        for portion, loss, accuracy in seen
    )


def _largest_share(portion: Portion) -> float:
    return float(portion.counts().max()) / len(portion)


def _measured(
    logits_NK: Tensor, labels_N: Tensor, class_names: tuple[str, ...], recipe: Recipe
) -> AnyMetrics:
    if not bool(logits_NK.isfinite().all()):
        raise UserError(f"after the last step some outputs are not finite. {_smaller_rate(recipe)}")
    task = task_of(labels_N.ndim == 2)
    probabilities_NK: np.ndarray = task.probabilities(logits_NK).cpu().numpy()
    return task.measure(labels_N.cpu().numpy(), probabilities_NK, class_names, None)


def _told(trainer: Trainer, metrics: AnyMetrics, why: str) -> str:
    highest = max(epoch.train_loss for epoch in trainer.records)
    if highest > DIVERGED * guessing_loss(metrics):
        advice = f"The training diverged. {_smaller_rate(trainer.recipe)}"
    else:
        advice = (
            "Try more epochs or another learning rate (firstlight lr-find suggests one), or "
            "check the labels with: firstlight data check"
        )
    return f"the network has learned nothing: on {metrics.count:,} images {why}. {advice}"


def _smaller_rate(recipe: Recipe) -> str:
    smaller = f"optimizer.learning_rate={recipe.optimizer.learning_rate / 10:g}"
    return f"Try a smaller learning rate, such as --set {shell_word(smaller)}"


def _summary(trainer: Trainer, nothing: str) -> dict[str, Any]:
    last = trainer.records[-1]
    return {
        "recipe": trainer.recipe.name,
        "seed": trainer.recipe.train.seed,
        "parameters": parameter_count(trainer.model),
        "epochs": last.epoch,
        "passes": last.steps
        / trainer.steps_per_epoch
        * trainer.images_per_epoch
        / len(trainer.train_data),
        "steps": last.steps,
        "train_seconds": sum(r.train_seconds for r in trainer.records),
        "kept_epoch": asdict(trainer.kept),
        "nothing_learnt": nothing or None,
        **_replays(trainer),
    }


def _replays(trainer: Trainer) -> dict[str, Any]:
    """Return how many steps were replayed, if the device records steps, and what that cost."""
    if trainer.replayed_steps is None:
        return {}
    return {
        "replayed_steps": trainer.replayed_steps,
        "cold_start_seconds": trainer.cold_start_seconds,
    }
