-- intermediate.problems_marked: every problem with the first reason why nothing is tried on it.
-- grain:   one row per problem_id
-- reads:   staging.problems, staging.contamination, derived.gold_checks, derived.duplicate_pairs,
--          intermediate.baselines
-- params:  $run_id           the run whose problems were compared
--          $judge_recipe_id  settings that determine gold checks
--          $needs_baseline   whether only problems with a wrong baseline are of use (D_seed)
-- why:     nothing is paid for in vain: golds, contamination and repeats are settled before a token is spent, and hints are
--          tried only where the baseline is known to be wrong. Of a problem's matches with benchmarks the surest is shown.
with matches as (
    select problem_id, benchmark, item
    from staging.contamination
    qualify row_number() over (
        partition by problem_id
        order by list_position(['exact', 'near_exact', 'ngram_lcs', 'embedding'], method), score desc, benchmark
    ) = 1
)

select
    p.problem_id,
    p.position,
    p.domain,
    c.benchmark,
    c.item as benchmark_item,
    g.detail as gold_detail,
    b.trajectory_id as baseline_trajectory_id,
    d.kept_id as duplicate_of,
    not coalesce(g.is_accepted, false) or c.problem_id is not null as is_useless,
    case
        when not coalesce(g.is_accepted, false) then 'gold_unverified'
        when c.problem_id is not null then 'contaminated'
        when d.dropped_id is not null then 'duplicate_statement'
        when not $needs_baseline then null
        when b.trajectory_id is null or b.stop_reason in ('engine_error', 'sandbox_lost') then 'baseline_failed'
        when b.is_correct is null then 'baseline_undecided'
        when b.is_correct then 'baseline_correct'
    end as drop_reason
from staging.problems as p
left join derived.gold_checks as g on g.problem_id = p.problem_id and g.recipe_id = $judge_recipe_id
left join matches as c on c.problem_id = p.problem_id
left join derived.duplicate_pairs as d
    on d.dropped_id = p.problem_id and d.run_id = $run_id and d.subject = 'statement'
left join intermediate.baselines as b on b.problem_id = p.problem_id
