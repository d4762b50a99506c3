-- marts.disagreements: checks in which two judges that share no code differ.
-- grain:   one row per trajectory_id
-- reads:   staging.verdicts, staging.trajectories, staging.problems
-- why:     the verdict stands, by the rule of `quality.checkers`; here it can be looked at with its evidence.
select
    v.trajectory_id,
    t.problem_id,
    t.arm,
    v.verdict,
    v.step,
    v.second_opinion,
    p.gold_answer,
    t.answer_text,
    v.detail,
    p.statement
from staging.verdicts as v
join staging.trajectories as t on t.trajectory_id = v.trajectory_id
join staging.problems as p on p.problem_id = t.problem_id
where v.disagreement
