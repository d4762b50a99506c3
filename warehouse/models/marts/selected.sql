-- marts.selected: the rows of the next snapshot. The only model that leaves rows out.
-- grain:   one row per trajectory_id
-- reads:   marts.trajectories_scored
-- audits:  selected_is_correct
-- why:     everything that decides stands in drop_reason, so that "why is it out?" has one answer.
select
    trajectory_id,
    problem_id,
    domain
from marts.trajectories_scored
where drop_reason is null
