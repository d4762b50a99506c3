-- marts.import_claims: what imported files say of their answers, and what our judge says.
-- grain:   one row per claim and verdict
-- reads:   raw.imported_rows, staging.trajectories, staging.verdicts
-- why:     where the two differ, one of them is wrong; which one is worth knowing before trusting either.
select
    i.claim,
    v.verdict,
    count(*) as n_rows,
    count(distinct t.problem_id) as n_problems
from raw.imported_rows as i
join staging.trajectories as t on t.trajectory_id = i.trajectory_id
left join staging.verdicts as v on v.trajectory_id = i.trajectory_id
group by i.claim, v.verdict
