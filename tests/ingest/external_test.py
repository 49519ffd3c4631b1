"""A program that knows nothing of this one, DuckDB with a Parquet reader of its own, finds the
headline figures in the tables.
"""

from __future__ import annotations

import pathlib

import duckdb
import pytest

from tests.report.report_test import make_workdir
from verifier.config import ReportConfig
from verifier.report import writing

QUERY = """
with drawn as (
    select problem_id, sample_id, correct, try_cast(answer as double) as answer, score
    from read_parquet('{root}/tables/samples/split={split}/*.parquet',
        hive_partitioning = false) as samples
    join read_parquet('{root}/tables/labels/split={split}/*.parquet',
        hive_partitioning = false) as labels
        using (problem_id, sample_id)
    join read_parquet('{root}/tables/scores/split={split}/*.parquet',
        hive_partitioning = false) as scores
        using (problem_id, sample_id)
),
ranked as (select *,
    row_number() over (partition by problem_id order by score desc, sample_id) as place
    from drawn),
votes as (
    select problem_id, answer, count(*) as votes, sum(score) as weight, min(place) as best,
        arg_min(correct, place) as correct
    from ranked where answer is not null group by problem_id, answer
),
majority as (
    select problem_id, correct from votes
    qualify row_number() over (partition by problem_id order by votes desc, best) = 1
),
weighted as (
    select problem_id, correct from votes
    qualify row_number() over (partition by problem_id order by weight desc, best) = 1
),
problems as (
    select problem_id, avg(correct::int) as mean, max(correct::int) as any_right,
        max(case when place = 1 then correct::int end) as best
    from ranked group by problem_id
)
select count(*) as n_problems, avg(mean) as mean_sample_accuracy, avg(best) as best_of_n,
    avg(any_right) as oracle_pass_at_n,
    avg(coalesce(majority.correct, false)::int) as majority,
    avg(coalesce(weighted.correct, false)::int) as weighted_vote
from problems left join majority using (problem_id) left join weighted using (problem_id)
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_outside_program_finds_the_same_figures(tmp_path: pathlib.Path, seed: int) -> None:
    root = make_workdir(tmp_path, seed)
    result = writing.write_report(
        root, root / "report", ReportConfig(ks=(1, 3), resamples=20, show_problems=1), seed=0
    )
    for split in ("heldout", "test"):
        answer = duckdb.sql(QUERY.format(root=root, split=split))
        row = dict(zip(answer.columns, answer.fetchall()[0], strict=True))
        ours = result["splits"][split]
        assert row.pop("n_problems") == ours["n_problems"]
        assert len(row) == 5
        for name, value in row.items():
            assert ours[name]["value"] == pytest.approx(value, abs=1e-9), (split, name)
