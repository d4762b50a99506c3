-- intermediate.baselines: what the model did by itself on each problem; empty in builds that need none.
-- kind:    view
-- grain:   one row per problem_id that has a baseline
-- reads:   staging.trajectories, staging.verdicts
-- why:     hint-infer, the funnel and the snapshot all ask for the baseline and its verdict together.
select
    t.problem_id,
    t.trajectory_id,
    t.completion,
    t.answer_text,
    t.stop_reason,
    v.is_correct,
    v.verdict
from staging.trajectories as t
left join staging.verdicts as v on v.trajectory_id = t.trajectory_id
where not t.is_candidate
