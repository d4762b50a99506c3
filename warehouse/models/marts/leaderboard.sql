-- marts.leaderboard: how well each model does on each benchmark, without and with tools and hints.
-- grain:   one row per evaluation_id, benchmark, arm and n_rounds
-- reads:   raw.evaluations
-- why:     an evaluation_id stands for one model under one set of settings, so nothing is averaged over different ones.
--          Checks that could not tell count as not correct and are shown in undecided_share. pass@1 is the mean over
--          problems of their share of correct samples; pass@k (k = n_samples) is the unbiased estimate of Chen et al.
--          2021. The interval is Wilson's over as many independent samples as the spread between problems speaks for
--          (of problems all right or all wrong: as many as there are problems). majority@k: answers of one
--          answer_key vote together, no answer has no vote, a tie goes to the answer that came first; null for code.
with problems as (
    select
        evaluation_id,
        benchmark,
        arm,
        n_rounds,
        problem_id,
        count(*) as n,
        count(*) filter (where is_correct) as c
    from raw.evaluations
    group by all
),

votes as (
    select
        evaluation_id,
        benchmark,
        arm,
        n_rounds,
        problem_id,
        count(*) as n_votes,
        min(sample_index) as first_index,
        arg_min(coalesce(is_correct, false), sample_index) as is_right
    from raw.evaluations
    where answer_key is not null
    group by evaluation_id, benchmark, arm, n_rounds, problem_id, answer_key
),

winners as (
    select evaluation_id, benchmark, arm, n_rounds, problem_id, is_right
    from votes
    qualify row_number() over (
        partition by evaluation_id, benchmark, arm, n_rounds, problem_id order by n_votes desc, first_index
    ) = 1
),

smallest as (
    select evaluation_id, benchmark, arm, n_rounds, min(n) as k
    from problems
    group by all
),

rated as (
    select
        p.evaluation_id,
        p.benchmark,
        p.arm,
        p.n_rounds,
        count(*) as n_problems,
        any_value(s.k) as k,
        sum(p.n) as n_total,
        avg(p.c / p.n) as pass_at_1,
        var_samp(p.c / p.n) as spread,
        avg(1 - coalesce(list_product([1 - s.k / i for i in range(p.n - p.c + 1, p.n + 1)]), 1)) as pass_at_k,
        avg(coalesce(w.is_right, false)::int) as majority_at_k
    from problems as p
    join smallest as s using (evaluation_id, benchmark, arm, n_rounds)
    left join winners as w using (evaluation_id, benchmark, arm, n_rounds, problem_id)
    group by all
),

weighed as (
    select
        *,
        case
            when n_problems = 1 or pass_at_1 in (0, 1) then n_problems
            else coalesce(least(n_total, pass_at_1 * (1 - pass_at_1) * n_problems / nullif(spread, 0)), n_total)
        end as n_effective
    from rated
),

used as (
    select
        evaluation_id,
        benchmark,
        arm,
        n_rounds,
        max_by(label, created_at) as label,
        any_value(model) as model,
        bool_or(domain = 'code') as is_code,
        avg((is_correct is null)::int) as undecided_share,
        avg(n_tokens) as mean_tokens,
        avg(called_python::int) as tool_use_rate,
        sum(n_tool_errors) / nullif(sum(n_tool_calls), 0) as tool_error_rate,
        avg(n_tool_calls) as calls_per_problem,
        max(created_at) as created_at
    from raw.evaluations
    group by all
)

select
    u.label,
    u.model,
    w.benchmark,
    w.arm,
    w.n_rounds,
    w.n_problems,
    w.k as n_samples,  -- of the problem with the fewest
    round(w.pass_at_1, 4) as pass_at_1,
    round(greatest(0,
        (w.pass_at_1 + 1.9208 / w.n_effective
            - 1.96 * sqrt(w.pass_at_1 * (1 - w.pass_at_1) / w.n_effective + 0.9604 / w.n_effective ** 2))
        / (1 + 3.8416 / w.n_effective)), 4
    ) as low_95,
    round(least(1,
        (w.pass_at_1 + 1.9208 / w.n_effective
            + 1.96 * sqrt(w.pass_at_1 * (1 - w.pass_at_1) / w.n_effective + 0.9604 / w.n_effective ** 2))
        / (1 + 3.8416 / w.n_effective)), 4
    ) as high_95,
    round(w.pass_at_k, 4) as pass_at_k,
    case when not u.is_code then round(w.majority_at_k, 4) end as majority_at_k,
    round(u.undecided_share, 4) as undecided_share,
    round(u.mean_tokens, 1) as mean_tokens,  -- written by the model, over all rounds
    round(u.tool_use_rate, 4) as tool_use_rate,  -- share of samples that ran Python at least once
    round(u.tool_error_rate, 4) as tool_error_rate,  -- share of executions; null where there was none
    round(u.calls_per_problem, 2) as calls_per_problem,  -- of one sample
    w.evaluation_id,
    u.created_at
from weighed as w
join used as u using (evaluation_id, benchmark, arm, n_rounds)
order by w.benchmark, u.label, w.arm, w.n_rounds, w.evaluation_id
