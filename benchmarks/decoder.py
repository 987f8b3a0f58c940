"""A plain decoder, the peer of the recursive network: it predicts the cells of an output one after the other.

The same task and symmetry rows, variants, batches, layers and learner as `small_model`, but four layers with weights of
their own, and one pass in place of recursion. A sequence is the cells of the input, then those of the output; every
token attends to itself and to those before it. An output cell is given the token before it. The family of mdlARC (see
docs/results.md), scaled down.

Letters: K samples, T tokens of packed sequences, D width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kernels.canvas import FIRST_COLOUR, IGNORE, VOCABULARY, Canvas
from solver.common.clock import Clock
from solver.model.linear import truncated_normal
from solver.model.packing import Packing
from solver.model.rotary import Rotary, rotary_tables
from solver.model.trm import TRM, Output, State
from solver.predict import Predictions, Predictor, Samples
from solver.settings.config import CanvasConfig, TRMConfig
from solver.tasks.task import Pair
from solver.tokens.canvases import expected_output
from solver.tokens.encode import Batch
from solver.tokens.packed_stream import PackedStream, canvas_of
from solver.tokens.shuffle import TaskExamples
from solver.tokens.variants import Variants

Lengths = tuple[Canvas, Canvas]  # canvases of the input and of the output


class Decoder(TRM):
    """The network. A token of an output, given to the next cell, has an embedding apart from those of inputs."""

    def __init__(self, config: TRMConfig) -> None:
        super().__init__(config)
        tokens = 2 * config.vocabulary + 1  # of inputs, of outputs, and the start of an output
        self.token_embedding = nn.Parameter(truncated_normal((tokens, config.width), config.width**-0.5))

    def forward(self, x: Tensor, state: State, canvas: Canvas | Packing) -> Output:
        """One pass over x (1, T, D); the state is not used."""
        assert isinstance(canvas, Sequences)
        y = self.network(x, x.new_zeros(()), canvas.rotary(x.device, self.config.rope_theta))
        halting = torch.zeros(canvas.samples, 2, device=x.device)
        return Output(state, self.output_head(y), halting)


@dataclass(frozen=True)
class Sequences(Packing):
    """Packed samples whose canvases follow each other: that of the input, then that of the output."""

    lengths_of_group: tuple[Lengths, ...] = ()

    @classmethod
    def of_lengths(cls, groups: Sequence[tuple[int, Lengths]], device: torch.device) -> "Sequences":
        packing = Packing.of([(count, (1, tokens_of(lengths))) for count, lengths in groups], device)
        return cls(packing.groups, packing.sample, tuple(lengths for _, lengths in groups))

    def rotary(self, device: torch.device, theta: float) -> Rotary:
        tables = [rotary_tables(_angles(lengths, theta)) for lengths in self.lengths_of_group]
        counts = [count for count, _ in self.groups]
        cosine, sine = (
            torch.cat([table[part].repeat(count, 1, 1) for table, count in zip(tables, counts, strict=True)]).to(device)
            for part in (0, 1)
        )
        return Rotary(cosine, sine, self.equally_long, causal=True)


def tokens_of(lengths: Lengths) -> int:
    """Tokens of a sequence."""
    return sum(height * width for height, width in lengths)


def _angles(lengths: Lengths, theta: float) -> Tensor:
    parts = []
    for segment, (height, width) in enumerate(lengths):
        row, column = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
        places = ((row, 6), (column, 6), (torch.full_like(row, segment), 4))
        parts.append(torch.cat([p[:, None] * theta ** -(torch.arange(n) / n) for p, n in places], dim=1))
    return torch.cat(parts)


def given_tokens(outputs: Tensor, vocabulary: int) -> Tensor:
    """What the cells of outputs (K, S) are given: the token before each, and the start."""
    start = torch.full_like(outputs[:, :1], 2 * vocabulary)
    return torch.cat([start, outputs[:, :-1] + vocabulary], dim=1)


class DecoderStream(PackedStream):
    """The packed stream with sequences in place of canvases."""

    def __init__(
        self, tasks: Sequence[TaskExamples], canvases: CanvasConfig, step_tokens: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(tasks, canvases, step_tokens, seed, device)
        every = [lengths_of(pair, task.demonstrations or task.pairs) for task in tasks for pair in task.pairs]
        self._lengths = np.array(every)  # (pairs, 2, 2)
        self._share_out(np.array([(1, tokens_of(lengths)) for lengths in every]))

    def draw(self, canvas: Canvas, count: int, mine: slice = slice(None)) -> Batch:
        pairs, variants, ids, sizes, groups = self._drawn(count, mine, self._lengths)
        lengths, inputs, labels = [], list[Tensor](), list[Tensor]()
        for group in groups:
            of_input, of_output = (canvas_of(size) for size in sizes[group.start])
            part = Variants(*(column[group] for column in variants))
            origin, index = np.zeros((len(part), 2), np.int64), 2 * pairs[group]
            question = self._encoder(index, part, origin, of_input)
            answer = self._encoder(index + 1, part, origin, of_output)
            lengths.append((len(part), (of_input, of_output)))
            inputs.append(torch.cat([question, given_tokens(answer, VOCABULARY)], dim=1).flatten())
            labels.append(torch.cat([torch.full_like(question, IGNORE), answer], dim=1).flatten())
        return self._packed(inputs, labels, ids, variants, Sequences.of_lengths(lengths, self._device))


def lengths_of(pair: Pair, demonstrations: Sequence[Pair]) -> Lengths:
    """The canvases of a pair: the input, and the output of the size to expect, with its end where that is not known."""
    output, margin = expected_output(pair.input.shape, demonstrations)
    return pair.input.shape, CanvasConfig("exact").bucket(output, margin)


class DecoderPredictor(Predictor):
    """Greedy answers. All cells are guessed at once, again and again, until no cell changes: each guess has at least
    one more cell right than the one before, so what stands still is what one cell after the other would have given."""

    def __init__(self, tasks, *arguments) -> None:  # type: ignore[no-untyped-def]
        super().__init__(tasks, *arguments)
        self._tests = [lengths_of(pair, task.train) for task in tasks for pair in task.test]

    @torch.inference_mode()
    def _predict(self, samples: Samples, canvas: Canvas, clock: Clock) -> Predictions | None:
        count, (height, width) = len(samples.test), canvas
        tokens = torch.zeros(count, height, width, dtype=torch.int8)
        turned = Variants(samples.symmetry, samples.permutation).transposes
        kinds = [
            (*(s[:: -1 if t else 1] for s in self._tests[n]), self._sizes[n][0] > 0)
            for n, t in zip(samples.test, turned, strict=True)
        ]
        for kind in sorted(set(kinds)):
            chosen = np.flatnonzero([k == kind for k in kinds])
            (high, wide), answer = kind[1], self._answer(samples.at(chosen), kind[:2])
            tokens[chosen, :high, :wide] = answer.view(len(chosen), high, wide).to(torch.int8)
        colours = (tokens - FIRST_COLOUR).clamp(min=0).to(torch.uint8)
        return Predictions(samples, tokens, colours, torch.full((count,), 0.5))

    def _answer(self, samples: Samples, kind: Lengths) -> Tensor:
        """The answers (K, S)."""
        question, condition = self._encode(samples, kind[0])
        model, count, cells = self._fitted.model, len(samples.test), kind[1][0] * kind[1][1]
        least = FIRST_COLOUR if all(self._sizes[test][0] for test in samples.test) else 0  # of known size: colours only
        place = Sequences.of_lengths([(count, kind)], question.device)
        answer = torch.zeros(count, cells, dtype=torch.int64)
        for _ in range(cells + 1):
            sequence = torch.cat([question, given_tokens(answer, model.config.vocabulary)], dim=1)
            x = model.embed(sequence.flatten()[None], condition, place)
            logits = model(x, model.fresh_state(count, place), place).logits.view(count, -1, model.config.vocabulary)
            found = logits[:, -cells:, least:].argmax(dim=-1) + least
            if torch.equal(found, answer):
                break
            answer = found
        return answer
