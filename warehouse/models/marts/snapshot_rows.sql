-- marts.snapshot_rows: the next snapshot as it will be published.
-- kind:    view
-- grain:   one row per trajectory_id
-- reads:   marts.selected, staging.trajectories, staging.problems, staging.verdicts, intermediate.baselines,
--          marts.pass_rates
-- params:  $system  the system message that the model was given, empty where none
--          $suffix  what was appended to the statement, but of code problems
-- audits:  baseline_is_wrong, has_tool_success, segments_concatenate, token_counts_agree, rows_are_distinct,
--          not_contaminated
-- why:     a superset: each build's snapshot takes the columns of schemas.tables.SNAPSHOTS. Rows carry messages and prompt/completion for any trainer, and segments with ids for a token-exact one.
--          Times are left out, so that the same text gives the same bytes.
select
    t.trajectory_id,
    t.problem_id,
    p.domain,
    p.source,
    p.licence,
    p.statement,
    p.gold_answer,
    case when $system = '' then [] else [{'role': 'system', 'content': $system}] end
    || [
        {'role': 'user', 'content': p.statement || case when p.domain = 'code' then '' else $suffix end},
        {'role': 'assistant', 'content': t.completion}
    ] as messages,
    t.prompt,
    t.completion,
    t.segments,
    t.hints,
    [
        {
            'code': c.code,
            'stdout': c.stdout,
            'error_type': c.error_type,
            'traceback': c.traceback,
            'status': c.status,
            'output_truncated': c.output_truncated
        }
        for c in t.tool_calls
    ] as tool_calls,
    t.repairs,
    t.answer_text,
    v.is_correct,
    v.verifier,
    b.trajectory_id as baseline_trajectory_id,
    b.completion as baseline_text,
    b.answer_text as baseline_answer,
    b.is_correct as baseline_is_correct,
    r.n_samples,
    r.n_correct,
    t.stop_reason,
    t.n_tokens_model,
    t.n_tokens_hint,
    t.n_tokens_tool,
    t.engine,
    t.sandbox,
    t.sampling,
    t.seed,
    t.recipe_id
from marts.selected as s
join staging.trajectories as t on t.trajectory_id = s.trajectory_id
join staging.problems as p on p.problem_id = s.problem_id
left join staging.verdicts as v on v.trajectory_id = s.trajectory_id
left join intermediate.baselines as b on b.problem_id = s.problem_id
left join marts.pass_rates as r on r.problem_id = s.problem_id
