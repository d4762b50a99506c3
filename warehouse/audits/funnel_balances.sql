-- rows in = rows kept + rows dropped at every step, and the next step of the same unit starts with what was kept
select *
from (
    select *, lead(rows_in) over (partition by unit order by step_no) as next_in
    from marts.funnel
)
where rows_in <> rows_kept + rows_dropped or next_in <> rows_kept
