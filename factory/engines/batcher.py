"""Slots, prefill and decode steps of one model: the synchronous half of the `transformers` engine.

A request takes a free slot, inherits the longest token prefix that any slot holds, runs the rest of its prompt through
the model (prefill), and then takes part in every decode step until it ends. See `slots` for why rows are laid out so.

A text that stopped at a stop string will go on, after a tool has run: where its slot is wanted meanwhile, its keys are
moved to one of a few parked slots, which take part in no step. When it goes on with a few tokens, such as the tool's
output, they are fed through the decode steps, one each, because a prefill would hold up all others for as long as a
step. Whether that is done must not depend on the others: steps and prefills differ in the last bits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from factory.engines.slots import COLUMN_MULTIPLE, ROW_MULTIPLE, SlotCache, round_up
from schemas.protocols import Completion, Sampling

PREFILL_CHUNK = 512
"""Tokens of a prompt per forward pass, so that memory stays bounded."""

MOST_FED = 16
"""New tokens of a continued text that go through decode steps; more are prefilled."""
PARKED_SHARE = 4
"""One parked slot for so many others."""

NUCLEUS_GUESS = 64
"""Tokens that are looked at first for the nucleus."""


@dataclass
class Request:
    """One running completion."""

    prompt_ids: list[int]
    stop: tuple[str, ...]
    max_tokens: int
    sampling: Sampling
    seed: int
    slot: int = -1
    new_ids: list[int] = field(default_factory=list)
    logprob_sum: float = 0.0
    generator: torch.Generator | None = None

    @property
    def n_tokens(self) -> int:
        """Prompt and completion."""
        return len(self.prompt_ids) + len(self.new_ids)

    def token(self, place: int) -> int:
        """The token at a place of prompt and completion."""
        n = len(self.prompt_ids)
        return self.prompt_ids[place] if place < n else self.new_ids[place - n]


def pick(logits: torch.Tensor, request: Request) -> tuple[int, float]:
    """Choose the next token from float32 logits of shape (vocabulary,); returns it and its log-probability."""
    logprobs = logits.log_softmax(-1)
    if request.sampling.temperature == 0:
        token = int(logits.argmax())
    else:
        if request.generator is None:
            request.generator = torch.Generator().manual_seed(request.seed)
        probs, tokens = nucleus((logits / request.sampling.temperature).softmax(-1), request.sampling.top_p)
        steps = probs.cumsum(-1)
        drawn = torch.rand((), generator=request.generator) * steps[-1]
        token = int(tokens[min(int(torch.searchsorted(steps, drawn, right=True)), len(tokens) - 1)])
    return token, float(logprobs[token])


def nucleus(probs: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely tokens that together hold `top_p`, and their probabilities, not scaled to 1.

    Sorting a whole vocabulary for every token took a quarter of the time of sampled runs, and a few dozen tokens nearly
    always suffice.
    """
    for n in (NUCLEUS_GUESS, len(probs)):
        top, tokens = probs.topk(min(n, len(probs)))
        before = top.cumsum(-1) - top
        if n == len(probs) or float(before[-1]) >= top_p:
            break
    kept = int((before < top_p).sum())
    return top[:kept], tokens[:kept]


class Batcher:
    """Runs requests on a model, many per forward pass. Not thread-safe: one thread drives it."""

    def __init__(
        self, model: Any, decode: Callable[[Sequence[int]], str], eos_ids: set[int], n_slots: int, max_model_len: int
    ) -> None:
        self.model, self.decode, self.eos_ids, self.max_model_len = model, decode, eos_ids, max_model_len
        self.device = model.device
        self.n_slots = round_up(n_slots, ROW_MULTIPLE)
        self.n_all = self.n_slots + self.n_slots // PARKED_SHARE  # parked ones come last
        self.scratch = round_up(max_model_len, COLUMN_MULTIPLE) + ROW_MULTIPLE  # idle rows write here
        self.cache = SlotCache(model.config.get_text_config().num_hidden_layers, self.n_all, self.scratch + 1)
        self.held: list[list[int]] = [[] for _ in range(self.n_all)]  # tokens whose keys a slot holds
        self.will_go_on = [False] * self.n_all
        self.last_used = [0] * self.n_all
        self.clock = 0
        self.running: dict[int, Request] = {}

    def has_room(self) -> bool:
        """Whether a slot is free."""
        return len(self.running) < self.n_slots

    def _choose_slot(self, ids: list[int]) -> tuple[int, int, bool]:
        """Free slot for a prompt, how many of its tokens the slot then holds, and whether it continues a text."""

        def shared(slot: int) -> int:
            n = 0
            for a, b in zip(self.held[slot], ids[:-1], strict=False):  # the last token's logits are needed
                if a != b:
                    break
                n += 1
            return n

        lengths = [shared(slot) for slot in range(self.n_all)]
        donor = max(range(self.n_all), key=lambda slot: (lengths[slot], slot not in self.running))
        is_whole = donor not in self.running and lengths[donor] == len(self.held[donor])
        goes_on = is_whole and self.will_go_on[donor]
        if is_whole and donor < self.n_slots:
            return donor, lengths[donor], goes_on
        free = [slot for slot in range(self.n_slots) if slot not in self.running]
        slot = min(free, key=lambda s: (self.will_go_on[s], len(self.held[s]) > 0, self.last_used[s], s))
        if self.will_go_on[slot]:
            self._park(slot, donor)
        if slot != donor and lengths[donor] > 0:
            self.cache.copy_prefix(donor, slot, lengths[donor])
        if is_whole:
            self.will_go_on[donor] = False  # it has
        return slot, lengths[donor], goes_on

    def _park(self, slot: int, donor: int) -> None:
        """Move a slot's keys to the parked slot that was used longest ago, but not over those of `donor`."""
        parked = [s for s in range(self.n_slots, self.n_all) if s != donor]
        if not parked:
            return
        place = min(parked, key=lambda s: (self.will_go_on[s], self.last_used[s]))
        self.cache.copy_prefix(slot, place, len(self.held[slot]))
        self.held[place], self.last_used[place] = list(self.held[slot]), self.last_used[slot]
        self.will_go_on[place] = True

    @torch.inference_mode()
    def start(self, request: Request) -> Completion | None:
        """Prefill a request and choose its first token; returns its completion if that already ends it."""
        ids = request.prompt_ids
        slot, n_held, goes_on = self._choose_slot(ids)
        request.slot = slot
        self.running[slot] = request
        self.will_go_on[slot] = False
        self.held[slot] = ids[:n_held]
        if goes_on and len(ids) - n_held <= MOST_FED:
            return None
        hidden = None
        for begin in range(n_held, len(ids), PREFILL_CHUNK):
            hidden = self._prefill(slot, begin, ids[begin : begin + PREFILL_CHUNK])
        assert hidden is not None
        self.held[slot] = list(ids)
        logits = self.model.lm_head(hidden.expand(ROW_MULTIPLE, -1))[0].float().cpu()
        return self._accept(request, logits)

    def _prefill(self, slot: int, begin: int, ids: list[int]) -> torch.Tensor:
        """Hidden state of the last of `ids`, which stand at columns `begin`... of `slot`."""
        length = round_up(len(ids), ROW_MULTIPLE)
        n_columns = round_up(begin + length, COLUMN_MULTIPLE)
        view = self.cache.view
        view.first, view.last, view.start, view.n_columns = slot, slot + 1, begin, n_columns
        tokens = torch.zeros(1, length, dtype=torch.long)
        tokens[0, : len(ids)] = torch.tensor(ids)
        positions = torch.arange(begin, begin + length)[None]
        hidden = self._forward(tokens, positions, positions.T[None, None])
        return hidden[0, len(ids) - 1 : len(ids)]

    def _forward(self, tokens: torch.Tensor, positions: torch.Tensor, last_seen: torch.Tensor) -> torch.Tensor:
        """Run the model's body. `last_seen` broadcasts to (rows, 1, tokens, 1): the last column each token may read."""
        floor = torch.finfo(self.model.dtype).min
        visible = torch.arange(self.cache.view.n_columns) <= last_seen
        mask = torch.where(visible, 0.0, floor).to(self.device, self.model.dtype)
        out = self.model.base_model(
            input_ids=tokens.to(self.device),
            position_ids=positions.to(self.device),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
        )
        hidden: torch.Tensor = out.last_hidden_state
        return hidden

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, Completion]]:
        """One token for every running request; returns those that ended."""
        n_rows = round_up(max(self.running) + 1, ROW_MULTIPLE)
        tokens = torch.zeros(n_rows, 1, dtype=torch.long)
        columns = torch.full((n_rows,), self.scratch)
        last_seen = torch.zeros(n_rows, dtype=torch.long)
        for slot, request in self.running.items():
            place = len(self.held[slot])
            tokens[slot, 0] = request.token(place)
            columns[slot] = last_seen[slot] = place
        view = self.cache.view
        view.first, view.last, view.start = 0, n_rows, None
        view.n_columns = round_up(int(last_seen.max()) + 1, COLUMN_MULTIPLE)
        view.rows, view.columns = torch.arange(n_rows), columns
        hidden = self._forward(tokens, last_seen[:, None], last_seen[:, None, None, None])
        logits = self.model.lm_head(hidden[:, 0]).float().cpu()
        ended = []
        for slot, request in list(self.running.items()):
            self.held[slot].append(request.token(len(self.held[slot])))
            if len(self.held[slot]) < request.n_tokens:
                continue  # more of its prompt is to come
            completion = self._accept(request, logits[slot])
            if completion is not None:
                ended.append((request, completion))
        return ended

    def _accept(self, request: Request, logits: torch.Tensor) -> Completion | None:
        """Take the next token; the completion, if it ends there."""
        token, logprob = pick(logits, request)
        if math.isnan(logprob):
            raise FloatingPointError("the model's logits are not numbers")
        request.logprob_sum += logprob
        finished = token in self.eos_ids
        stopped_on = None
        if not finished:
            request.new_ids.append(token)
            stopped_on = self._stop_string(request)
        full = len(request.new_ids) >= request.max_tokens or request.n_tokens >= self.max_model_len
        if not (finished or stopped_on or full):
            return None
        self.release(request)
        self.will_go_on[request.slot] = stopped_on is not None
        ids = tuple(request.new_ids)
        return Completion(self.decode(ids), ids, stopped_on, finished, request.logprob_sum)

    def _stop_string(self, request: Request) -> str | None:
        """The stop string that the newest token completed."""
        if not request.stop:
            return None
        window = max(len(stop.encode()) for stop in request.stop) + 4  # a token is at least one byte
        tail = self.decode(request.new_ids[-window:])
        return next((stop for stop in request.stop if stop in tail), None)

    def release(self, request: Request) -> None:
        """Free a request's slot; its keys stay for whoever continues the text."""
        self.clock += 1
        self.last_used[request.slot] = self.clock
        self.running.pop(request.slot, None)
