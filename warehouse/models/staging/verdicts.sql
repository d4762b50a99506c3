-- staging.verdicts: verdicts under the current judging settings.
-- grain:   one row per trajectory_id
-- reads:   derived.verdicts
-- params:  $judge_recipe_id  settings that determine verdicts
-- why:     another time limit or verifier is another judge.
select
    trajectory_id,
    verdict,
    is_correct,
    verifier,
    step,
    second_opinion,
    disagreement,
    detail
from derived.verdicts
where recipe_id = $judge_recipe_id
