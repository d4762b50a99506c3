-- marts.trajectories_scored: every candidate, its measures, and the first reason why it is not in the snapshot.
-- grain:   one row per trajectory_id
-- reads:   staging.trajectories, staging.problems, intermediate.trajectories_judged, intermediate.trajectories_live,
--          derived.duplicate_pairs
-- params:  $run_id         the run whose accepted trajectories were compared
--          $min_pass_rate  share of a problem's candidates that must be right
--          $max_pass_rate  share of them that may be right
--          $best_of        what makes one trajectory of a problem better than another, the first rule first
--          $per_problem    how many trajectories one problem may contribute
--          $quota_math     rows of the snapshot from mathematics
--          $quota_code     rows of the snapshot from code
--          $quota_science  rows of the snapshot from science
--          $quota_source   JSON: source -> its rows of the snapshot in each domain; those without one fill up
--          $fill_by        problems: places go by the order of the problems; sources: the sources take turns
-- audits:  drop_reason_is_known
-- why:     mark, never delete. The order is: difficulty, best of the problem, quota of the source, quota of the domain. All
--          rows of a problem have one source and one domain, so that no row could be added to what is left. Pass rates
--          count candidates that were judged, repaired copies aside. Windows see numbers and ids, no texts. Ties end on
--          trajectory_id.
with rates as (
    select
        problem_id,
        count(*) filter (where is_correct) / nullif(count(is_correct), 0) as pass_rate
    from intermediate.trajectories_judged
    where not is_repaired
    group by problem_id
),

marked as (
    select
        j.*,
        p.domain,
        p.source,
        p.position,
        coalesce(d.kept_id, e.kept_id) as duplicate_of,
        r.pass_rate,
        case
            when j.drop_reason is not null then j.drop_reason
            when l.trajectory_id is null then 'repaired'
            when d.dropped_id is not null then 'duplicate'
            when e.dropped_id is not null then 'duplicate_code'
            when r.pass_rate < $min_pass_rate then 'too_hard'
            when r.pass_rate > $max_pass_rate then 'too_easy'
        end as reason_so_far
    from intermediate.trajectories_judged as j
    join staging.problems as p on p.problem_id = j.problem_id
    left join rates as r on r.problem_id = j.problem_id
    left join intermediate.trajectories_live as l on l.trajectory_id = j.trajectory_id
    left join derived.duplicate_pairs as d
        on d.dropped_id = j.trajectory_id and d.run_id = $run_id and d.subject = 'response'
    left join derived.duplicate_pairs as e
        on e.dropped_id = j.trajectory_id and e.run_id = $run_id and e.subject = 'code'
),

ranked as (
    select
        *,
        row_number() over (
            partition by problem_id, reason_so_far is null
            order by
                list_transform(
                    $best_of::varchar[],
                    lambda rule: case rule
                        when 'fewest_errors' then n_tool_errors
                        when 'most_successes' then -n_tool_success
                        when 'fewest_calls' then n_tool_calls
                        when 'most_calls' then -n_tool_calls
                        when 'shortest' then n_tokens_model
                        when 'longest' then -n_tokens_model
                        when 'least_repetition' then coalesce(ngram_repetition, 1) * 1e6 + coalesce(line_repetition, 1)
                        when 'least_hand_calculation' then coalesce(n_hand_calculations, 1e9)
                    end::double
                ),
                trajectory_id
        ) as rank_in_problem
    from marked
),

best as (
    select *, reason_so_far is null and rank_in_problem <= $per_problem as is_best
    from ranked
),

by_source as (
    select
        *,
        row_number() over (
            partition by domain, source, is_best order by position, rank_in_problem, trajectory_id
        ) as rank_in_source
    from best
),

within_source as (
    select
        *,
        is_best
        and rank_in_source <= coalesce(($quota_source::json::map(varchar, bigint))[source], rank_in_source) as has_place
    from by_source
),

counted as (
    select
        *,
        row_number() over (
            partition by domain, has_place
            order by if($fill_by = 'sources', rank_in_source, 0), position, rank_in_problem, trajectory_id
        ) as rank_in_domain
    from within_source
)

select
    c.trajectory_id,
    c.parent_id,
    c.problem_id,
    c.domain,
    c.source,
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
    c.pass_rate,
    case
        when c.reason_so_far is not null then c.reason_so_far
        when not c.is_best then 'not_best'
        when not c.has_place then 'over_quota'
        when c.rank_in_domain > case c.domain when 'math' then $quota_math when 'code' then $quota_code else $quota_science end
            then 'over_quota'
    end as drop_reason
from counted as c
join staging.trajectories as t on t.trajectory_id = c.trajectory_id
