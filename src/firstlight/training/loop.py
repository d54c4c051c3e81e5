"""The training loop. It uses neither the disk nor the screen: it yields what happened.

Axes: N images, H height, W width, C channels, B images of one batch, P of a part of it, K classes.
Labels have a second axis K if images may have several.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor, nn

from firstlight.augment.augmentation import Seen
from firstlight.augment.batch import augment
from firstlight.augment.mix import mix
from firstlight.augment.shrink import SHARE_OF_WORK, shrunk
from firstlight.devices import computes_in_bfloat16
from firstlight.errors import UserError
from firstlight.evaluate.predict import batch_size, logits, pixels_seen, quick
from firstlight.models.blocks import Dropout
from firstlight.models.network import NetworkModule
from firstlight.models.own_code import seeded
from firstlight.pixels import Preprocess
from firstlight.recipe import Recipe
from firstlight.training.averaging import WeightAverage
from firstlight.training.layer_figures import LayerFigures, LayerSizes
from firstlight.training.loss import loss_for
from firstlight.training.optimizers import Optimizers
from firstlight.training.portion import Portion
from firstlight.training.position import EpochRecord, Fitted, Place, Position, StepRecord
from firstlight.training.processes import Processes
from firstlight.training.randomness import reseed
from firstlight.training.replayed import Kept, ReplayedStep, Results, Step, recorder, repeats
from firstlight.training.schedule import course
from firstlight.training.selection import Selection
from firstlight.training.shards import ShardedPass

T = TypeVar("T")
# On an accelerator, the number of steps between two reads of the loss.
STEPS_BETWEEN_READS = 20
# A whitening stem is computed from patches of this many images; more hardly change its filters.
SEEN_BY_THE_STEM = 500


class Trainer:
    """A training run that can be paused after any step, saved, and resumed with the same bits."""

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        preprocess: Preprocess,
        train: Portion,
        validation: Portion | None,
        fitted: Fitted | None = None,
    ) -> None:
        """``fitted``: the record of the last layer, if it was fitted before."""
        self.recipe, self.model, self.preprocess = recipe, model, preprocess
        self.train_data, self.validation, self.fitted = train, validation, fitted
        started = recipe.train.start_from != ""
        if isinstance(model, NetworkModule) and not started:
            first_B = torch.arange(min(len(train), SEEN_BY_THE_STEM), device=train.rows_M.device)
            model.initialize_from(preprocess(train.images(first_B)))
        self.mixed = recipe.train.precision == "mixed" and computes_in_bfloat16(
            train.targets.device.type
        )
        """Whether training uses bfloat16 where possible."""
        self.low_precision = self.mixed and recipe.train.patience == 0
        """Whether held-out images are predicted that way too, after all epochs but the last."""
        self.optimizers = Optimizers(
            recipe.optimizer,
            model,
            recipe.train.batch_size,
            recipe.train.start_rate if started else 1.0,
            torch.bfloat16 if self.mixed else None,
        )
        decay = recipe.train.average_decay
        self._average = WeightAverage(model, decay) if decay > 0 else None
        seed, device = recipe.train.seed, train.targets.device
        share, shards_M = recipe.train.epoch_share, train.shard_of()
        self._selection = Selection(len(train), share, seed, device, shards_M)
        self.images_per_epoch = self._selection.count
        """Images per epoch."""
        self.steps_per_epoch = math.ceil(self.images_per_epoch / recipe.train.batch_size)
        # Batch norm needs two images, so a single last image joins the batch before it.
        self._lone = (
            recipe.network.needs_two and self.images_per_epoch % recipe.train.batch_size == 1
        )
        self.steps_per_epoch -= self._lone and self.steps_per_epoch > 1
        self.course = course(recipe.train, self.steps_per_epoch)
        self.small_steps = self.course.first(recipe.train.small_share)
        """How many of the first steps use smaller images. Pace and learning-rate sweep set it."""
        self.factor: Callable[[int], float] = lambda step: recipe.schedule.factor(
            self.course.done(step)
        )
        """The fraction of the peak learning rate at each step. A sweep replaces it."""
        self.read_every = 1 if train.targets.device.type == "cpu" else STEPS_BETWEEN_READS
        """Losses are read from the device after this many steps, because reading waits for it."""
        weights_K = train.class_weights() if recipe.train.class_weights == "balanced" else None
        self._loss = loss_for(train.targets)(
            smoothing=recipe.train.label_smoothing, weights_K=weights_K
        )
        self.shards: ShardedPass | None = None
        """The pass of a batch that consists of shards."""
        self.recorder = recorder(device.type)
        """Records steps, if the device can. With None, no step is recorded."""
        self._rate: Tensor | None = None
        """The step's fraction of the peak learning rate, where a recorded step reads it."""
        self._steps: dict[bool, Step] = {}
        """How to do a step, by whether its images are smaller."""
        self.cold_start_seconds = 0.0
        """The time to record steps, before the first one."""
        self._unread: list[tuple[Tensor, Tensor, int]] = []
        self._sizes: LayerSizes | None = None
        self._best: dict[str, Tensor] | None = None
        self._answers: tuple[Tensor, Tensor] | None = None
        self._at = Position()
        self._noise = Generator(device=device)
        self._numbers = self._noise if device.type == "cpu" else Generator()
        """Draws single numbers on the CPU, so that nothing waits for the device."""
        coins_N = torch.rand(
            len(train), generator=reseed(Generator(), recipe.train.seed, "first flip", 0)
        )
        self._first_flip_N = (coins_N < 0.5).to(device)
        self._mirrored_N = self._first_flip_N.clone()
        """The images that an alternating flip mirrors in this epoch."""
        for module in model.modules():
            if isinstance(module, Dropout):
                module.rng = self._noise

    def share(self, processes: Processes, classes: int) -> None:
        """Join a training of several processes, or train on shards in a single one. Raises
        ``UserError`` if the processes do not divide the recipe's shards."""
        self.shards = ShardedPass(self.model, classes, self.recipe.train.shards, processes)

    @property
    def records(self) -> tuple[EpochRecord, ...]:
        """The finished epochs."""
        return tuple(self._at.records)

    @property
    def layers(self) -> tuple[LayerFigures, ...]:
        """The sizes of each layer's weights and gradients at the end of each epoch so far."""
        return tuple(self._at.layers)

    @property
    def kept(self) -> EpochRecord:
        """The epoch with the kept weights: the last one, or with early stopping the best one."""
        records = self._at.records
        best = [one for one in records if one.epoch == self._at.best_epoch]
        return best[0] if best and self.recipe.train.patience > 0 else records[-1]

    @property
    def place(self) -> Place:
        """How far the run is."""
        return Place(step=self._at.step, epoch=self._at.epoch)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.course.steps

    def replan(self, steps: int) -> None:
        """Change the total number of steps of the run, which must not have ended.

        The rest of the schedule is spread over the remaining steps. ``recipe`` records when and
        how, so a run with it repeats this one.
        """
        choice, per_epoch = self.recipe.train, self.steps_per_epoch
        replanned = (*choice.replanned, (self._at.step / per_epoch, choice.epochs))
        choice = replace(choice, epochs=steps / per_epoch, replanned=replanned)
        self.recipe = replace(self.recipe, train=choice)
        self.course = course(choice, per_epoch)
        self.small_steps = self.course.first(choice.small_share)

    @property
    def epochs(self) -> int:
        """Epochs of the run. The last may be partial."""
        return math.ceil(self.steps / self.steps_per_epoch)

    @property
    def total(self) -> int:
        """Images of the whole run."""
        return self._seen_after(self.steps)

    @property
    def answering(self) -> nn.Module:
        """The network to measure and keep: the averaged one, if the recipe averages weights."""
        return self.model if self._average is None else self._average.model

    @property
    def seen(self) -> int:
        """Images trained on so far, in all epochs."""
        return self._seen_after(self._at.step)

    def work(self, seen: int) -> float:
        """Return the work for the first ``seen`` images of the run, in full-size images."""
        small = min(seen, self._seen_after(self.small_steps))
        return seen - (1 - SHARE_OF_WORK) * small

    def _seen_after(self, steps: int) -> int:
        epochs, batches = divmod(steps, self.steps_per_epoch)
        return epochs * self.images_per_epoch + batches * self.recipe.train.batch_size

    def run(self) -> Iterator[StepRecord | EpochRecord]:
        """Train to the end of the recipe. Yield after every step and every epoch.

        Between two yields, the state is consistent: ``state`` may be saved. Raises ``UserError`` if
        the loss is not finite.
        """
        at = self._at
        if self.fitted is not None and not at.records:
            yield self._record(
                learning_rate=0.0,
                train_loss=self.fitted.loss,
                train_accuracy=self.fitted.accuracy,
                train_seconds=self.fitted.seconds,
            )
        while at.epoch < self.epochs and not self._stalled():
            order_M = self._selection.order(at.epoch, begun=at.batch > 0)
            batches = self._batches(order_M)
            self._to_training()
            flips_N = self._first_flip_N
            self._mirrored_N.copy_(~flips_N if at.epoch % 2 else flips_N)
            self._prepare(order_M)
            with self.train_data.ahead(batches):
                for chosen_B in batches:
                    if at.step >= self.steps:  # the run may have been shortened
                        break
                    yield self._timed(chosen_B)
            yield self._finish_epoch()
        if self._best is not None:
            self.answering.load_state_dict(self._best)

    def _batches(self, order_M: Tensor) -> list[Tensor]:
        """Return the numbers of the images of each remaining step in this epoch."""
        first, size = self._at.batch, self.recipe.train.batch_size
        ends = [size * batch for batch in range(first, self.steps_per_epoch + 1)]
        ends[-1] += self._lone
        return [order_M[start:end] for start, end in pairwise(ends)]

    def _timed(self, chosen_B: Tensor) -> StepRecord:
        """Do one step and return its record."""
        at, size = self._at, self.recipe.train.batch_size
        started = time.perf_counter()
        self._step(chosen_B)
        last_of_epoch = at.batch == self.steps_per_epoch
        if last_of_epoch or at.step == self.steps or at.batch % self.read_every == 0:
            self._read()
        at.train_seconds += time.perf_counter() - started
        return StepRecord(
            epoch=at.epoch + 1,
            step=at.step,
            seen=self.images_per_epoch if last_of_epoch else at.batch * size,
            loss=at.loss_sum / max(1, at.read),
            accuracy=at.correct / max(1, at.read),
        )

    def _to_training(self) -> None:
        self.model.train()
        if self.recipe.train.start_norm == "kept":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _stalled(self) -> bool:
        patience = self.recipe.train.patience
        small = math.ceil(self.small_steps / self.steps_per_epoch)
        return patience > 0 and self._at.epoch - max(self._at.best_epoch, small) >= patience

    @property
    def replayed_steps(self) -> int | None:
        """Steps that were replayed from a recording; None if the device records nothing."""
        return None if self.recorder is None else self._at.replayed

    def _prepare(self, order_M: Tensor) -> None:
        """Record the coming kinds of steps before the clock starts."""
        ahead = {True: self._at.step < self.small_steps, False: self.small_steps < self.steps}
        for small in ahead:
            if ahead[small] and small not in self._steps:
                started = time.perf_counter()
                self._steps[small] = self._new_step(order_M, small)
                self.cold_start_seconds += time.perf_counter() - started

    def _new_step(self, order_M: Tensor, small: bool) -> Step:
        """Return how to do a step with images of one size, recorded if that is possible."""
        plain = partial(self._plain_step, small)
        if self.recorder is None or self.shards is not None or not repeats(self.recipe, self.model):
            return plain
        self.optimizers.begin()
        if self._rate is None:  # a graph reads this very tensor
            self._rate = torch.ones((), device=order_M.device)
        kept = Kept(
            model=self.model,
            optimizer=list(self.optimizers.state().values()),
            generators=[self._noise],
            reseed=self._begin_step,
        )
        whole_B = order_M[: self.recipe.train.batch_size]
        found = ReplayedStep(plain, kept, len(whole_B), self.recorder)
        found.prepare(whole_B, self.train_data.images(whole_B))
        return found

    def _begin_step(self) -> None:
        """Set the generators and the learning rate to those of the next step."""
        at, seed = self._at, self.recipe.train.seed
        for rng in (self._numbers, self._noise):
            reseed(rng, seed, "step", at.step)
        if self._rate is not None:
            self._rate.fill_(self.factor(at.step))

    def _step(self, chosen_B: Tensor) -> None:
        """Update the weights from one batch."""
        at, recipe = self._at, self.recipe
        small = at.step < self.small_steps
        do = self._steps.get(small)
        if do is None:  # the run was replanned, or is being measured
            do = partial(self._plain_step, small)
            if len(chosen_B) >= min(recipe.train.batch_size, self.images_per_epoch):
                do = self._steps[small] = self._new_step(chosen_B, small)
        if at.batch + 1 == self.steps_per_epoch or at.step + 1 == self.steps:
            self._sizes = LayerSizes(self.model)
        at.replayed += isinstance(do, ReplayedStep) and do.replays(len(chosen_B))
        self._begin_step()
        loss, correct, logits_BK = do(chosen_B, self.train_data.images(chosen_B))
        if self._sizes is not None:
            self._sizes.after()
        if self._average is not None:
            self._average.update(at.step + 1)
        if self._selection.chooses:
            first, labels_B = at.batch * recipe.train.batch_size, self.train_data.labels(chosen_B)
            self._selection.note(first, self._loss.each(logits_BK, labels_B))
        self._unread.append((loss, correct, len(chosen_B)))
        at.batch += 1
        at.step += 1

    def _plain_step(self, small: bool, chosen_B: Tensor, images_BHWC: Tensor) -> Results:
        """Augment a batch, pass it both ways, and update the weights.

        A graph may record all of it, so what differs between steps is drawn from the generators or
        read from the rate. Sizes of mixes are numbers of the processor: see ``repeats``.
        """
        recipe = self.recipe
        pixels_BCHW = augment(
            self.preprocess(images_BHWC),
            recipe.augment,
            Seen(self._mirrored_N[chosen_B], self.preprocess.mean, self.preprocess.std),
            self._noise,
        )
        if small:
            pixels_BCHW = shrunk(pixels_BCHW)
        pixels_BCHW, other_B, share = mix(pixels_BCHW, recipe.mix, self._noise, self._numbers)
        labels_B, weights_B = self.train_data.labels(chosen_B), self.train_data.weights(chosen_B)
        others = None
        if share < 1:
            others = (labels_B[other_B], None if weights_B is None else weights_B[other_B])
        batch = _Batch(pixels_BCHW, labels_B, weights_B, others, share)
        if self.shards is not None:
            least = 2 if recipe.network.needs_two else 1
            loss, logits_BK = self.shards(len(labels_B), least, partial(self._learn_shard, batch))
        else:
            with self._global_draws():
                loss, logits_BK = self._learn(batch)
        if recipe.train.clip_norm > 0:
            self.optimizers.clip(recipe.train.clip_norm)
        self.optimizers.step(self.factor(self._at.step) if self._rate is None else self._rate)
        return Results(loss, self._loss.right(logits_BK, labels_B).sum(), logits_BK)

    def _global_draws(self, shard: int | None = None) -> AbstractContextManager[None]:
        """Seed the global generators for each step and shard, because custom code may use them."""
        if self.recipe.network.code is None:
            return nullcontext()
        seed, stream = self.recipe.train.seed, "global" if shard is None else f"global {shard}"
        rng = reseed(Generator(), seed, stream, self._at.step)
        return seeded(rng, self.train_data.targets.device.type)

    def _learn_shard(self, batch: "_Batch", shard: int, rows: slice) -> tuple[Tensor, Tensor]:
        """Do ``_learn`` for a shard of a batch, with its own dropout and random numbers."""
        reseed(self._noise, self.recipe.train.seed, f"shard {shard}", self._at.step)
        with self._global_draws(shard):
            return self._learn(batch.part(rows))

    def _learn(self, batch: "_Batch") -> tuple[Tensor, Tensor]:
        """Return loss and logits of one batch, and leave its gradients in the weights. With
        gradient accumulation, a batch is passed in parts, and their gradients add up."""
        size, device = len(batch.labels_B), batch.labels_B.device
        count = math.ceil(size / (self.recipe.train.micro_batch_size or size))
        loss, parts_PK = torch.zeros((), device=device), list[Tensor]()
        self.optimizers.zero_grad()
        for part in batch.parts(count):
            with torch.autocast(device.type, torch.bfloat16, enabled=self.mixed):
                logits_PK = self.model(part.pixels_BCHW).float()
            mean = self._loss.mean(logits_PK, part.labels_B, part.weights_B)
            if part.others is not None:
                other = self._loss.mean(logits_PK, *part.others)
                mean = part.share * mean + (1 - part.share) * other
            of_batch = mean * (len(logits_PK) / size)
            of_batch.backward()
            loss += of_batch.detach()
            parts_PK.append(logits_PK.detach())
        return loss, torch.cat(parts_PK)

    def _read(self) -> None:
        """Add up the results of the last steps, in one transfer from the device.

        Raises ``UserError`` if a loss is not finite.
        """
        if not self._unread:
            return
        at, first = self._at, self._at.step - len(self._unread)
        losses, rights, counts = zip(*self._unread, strict=True)
        # float32 represents every count below 2²⁴ exactly.
        sizes = [] if self._sizes is None else self._sizes.norms
        parts = [torch.stack(losses), torch.stack(rights).float()]
        numbers = torch.cat([*parts, torch.stack(sizes)] if sizes else parts).tolist()
        mean_losses, corrects = numbers[: len(losses)], numbers[len(losses) : 2 * len(losses)]
        for step, mean_loss in enumerate(mean_losses, start=first):
            if not math.isfinite(mean_loss):
                raise UserError(
                    f"the loss became {mean_loss} at step {step + 1} (epoch {at.epoch + 1}) with "
                    f"learning rate {self._learning_rate(step):g}. Try a smaller one, such as "
                    f"--set optimizer.learning_rate={self.recipe.optimizer.learning_rate / 10:g}"
                )
            count = counts[step - first]
            at.loss_sum += mean_loss * count
            at.correct += int(corrects[step - first])
            at.read += count
        self._unread.clear()
        if self._sizes is not None:
            at.layers += self._sizes.figures(at.epoch + 1, numbers[2 * len(losses) :])
            self._sizes = None

    def _learning_rate(self, step: int) -> float:
        return self.recipe.optimizer.learning_rate * self.factor(step)

    def _finish_epoch(self) -> EpochRecord:
        at = self._at
        at.epoch += 1
        record = self._record(
            learning_rate=self._learning_rate(at.step - 1),
            train_loss=at.loss_sum / at.read,
            train_accuracy=at.correct / at.read,
            train_seconds=at.train_seconds,
        )
        at.batch, at.read, at.train_seconds = 0, 0, 0.0
        at.loss_sum, at.correct = 0.0, 0
        return record

    def _record(self, **figures: float) -> EpochRecord:
        """Record the state after an epoch, or before the first one. Predict the held-out images,
        and with early stopping save the best weights."""
        at = self._at
        low_precision = self.low_precision and at.step < self.steps
        answers = None
        if self.steps == 0 and self.fitted is not None:  # there is no epoch to compare with
            answers = self.fitted.answers
        if answers is None and self.validation is not None:
            answers = self.predict(self.validation, low_precision)
        loss, accuracy = (None, None) if answers is None else self._loss.measured(*answers)
        if answers is None and at.step == 0 and self.fitted is not None and self.fitted.left_out:
            loss, accuracy = self.fitted.left_out
        record = EpochRecord(
            epoch=at.epoch,
            steps=at.step,
            validation_loss=loss,
            validation_accuracy=accuracy,
            **figures,
        )
        least = self.kept.validation_loss if at.records else None
        at.records.append(record)
        if self.recipe.train.patience > 0 and loss is not None and (least is None or loss < least):
            at.best_epoch = record.epoch
            self._best = {k: v.clone() for k, v in self.answering.state_dict().items()}
        if not low_precision and self.kept is record:
            self._answers = answers
        return record

    def validation_predictions(self) -> tuple[Tensor, Tensor] | None:
        """Return logits N×K and labels N of the validation images from the network to keep."""
        if self._answers is None and self.validation is not None:  # a run resumed at its end
            self._answers = self.predict(self.validation)
        return self._answers

    def predict(self, portion: Portion, low_precision: bool = False) -> tuple[Tensor, Tensor]:
        """Return logits N×K and labels N of every image of a portion, from the network to keep.

        They are float32; with ``low_precision`` they are computed in training's precision.
        """
        numbers_N = torch.arange(len(portion), device=portion.rows_M.device)
        model, preprocess = self.answering, self.preprocess
        parts = numbers_N.split(batch_size(numbers_N.device, pixels_seen(model, preprocess)))
        if not low_precision:
            model = quick(model, preprocess, portion.images(numbers_N[:1]), len(portion))

        def answer(some: Sequence[Tensor]) -> Tensor:
            batches = (portion.images(part_B) for part_B in some)
            mixed = torch.autocast(numbers_N.device.type, torch.bfloat16, enabled=low_precision)
            with mixed, portion.ahead(some):
                return logits(model, preprocess, batches)

        scores_NK = answer(parts) if self.shards is None else self.shards.answers(parts, answer)
        return scores_NK, portion.labels(numbers_N)

    def decided(self, value: T) -> T:
        """Return the first process's value to all processes, for decisions based on time."""
        return value if self.shards is None else self.shards.decided(value)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that a resumed run needs: named tensors, and JSON values."""
        self._read()
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizers.state().items()}
        tensors |= {f"selection.{name}": value for name, value in self._selection.state().items()}
        if self._average is not None:
            averaged = self._average.model.state_dict()
            tensors |= {f"average.{name}": value for name, value in averaged.items()}
        if self._best is not None:
            tensors |= {f"best.{name}": value for name, value in self._best.items()}
        return tensors, asdict(self._at)

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Resume a run from what ``state`` returned. Raises ``ValueError`` if it does not fit."""
        try:
            self.model.load_state_dict(_under("model.", tensors))
            if self._average is not None:
                self._average.model.load_state_dict(_under("average.", tensors))
            position = Position(**values)
            position.records = [EpochRecord(**record) for record in values["records"]]
            position.layers = [LayerFigures(**one) for one in values.get("layers", [])]
        except (RuntimeError, TypeError, KeyError) as error:
            raise ValueError(f"the saved state does not belong to this run: {error}") from error
        self._check(position)
        self._best = _under("best.", tensors) or None
        self._selection.restore(_under("selection.", tensors))
        self.optimizers.restore(_under("optimizer.", tensors))
        if position.step and not _under("optimizer.", tensors):
            raise ValueError(
                "the saved state does not belong to this run: it has no optimizer state"
            )
        self._at, self._answers = position, None

    def _check(self, at: Position) -> None:
        """Raise ``ValueError`` unless the run reaches this position."""
        numbers = (at.epoch, at.step, at.batch, at.correct, at.read, at.best_epoch, at.replayed)
        if not all(isinstance(n, int) and n >= 0 for n in numbers) or not (
            at.step == at.epoch * self.steps_per_epoch + at.batch
            or (at.step == self.steps and at.epoch == self.epochs and at.batch == 0)
        ):
            raise ValueError("the saved state does not belong to this run: its counts do not match")
        records = at.epoch + bool(at.records and at.records[0].epoch == 0)
        if at.step > self.steps or len(at.records) != records or at.best_epoch > at.epoch:
            raise ValueError(
                "the saved state does not belong to this run: it is past the end of the run"
            )


class _Batch(NamedTuple):
    """The images of a step, ready for the network."""

    pixels_BCHW: Tensor
    labels_B: Tensor
    weights_B: Tensor | None = None
    others: tuple[Tensor, Tensor | None] | None = None
    """Labels and weights of the images that each image is mixed with."""
    share: float = 1.0
    """The fraction of each image in the mixture."""

    def part(self, rows: slice) -> "_Batch":
        """Return some of the images."""
        others = self.others
        if others is not None:
            others = others[0][rows], _of(others[1], rows)
        pixels_PCHW, labels_P = self.pixels_BCHW[rows], self.labels_B[rows]
        return _Batch(pixels_PCHW, labels_P, _of(self.weights_B, rows), others, self.share)

    def parts(self, count: int) -> "Iterator[_Batch]":
        """Yield the images in ``count`` parts, the larger ones first."""
        end = 0
        for pixels_PCHW in self.pixels_BCHW.tensor_split(count):
            yield self.part(slice(end, end := end + len(pixels_PCHW)))


def _of(weights_B: Tensor | None, part: slice) -> Tensor | None:
    return None if weights_B is None else weights_B[part]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
