"""Which layout a file has, and at which paths its fields are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from verifier.errors import TablesError
from verifier.ingest import shapes
from verifier.ingest.layouts import (
    ASKED,
    FIELDS,
    GOLD,
    LAYOUTS,
    MANY,
    PERHAPS,
    SCORED,
    TEXTS,
    WRITTEN,
    Layout,
)


class Chosen(NamedTuple):
    """What is read of a file: its layout's name and `once`, and the path of every field."""

    layout: str
    fields: Mapping[str, str]
    once: str = ""
    note: str = ""


def choose(
    shape: shapes.Shape,
    layout: str,
    given: Mapping[str, str],
    where: str,
    needed: Sequence[str] = ("solution",),
) -> Chosen:
    """The layout of a file and the paths of its fields.

    Args:
        shape: of the file.
        layout: a name in NAMES; "auto" recognises one.
        given: paths that the user names; they take the place of the layout's. Those that problems
            or scores do not have are the samples'.
        where: the file, for messages.
        needed: fields that must be there, beside a question or a problem_id.

    Raises:
        TablesError: a path is not there, a needed field is not found, or several could be it; the
            message shows the fields that are there and the --fields line that would take them.
    """
    for name, path in given.items():
        if path and "solution" in needed and not shapes.find(shape, path):
            raise TablesError(
                f"{where}: no field `{path}`, which --fields names as {name}; it has "
                f"{', '.join(_there(shape))}"
            )
    known = {name: path for name, path in given.items() if not path or shapes.find(shape, path)}
    name = layout
    if layout == "auto":
        name = next(
            (
                each
                for each, one in LAYOUTS.items()
                if all(shapes.find(shape, mark) for mark in one.marks)
            ),
            "",
        )
        name = "" if "solution" not in needed or known.get("solution") else name
    if name in LAYOUTS:
        where = f"{where}, read as layout {name}"
        one = LAYOUTS[name]
        fields = {
            field: next((path for path in paths if shapes.find(shape, path)), "")
            for field, paths in one.fields.items()
        }
        fields, note = {field: path for field, path in fields.items() if path}, ""
        if "question" in fields:
            fields.pop("problem_id", None)  # two files of one program may share it
    else:
        one, (fields, note) = Layout((), {}), _by_names(shape, known, needed, where)
    fields = {field: path for field, path in (fields | known).items() if path}
    _refuse_lacking(shape, fields, needed, where)
    name = name or (
        "nested" if "solution" in fields and shapes.is_many(shape, fields["solution"]) else "flat"
    )
    return Chosen(name, fields, one.once if shapes.find(shape, one.once) else "", note)


def _by_names(
    shape: shapes.Shape, known: Mapping[str, str], needed: Sequence[str], where: str
) -> tuple[dict[str, str], str]:
    """Fields by their usual names, the project's own first, and a note on what was passed over."""
    odd = [
        name
        for name in ("tokens", "forced")
        if "*number" not in shape.get(name, ()) and "*bool" not in shape.get(name, ())
    ]
    fields = {name: name for name in FIELDS if name in shape and name not in (*known, *odd)}
    notes: list[str] = []
    if "question" not in fields and "question" not in known and "problem_id" not in fields:
        asked = [name for name in ASKED if shapes.holds(shape, name, "text")]
        fields |= {"question": asked[0]} if asked else {}
    golds = [name for name in GOLD if shapes.holds(shape, name, "text", "number", "bool")]
    if "answer" not in known and golds:
        fields["answer"] = golds[0]
    scores = [
        name
        for name in SCORED
        if name in shape and (name == "score" or shapes.holds(shape, name, "number"))
    ]
    verdicts = [name for name in scores if shapes.holds(shape, name, "bool")]
    if "score" not in known and scores:
        fields["score"] = next((name for name in scores if name not in verdicts), "")
        notes += [f"`{verdicts[0]}` holds verdicts, no scores"] if verdicts else []
    if "solution" in needed and "solution" not in known:
        taken, own = _samples(shape, fields)
        if len(taken) > 1:
            _refuse_several(where, "samples", "solution", taken, fields)
        fields |= {"solution": taken[0]} if taken else {}
        notes += [f"`{own}` is taken for the data set's own"] if own else []
        if (
            golds[1:]
            and golds[0] == "answer"
            and fields.get("solution") != "solution"
            and "answer" not in known
        ):
            _refuse_several(where, "gold answer", "answer", golds[:2], fields)
    return fields, "; ".join(notes)


def _samples(shape: shapes.Shape, fields: Mapping[str, str]) -> tuple[list[str], str]:
    """The paths that may be the samples, and `solution` where a list of texts stands beside it."""
    names = dict.fromkeys(
        (*MANY, "solution", *WRITTEN, *PERHAPS, *(f"{name}s" for name in PERHAPS))
    )
    lists = [name for name in names if "*text" in shape.get(name, ())]
    sure = [name for name in lists if name in (*MANY, "solution", *WRITTEN)]
    if lists:
        return sure or lists, "solution" if "text" in shape.get("solution", ()) else ""
    texts = [name for name in ("solution", *WRITTEN) if "text" in shape.get(name, ())]
    return texts or [
        name for name in PERHAPS if "text" in shape.get(name, ()) and name not in fields.values()
    ], ""


def _refuse_several(
    where: str, what: str, name: str, paths: Sequence[str], fields: Mapping[str, str]
) -> None:
    guess = {
        field: path
        for field, path in fields.items()
        if field in ("question", "answer", "score") and path not in ("", field)
    }
    lines = " or ".join(_line({**guess, name: path}) for path in paths)
    raise TablesError(
        f"{where}: {' and '.join(f'`{path}`' for path in paths)} could each be the {what}: say "
        f"{lines}"
    )


def _refuse_lacking(
    shape: shapes.Shape, fields: Mapping[str, str], needed: Sequence[str], where: str
) -> None:
    """Refuses a file without a field that must be there."""
    lacking = [name for name in needed if name not in fields]
    lacking += [] if "question" in fields or "problem_id" in fields else ["question"]
    if not lacking:
        return
    line = {
        name: path
        for name, path in fields.items()
        if name != path and name in ("question", "answer", "score")
    }
    for name in lacking:
        line[name] = _nearest(shape, name, {**fields, **line})
    what = "`question` or `problem_id`" if lacking[0] == "question" else f"`{lacking[0]}`"
    raise TablesError(
        f"{where}: no field {what}; it has {', '.join(_there(shape)) or 'none'}: name it by "
        f"{_line(line)}"
    )


def _nearest(shape: shapes.Shape, name: str, fields: Mapping[str, str]) -> str:
    """The path that most looks like a field: of its usual names, else a text that no field is."""
    usual = {
        "question": ASKED,
        "solution": (*WRITTEN, *MANY, *PERHAPS),
        "answer": GOLD,
        "score": SCORED,
    }.get(name, (name,))
    free = [
        path
        for path, kinds in shape.items()
        if path not in fields.values() and (kinds or name not in TEXTS)
    ]
    near = [path for path in free if path.rpartition(".")[2].lower() in usual]
    near += [path for word in usual for path in free if word in path.lower()]
    near += difflib.get_close_matches(name, free, n=1, cutoff=0.5)
    return near[0] if near else "PATH"


def _line(fields: Mapping[str, str]) -> str:
    return "--fields=" + ",".join(f"{name}={path}" for name, path in fields.items())


def _there(shape: shapes.Shape) -> list[str]:
    """The fields of a file as paths, the first few."""
    leaves = [path for path in shape if not any(other.startswith(f"{path}.") for other in shape)]
    return leaves if len(leaves) <= 40 else [*leaves[:40], f"and {len(leaves) - 40} more"]
