-- every row that a hint made has a stored baseline of the same model on its problem that was judged wrong
select r.trajectory_id, r.problem_id, r.baseline_is_correct
from marts.snapshot_rows as r
join staging.trajectories as t on t.trajectory_id = r.trajectory_id and t.arm = 'hint'
left join staging.trajectories as b on b.trajectory_id = r.baseline_trajectory_id
where r.baseline_is_correct is distinct from false or b.arm is distinct from 'baseline' or b.engine is distinct from r.engine
