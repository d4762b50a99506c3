"""The gate in front of the engine."""

import asyncio
import random

from factory.rollout.gate import Gate, Seat


async def test_the_oldest_of_those_that_wait_goes_first() -> None:
    gate, order = Gate(1), []
    await gate.enter(0)

    async def come(rank: int) -> None:
        await gate.enter(rank)
        order.append(rank)
        gate.leave()

    tasks = [asyncio.create_task(come(rank)) for rank in (5, 3, 9, 1)]
    await asyncio.sleep(0)
    gate.leave()
    await asyncio.gather(*tasks)
    assert order == [1, 3, 5, 9]


async def test_never_more_than_its_places_and_none_is_lost_whoever_gives_up() -> None:
    draw, gate, inside, most = random.Random(4), Gate(3), 0, 0

    async def come(rank: int) -> None:
        nonlocal inside, most
        seat = Seat(gate, rank)
        for _ in range(3):
            async with seat:
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(draw.random() / 1000)
                finally:
                    inside -= 1

    tasks = [asyncio.create_task(come(rank)) for rank in range(200)]
    for task in draw.sample(tasks, 80):
        await asyncio.sleep(draw.random() / 2000)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 3
    for rank in range(3):
        await asyncio.wait_for(gate.enter(rank), 1)


async def test_a_seat_taken_before_is_used_once() -> None:
    gate = Gate(1)
    seat = Seat(gate, 0)
    await seat.take()
    async with seat:
        pass
    seat.give_back()
    await asyncio.wait_for(gate.enter(1), 1)
