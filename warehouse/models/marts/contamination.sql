-- marts.contamination: which benchmarks the run's problems repeat, and by which method that was found.
-- grain:   one row per benchmark and method
-- reads:   staging.problems, derived.contamination
-- params:  $contamination_recipe_id  rule, contents of the benchmarks, problems
-- why:     the question of everyone who evaluates a model trained on the snapshot. A problem may be found by several
--          methods, and in several benchmarks.
select
    c.benchmark,
    c.method,
    count(distinct c.problem_id) as n_problems,
    count(distinct c.item) as n_items,
    round(min(c.score), 4) as least_score,
    arg_min(c.problem_id, (c.score, c.problem_id)) as least_problem_id
from staging.problems as p
join derived.contamination as c on c.problem_id = p.problem_id and c.recipe_id = $contamination_recipe_id
group by c.benchmark, c.method
order by c.benchmark, n_problems desc, c.method
