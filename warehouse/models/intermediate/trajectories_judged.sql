-- intermediate.trajectories_judged: every candidate with the first reason, seen by itself, why it is not used.
-- grain:   one row per trajectory_id
-- reads:   staging.trajectories, staging.verdicts, derived.signals, intermediate.problems_marked
-- params:  $signals_version       definitions by which signals were measured
--          $min_tool_success      successful tool calls a trajectory must have
--          $drop_tool_errors      whether one failing call is too many (EMNLP)
--          $drop_delayed_computation  whether code for what was worked out by hand is a fault (CoRT)
--          $drop_distrust             whether working an output out again by hand is one (CoRT)
--          $max_hand_calculations     equations before the first code; null: any number
--          $max_ngram_repetition  share of repeated 8-grams of words
--          $max_line_repetition   share of repeated lines
-- why:     reasons that need other trajectories (duplicates, rank, quota) follow in marts.trajectories_scored.
select
    t.trajectory_id,
    t.parent_id,
    t.problem_id,
    t.is_repaired,
    v.is_correct,
    v.verdict,
    coalesce(s.n_tool_calls, 0) as n_tool_calls,
    coalesce(s.n_tool_success, 0) as n_tool_success,
    coalesce(s.n_tool_errors, 0) as n_tool_errors,
    s.ngram_repetition,
    s.line_repetition,
    s.delayed_computation,
    s.distrusts_output,
    s.n_hand_calculations,
    t.n_tokens_model,
    case
        when t.stop_reason in ('engine_error', 'sandbox_lost') then 'rollout_failed'
        when t.is_nondeterministic then 'nondeterministic'
        when v.is_correct is null then 'undecided'
        when not v.is_correct then 'wrong_answer'
        when coalesce(s.n_tool_success, 0) < $min_tool_success then 'no_tool_success'
        when $drop_tool_errors and s.n_tool_errors > 0 then 'tool_error'
        when $drop_delayed_computation and s.delayed_computation then 'delayed_computation'
        when $drop_distrust and s.distrusts_output then 'distrusts_output'
        when s.n_hand_calculations > $max_hand_calculations then 'hand_computation'
        when s.ngram_repetition > $max_ngram_repetition or s.line_repetition > $max_line_repetition then 'repetitive'
    end as drop_reason
from staging.trajectories as t
join intermediate.problems_marked as m on m.problem_id = t.problem_id and m.drop_reason is null
left join staging.verdicts as v on v.trajectory_id = t.trajectory_id
left join derived.signals as s on s.trajectory_id = t.trajectory_id and s.signals_version = $signals_version
where t.is_candidate
