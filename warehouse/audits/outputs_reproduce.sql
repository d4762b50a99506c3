-- outputs of every row come out again when its code is run again, or differ in a way that [gate] tolerate names
-- next: factory why TRAJECTORY_ID shows the row; factory sql "select detail from marts.replays where outcome = 'differs'" what differs
-- next: --set 'gate.tolerate=["time", "randomness"]' promotes with differences of these classes, --set gate.replay=false with all
select outcome, coalesce(array_to_string(classes, '+'), ''), trajectory_id, n_calls - n_same as n_differ, detail
from marts.replays
where outcome in ('differs', 'not replayed')
order by all
