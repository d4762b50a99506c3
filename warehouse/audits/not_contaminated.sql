-- no row's problem repeats a benchmark item or has a gold that its own verifier refuses
select r.trajectory_id, m.drop_reason, m.benchmark
from marts.snapshot_rows as r
left join intermediate.problems_marked as m on m.problem_id = r.problem_id
where m.problem_id is null or m.drop_reason is not null
