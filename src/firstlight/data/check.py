"""Find what is wrong with a folder of pictures, most harmful first.

Axes: N images, H height, W width, C channels.
"""

import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from firstlight.data.check_copies import copies_found
from firstlight.data.check_looks import looks_found
from firstlight.data.dataset import Dataset
from firstlight.data.decode import FEW_LEVELS, open_picture
from firstlight.data.decoded import Progress, Shape, choose_shape, decode_into
from firstlight.data.encode import picture_of
from firstlight.data.findings import Finding
from firstlight.data.formats import START, formats_for
from firstlight.data.levels import dark_note
from firstlight.data.listing import SEVERAL, Listed, Listing, counted
from firstlight.data.pictures import PictureSource
from firstlight.data.split import TRAIN
from firstlight.data.stored import StoredImages
from firstlight.errors import DataError
from firstlight.threads import usable_threads

FEW = 20
"""A class with fewer training pictures is hard to learn and harder to measure."""
UNEVEN = 10.0
"""Ratio of the largest class to the smallest."""
MOST_LEFT_OUT = 1 / 3
"""Fraction of the pictures. If more would be left out, the set itself needs fixing first."""
_SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".pgm": "PPM",
    ".ppm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".heic": "HEIF",
    ".avif": "AVIF",
}


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """Everything that was found."""

    pictures: int
    classes: dict[str, int]
    """Pictures of each class, in all parts together."""
    several: bool = False
    """Whether a picture may have several labels."""
    shape: tuple[int, int, int]
    """Height, width and channels that training would choose."""
    shape_reason: str
    findings: tuple[Finding, ...]
    """Most harmful first."""
    notes: tuple[str, ...]
    """Messages: what was left out when the folder was listed, and more."""
    thumbnails: dict[str, np.ndarray]
    """Some of the affected pictures, uint8 H×W×C."""

    @property
    def counted(self) -> str:
        """How many pictures there are, and of what."""
        of_what = "with any of" if self.several else "in"
        return f"{self.pictures:,} pictures {of_what} {len(self.classes)} {self.kinds}"

    @property
    def kinds(self) -> str:
        """What ``classes`` holds, in a word."""
        return "labels" if self.several else "classes"

    @property
    def exclude(self) -> dict[str, str]:
        """The pictures to leave out: name to the kind of its first finding."""
        found: dict[str, str] = {}
        for finding in self.findings:
            for name in finding.exclude:
                found.setdefault(name, finding.kind)
        return found

    @property
    def mend_first(self) -> tuple[str, ...]:
        """Kinds of findings that leaving out pictures does not fix, or that affect too many."""
        kinds = [f.kind for f in self.findings if f.severe and not f.exclude]
        if len(self.exclude) > MOST_LEFT_OUT * self.pictures:
            kinds += [f.kind for f in self.findings if f.exclude]
        return tuple(dict.fromkeys(kinds))


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What is known about a file before its pixels are decoded."""

    digest: bytes
    form: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)


def check(
    listing: Listing, *, size: int | None = None, progress: Progress | None = None
) -> DataCheck:
    """Check every picture once. Raises ``DataError`` if none can be read."""
    sources = listing.sources()
    heads = _heads(sources)
    return _check(listing, sources, heads, choose_shape(sources, size), progress)


def check_arrays(
    data: Dataset,
    part_of: Sequence[str],
    *,
    size: int | None = None,
    progress: Progress | None = None,
) -> DataCheck:
    """Check images in arrays, which are numbered from 0 in each part. No list of pictures to leave
    out is made, because they have no names that ``train --fixes`` would accept."""
    seen, pictures, sources, heads = Counter[str](), list[Listed](), list[PictureSource](), []
    groups = [""] * len(data) if data.groups_N is None else [f"{g}" for g in data.groups_N]
    for image_HWC, label, part, group in zip(
        data.images_NHWC, data.each_label, part_of, groups, strict=True
    ):
        name = f"{part or 'images'}[{seen[part]}]"
        seen[part] += 1
        if data.several:
            labels = tuple(np.flatnonzero(label).tolist())
            pictures.append(Listed(name, SEVERAL, part, group, labels))
        else:
            pictures.append(Listed(name, int(label), part, group))
        image = picture_of(image_HWC)
        sources.append(PictureSource(name=name, content=image))
        digest = hashlib.blake2b(image_HWC.tobytes(), digest_size=16).digest()
        heads.append(_Head(digest=digest, mode=image.mode, size=image.size))
    listing = Listing(
        root=Path(data.name),
        class_names=data.class_names,
        pictures=tuple(pictures),
        notes=data.notes,
        several=data.several,
    )
    height, width, channels = data.image_shape
    kind = "grey" if channels == 1 else "colour"
    wanted = data.image_shape, f"{width} × {height} {kind}, as they are"
    if size is not None:
        wanted = choose_shape(sources, size)
    checked = _check(listing, sources, heads, wanted, progress)
    found = tuple(replace(finding, exclude=()) for finding in checked.findings)
    return replace(checked, findings=found)


def _check(
    listing: Listing,
    sources: Sequence[PictureSource],
    heads: list[_Head],
    wanted: tuple[Shape, str],
    progress: Progress | None,
) -> DataCheck:
    names, (shape, reason) = [p.name for p in listing.pictures], wanted
    with tempfile.TemporaryDirectory(prefix="firstlight-") as folder:
        file = Path(folder) / "decoded"
        try:
            decoded = decode_into(file, sources, shape, progress)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
        images_NHWC = StoredImages(file, (len(names), *shape))
        readable = np.array([bool(d) for d in decoded.origins])
        good = np.flatnonzero(readable)
        flat = [int(at) for at in good if _is_flat(images_NHWC[at])]
        findings = [
            *copies_found(listing, [head.digest for head in heads], images_NHWC, good),
            *_unreadable(decoded.problems),
            *_flat(names, flat),
            *_dark(names, images_NHWC, readable, decoded.notes),
            *looks_found(names, images_NHWC, good, _has_pixels(heads, good, shape)),
            *_disguised(names, heads, readable),
            *_uneven(listing, readable),
            *_mixed(heads, readable),
        ]
        shown = {name for f in findings for group in f.groups[:12] for name in group[:4]}
        number = {name: at for at, name in enumerate(names)}
        thumbnails = {name: images_NHWC[number[name]] for name in shown if readable[number[name]]}
    counts = Counter(label for p in listing.pictures for label in p.classes)
    return DataCheck(
        pictures=len(names),
        classes={name: counts[label] for label, name in enumerate(listing.class_names)},
        several=listing.several,
        shape=shape,
        shape_reason=reason,
        findings=tuple(sorted(findings, key=lambda f: not f.severe)),
        notes=listing.notes,
        thumbnails=thumbnails,
    )


def _heads(sources: Sequence[PictureSource]) -> list[_Head]:
    def one(source: PictureSource) -> _Head:
        assert not isinstance(source.content, Image.Image), "a listing has files"
        try:
            with open_picture(source.name, source.content) as stream:
                content = stream.read()
        except (DataError, OSError):
            return _Head(digest=b"")
        digest = hashlib.blake2b(content, digest_size=16).digest()
        try:
            with Image.open(io.BytesIO(content), formats=formats_for(content[:START])) as image:
                return _Head(
                    digest=digest, form=image.format or "", mode=image.mode, size=image.size
                )
        except Exception:  # Pillow raises two dozen kinds; decoding reports the fault
            return _Head(digest=digest)

    with ThreadPoolExecutor(usable_threads()) as pool:
        return list(pool.map(one, sources, chunksize=64))


def _unreadable(problems: Sequence[tuple[str, str]]) -> list[Finding]:
    if not problems:
        return []
    return [
        Finding(
            kind="unreadable",
            severe=True,
            text=f"{counted(len(problems), 'picture')} that cannot be read, left out of training",
            groups=tuple((name,) for name, _ in problems),
            details=tuple(f"{name}: {reason}" for name, reason in problems),
            exclude=tuple(name for name, _ in problems),
        )
    ]


def _has_pixels(
    heads: list[_Head], good: np.ndarray, shape: tuple[int, int, int]
) -> npt.NDArray[np.bool_]:
    """Return whether each file has at least as many pixels as its image. Otherwise training
    enlarges it."""
    least = min(shape[:2])
    return np.array([min(heads[at].size) >= least for at in good.tolist()], dtype=bool)


def _is_flat(image_HWC: np.ndarray) -> bool:
    return bool((image_HWC == image_HWC[0, 0]).all())


def _flat(names: Sequence[str], flat: list[int]) -> list[Finding]:
    if not flat:
        return []
    return [
        Finding(
            kind="one colour",
            severe=False,
            text="only one colour: there is nothing to learn from them",
            groups=tuple((names[at],) for at in flat),
            exclude=tuple(names[at] for at in flat),
        )
    ]


def _dark(
    names: Sequence[str], images_NHWC: StoredImages, readable: np.ndarray, notes: Sequence[str]
) -> list[Finding]:
    """Find sets that are nearly all black, and 16-bit pictures that use few of their levels."""
    found = []
    good = np.flatnonzero(readable)
    blocks = (images_NHWC[good[start : start + 256]] for start in range(0, len(good), 256))
    text = dark_note(max((int(block.max()) for block in blocks), default=255))
    if text:
        found.append(
            Finding(
                kind="levels",
                severe=True,
                text=text,
                groups=tuple((names[at],) for at in good[:12].tolist()),
            )
        )
    deep = [note for note in notes if note.startswith(FEW_LEVELS)]
    if deep:
        found.append(
            Finding(
                kind="levels of 16 bits",
                severe=True,
                text=(
                    "16-bit pictures that do not use the upper levels: they are dark, here and "
                    "in other programs. Save them with their full range"
                ),
                details=tuple(deep),
            )
        )
    return found


def _disguised(names: Sequence[str], heads: list[_Head], readable: np.ndarray) -> list[Finding]:
    found = [
        (name, head.form)
        for name, head, read in zip(names, heads, readable, strict=True)
        if read and head.form and _SUFFIXES.get(Path(name).suffix.lower(), head.form) != head.form
    ]
    if not found:
        return []
    return [
        Finding(
            kind="wrong ending",
            severe=False,
            text=(
                "file endings that do not match the content. firstlight reads them, but other "
                "programs may not"
            ),
            groups=tuple((name,) for name, _ in found),
            details=tuple(f"{name}: actually {form}" for name, form in found),
        )
    ]


def _uneven(listing: Listing, readable: np.ndarray) -> list[Finding]:
    counts = Counter(
        label
        for p, read in zip(listing.pictures, readable, strict=True)
        if read and p.part in (TRAIN, "")
        for label in p.classes
    )
    sizes = {name: counts[label] for label, name in enumerate(listing.class_names)}
    found = []
    few = {name: n for name, n in sizes.items() if n < FEW}
    if few:
        listed = ", ".join(f"{name} ({n})" for name, n in list(few.items())[:10])
        found.append(
            Finding(
                kind="few",
                severe=min(few.values()) < 2,
                text=(
                    f"fewer than {FEW} training pictures: {listed}. Collect more, or merge classes"
                ),
            )
        )
    least, most = min(sizes, key=lambda n: sizes[n]), max(sizes, key=lambda n: sizes[n])
    if sizes[most] > UNEVEN * max(1, sizes[least]):
        kind = "label" if listing.several else "class"
        weighted = "" if listing.several else ": training weights the classes"
        found.append(
            Finding(
                kind="uneven",
                severe=False,
                text=(
                    f"{most} has {sizes[most]:,} pictures and {least} {sizes[least]:,}{weighted}. "
                    f"Accuracy alone says little, so look at each {kind}"
                ),
            )
        )
    return found


def _mixed(heads: list[_Head], readable: np.ndarray) -> list[Finding]:
    sizes = Counter(h.size for h, read in zip(heads, readable, strict=True) if read)
    modes = Counter(h.mode for h, read in zip(heads, readable, strict=True) if read)
    found = []
    if len(sizes) > 1:
        sides = [min(s) for s in sizes.elements()]
        wide = max(max(s) / max(1, min(s)) for s in sizes)
        found.append(
            Finding(
                kind="sizes",
                severe=False,
                text=(
                    f"{len(sizes)} different sizes, shorter sides of {min(sides)} to "
                    f"{max(sides)} pixels (median {sorted(sides)[len(sides) // 2]}), and up to "
                    f"{wide:.1f} times as long as wide. The middle of each is used"
                ),
            )
        )
    if len(modes) > 1:
        listed = ", ".join(f"{mode} ({n:,})" for mode, n in modes.most_common())
        found.append(Finding(kind="modes", severe=False, text=f"Pixels of several kinds: {listed}"))
    return found
