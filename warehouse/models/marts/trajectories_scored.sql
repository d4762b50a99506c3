-- marts.trajectories_scored: every candidate, its measures, and the first reason why it is not in the snapshot.
-- grain:   one row per trajectory_id
-- reads:   staging.trajectories, staging.problems, intermediate.trajectories_judged, intermediate.trajectories_live,
--          derived.duplicate_pairs
-- params:  $run_id         the run whose accepted trajectories were compared
--          $per_problem    how many trajectories one problem may contribute
--          $quota_math     rows of the snapshot from mathematics
--          $quota_code     rows of the snapshot from code
--          $quota_science  rows of the snapshot from science
-- audits:  drop_reason_is_known
-- why:     mark, never delete. Of a problem's trajectories the one with the fewest failing calls, then the fewest model
--          tokens is preferred; quotas are filled in the order of the problems. Ties end on trajectory_id.
with marked as (
    select
        j.*,
        p.domain,
        p.position,
        d.kept_id as duplicate_of,
        case
            when j.drop_reason is not null then j.drop_reason
            when l.trajectory_id is null then 'repaired'
            when d.dropped_id is not null then 'duplicate'
        end as reason_so_far
    from intermediate.trajectories_judged as j
    join staging.problems as p on p.problem_id = j.problem_id
    left join intermediate.trajectories_live as l on l.trajectory_id = j.trajectory_id
    left join derived.duplicate_pairs as d on d.dropped_id = j.trajectory_id and d.run_id = $run_id
),

ranked as (
    select
        *,
        row_number() over (
            partition by problem_id, reason_so_far is null order by n_tool_errors, n_tokens_model, trajectory_id
        ) as rank_in_problem
    from marked
),

counted as (
    select
        *,
        reason_so_far is null and rank_in_problem <= $per_problem as is_best,
        row_number() over (
            partition by domain, reason_so_far is null and rank_in_problem <= $per_problem
            order by position, rank_in_problem, trajectory_id
        ) as rank_in_domain
    from ranked
)

select
    c.trajectory_id,
    c.parent_id,
    c.problem_id,
    c.domain,
    t.hints[-1].hint_id as hint_id,
    t.hints[-1].function as hint_function,
    t.hints[-1].cut as cut,
    t.hints[-1].trigger as trigger,
    c.is_repaired,
    c.is_correct,
    c.verdict,
    t.answer_text,
    t.stop_reason,
    c.n_tool_calls,
    c.n_tool_success,
    c.n_tool_errors,
    round(c.ngram_repetition, 4) as ngram_repetition,
    round(c.line_repetition, 4) as line_repetition,
    c.delayed_computation,
    c.distrusts_output,
    c.n_hand_calculations,
    t.n_tokens_model,
    t.n_tokens_hint,
    t.n_tokens_tool,
    c.duplicate_of,
    case
        when c.reason_so_far is not null then c.reason_so_far
        when not c.is_best then 'not_best'
        when c.rank_in_domain > case c.domain when 'math' then $quota_math when 'code' then $quota_code else $quota_science end
            then 'over_quota'
    end as drop_reason
from counted as c
join staging.trajectories as t on t.trajectory_id = c.trajectory_id
