-- staging.problems: the problems of the current run, in its order.
-- grain:   one row per problem_id
-- reads:   raw.run_problems, raw.problems
-- params:  $run_id  the run that the warehouse shows
-- why:     a home holds the problems of every run; the rest of the warehouse speaks of one.
select
    p.problem_id,
    r.position,
    p.domain,
    p.source,
    p.split,
    p.statement,
    p.gold_answer,
    p.difficulty,
    p.released_at,
    p.licence,
    p.verifier
from raw.run_problems as r
join raw.problems as p on p.problem_id = r.problem_id
where r.run_id = $run_id
