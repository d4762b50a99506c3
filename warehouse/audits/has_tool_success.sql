-- every row has a tool call that ended ok and printed something
select trajectory_id, len(tool_calls) as n_calls
from marts.snapshot_rows
where len([c for c in tool_calls if c.status = 'ok' and length(c.stdout) > 0]) = 0
