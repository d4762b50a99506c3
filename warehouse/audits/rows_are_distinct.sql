-- the rows of one problem are distinct texts
select problem_id, count(*) as n_rows
from marts.snapshot_rows
group by problem_id, md5(completion)
having count(*) > 1
