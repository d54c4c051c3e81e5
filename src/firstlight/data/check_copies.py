"""Find copies in a folder of pictures: across its parts, across its classes, and within a class."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from firstlight.data.altered import altered_copies
from firstlight.data.duplicates import Pairs, groups, near_copies
from firstlight.data.findings import Finding
from firstlight.data.grouping import grouped
from firstlight.data.listing import Listing, counted
from firstlight.data.stored import StoredImages

TWO_CLASSES = "two classes"
"""The kind of a finding: copies of one picture in several classes."""
_PART_ORDER = ("test", "validation", "train", "")


def copies_found(
    listing: Listing,
    digests: Sequence[bytes],
    images_NHWC: StoredImages,
    readable: npt.NDArray[np.int64],
) -> list[Finding]:
    """``digests`` are those of the files, empty for unreadable ones. ``readable`` are the numbers
    of the images that could be decoded."""
    images = images_NHWC.take(readable)
    each = [str(listing.pictures[k].classes) for k in readable]
    _, labels_N = np.unique(each, return_inverse=True)
    near, altered, alike_N = grouped(images, labels_N, near_copies(images), altered_copies(images))
    near = _numbered(near, readable)
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for at, digest in enumerate(digests):
        if digest:
            by_digest[digest].append(at)
    exact = {pair for group in by_digest.values() for pair in pairwise(group)}
    same = sorted(exact | set(near))
    altered = sorted(set(_numbered(altered, readable)) - set(same))
    alike = [listing.pictures[readable[k]].name for k in alike_N]
    return [*_same(listing, same), *_altered(listing, altered), *_alike(alike)]


def _numbered(pairs: Pairs, readable: npt.NDArray[np.int64]) -> Pairs:
    return [(int(readable[i]), int(readable[j])) for i, j in pairs]


def _sorted_out(listing: Listing, pairs: Pairs) -> tuple[Pairs, Pairs, Pairs]:
    """Return the pairs in two parts of one class, in two classes, and in one class and part."""
    pictures = listing.pictures
    leaks, across, within = Pairs(), Pairs(), Pairs()
    for i, j in pairs:
        one, other = pictures[i], pictures[j]
        if one.classes != other.classes:
            across.append((i, j))
        elif one.part != other.part:
            leaks.append((i, j))
        else:
            within.append((i, j))
    return leaks, across, within


def _same(listing: Listing, pairs: Pairs) -> list[Finding]:
    """Find exact copies, and copies that were saved again."""
    pictures = listing.pictures
    leaks, across, within = _sorted_out(listing, pairs)
    crossing = [(i, j) for i, j in across if pictures[i].part != pictures[j].part]
    found = []
    if leaks or crossing:
        both = sorted({*leaks, *crossing})
        found.append(
            Finding(
                kind="leak",
                severe=True,
                text=(
                    "copies in two parts, such as train and test "
                    f"({counted(len(both), 'pair')}): the model is tested on pictures it has "
                    "memorized, so it looks better than it is. Leave out the copy that is not "
                    "in the test part"
                ),
                groups=_named(both, listing),
                exclude=_learnt(leaks, listing),  # copies in two classes are reported below
            )
        )
    if across:
        found.append(
            Finding(
                kind=TWO_CLASSES,
                severe=True,
                text=(
                    f"copies in two classes ({counted(len(across), 'pair')}): at least one of "
                    "each pair is in the wrong folder. Look at them and move or remove it. If most "
                    "copies of a picture are in one class, only the others are left out"
                ),
                groups=_named(across, listing),
                exclude=_outvoted(across, within, listing),
            )
        )
    if within:
        found.append(
            Finding(
                kind="copies",
                severe=False,
                text=f"copies in one class and part ({counted(len(within), 'pair')}): they count "
                "double. firstlight keeps them on one side of a split",
                groups=_named(within, listing),
                exclude=_picks(within, listing, lambda i, j: j),
            )
        )
    return found


def _outvoted(across: Pairs, within: Pairs, listing: Listing) -> tuple[str, ...]:
    """Among copies in several classes, return those outside the class with most of them. Return
    all if no class has the most."""
    group_N = groups(len(listing.pictures), [*across, *within])
    found = []
    for group in {group_N[i] for i, _ in across}:
        copies = [listing.pictures[at] for at in np.flatnonzero(group_N == group)]
        first, second, *_ = Counter(picture.classes for picture in copies).most_common()
        kept = first[0] if first[1] > second[1] else None
        found += [picture.name for picture in copies if picture.classes != kept]
    return tuple(sorted(found))


def settled(finding: Finding, label: Mapping[str, str], likely: Mapping[str, str]) -> Finding:
    """Update a finding of copies in two classes, now that each picture's likely class is known: in
    each pair, leave out only the copy in the other class. ``label`` and ``likely`` map pictures to
    classes."""
    kept = {
        one
        for pair in finding.groups
        for one, other in (pair, pair[::-1])
        if likely.get(one) == likely.get(other) == label[one]
    }
    return replace(finding, exclude=tuple(name for name in finding.exclude if name not in kept))


def _altered(listing: Listing, pairs: Pairs) -> list[Finding]:
    """Find copies that were rotated, mirrored, shifted, cropped or blurred. They are left out only
    if they leak."""
    leaks, across, within = _sorted_out(listing, pairs)
    found = []
    if leaks:
        found.append(
            Finding(
                kind="altered leak",
                severe=True,
                text=(
                    "rotated, mirrored, cropped or otherwise altered copies in two parts "
                    f"({counted(len(leaks), 'pair')}): the test looks better than it is. Leave "
                    "out the copy that is not in the test part"
                ),
                groups=_named(leaks, listing),
                exclude=_learnt(leaks, listing),
            )
        )
    if across:
        found.append(
            Finding(
                kind="altered, two classes",
                severe=False,
                text=(
                    "rotated, mirrored, cropped or otherwise altered copies in two classes "
                    f"({counted(len(across), 'pair')}). This is fine if that is what tells the "
                    "classes apart, as with 6 and 9. Otherwise one of each pair is in the wrong "
                    "folder"
                ),
                groups=_named(across, listing),
            )
        )
    if within:
        found.append(
            Finding(
                kind="altered copies",
                severe=False,
                text=(
                    "rotated, mirrored, cropped or otherwise altered copies in one class and "
                    f"part ({counted(len(within), 'pair')}): firstlight keeps them on one side "
                    "of a split, but another program may not"
                ),
                groups=_named(within, listing),
            )
        )
    return found


def moved_found(listing: Listing, pairs: Pairs) -> list[Finding]:
    """Report copies that were cropped to any part or rotated by any angle. ``pairs`` are pictures'
    numbers. The split does not look for such copies."""
    if not pairs:
        return []
    leaks, across, within = _sorted_out(listing, pairs)
    apart = "a split does not detect these. Name them in a column group of a CSV"
    where = [
        f"{counted(len(some), 'pair')} {words}"
        for some, words in (
            (leaks, "in two parts, so the test looks better than it is"),
            (across, "in two classes, one of which may be wrong"),
            (within, "in one class and part"),
        )
        if some
    ]
    return [
        Finding(
            kind="cropped or turned",
            severe=bool(leaks),
            text=(
                f"copies that were cropped or rotated by some angle: {'; '.join(where)}. Leave "
                f"out the copy that is not in the test part; {apart}"
            ),
            groups=_named([*leaks, *across, *within], listing),
            exclude=_learnt(leaks, listing),
        )
    ]


def _alike(names: list[str]) -> list[Finding]:
    """Report pictures that are most of a class and so similar that copies cannot be told apart."""
    if not names:
        return []
    return [
        Finding(
            kind="alike",
            severe=False,
            text=(
                f"most pictures of a class are very similar ({counted(len(names), 'picture')}), "
                "like views of one object or simple drawings. Only the closest copies are "
                "listed and kept on one side of a split. If they are views of one object, name "
                "such groups in a column group of a CSV"
            ),
            groups=(tuple(names),),
        )
    ]


def _learnt(pairs: Pairs, listing: Listing) -> tuple[str, ...]:
    """Return the picture of each pair that is not in the test part."""
    rank = _PART_ORDER.index
    parts = [picture.part for picture in listing.pictures]
    return _picks(pairs, listing, lambda i, j: i if rank(parts[i]) > rank(parts[j]) else j)


def _picks(pairs: Pairs, listing: Listing, choose: Callable[[int, int], int]) -> tuple[str, ...]:
    return tuple(sorted({listing.pictures[choose(i, j)].name for i, j in pairs}))


def _named(pairs: Pairs, listing: Listing) -> tuple[tuple[str, ...], ...]:
    return tuple((listing.pictures[i].name, listing.pictures[j].name) for i, j in pairs)
