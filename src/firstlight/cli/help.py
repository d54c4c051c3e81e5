"""The layout of ``--help``: arguments by name, options in groups, and examples."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

EXAMPLES = {
    "train": (
        "firstlight train mnist",
        "firstlight train cifar10 --recipe cifar10-tutorial --epochs 10",
        "firstlight train photos/ --budget 10m",
        "firstlight train hf:OWNER/NAME",
        "firstlight train mnist --track tensorboard",
        "firstlight train --resume runs/mnist-quick-1",
    ),
    "evaluate": (
        "firstlight evaluate runs/mnist-quick-1",
        "firstlight evaluate runs/mnist-quick-1 --require 'accuracy>=0.98'",
    ),
    "predict": (
        "firstlight predict mnist my-digit.png",
        "firstlight predict hf:OWNER/NAME photo.jpg",
        "firstlight predict runs/mnist-quick-1 photos/ --out answers/",
        "firstlight predict runs/own-1 test.csv --csv mine.csv --columns ImageId,Label",
    ),
    "explain": ("firstlight explain mnist my-digit.png", "firstlight explain mnist test:7"),
    "report": (
        "firstlight report runs/mnist-quick-1",
        "firstlight report runs/mnist-quick-1 runs/mnist-tutorial-1",
    ),
    "export": (
        "firstlight export runs/mnist-quick-1",
        "firstlight export runs/mnist-quick-1 --int8",
        "firstlight export runs/mnist-quick-1 --format litert",
    ),
    "card": (
        "firstlight card runs/mnist-quick-1",
        "firstlight card runs/mnist-quick-1 --license mit --out README.md",
    ),
    "push": ("firstlight push runs/mnist-quick-1 OWNER/my-digits --license mit",),
    "track": (
        "firstlight track runs/mnist-quick-1",
        "firstlight track runs/mnist-quick-1 --to mlflow",
    ),
    "import": ("firstlight import model.keras --data mnist",),
    "network": ("firstlight network cifar10-resnet20", "firstlight network runs/mnist-quick-1"),
    "runs": ("firstlight runs", "firstlight runs runs/mnist-quick-1 runs/mnist-tutorial-1"),
    "serve": (
        "firstlight serve --open",
        "firstlight serve runs/mnist-quick-1 --host 0.0.0.0 --token new",
    ),
    "studio": (
        "firstlight studio --open",
        "firstlight studio my-project --host 0.0.0.0 --token new",
    ),
    "lr-find": ("firstlight lr-find cifar10 --recipe cifar10-tutorial",),
    "tune": ("firstlight tune mnist --trials 20", "firstlight tune cifar10 --budget 2h"),
    "bench": ("firstlight bench mnist --seeds 5",),
    "doctor": ("firstlight doctor",),
    "data list": ("firstlight data list",),
    "data fetch": ("firstlight data fetch mnist cifar10",),
    "data show": ("firstlight data show mnist",),
    "data check": ("firstlight data check photos/ --labels",),
    "data pack": ("firstlight data pack photos/ --to shards/",),
    "backbones list": ("firstlight backbones list",),
    "backbones fetch": ("firstlight backbones fetch efficientnet_lite0",),
    "backbones show": ("firstlight backbones show efficientnet_lite0",),
    "recipe list": ("firstlight recipe list",),
    "recipe show": ("firstlight recipe show mnist-quick > mine.toml",),
    "recipe compare": ("firstlight recipe compare mnist-quick mnist-tutorial",),
    "cache list": ("firstlight cache list",),
    "cache clear": ("firstlight cache clear", "firstlight cache clear mnist"),
}

CSV_FILE = "--csv-file"
"""What ``--csv FILE.csv`` becomes, because the parser does not know options with an optional
value."""
MANY = 16
"""With more options than this, they are shown in groups."""


class Command(TyperCommand):
    """One verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual, after rewriting ``--csv FILE.csv``."""
        if any(CSV_FILE in one.opts for one in self.get_params(ctx)):
            args = _with_csv_file(args)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show ``RUN`` for a required argument, ``[DATA]`` for an optional one, and ``IMAGE...``
        for several."""
        named = [_in_usage(one) for one in self.get_params(ctx) if _is_argument(one)]
        return ["[OPTIONS]", *named]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options in their groups."""
        groups: dict[str, list[tuple[str, str]]] = {}
        params = self.get_params(ctx)
        many = len(params) > MANY
        for one in params:
            record = one.get_help_record(ctx)
            if record is None:
                continue
            if _is_argument(one):
                group = "Arguments"
                record = _name_of(one), record[1].removesuffix("[required]").rstrip()
            else:
                group = (getattr(one, "rich_help_panel", None) if many else None) or "Options"
            groups.setdefault(group, []).append(record)
        others = groups.pop("Options")
        for group, records in [*groups.items(), ("Options" if not many else "Other", others)]:
            with formatter.section(group):
                formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples exactly as they are typed."""
        verb = ctx.command_path.partition(" ")[2]
        if verb in EXAMPLES:
            formatter.write_paragraph()
            formatter.write("Examples:\n")
            for example in EXAMPLES[verb]:
                formatter.write(f"  {example}\n")


class Group(TyperGroup):
    """A group of verbs, or all verbs."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Show each verb with the whole first sentence of its help."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, one.get_short_help_str(1000)) for name, one in found if one is not None]
            )


class Verbs(typer.Typer):
    """A set of verbs with this help layout."""

    def __init__(self, **more: Any) -> None:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        super().__init__(
            cls=Group,
            no_args_is_help=True,
            rich_markup_mode=None,
            context_settings=settings,
            **more,
        )

    def command(  # type: ignore[override]
        self, name: str | None = None, **more: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Does the same as ``typer.Typer.command``."""
        return super().command(name, cls=Command, **more)


def _is_argument(one: Any) -> bool:
    return bool(one.param_type_name == "argument")


def _name_of(one: Any) -> str:
    name = str(one.metavar or one.name.upper()).strip("[]").removesuffix("...")
    return name if one.nargs == 1 else f"{name}..."


def _in_usage(one: Any) -> str:
    return _name_of(one) if one.required else f"[{_name_of(one)}]"


def _with_csv_file(args: list[str]) -> list[str]:
    """Rewrite ``--csv FILE.csv`` as two options: one that takes a value, and one that does not."""
    words, rest = list[str](), list(args)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            return [*words, word, *rest]
        if name != "--csv":
            words.append(word)
        elif equals:
            words += [name, CSV_FILE, value]
        elif rest and rest[0].lower().endswith(".csv"):
            words += [name, CSV_FILE, rest.pop(0)]
        else:
            words.append(word)
    return words
