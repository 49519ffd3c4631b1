"""sample.top_logprobs: a table of samples with distributions, drawn in one go or after a kill."""

import shutil

import numpy as np
import pytest

from tests.shrunk import config, rows, run
from verifier.errors import UserError
from verifier.stages import table_writing
from verifier.tables import store
from verifier.tables.schemas import variant

COUNT = 5
TOPS = ("top_ids", "top_logprobs")
ASKED = f"sample.top_logprobs={COUNT}", "sample.greedy=false"


class Killed(BaseException):
    """What stands for a kill."""


def test_a_table_has_them_where_they_are_asked_for_and_after_a_kill(copy, monkeypatch):
    folder = copy / "tables" / "samples" / "split=test"
    without = rows(folder)
    with pytest.raises(UserError, match=r"sample\.top_logprobs: 0 there, 5 now"):
        run(config(*ASKED), copy, ["sample"])
    for name in ("samples", "labels"):
        shutil.rmtree(copy / "tables" / name)
    monkeypatch.setattr(table_writing, "PART_ROWS", 1)
    append, stop = store.TableWriter.append, iter(range(4))

    def dying(self, table):
        if self.folder == folder and next(stop, None) is None:
            raise Killed
        append(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(store.TableWriter, "append", dying)
        with pytest.raises(Killed):
            run(config(*ASKED), copy, ["sample"])
    assert len(list(folder.glob("part-*.parquet"))) == 4
    run(config(*ASKED), copy, ["sample"])
    drawn = rows(folder)
    assert [row["solution"] for row in drawn] == [row["solution"] for row in without]
    for row in drawn:
        ids_TU, logprobs_TU = (np.array(row[name]) for name in TOPS)
        assert ids_TU.shape == logprobs_TU.shape == (len(row["tokens"]), COUNT)
        own_TU = ids_TU == np.array(row["tokens"])[:, None]
        assert own_TU.sum(axis=1).tolist() == [1] * len(ids_TU)
        np.testing.assert_allclose(logprobs_TU[own_TU], row["logprobs"], atol=1e-5)
        assert (np.diff(logprobs_TU, axis=1) <= 0).all()
        assert (np.exp(logprobs_TU).sum(axis=1) < 1 + 1e-5).all()
    table = store.read_table(folder, "samples", ["problem_id", *TOPS])
    assert [table.schema.field(name) for name in TOPS] == [
        variant("samples", TOPS).field(name) for name in TOPS
    ]
    assert not set(TOPS) & set(store.read_table(folder, "samples").column_names)
    run(config(*ASKED), copy, ["label"])  # the others read it as any table of samples
