-- staging.trajectories: the trajectories of the current run's problems that its recipe would make, and no others.
-- grain:   one row per trajectory_id
-- reads:   raw.trajectories, staging.problems
-- params:  $baseline_recipe_id  settings that determine baselines
--          $hint_recipe_id      settings that determine hint trajectories
--          $repair_recipe_id    settings that determine repaired ones
--          $branches            hint branches per problem
-- why:     rows made under another recipe stay in raw.trajectories and are never mixed in.
select
    t.trajectory_id,
    t.parent_id,
    t.problem_id,
    t.arm,
    t.sample_index,
    len(t.repairs) > 0 as is_repaired,
    t.engine,
    t.sandbox,
    t.sampling,
    t.seed,
    t.recipe_id,
    t.prompt,
    array_to_string([s.text for s in t.segments], '') as completion,
    t.segments,
    t.hints,
    t.tool_calls,
    t.repairs,
    t.answer_text,
    t.stop_reason,
    t.error,
    t.n_tokens_model,
    t.n_tokens_hint,
    t.n_tokens_tool,
    t.wall_s,
    t.created_at
from raw.trajectories as t
join staging.problems as p on p.problem_id = t.problem_id
where
    (t.arm = 'baseline' and t.recipe_id = $baseline_recipe_id)
    or (t.arm = 'hint' and t.recipe_id in ($hint_recipe_id, $repair_recipe_id) and t.sample_index < $branches)
