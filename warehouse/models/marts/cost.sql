-- marts.cost: what the accepted rows cost.
-- grain:   one row
-- reads:   staging.trajectories, marts.selected
-- why:     tokens and seconds per accepted row decide whether a recipe scales. Seconds are those of rollouts, which run
--          side by side, so they exceed the clock's; engine_s and sandbox_s are what of them was spent waiting for either.
with spent as (
    select
        sum(n_tokens_model) filter (where not is_candidate) as n_tokens_baseline,
        sum(n_tokens_model) filter (where is_candidate) as n_tokens_tried,
        sum(wall_s) as rollout_s,
        sum(engine_s) as engine_s,
        sum(sandbox_s) as sandbox_s,
        sum(len(tool_calls)) as n_tool_calls,
        count(*) as n_trajectories
    from staging.trajectories
    where not is_repaired
)

select
    spent.n_trajectories,
    (select count(*) from marts.selected) as n_accepted,
    spent.n_tokens_baseline,
    spent.n_tokens_tried,
    spent.n_tool_calls,
    round(spent.rollout_s, 1) as rollout_s,
    round(spent.engine_s, 1) as engine_s,
    round(spent.sandbox_s, 1) as sandbox_s,
    round(
        (coalesce(spent.n_tokens_baseline, 0) + spent.n_tokens_tried) / nullif((select count(*) from marts.selected), 0), 1
    ) as tokens_per_accepted,
    round(spent.rollout_s / nullif((select count(*) from marts.selected), 0), 2) as rollout_s_per_accepted
from spent
