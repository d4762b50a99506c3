-- segments concatenate to exactly the completion, by known authors, with the hint and a tool output among them
select trajectory_id
from marts.snapshot_rows
where
    array_to_string([s.text for s in segments], '') is distinct from completion
    or len([s for s in segments if s.origin not in ('model', 'hint', 'tool')]) > 0
    or len([s for s in segments if s.origin = 'hint']) <> len(hints)
    or len([s for s in segments if s.origin = 'tool']) > len(tool_calls)
    or len([s for s in segments if s.origin = 'tool']) = 0
