"""What every stage is given: the settings, the workdir, the problems and how they are put to a
model. Knows no stage's work.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier import config as config_lib
from verifier import errors
from verifier.data import examples
from verifier.run import workdir
from verifier.system import log
from verifier.tables import provenance, store
from verifier.tasks import sources
from verifier.text.problem import Problem, Template, prompt_ids
from verifier.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given."""

    config: config_lib.Config
    dir: workdir.Workdir

    def problems(self) -> dict[str, list[Problem]]:
        """The run's problems by split, further test sets included, from its tables; written there
        first where they are not yet.

        Raises:
            WorkdirError: `data.dir`, `data.source` or `ood.dirs` is another one than the tables
                were made from, and holds other problems.
        """
        config, further = self.config, workdir.further_splits(self.config)
        place = {name: getattr(config.data, name) for name in ("dir", "test_dir", "source")}
        found = self._stored_problems(
            workdir.SPLITS, place, lambda: sources.load_problems(config.data, config.seed)
        )
        if further:
            learnt = {split: found[split] for split in ("train", "heldout")}
            found |= self._stored_problems(
                further,
                {"dirs": list(config.ood.dirs)},
                lambda: sources.load_further(config.ood, config.seed, learnt),
            )
        return found

    def _stored_problems(
        self,
        splits: Sequence[str],
        place: Mapping[str, Any],
        load: Callable[[], Mapping[str, list[Problem]]],
    ) -> dict[str, list[Problem]]:
        """The problems of some splits, which `load` reads from `place` where a table is missing or
        was made from another place.
        """
        folders = {split: self.dir.table("problems", split) for split in splits}
        own = {split: workdir.settings(self.config, "problems", split) for split in splits}
        done = {split: workdir.is_done(folder, own[split]) for split, folder in folders.items()}
        moved = any(
            done[split] and (store.read_manifest(folder) or {}).get("place") != place
            for split, folder in folders.items()
        )
        if moved or not all(done.values()):
            loaded = load()
            for split, folder in folders.items():
                table = sources.problems_table(loaded[split])
                if not done[split]:
                    store.remove_table(folder)
                    writer = store.TableWriter(folder, "problems", own[split])
                    writer.append(table)
                    writer.finish({"place": place})
                elif not store.read_table(folder, "problems").equals(table):
                    where = ", ".join(f"{name}={value!r}" for name, value in place.items())
                    raise errors.WorkdirError(
                        f"{folder} was made from other problems than those that are there now "
                        f"({where}): use another --workdir for them"
                    )
        return {
            split: sources.problems_from_table(store.read_table(folder, "problems"))
            for split, folder in folders.items()
        }

    def table_id(self, table: str, split: str) -> str:
        """What is made from a table's rows knows them again by this.

        Raises:
            WorkdirError: the table is not finished.
        """
        stage = table if table == "problems" else table.removesuffix("s")
        return store.table_id(workdir.manifest_of(self.dir.table(table, split), stage))

    def drawn_by(self, split: str, generator: str | None) -> str:
        """The generator that drew a split's samples; another than the verifier's is refused, unless
        that is asked for.

        Raises:
            WorkdirError: the table is not finished, or its samples are of another generator than
                `generator`.
            TablesError: they were drawn for other problems than those that are there.
        """
        folder = self.dir.table("samples", split)
        drawn_by: str = workdir.manifest_of(folder, "sample")["settings"]["generator"]
        if drawn_by != generator and not self.config.verify.other_generator:
            raise errors.WorkdirError(
                f"the samples of {split} were drawn by generator {drawn_by}, but the verifier "
                f"is of {generator}: remove {folder} and sample anew, or set "
                "verify.other_generator=true"
            )
        provenance.refuse_stale(self.dir.root, split, ["samples"])
        return drawn_by

    def samples(self, split: str, reader: Tokenizer, as_text: bool) -> pa.Table:
        """The stored samples of a split as a verifier reads them: problem_id, sample_id, tokens,
        forced, in stored order.

        Args:
            split: whose table is finished.
            reader: the verifier's tokenizer.
            as_text: False: the tokens that were drawn, which must be the reader's; True: the
                solutions' text in the reader's tokens, with its end token where the generator wrote
                its own. `forced` then says which tokens lie in what the calculator wrote.

        Raises:
            UserError: a token that the reader does not know, or rows of another generator than the
                table's manifest names.
        """
        folder, key = self.dir.table("samples", split), ["problem_id", "sample_id"]
        if not as_text:
            rows = store.read_table(folder, "samples", [*key, "tokens", "forced", "generator"])
            named, there = (
                workdir.manifest_of(folder, "sample")["settings"].get("generator"),
                pc.unique(rows["generator"]).to_pylist(),
            )
            if named and there not in ([], [named]):
                raise errors.UserError(
                    f"{folder} names the generators {', '.join(map(str, there))} in its rows "
                    f"and {named} in its manifest, so that nobody knows whose tokens they are; "
                    "remove it and sample anew"
                )
            _refuse_unknown_tokens(rows, reader.vocab_size, split)
            return rows.drop_columns(["generator"])
        rows = store.read_table(folder, "samples", [*key, "solution", "finish"])
        calculated = workdir.manifest_of(folder, "sample")["settings"]["sample.calculator"]
        tokens, forced = [], []
        for text, finish in zip(
            rows["solution"].to_pylist(), rows["finish"].to_pylist(), strict=True
        ):
            ids, written = examples.encode_solution(text, reader, ended=finish == "eos")
            # an empty text has at least its end to be judged at
            tokens.append(ids or [reader.end_id])
            forced.append([calculated and each for each in written] or [False])
        columns = {name: store.SCHEMAS["samples"].field(name).type for name in ("tokens", "forced")}
        read = rows.select(key)
        for name, cells in zip(columns, (tokens, forced), strict=True):
            read = read.append_column(name, pa.array(cells, columns[name]))
        return read

    def template(self) -> Template:
        return Template(self.config.data.prompt_template, self.config.data.target_template)

    def prompt_ids(self, problem: Problem, tokenizer: Tokenizer) -> list[int]:
        return prompt_ids(problem.question, self.template(), tokenizer)

    def finished(self, what: str, folder: pathlib.Path, own: dict[str, Any]) -> bool:
        """Whether a result of these settings is there already, with a line that says so."""
        done = workdir.is_done(folder, own)
        if done:
            log.say(f"{what}: already done with these settings, skipped ({folder})")
        return done


def _refuse_unknown_tokens(rows: pa.Table, vocab_size: int, split: str) -> None:
    """Refuses samples with tokens beyond a model's vocabulary, whose embeddings would be those of
    other tokens, or none.

    Raises:
        UserError: with the first of them.
    """
    tokens = rows["tokens"].combine_chunks()
    values = tokens.flatten().to_numpy()
    wrong = np.flatnonzero((values < 0) | (values >= vocab_size))
    if len(wrong):
        row = int(pc.list_parent_indices(tokens)[int(wrong[0])].as_py())
        raise errors.UserError(
            f"the samples of {split}: problem {rows['problem_id'][row]}, sample "
            f"{rows['sample_id'][row]} has the token {values[wrong[0]]}, but the verifier's "
            f"vocabulary is 0 to {vocab_size - 1}; {len(wrong):,} of {len(values):,} tokens "
            "are beyond it. They were drawn with another tokenizer: sample anew"
        )
