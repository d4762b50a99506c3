-- segments concatenate to exactly the completion, by known authors, and the arm says which of them there may be
select r.trajectory_id, t.arm
from marts.snapshot_rows as r
left join staging.trajectories as t on t.trajectory_id = r.trajectory_id
where
    array_to_string([s.text for s in r.segments], '') is distinct from r.completion
    or len([s for s in r.segments if s.origin not in ('model', 'hint', 'tool')]) > 0
    or len([s for s in r.segments if s.origin = 'hint']) <> len(r.hints)
    or len([s for s in r.segments if s.origin = 'tool']) > len(r.tool_calls)
    or t.arm is null
    or (t.arm = 'hint' and len([h for h in r.hints if h.function not in ('opening', 'trust_output')]) = 0)
    or (t.arm <> 'hint' and len([h for h in r.hints if h.function not in ('opening', 'trust_output')]) > 0)
    or (t.arm = 'hint' and len([s for s in r.segments if s.origin = 'tool']) = 0)
    or (t.arm = 'baseline' and len(r.tool_calls) > 0)
