-- marts.replays: of every row of the next snapshot that runs code, whether its outputs came out again.
-- kind:    view
-- grain:   one row per trajectory_id
-- reads:   marts.selected, raw.trajectories, derived.replays
-- params:  $replay              whether the recipe wants outputs to come out again
--          $tolerate            classes of differences that it allows
--          $replay_environment  limits and versions of this machine (factory.replay.rows)
-- audits:  outputs_reproduce
-- why:     an audit has no parameters. A replay counts for the code and outputs that were recorded when it was made, and
--          for the limits and versions under which it ran; of several the newest counts.
select
    s.trajectory_id,
    s.problem_id,
    r.environment_id,
    r.n_calls,
    r.n_same,
    r.worst,
    r.classes,
    r.detail,
    case
        when not $replay then 'not required'
        when r.trajectory_id is null then 'not replayed'
        when len(list_filter(r.classes, lambda one: not list_contains($tolerate::varchar[], one))) > 0 then 'differs'
        when len(r.classes) > 0 then 'tolerated'
        else 'same'
    end as outcome
from marts.selected as s
join raw.trajectories as t on t.trajectory_id = s.trajectory_id
left join derived.replays as r
    on r.trajectory_id = s.trajectory_id
    and starts_with(r.environment_id, $replay_environment || '/')
    and r.calls_hash = md5(
        to_json([[c.code, c.stdout, c.traceback, c.status] for c in t.tool_calls])::varchar
        || to_json([s.text for s in t.segments if s.origin = 'tool'])::varchar
    )
where len(t.tool_calls) > 0
qualify row_number() over (partition by s.trajectory_id order by r.replayed_at desc nulls last) = 1
