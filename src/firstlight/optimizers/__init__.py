"""Optimizers, which update the weights from the gradient. Each is a value without PyTorch.

``OPTIMIZERS`` is the one table of them: it maps the name in a recipe to the class. To add an
optimizer, write its class and add one line to the table.
"""

from firstlight.optimizers.adam import Adam, AdamW
from firstlight.optimizers.muon import Muon
from firstlight.optimizers.optimizer import Optimizer
from firstlight.optimizers.rmsprop import RMSprop
from firstlight.optimizers.sgd import SGD

__all__ = ["OPTIMIZERS", "SGD", "Adam", "AdamW", "Muon", "Optimizer", "RMSprop"]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    one.kind: one for one in (Adam, AdamW, SGD, RMSprop, Muon)
}
