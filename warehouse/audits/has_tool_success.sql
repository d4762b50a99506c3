-- every row that a hint made has a tool call that ended ok and printed something
select r.trajectory_id, len(r.tool_calls) as n_calls
from marts.snapshot_rows as r
join staging.trajectories as t on t.trajectory_id = r.trajectory_id and t.arm = 'hint'
where len([c for c in r.tool_calls if c.status = 'ok' and length(c.stdout) > 0]) = 0
