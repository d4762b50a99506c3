-- staging.trajectories: the trajectories of the current run's problems that its recipe would make, and no others.
-- kind:    view
-- grain:   one row per trajectory_id
-- reads:   raw.trajectories, staging.problems
-- params:  $baseline_recipe_id  settings that determine baselines
--          $rollout_recipe_id   settings that determine the build's own rollouts: hint branches, or samples
--          $repair_recipe_id    settings that determine repaired ones
--          $per_problem_tried   hint branches, or samples, per problem
--          $rounds              hints of one branch, one after the other
-- why:     rows made under another recipe stay in raw.trajectories and are never mixed in. A candidate is what may enter
--          the snapshot; the baselines that hint-infer starts from are here too, and are none.
select
    t.trajectory_id,
    t.parent_id,
    t.problem_id,
    t.arm,
    t.sample_index,
    t.recipe_id <> $baseline_recipe_id as is_candidate,
    len(t.repairs) > 0 as is_repaired,
    len(list_filter(t.tool_calls, lambda call: call.diverged)) > 0 as is_nondeterministic,
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
    t.engine_s,
    t.sandbox_s,
    t.created_at
from raw.trajectories as t
join staging.problems as p on p.problem_id = t.problem_id
where
    t.recipe_id = $baseline_recipe_id
    or (
        t.recipe_id in ($rollout_recipe_id, $repair_recipe_id)
        and t.sample_index < $per_problem_tried
        and coalesce(list_max([h.round for h in t.hints]), 0) <= $rounds
    )
