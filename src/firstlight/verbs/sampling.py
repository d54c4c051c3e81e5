"""The next trial of a search: Optuna's TPE, reseeded for each trial.

A trial's settings depend on the seed, its place in the search, and the trials finished by then. So
a search by one worker is repeatable, even after an interruption. This module imports Optuna, so it
is itself imported late.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from firstlight.verbs.search_space import Options, Range, Space
from firstlight.verbs.shared_work import slots_of

RANDOM_TRIALS = 10
"""Number of initial trials that are drawn at random."""
UNPRUNED_TRIALS = 5
"""Number of trials trained to their end before any is stopped early."""
UNPRUNED_SHARE = 1 / 3
"""The first part of a training, as a share, in which no trial is stopped."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the space as Optuna's distributions."""
    return {one.key: _distribution(one) for one in space}


def _distribution(one: Range | Options) -> BaseDistribution:
    if isinstance(one, Options):
        return CategoricalDistribution(one.values)
    if one.whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def pruner(epochs: float) -> MedianPruner:
    """Stop a trial if its best epoch so far is worse than half of the other trials at the same
    epoch (median stopping rule, Golovin et al. 2017, section 3.2.2)."""
    return MedianPruner(
        n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=math.ceil(UNPRUNED_SHARE * epochs)
    )


class BySlot(BaseSampler):
    """The first trial uses the recipe's own settings if possible; TPE chooses the others."""

    def __init__(self, seed: int, own: Mapping[str, Any] | None) -> None:
        self._seed, self._own = seed, own
        self._first, self._inner = False, TPESampler(seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the sampler with the trial's slot."""
        mine = trial.user_attrs.get("slot", trial.number)
        earlier = [t for t in study.get_trials(deepcopy=False) if t.number < mine]
        slot = len(slots_of(earlier))
        self._first = slot == 0 and self._own is not None
        seed = int(np.random.SeedSequence([self._seed, slot]).generate_state(1)[0])
        self._inner = TPESampler(
            seed=seed,
            n_startup_trials=RANDOM_TRIALS,
            multivariate=True,
            constant_liar=True,  # running trials count as bad meanwhile
        )

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return TPE's space; empty for the first trial."""
        return {} if self._first else self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample with TPE."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the recipe's own value, or TPE's."""
        if self._first and self._own is not None:
            return self._own[param_name]
        return self._inner.sample_independent(study, trial, param_name, param_distribution)
