"""Text and tables of a run's page: its figures, recipe, weights and machine."""

from typing import Any

from firstlight.data.catalog import CATALOG
from firstlight.evaluate.task import task_in
from firstlight.explain.words import chosen
from firstlight.layers.diagram import described_in_words, diagram, overview
from firstlight.layers.layer import Shape
from firstlight.layers.stages import stages
from firstlight.layers.summary import HEADINGS, Row, summarize
from firstlight.models.catalog import Architecture
from firstlight.recipe import Recipe
from firstlight.report.page import Section, Shown, Table
from firstlight.runs.checkpoint import SavedModel
from firstlight.runs.folder import RunFolder
from firstlight.untrusted import shell_line


def headline(summary: dict[str, Any], metrics: dict[str, Any] | None) -> dict[str, str]:
    """Return the figures at the top of the page."""
    figures = {}
    if metrics is not None:
        low, high = metrics["accuracy_interval"]
        several = task_in(metrics).several
        if several:
            figures["mean average precision"] = f"{100 * metrics['mean_average_precision']:.2f} %"
            figures["F1, mean of labels"] = f"{100 * metrics['f1_macro']:.2f} %"
            figures["F1, all labels"] = f"{100 * metrics['f1_micro']:.2f} %"
        accuracy = "exact match" if several else "test accuracy"
        figures[accuracy] = f"{100 * metrics['accuracy']:.2f} %"
        # No-break spaces: a card is narrow.
        figures["95 % interval"] = f"{100 * low:.2f} to {100 * high:.2f}\u00a0%"
        figures["correct test images"] = f"{metrics['correct']:,} of {metrics['count']:,}"
        figures["log loss"] = f"{metrics['log_loss']:.4f}"
        figures["calibration error"] = f"{100 * metrics['expected_calibration_error']:.2f} %"
    figures["parameters"] = f"{summary['parameters']:,}"
    if summary["steps"]:
        figures["passes"] = f"{summary['passes']:.3g}"
        figures["training time"] = f"{summary['train_seconds']:.1f} s"
    return figures


def where(environment: dict[str, Any]) -> str:
    """Describe the machine in a few words."""
    if environment["accelerator"]:
        return str(environment["accelerator"])
    threads = environment["threads"]
    return f"{environment['processor']}, {threads} thread{'' if threads == 1 else 's'}"


def _repeat(
    folder: RunFolder, recipe_read: Recipe, described: dict[str, Any], environment: dict[str, Any]
) -> str:
    """Return the command, or for a caller's own images the Python call, that repeats this
    training."""
    code = recipe_read.network.code
    if recipe_read.train.start_weights:
        return (
            f"fl.train(the_same_data, recipe={str(folder.path / 'recipe.toml')!r}, "
            f"network=the_same_module, device={environment['device']!r})"
        )
    recipe, device = str(folder.path / "recipe.toml"), environment["device"]
    if described["name"] not in CATALOG and not described.get("path"):
        network = "" if code is None else f", network={code.function}"
        return f"fl.train(the_same_data, recipe={recipe!r}{network}, device={device!r})"
    source = described.get("path") or described["name"]
    words = ["firstlight", "train", source, "--recipe", recipe, "--device", device]
    if code is not None:
        words += ["--network", code.again]
    if described.get("size") is not None:
        words += ["--size", str(described["size"])]
    if described["limit"] is not None:
        words += ["--limit", str(described["limit"])]
    threads = f"OMP_NUM_THREADS={environment['threads']} " if device == "cpu" else ""
    return threads + shell_line(words)


def facts(
    folder: RunFolder,
    recipe: Recipe,
    described: dict[str, Any],
    environment: dict[str, Any],
    saved: SavedModel,
    *,
    trained: bool,
) -> list[Section]:
    """Return the last sections; ``trained`` is whether it was trained here, and not imported."""
    weights = [
        [name, "×".join(map(str, tensor.shape)), f"{tensor.numel():,}"]
        for name, tensor in saved.model.state_dict().items()
    ]
    machine = [
        [name, " ".join(value) if isinstance(value, list) else str(value)]
        for name, value in environment.items()
        if value is not None
    ]
    words = [Section(title="The recipe in plain words", text=recipe.description)]
    notes = described.get("notes") or []
    taken = [Section(title="How the pictures were read", code="\n".join(map(str, notes)))]
    repeat = Section(
        title="Repeat this run",
        text="On the same machine this gives exactly the same numbers, bit for bit.",
        code=_repeat(folder, recipe, described, environment),
    )
    return [
        *_network(saved.architecture),
        *(words if recipe.description else []),
        *(taken if notes else []),
        *([repeat] if trained else []),
        Section(title="Recipe", code=recipe.to_toml(), folded=True),
        Section(
            title="Weights",
            table=Table(head=["tensor", "shape", "numbers"], rows=weights),
            folded=True,
        ),
        Section(title="Machine", table=Table(head=["what", ""], rows=machine), folded=True),
    ]


def _network(built: Architecture) -> list[Section]:
    """Return the network's diagram and layers; nothing for the user's own code."""
    if built.network.code is not None:
        return []
    summary = summarize(built.network, built.image_shape, built.classes)
    rows = [(cells[2], *cells[:2], *cells[3:]) for cells in map(Row.cells, summary.rows)]
    table = Table(head=("what it is", *HEADINGS[:2], *HEADINGS[3:]), rows=rows)
    layers = Section(title="Layer by layer", table=table, folded=True)
    text = (
        "The output of each layer, from top to bottom. A box shows the height and width of the "
        "feature maps to scale; more sheets mean more maps."
    )
    totals = " ".join(summary.totals()[1:3])
    words = described_in_words(built.network, built.image_shape, built.classes)
    drawing = Shown(svg=diagram(built.network, built.image_shape, built.classes), alt=words)
    named = summary.named()
    numbers = stages([_size(row.output) for row in named])
    if len(numbers) == len(named):
        whole = Section(title="The network", text=f"{text} {totals}", pictures=[drawing])
        return [whole, layers]
    some = chosen(len(numbers), len(named))
    short = Shown(svg=overview(summary, numbers), alt=some)
    return [
        Section(
            title="The network",
            text=f"{text} {some} The next two sections show them all; open them to see. {totals}",
            pictures=[short],
        ),
        Section(title="Drawing of the whole network", pictures=[drawing], folded=True),
        layers,
    ]


def _size(shape: Shape) -> tuple[int, int]:
    """Return height and width of a layer's maps, or 1 and 1 for single numbers."""
    return (shape[0], shape[1]) if len(shape) > 1 else (1, 1)
