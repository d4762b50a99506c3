-- marts.contamination: which benchmarks the run's problems repeat, and by which method that was found.
-- grain:   one row per benchmark and method
-- reads:   staging.contamination
-- why:     the question of everyone who evaluates a model trained on the snapshot. A problem may be found by several
--          methods, and in several benchmarks.
select
    benchmark,
    method,
    count(*) as n_problems,
    count(distinct item) as n_items,
    round(min(score), 4) as least_score,
    arg_min(problem_id, (score, problem_id)) as least_problem_id  -- the doubtful one to look at first
from staging.contamination
group by benchmark, method
order by benchmark, n_problems desc, method
