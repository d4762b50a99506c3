-- every selected trajectory was judged correct
select s.trajectory_id, v.is_correct, v.verdict
from marts.selected as s
left join staging.verdicts as v on v.trajectory_id = s.trajectory_id
where v.is_correct is distinct from true
