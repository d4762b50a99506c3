"""The loop that most tools use: all write, then all run their code, then all write again."""

import asyncio
from collections.abc import Sequence

from factory.rollout.plan import Planned
from schemas.protocols import Engine, Sandbox, Session


async def lockstep(engine: Engine, sandbox: Sandbox, planned: Sequence[Planned]) -> int:
    """Roll out all plans in lockstep, in sessions of the same sandbox; how many calls were made."""
    texts = {plan.trajectory_id: engine.encode(engine.prompt(plan.messages)) for plan in planned}
    plans = {plan.trajectory_id: plan for plan in planned}
    sessions: dict[str, Session] = {}
    active, n_calls = list(texts), 0

    async def write(id_: str) -> str | None:
        """Until a closed block, whose code it returns, or the end."""
        wrote: list[int] = []
        for stop in (("```python",), ("```",)):
            plan = plans[id_]
            made = await engine.complete(
                texts[id_], stop=stop, max_tokens=plan.max_tokens, sampling=plan.sampling, seed=plan.seed
            )
            texts[id_] += made.token_ids
            wrote = list(made.token_ids)
            if made.stopped_on is None:
                return None
        return engine.decode(wrote).removesuffix("```")

    async def call(id_: str, code: str) -> None:
        if id_ not in sessions:
            sessions[id_] = await sandbox.session()
        result = await sessions[id_].run(code)
        texts[id_] += engine.encode(f"\n```output\n{result.stdout}```\n")

    while active:
        wanted = dict(zip(active, await asyncio.gather(*map(write, active)), strict=True))
        active = [id_ for id_, code in wanted.items() if code is not None]
        n_calls += len(active)
        await asyncio.gather(*(call(id_, code) for id_, code in wanted.items() if code is not None))
    await asyncio.gather(*(session.aclose() for session in sessions.values()))
    return n_calls
