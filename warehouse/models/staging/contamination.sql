-- staging.contamination: matches of the run's problems with benchmarks, under the current rule.
-- grain:   one row per problem_id, benchmark and method
-- reads:   derived.contamination, staging.problems
-- params:  $contamination_recipe_id  rule, contents of the benchmarks, problems of the run
-- why:     another threshold, benchmark or list of problems is another rule.
select
    c.problem_id,
    c.benchmark,
    c.item,
    c.method,
    c.score,
    c.matched_text
from derived.contamination as c
join staging.problems as p on p.problem_id = c.problem_id
where c.recipe_id = $contamination_recipe_id
