-- marts.pass_rates: how often each problem was solved by what this build tried on it.
-- grain:   one row per problem_id that was tried
-- reads:   marts.trajectories_scored
-- why:     a problem that is always or never solved teaches a later reinforcement run nothing. Undecided checks and
--          failed rollouts count neither as right nor as wrong.
select
    problem_id,
    count(*) as n_samples,
    count(*) filter (where is_correct) as n_correct,
    count(*) filter (where is_correct is null) as n_undecided,
    round(count(*) filter (where is_correct) / nullif(count(is_correct), 0), 4) as pass_rate,
    round(count(*) filter (where n_tool_calls > 0) / count(*), 4) as tool_use_rate
from marts.trajectories_scored
where not is_repaired
group by problem_id
