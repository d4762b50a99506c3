-- the funnel starts with each of the run's problems, and each candidate of those kept, exactly once
with expected as (
    select 'problem' as unit, problem_id as id from staging.problems
    union all
    select 'trajectory' as unit, t.trajectory_id as id
    from staging.trajectories as t
    join intermediate.problems_marked as m on m.problem_id = t.problem_id and m.drop_reason is null
    where t.is_candidate
),

found as (
    select 'problem' as unit, problem_id as id from marts.problems
    union all
    select 'trajectory' as unit, trajectory_id as id from marts.trajectories_scored
),

starts as (
    select unit, rows_in from marts.funnel qualify row_number() over (partition by unit order by step_no) = 1
)

select unit, id, 'lost' as fault from (select unit, id from expected except all select unit, id from found)
union all
select unit, id, 'doubled, or from nowhere' as fault from (select unit, id from found except all select unit, id from expected)
union all
select e.unit, '(all)' as id, 'another number at the first step' as fault
from (select unit, count(*) as n from expected group by unit) as e
left join starts as s on s.unit = e.unit
where s.rows_in is distinct from e.n
