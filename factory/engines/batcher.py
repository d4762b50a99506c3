"""Which requests share a forward pass: the synchronous half of the `transformers` engine.

Every pass takes the next token of every text under way, and pieces of the prompts of those that are new: a model small
enough for a laptop spends more time on fetching its weights than on a dozen more tokens, so a prompt that is read with
the others costs half of one that is read alone. A request takes a free slot and inherits the longest prefix that any
slot holds. See `slots` for how its text comes to depend on nothing of this.

A text that stopped at a stop string will go on, after a tool has run: where its slot is wanted meanwhile, its keys are
moved to one of a few parked slots, which take part in no pass.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from factory.engines.request import Request, pick
from factory.engines.slots import COLUMN_MULTIPLE, ROW_MULTIPLE, Chunk, Pass, SlotCache, round_up
from schemas.protocols import Completion

CHUNK_TOKENS = 512
"""Of one prompt per pass. A prompt is always cut at the same places, since the last bits depend on them."""
PASS_TOKENS = 512
"""Of all prompts per pass, so that memory stays bounded; the last one may exceed it."""
PARKED_SHARE = 4
"""One parked slot for so many others."""


class Batcher:
    """Runs requests on a model, many per forward pass. Not thread-safe: one thread drives it."""

    def __init__(
        self, model: Any, decode: Callable[[Sequence[int]], str], eos_ids: set[int], n_slots: int, max_model_len: int
    ) -> None:
        self.model, self.decode, self.eos_ids, self.max_model_len = model, decode, eos_ids, max_model_len
        self.n_slots = round_up(n_slots, ROW_MULTIPLE)
        self.n_all = self.n_slots + self.n_slots // PARKED_SHARE  # parked ones come last
        self.scratch = round_up(max_model_len, COLUMN_MULTIPLE) + ROW_MULTIPLE  # idle rows write here
        self.cache = SlotCache(model.config.get_text_config().num_hidden_layers, self.n_all, self.scratch + 1)
        self.held: list[list[int]] = [[] for _ in range(self.n_all)]  # tokens whose keys a slot holds
        self.will_go_on = [False] * self.n_all
        self.last_used = [0] * self.n_all
        self.clock = 0
        self.waiting: list[Request] = []
        self.running: dict[int, Request] = {}  # by slot

    def has_room(self) -> bool:
        """Whether another request could have a slot."""
        return len(self.running) + len(self.waiting) < self.n_slots

    def add(self, request: Request) -> None:
        """Take a request; it starts with one of the next passes."""
        self.waiting.append(request)

    @torch.inference_mode()
    def step(self) -> list[tuple[Request, Completion | Exception]]:
        """One pass; returns the requests that ended, or whose logits are not numbers."""
        chunks = self._next_chunks()
        decoding = {s: r for s, r in self.running.items() if len(self.held[s]) >= len(r.prompt_ids)}
        n_rows = round_up(max(decoding) + 1, ROW_MULTIPLE) if decoding else 0
        tokens, columns, positions = [0] * n_rows, [self.scratch] * n_rows, [0] * n_rows
        for slot, request in decoding.items():
            tokens[slot] = request.new_ids[-1]
            columns[slot] = positions[slot] = len(self.held[slot])
        lasts = []  # where in the pass the chunks end
        for chunk in chunks:
            lasts.append(len(tokens) + len(chunk.ids) - 1)
            tokens += chunk.ids + [0] * (chunk.length - len(chunk.ids))
            positions += range(chunk.begin, chunk.end)
        now = Pass(columns, positions[:n_rows], chunks, self.model.dtype, self.model.device)
        logits = self._forward(tokens, positions, now, lasts)
        ended: list[tuple[Request, Completion | Exception]] = []
        for slot, request in decoding.items():
            self.held[slot].append(tokens[slot])
            ended += self._accept(request, logits[slot])
        for chunk, after in zip(chunks, logits[n_rows:], strict=False):
            request = self.running[chunk.slot]
            self.held[chunk.slot] += chunk.ids
            if len(self.held[chunk.slot]) == len(request.prompt_ids):
                ended += self._accept(request, after)
        return ended

    def _forward(self, tokens: list[int], positions: list[int], now: Pass, lasts: list[int]) -> torch.Tensor:
        """Logits, float32, of the rows and of the tokens `lasts`, then some of no use."""
        self.cache.expect(now)
        device = self.model.device
        out = self.model.base_model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            attention_mask=torch.zeros(1, 1, 1, 1, device=device),  # none is to be made: the pass has its own
            past_key_values=self.cache,
            use_cache=True,
            slot_pass=now,
        )
        wanted = [*range(now.n_rows), *lasts]
        wanted += [0] * (round_up(len(wanted), ROW_MULTIPLE) - len(wanted))
        logits: torch.Tensor = self.model.lm_head(out.last_hidden_state[0, wanted])
        return logits.float().cpu()

    def _next_chunks(self) -> list[Chunk]:
        """Pieces of prompts for the next pass, first of those under way, then of waiting ones, which get a slot."""
        chunks: list[Chunk] = []

        def is_full() -> bool:
            return sum(chunk.length for chunk in chunks) >= PASS_TOKENS

        for slot, request in self.running.items():
            if len(self.held[slot]) < len(request.prompt_ids) and not is_full():
                chunks.append(self._next_chunk(request))
        for request in list(self.waiting):
            if is_full():
                break
            beside = [self.running[chunk.slot] for chunk in chunks]
            if not self._gains_by_waiting(request, beside):
                self.waiting.remove(request)
                self._take_slot(request)
                chunks.append(self._next_chunk(request))
        return chunks

    def _next_chunk(self, request: Request) -> Chunk:
        begin = len(self.held[request.slot])
        return Chunk(request.slot, begin, request.prompt_ids[begin : begin + CHUNK_TOKENS])

    def _gains_by_waiting(self, request: Request, beside: list[Request]) -> bool:
        """Whether one of those read in the next pass shares more with it than any slot holds yet."""
        ids = request.prompt_ids[:-1]
        soon = max((n_shared(ids, other.prompt_ids) for other in beside), default=0)
        return soon >= ROW_MULTIPLE and soon > max(n_shared(ids, held) for held in self.held)

    def _take_slot(self, request: Request) -> None:
        """Give a request a free slot with the longest beginning of its prompt that any slot holds."""
        ids = request.prompt_ids[:-1]  # the last token's logits are needed
        lengths = [n_shared(ids, held) for held in self.held]
        donor = max(range(self.n_all), key=lambda slot: (lengths[slot], slot not in self.running))
        is_whole = donor not in self.running and lengths[donor] == len(self.held[donor])
        if is_whole and donor < self.n_slots:
            slot = donor
        else:
            free = [slot for slot in range(self.n_slots) if slot not in self.running]
            slot = min(free, key=lambda s: (self.will_go_on[s], len(self.held[s]) > 0, self.last_used[s], s))
            if self.will_go_on[slot]:
                self._park(slot, donor)
            if slot != donor and lengths[donor] > 0:
                self.cache.copy_prefix(donor, slot, lengths[donor])
            if is_whole:
                self.will_go_on[donor] = False  # it has
        self.will_go_on[slot] = False
        self.held[slot] = ids[: lengths[donor]]
        request.slot = slot
        self.running[slot] = request

    def _park(self, slot: int, donor: int) -> None:
        """Move a slot's keys to the parked slot that was used longest ago, but not over those of `donor`."""
        parked = [s for s in range(self.n_slots, self.n_all) if s != donor]
        if not parked:
            return
        place = min(parked, key=lambda s: (self.will_go_on[s], self.last_used[s]))
        self.cache.copy_prefix(slot, place, len(self.held[slot]))
        self.held[place], self.last_used[place] = list(self.held[slot]), self.last_used[slot]
        self.will_go_on[place] = True

    def _accept(self, request: Request, logits: torch.Tensor) -> list[tuple[Request, Completion | Exception]]:
        """Take the next token; the completion, if it ends there."""
        token, logprob = pick(logits, request)
        if math.isnan(logprob):
            self.release(request)
            return [(request, FloatingPointError("the model's logits are not numbers"))]
        request.logprob_sum += logprob
        finished = token in self.eos_ids
        stopped_on = None
        if not finished:
            request.new_ids.append(token)
            stopped_on = self._stop_string(request)
        full = len(request.new_ids) >= request.max_tokens or request.n_tokens >= self.max_model_len
        if not (finished or stopped_on or full):
            return []
        self.release(request)
        self.will_go_on[request.slot] = stopped_on is not None
        ids = tuple(request.new_ids)
        return [(request, Completion(self.decode(ids), ids, stopped_on, finished, request.logprob_sum))]

    def _stop_string(self, request: Request) -> str | None:
        """The stop string that the newest token completed."""
        if not request.stop:
            return None
        window = max(len(stop.encode()) for stop in request.stop) + 4  # a token is at least one byte
        tail = self.decode(request.new_ids[-window:])
        return next((stop for stop in request.stop if stop in tail), None)

    def release(self, request: Request) -> None:
        """Free a request's slot; its keys stay for whoever continues the text."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif self.running.get(request.slot) is request:
            self.clock += 1
            self.last_used[request.slot] = self.clock
            del self.running[request.slot]


def n_shared(a: list[int], b: list[int]) -> int:
    """How many first tokens two texts have in common."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:  # fast, and common
        return n
    return next(place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
