"""``make demo``: train on MNIST, evaluate on its test set, and leave a report with pictures.

Without a network and with nothing cached it uses the embedded digits instead, and says so.
"""

import time

import firstlight as fl
from firstlight.errors import DataError, UnreachableError


def main() -> None:
    try:
        data, recipe = fl.load("mnist"), "mnist-quick"
    except DataError as error:
        why = "MNIST is neither on this machine nor within reach"
        if not isinstance(error, UnreachableError):
            why = str(error)
        print(f"{why}; using the embedded digits: 1,797 real scans of 8×8 pixels, NOT MNIST.")
        data, recipe = fl.load("digits"), "digits-tutorial"
    name = data.train.name.partition("/")[0]
    print(f"training on {len(data.train):,} images of {name} with the recipe {recipe}")
    started = time.perf_counter()
    run = fl.train(data, recipe)
    seconds = time.perf_counter() - started
    metrics = run.evaluate()
    low, high = metrics.accuracy_interval
    print(
        f"\n{name}: {100 * metrics.accuracy:.2f} % of {metrics.count:,} test images correct "
        f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %), trained in {seconds:.1f} s"
    )
    print(f"report with pictures: {run.report().resolve()}")


if __name__ == "__main__":
    try:
        main()
    except fl.UserError as error:
        raise SystemExit(f"firstlight: {error}") from None
