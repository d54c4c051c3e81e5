"""``firstlight predict``"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstlight.checked import BETWEEN, NO_LABEL
from firstlight.cli.help import CSV_FILE
from firstlight.cli.options import (
    Column,
    Device,
    Json,
    ModelPath,
    NetworkCode,
    PixelRange,
    code_named,
    percent,
    print_exact,
    print_json,
    print_table,
)
from firstlight.errors import DataError, UserError
from firstlight.files import unwritable, write_asked
from firstlight.untrusted import cell, csv_text, one_line

if TYPE_CHECKING:
    from firstlight.evaluate.prediction import Prediction
    from firstlight.verbs.answering import Wanted

# Most pictures on one sheet; more would be too small to see.
MOST_DRAWN = 200
_FIRST_HEADINGS = ("image", "predicted")


def predict(
    run: ModelPath,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Files, folders, patterns, or - for standard input; with --out also shards.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Write the answers to any number of images there. The same command "
            "continues later.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="csv|parquet", help="Format of the files in --out; csv by default."
        ),
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(
            "--chunk",
            metavar="N",
            help="Images per file in --out; by default 500 to 10,000, depending on the number.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Processes for --out; one per core by default."
        ),
    ] = None,
    network: NetworkCode = None,
    pixel_range: PixelRange = None,
    device: Device = "auto",
    as_csv: Annotated[
        bool,
        typer.Option("--csv", help="Print comma-separated values; --csv FILE.csv writes them."),
    ] = False,
    csv_file: Annotated[Path | None, typer.Option(CSV_FILE, hidden=True)] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="ID,ANSWER",
            help="With --csv only these two columns, as competitions want: ImageId,Label.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE.png", help="Also draw the pictures with answers."),
    ] = None,
    json: Json = False,
) -> None:
    """Classify pictures of any size and format."""
    from firstlight.data.levels import stated
    from firstlight.data.shards.files import names_shards
    from firstlight.evaluate.prediction import UNCALIBRATED
    from firstlight.model import open_model
    from firstlight.verbs.answer_files import CSV
    from firstlight.verbs.answering import Wanted
    from firstlight.verbs.predict import predict_pictures, sources_of
    from firstlight.verbs.submission import headings_of, submission

    limits = stated(pixel_range, "--range")
    as_csv = as_csv or csv_file is not None
    if out is not None:
        if as_csv or columns is not None or save is not None:
            raise UserError("--csv, --columns and --save do not go with --out; leave them out")
        wanted = Wanted(
            model=run,
            words=tuple(images),
            out=out,
            form=form or CSV,
            chunk=chunk,
            device=device,
            code=code_named(network),
            range=limits,
        )
        _predict_into(wanted, workers, json)
        return
    for option, value in (("--format", form), ("--chunk", chunk), ("--workers", workers)):
        if value is not None:
            raise UserError(f"{option} sets how --out FOLDER is written; give --out too")
    shards = next((one for one in images if one != "-" and names_shards(one)), None)
    if shards is not None:
        raise UserError(f"{shards}: answers for shards are written to files; add --out FOLDER")
    if json and as_csv:
        raise UserError("--json and --csv print the same answers in two forms; choose one")
    if save is not None and save.suffix.lower() != ".png":
        raise UserError(f"--save draws a PNG: wanted a name that ends in .png, got {save}")
    if save is not None and any(_same_file(save, image) for image in images):
        raise UserError(f"--save {save} would replace one of the pictures to answer")
    if columns is not None and not as_csv:
        raise UserError("--columns chooses the columns of --csv; add --csv or --csv FILE.csv")
    headings = None if columns is None else headings_of(columns)
    if csv_file is not None:
        _check_replaced(csv_file, headings or _FIRST_HEADINGS, images)
    model = open_model(run, device, code_named(network))
    sources = sources_of(images, given=limits, key="" if headings is None else headings[0])
    answers = predict_pictures(model, sources)
    text = ""
    if as_csv and headings is None:
        text = _as_csv(answers)
    elif headings is not None and all(answer.error is None for answer in answers):
        text = submission(headings, sources, answers)
    if csv_file is not None and text:
        write_asked(csv_file, text)
        rows = _counted(len(answers), "answer")
        typer.echo(f"answers {one_line(str(csv_file))}: {rows}")
    if json:
        print_json([answer.to_json() for answer in answers])
    elif as_csv:
        print_exact(text if csv_file is None else "")
    else:
        _print_table(answers)
        if save is None and any(answer.unknown for answer in answers):
            typer.echo("next: --save FILE.png draws what the network saw")
    read = [answer for answer in answers if answer.error is None]
    if any(not answer.calibrated for answer in read):
        typer.echo(f"These probabilities are {UNCALIBRATED}.", err=json or as_csv)
    if save is not None and read:
        _draw(read, save)
    failed = [answer for answer in answers if answer.error is not None]
    if failed:
        listed = "\n".join(f"  {answer.error}" for answer in failed)
        kept = (
            ""
            if headings is None
            else ". Nothing was answered, because every picture needs an answer"
        )
        raise DataError(
            f"{len(failed)} of {len(answers)} pictures could not be read{kept}\n{listed}"
        )


def _predict_into(wanted: "Wanted", workers: int | None, json: bool) -> None:
    from firstlight.evaluate.prediction import UNCALIBRATED
    from firstlight.verbs.predict_many import predict_many

    done = predict_many(wanted, workers)
    if json:
        print_json({**asdict(done), "path": str(done.path)})
    else:
        images, files = _counted(done.images, "image"), _counted(done.files, "file")
        new = "" if done.answered else ", all of them earlier"
        typer.echo(f"answers {one_line(str(done.path))}: {images} in {files}{new}")
    if not done.calibrated:
        typer.echo(f"These probabilities are {UNCALIBRATED}.", err=json)
    if done.unread:
        raise DataError(
            f"{done.unread:,} of {_counted(done.images, 'image')} could not be read; see the "
            "column error"
        )


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _same_file(one: Path, other: str) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _check_replaced(file: Path, headings: tuple[str, str], images: list[str]) -> None:
    """Raise ``UserError`` if a file to be replaced does not hold answers like these."""
    if any(_same_file(file, image) for image in images):
        raise UserError(f"--csv {file} would replace one of the inputs; choose another name")
    try:
        with file.open("rb") as there:
            start = there.read(1024)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(file, error) from error
    first = start.decode("utf-8", "replace").split("\n")[0].rstrip("\r")
    if start and not f"{first},".startswith(f"{','.join(headings)},"):
        raise UserError(
            f"--csv {file}: already exists and holds something else; choose another name"
        )


def _as_csv(answers: list["Prediction"]) -> str:
    classes = next((sorted(a.probabilities) for a in answers if a.error is None), [])
    several = any(a.labels is not None for a in answers)
    sure = [] if several else ["confidence"]
    rows = [[*_FIRST_HEADINGS, *sure, *(f"p_{c}" for c in classes), "error"]]
    for a in answers:
        if a.confidence is None:
            rows.append([cell(a.name), "", *("" for _ in [*sure, *classes]), cell(a.error or "")])
        else:
            shares = [f"{a.probabilities[c]:.6f}" for c in classes]
            if a.labels is None:
                answer = [cell(a.answer or ""), f"{a.confidence:.6f}"]
            else:
                answer = [cell(BETWEEN.join(a.labels))]
            rows.append([cell(a.name), *answer, *shares, ""])
    return csv_text(rows)


def _print_table(answers: list["Prediction"]) -> None:
    rows = []
    for answer in answers:
        if answer.error is None:
            rows.append([answer.name, *_cells(answer)])
    if rows:
        several = any(answer.labels is not None for answer in answers)
        headings = ("labels", "then") if several else ("answer", "then", "then")
        print_table([Column("image"), *(Column(heading, whole=True) for heading in headings)], rows)
    for answer in answers:
        if answer.notes:
            typer.echo(f"{one_line(answer.name)}: {'; '.join(answer.notes)}")
        if answer.unknown:
            typer.echo(f"{one_line(answer.name)}: unknown, because {answer.reason}")


def _cells(answer: "Prediction") -> list[str]:
    """The answer with its probability, and the next most probable classes."""
    best = [(name, f"{name} {percent(share)}") for name, share in answer.probabilities.items()]
    if answer.labels is not None:
        given = [told for name, told in best if name in answer.labels]
        others = [told for name, told in best if name not in answer.labels]
        return [", ".join(given) or NO_LABEL, *others[:1]]
    cells = [told for _, told in best[:3]]
    if answer.unknown:
        cells[0] = f"unknown ({cells[0]})"
    return cells


def _draw(answers: list["Prediction"], path: Path) -> None:
    from firstlight.verbs.report import prediction_grid

    if len(answers) > MOST_DRAWN:
        typer.echo(f"only the first {MOST_DRAWN} of {len(answers)} pictures are drawn", err=True)
    png = prediction_grid(answers[:MOST_DRAWN])
    write_asked(path, png)
    typer.echo(f"pictures {path}", err=True)
