-- marts.funnel: where every problem and every candidate went. Rows in = rows kept + rows dropped, at each step.
-- grain:   one row per step
-- reads:   marts.problems, marts.trajectories_scored
-- params:  $needs_baseline  whether the build has the steps of hint-infer (D_seed)
-- audits:  funnel_balances, funnel_ends_in_selection, drop_reason_is_known
-- why:     the first thing to look at when a dataset is too small or too good. Steps 1 to 5 count problems; 6 to 12
--          count the candidates of the problems kept so far (a repaired copy is a trajectory of its own).
with steps (step_no, step, unit, drop_reason) as (
    values
    (1, 'gold check', 'problem', 'gold_unverified'),
    (2, 'decontamination', 'problem', 'contaminated'),
    (3, 'problem duplicates', 'problem', 'duplicate_statement'),
    (4, 'baseline', 'problem', 'baseline_failed'),
    (4, 'baseline', 'problem', 'baseline_undecided'),
    (4, 'baseline', 'problem', 'baseline_correct'),
    (5, 'hint placement', 'problem', 'no_cut'),
    (6, 'rollout', 'trajectory', 'rollout_failed'),
    (6, 'rollout', 'trajectory', 'nondeterministic'),
    (7, 'verdict', 'trajectory', 'undecided'),
    (7, 'verdict', 'trajectory', 'wrong_answer'),
    (8, 'tool use', 'trajectory', 'no_tool_success'),
    (8, 'tool use', 'trajectory', 'tool_error'),
    (8, 'tool use', 'trajectory', 'delayed_computation'),
    (8, 'tool use', 'trajectory', 'distrusts_output'),
    (8, 'tool use', 'trajectory', 'hand_computation'),
    (9, 'repetition', 'trajectory', 'repetitive'),
    (10, 'repair', 'trajectory', 'repaired'),
    (11, 'duplicates', 'trajectory', 'duplicate'),
    (11, 'duplicates', 'trajectory', 'duplicate_code'),
    (12, 'selection', 'trajectory', 'too_hard'),
    (12, 'selection', 'trajectory', 'too_easy'),
    (12, 'selection', 'trajectory', 'not_best'),
    (12, 'selection', 'trajectory', 'over_quota')
),

outcomes as (
    select 'problem' as unit, drop_reason, count(*) as n from marts.problems group by all
    union all
    select 'trajectory' as unit, drop_reason, count(*) as n from marts.trajectories_scored group by all
),

placed as (
    select o.unit, o.n, o.drop_reason, coalesce(s.step_no, 99) as step_no
    from outcomes as o
    left join steps as s on s.unit = o.unit and s.drop_reason = o.drop_reason
)

select
    s.step_no,
    s.step,
    s.unit,
    coalesce(sum(o.n), 0)::bigint as rows_in,
    coalesce(sum(o.n) filter (where o.step_no > s.step_no), 0)::bigint as rows_kept,
    coalesce(sum(o.n) filter (where o.step_no = s.step_no), 0)::bigint as rows_dropped,
    coalesce(
        string_agg(o.drop_reason || ' ' || o.n, ', ' order by o.n desc, o.drop_reason) filter (where o.step_no = s.step_no),
        ''
    ) as reasons
from (select distinct step_no, step, unit from steps) as s
left join placed as o on o.unit = s.unit and o.step_no >= s.step_no
where $needs_baseline or s.step not in ('baseline', 'hint placement')
group by s.step_no, s.step, s.unit
order by s.step_no
