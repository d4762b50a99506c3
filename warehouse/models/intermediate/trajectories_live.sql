-- intermediate.trajectories_live: candidates that may still enter the snapshot, repaired rows in place of theirs.
-- grain:   one row per trajectory_id
-- reads:   intermediate.trajectories_judged
-- why:     duplicates are looked for among these alone, so that a dropped row never takes a live one down with it.
select
    j.trajectory_id,
    j.problem_id,
    j.n_tokens_model
from intermediate.trajectories_judged as j
where
    j.drop_reason is null
    and not exists (
        select 1
        from intermediate.trajectories_judged as child
        where child.is_repaired and child.parent_id = j.trajectory_id and child.drop_reason is null
    )
