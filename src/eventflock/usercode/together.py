"""Several analyses over the same files, as one: each chunk is read once, and handed to all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from eventflock.core.model import AnalysisRef
from eventflock.core.structs import digest
from eventflock.errors import UsageError
from eventflock.usercode.context import Context
from eventflock.usercode.decorator import Analysis, Parameter
from eventflock.usercode.loading import freeze, locate, pick
from eventflock.usercode.processors import inside, is_processor

__all__ = ["Target", "find", "together"]

Target = Any
"""An analysis, a processor of coffea or a class of these, the name of one, or several of them."""
_SCRIPT = re.compile(r"(?m)^# /// script$\s(?:^#(?:| .*)$\s)+^# ///$")
"""A script block, as PEP 723 has it."""


def together(*analyses: Analysis | ModuleType) -> Analysis:
    """Make one analysis of several, each of which is called with every chunk.

    Parameters
    ----------
    *analyses
        Analyses, or modules that have one each. A parameter of the same name in two of them is
        given to both.

    Returns
    -------
    Analysis
        Its result has that of each analysis under its name: `result["jets", "energy"]`.

    Raises
    ------
    UsageError
        They do not go together: two have the same name, or read different trees.

    Examples
    --------
    >>> both = together(jets, muons)  # doctest: +SKIP
    """
    parts = [pick(one) if isinstance(one, ModuleType) else one for one in analyses]
    names = [one.name for one in parts]
    if len(set(names)) < len(names) or not names:
        twice = next((name for name in names if names.count(name) > 1), "")
        raise UsageError(
            f"Two of the analyses are called {twice!r}." if twice else "There is no analysis.",
            remedy="Name each differently: its results are found under its name.",
        )
    trees = {one.tree: one.name for one in parts if one.tree}
    if len(trees) > 1:
        said = ", ".join(f"{name!r} reads {tree!r}" for tree, name in trees.items())
        raise UsageError(
            f"The analyses read different trees: {said}.", remedy="Give each a run of its own."
        )

    schemas = {one.schema: one.name for one in parts}
    if len(schemas) > 1:
        said = ", ".join(f"{name!r} by {schema or 'none'!r}" for schema, name in schemas.items())
        raise UsageError(
            f"The analyses see events by different schemas: {said}.",
            remedy="Give all the same schema, or each a run of its own.",
        )

    def each(events: Any, context: Context, **given: Any) -> Mapping[str, Any]:
        return {
            one.name: inside(one.on_chunk(events, context.afresh(), given), context.dataset)
            for one in parts
        }

    each.__name__ = "_and_".join(names)
    columns = dict.fromkeys(name for one in parts for name in one.columns)
    whole = Analysis(
        each,
        tree=next(iter(trees), ""),
        columns=tuple(columns) if all(one.columns for one in parts) else (),
        data=tuple(dict.fromkeys(name for one in parts for name in one.data)),
        schema=next(iter(schemas)),
    )
    whole.parameters = _parameters(parts)
    for part in parts:
        for second in part.second.values():
            whole.add_second(second)
    return whole


def _parameters(parts: Sequence[Analysis]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for part in parts:
        for name, one in part.parameters.items():
            known = found.setdefault(name, one)
            if known.annotation != one.annotation:
                raise UsageError(
                    f"The parameter {name!r} has another type in {part.name!r} than in an analysis "
                    "before it.",
                    remedy="Give it the same type in both, or another name.",
                )
            if one.required:
                found[name] = one
    return found


def find(target: Target) -> tuple[AnalysisRef, bytes]:
    """Find an analysis, or several that are to be one: see `locate` and `freeze`.

    Raises
    ------
    UsageError
        One is not there, or they do not go together.
    """
    if isinstance(target, Analysis) or is_processor(target):
        return freeze(target)
    if isinstance(target, str | Path):
        return locate(str(target))
    if not isinstance(target, Sequence) or not target:
        raise UsageError(
            f"{target!r} is no analysis.", remedy="Mark a function with @eventflock.analysis."
        )
    if len(target) == 1:
        return find(target[0])
    ready = [one for one in target if isinstance(one, Analysis)]
    if len(ready) == len(target):
        return freeze(together(*ready))
    return _write_module([_named(one) for one in target])


def _named(one: Any) -> str:
    if not isinstance(one, str | Path):
        raise UsageError(
            f"{one!r} stands beside the name of a file.",
            remedy="Give all analyses as objects, or all by their names. A processor of coffea has "
            "a run of its own.",
        )
    return str(one)


def _write_module(targets: Sequence[str]) -> tuple[AnalysisRef, bytes]:
    """Write a module that puts analyses of other files together."""
    refs, blocks = [], {}
    for target in targets:
        ref, source = locate(target)
        refs.append(ref)
        for block in _SCRIPT.findall(source.decode(errors="replace")):
            blocks[block] = target
    if len(blocks) > 1:
        raise UsageError(
            f"{' and '.join(blocks.values())} have different script blocks.",
            remedy="Write the same requirements into each, or give --requirements FILE.",
        )
    modules = [_module_of(ref) for ref in refs]
    folders = {ref.search[0]: ref.origin for ref in refs}
    if len(folders) > 1:
        raise UsageError(
            f"{' and '.join(folders.values())} lie in different folders.",
            remedy="Put the analyses of one run into one folder.",
        )
    both = list(zip(modules, refs, strict=True))
    name = "_and_".join(ref.name or module.rpartition(".")[2] for module, ref in both)
    picked = (f"pick({module}, {ref.name!r}, {ref.file or module!r})" for module, ref in both)
    lines = [
        *blocks,
        f'"""{", ".join(targets)}: in one run."""',
        *(f"import {module}" for module in dict.fromkeys(modules)),
        "from eventflock.usercode.loading import pick",
        "from eventflock.usercode.together import together",
        # Under its own name, which is known only when they are imported.
        f"globals().update((one.name, one) for one in [together({', '.join(picked)})])",
        "",
    ]
    text = "\n".join(lines).encode()
    folder = refs[0].search[0]
    return AnalysisRef(
        name="",
        origin=f"{folder}/{name}.py",
        file=f"{name}.py",
        sha256=digest(text),
        search=(folder,),
    ), text


def _module_of(ref: AnalysisRef) -> str:
    if not ref.file:
        return ref.origin
    stem = Path(ref.file).stem
    if not ref.file.endswith(".py") or not stem.isidentifier():
        raise UsageError(
            f"{ref.origin} cannot be imported by its name, which several analyses in one run are.",
            remedy="Call it like a variable of Python, as in jets.py.",
        )
    return stem
