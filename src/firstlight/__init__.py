"""firstlight: from the first MNIST digit to a small image classifier of your own.

>>> import firstlight as fl
>>> run = fl.train("mnist")
>>> run.evaluate().accuracy

Importing this package imports neither torch nor NumPy. The first use of a name does.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from firstlight.packages import imported, report_nothing
from firstlight.threads import wait_briefly

if TYPE_CHECKING:
    from firstlight import augment as augment
    from firstlight import layers as layers
    from firstlight.data.arrays import from_images as from_images
    from firstlight.data.dataset import Dataset as Dataset
    from firstlight.data.dataset import TrainTest as TrainTest
    from firstlight.data.from_dataset import from_dataset as from_dataset
    from firstlight.errors import DataError as DataError
    from firstlight.errors import NothingLearntWarning as NothingLearntWarning
    from firstlight.errors import UserError as UserError
    from firstlight.estimator import FirstlightClassifier as FirstlightClassifier
    from firstlight.layers.network import Network as Network
    from firstlight.library import Run as Run
    from firstlight.library import load as load
    from firstlight.library import open_run as open_run
    from firstlight.library import resume as resume
    from firstlight.library import train as train
    from firstlight.library import tune as tune
    from firstlight.optimizers import SGD as SGD
    from firstlight.optimizers import Adam as Adam
    from firstlight.optimizers import AdamW as AdamW
    from firstlight.optimizers import Muon as Muon
    from firstlight.optimizers import RMSprop as RMSprop
    from firstlight.recipe import Recipe as Recipe
    from firstlight.recipe import load_recipe as load_recipe
    from firstlight.schedules import Constant as Constant
    from firstlight.schedules import Cosine as Cosine
    from firstlight.schedules import OneCycle as OneCycle
    from firstlight.schedules import Steps as Steps

__version__ = "0.2.0.dev0"

wait_briefly()
report_nothing()

_HOMES = {
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "Constant": "schedules",
    "Cosine": "schedules",
    "DataError": "errors",
    "Dataset": "data.dataset",
    "FirstlightClassifier": "estimator",
    "Muon": "optimizers",
    "Network": "layers.network",
    "NothingLearntWarning": "errors",
    "OneCycle": "schedules",
    "RMSprop": "optimizers",
    "Recipe": "recipe",
    "Run": "library",
    "SGD": "optimizers",
    "Steps": "schedules",
    "TrainTest": "data.dataset",
    "UserError": "errors",
    "from_dataset": "data.from_dataset",
    "from_images": "data.arrays",
    "load": "library",
    "load_recipe": "recipe",
    "open_run": "library",
    "resume": "library",
    "train": "library",
    "tune": "library",
}

_ESTIMATOR = "FirstlightClassifier"

# A star import takes what can be had.
__all__ = [
    *(name for name in _HOMES if name != _ESTIMATOR or find_spec("sklearn") is not None),
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in ("augment", "layers"):
        return import_module(f"firstlight.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'firstlight' has no attribute {name!r}")
    if name == _ESTIMATOR:
        imported("sklearn", name, "'firstlight[sklearn]'")
    value = getattr(import_module(f"firstlight.{_HOMES[name]}"), name)
    globals()[name] = value  # so that later uses skip this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
