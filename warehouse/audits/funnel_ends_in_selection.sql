-- what the funnel keeps at its end is what was selected
select f.rows_kept, (select count(*) from marts.selected) as n_selected
from marts.funnel as f
where f.step = 'selection' and f.rows_kept <> (select count(*) from marts.selected)
