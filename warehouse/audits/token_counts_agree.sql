-- token counts by author are those of the segments, and ids, where present, are as many as counted
select trajectory_id
from marts.snapshot_rows
where
    list_sum([s.n_tokens for s in segments if s.origin = 'model']) is distinct from n_tokens_model
    or coalesce(list_sum([s.n_tokens for s in segments if s.origin = 'hint']), 0) <> n_tokens_hint
    or coalesce(list_sum([s.n_tokens for s in segments if s.origin = 'tool']), 0) <> n_tokens_tool
    or len([s for s in segments if s.token_ids is not null and len(s.token_ids) <> s.n_tokens]) > 0
