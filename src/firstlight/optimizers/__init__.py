"""How the weights follow the gradient; every optimizer is a value without PyTorch.

``OPTIMIZERS`` is the one table of them: a recipe's name to its class. To add one, write its class
and add its line.
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
