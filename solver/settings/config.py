"""All settings as frozen dataclasses: model, learner, canvases, fit, prediction, and a whole solve run.

They say nothing of tasks, weights, seed and clock. Imports no torch: supervisors read settings too.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from kernels.canvas import VOCABULARY, Canvas, Decoder
from kernels.symmetry import MAX_SIDE
from solver.common.checks import InputError, at_least, fault, within

CanvasMode = Literal["full", "tight", "exact"]  # exact: as large as the sizes of the demonstrations say
LossKind = Literal["stablemax", "softmax"]
Method = Literal["adam_atan2", "muon"]
DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
ColourPolicy = Literal["all", "inputs", "none"]  # inputs: all but those that only outputs show
FitMode = Literal["embeddings", "full", "staged", "none"]

MOST_COUNT = 2**16  # of anything that a model has several of: weights from elsewhere must not ask for endless work

Size = tuple[int, int]  # (height, width) of a grid
Item = TypeVar("Item")


@dataclass(frozen=True)
class TRMConfig:
    """Shape of a TRM. The defaults are the published ARC model (6.83 M parameters)."""

    vocabulary: int = VOCABULARY  # V
    width: int = 512  # D
    heads: int = 8
    head_size: int = 0  # of attention; 0: width / heads
    layers: int = 2  # L, of each network
    expansion: float = 4.0
    inner_multiple: int = 256  # the inner width of the SwiGLU, 2/3 * expansion * D, is rounded up to a multiple of this
    cycles: int = 3  # T in the paper; all but the last run without gradient
    latent_updates: int = 4  # n in the paper
    networks: int = 1  # 2: one updates the latent, another the answer, as in the HRM (section 4.3)
    answer_layers: int = 0  # of the answer's own network; 0: as many as the latent network has
    # 1: no latent z; per cycle the answer takes n updates with the question and one without, or with n = 0 one with it
    latents: int = 2
    gradient: Literal["full", "one_step"] = "full"  # through the last cycle, or its last two updates (section 4.1)
    # stop when right, or when halting is worth more (section 4.6), also if the worth of continuing is never trained, as
    # in the published plain transformer; none: no head, confidence is that of the tokens
    halting: Literal["binary", "q_learning", "continue_untrained", "none"] = "binary"
    mixer: Literal["attention", "mlp", "mamba2_hybrid"] = "attention"
    convolution: int = 0  # kernel of the URM's depthwise convolution in the SwiGLU; 0: none
    positions: Literal["rope", "rope2d", "learned", "none"] = "rope"
    rope_theta: float = 10000.0
    canvas: Canvas = (MAX_SIDE, MAX_SIDE)  # the full canvas; smaller ones are its top left parts
    # a row per variant, as leading tokens; or a row per task and one per symmetry, both added to every cell
    embedding: Literal["variant", "per_cell"] = "variant"
    row_tokens: int = 16  # puzzle tokens filled from a row of the embedding table
    row_width: int = 512  # W, zero-padded to row_tokens * width

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            numbers = [part for part in (value if name == "canvas" else (value,)) if not isinstance(part, str)]
            if any(number > MOST_COUNT for number in numbers):
                raise fault(f"model: {name}", f"at most {MOST_COUNT}", value)
        divided = self.mixer == "mamba2_hybrid" or not self.head_size  # its Mamba-2 heads are always width / heads
        if self.heads < 1 or (divided and (self.width % self.heads or (self.width // self.heads) % 2)):
            raise InputError(f"model: width {self.width} must be an even multiple of its {self.heads} heads")
        if self.head_size < 0 or self.head_size % 2:
            raise fault("model: head_size", "an even size, or 0 for width / heads", self.head_size)
        room = self.row_tokens * self.width
        if self.row_width > room:
            raise InputError(f"model: puzzle embedding of width {self.row_width} does not fit its {room} places")
        updates = self.latent_updates + (self.latents == 1)  # a single latent may have the answer's update alone
        if min(self.vocabulary, self.layers, self.cycles, updates, self.inner_multiple, *self.canvas) < 1:
            names = ("vocabulary", "layers", "cycles", "latent_updates", "inner_multiple", "canvas")
            counts = {name: getattr(self, name) for name in names}
            raise InputError(f"model: every count must be at least 1, got {counts}")
        if not (self.expansion > 0 and self.rope_theta > 0):
            got = f"{self.expansion:g} and {self.rope_theta:g}"
            raise InputError(f"model: expansion and rope_theta: expected positive numbers, got {got}")
        if self.embedding == "per_cell" and self.row_width != self.width:
            expected = f"puzzle embeddings of its width {self.width}, which are added to the cells"
            raise InputError(f"model: expected {expected}, got {self.row_width}")
        if self.convolution < 0:
            expected = "a kernel of at least 1, or 0 for none"
            raise InputError(f"model: convolution: expected {expected}, got {self.convolution}")
        if self.answer_layers < 0 or (self.answer_layers and self.networks == 1):
            raise InputError(f"model: answer_layers: expected 0 without a network of its own, got {self.answer_layers}")
        if self.networks not in (1, 2) or self.latents not in (1, 2) or self.networks > self.latents:
            got = f"{self.networks} networks and {self.latents} latents"
            raise InputError(f"model: expected 1 or 2 latents and no more networks than latents, got {got}")
        if self.layer_passes > MOST_COUNT:
            raise fault("model", f"at most {MOST_COUNT} layer passes per supervision step", self.layer_passes)

    @property
    def puzzle_tokens(self) -> int:
        """P: the leading tokens of the row."""
        return self.row_tokens if self.embedding == "variant" else 0

    @property
    def attention_head(self) -> int:
        """K: the size of one attention head. The heads may cover less than the width, as in a published ablation."""
        return self.head_size or self.width // self.heads

    @property
    def row_per_task(self) -> bool:
        """Whether all variants of a task share a row of the embedding table."""
        return self.embedding == "per_cell"

    @property
    def updates(self) -> int:
        """Passes of a network in one cycle: n of the latent and one of the answer."""
        return self.latent_updates + 1

    @property
    def answer_depth(self) -> int:
        """Layers of the network that updates the answer."""
        return self.answer_layers if self.networks == 2 and self.answer_layers else self.layers

    @property
    def layer_passes(self) -> int:
        """Layers passed through in one supervision step."""
        return self.cycles * (self.latent_updates * self.layers + self.answer_depth)

    @property
    def graded_layer_passes(self) -> int:
        """Layer passes that carry gradient: the last ones, including one pass for the answer."""
        return (self.graded_updates - 1) * self.layers + self.answer_depth

    @property
    def graded_updates(self) -> int:
        """Passes of a network in one supervision step that carry gradient."""
        return min(2, self.updates) if self.gradient == "one_step" else self.updates

    @property
    def any_canvas(self) -> bool:
        """Whether the weights can be used on canvases smaller than the full one."""
        return self.mixer != "mlp"


@dataclass(frozen=True)
class LearnerConfig:
    """Losses and optimizers. The defaults are the published ARC run."""

    lr: float = 1e-4
    embedding_lr: float | None = None  # of whatever is no matrix of a layer: embeddings and heads; None: lr
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    trunk_optimizer: Method = "adam_atan2"  # muon: for the matrices of the layers; the rest always uses Adam-atan2
    row_optimizer: Literal["sign_sgd", "adam_atan2"] = "sign_sgd"  # of the puzzle embedding table
    row_lr: float = 1e-2
    row_weight_decay: float = 0.1
    warmup_steps: int = 2000
    # after the warm-up, over the run's progress; stable: constant, then linear to 0 over the last `decay_share`
    schedule: Literal["constant", "cosine", "stable"] = "constant"
    decay_share: float = 0.2
    lr_min_ratio: float = 0.0  # final learning rate of the cosine, as a share of lr
    ema_decay: float = 0.999
    loss: LossKind = "stablemax"
    supervision_steps: int = 16
    exploration: float = 0.1  # share of slots that may not halt before a random number of steps
    clip_norm: float | None = None  # of the trunk's gradient

    def __post_init__(self) -> None:
        for name in ("lr", "row_lr", "weight_decay", "row_weight_decay", "warmup_steps", "clip_norm"):
            within(f"learner.{name}", getattr(self, name), 0)
        for name in ("lr_min_ratio", "ema_decay", "exploration", "decay_share"):
            within(f"learner.{name}", getattr(self, name), 0, 1)
        within("learner.supervision_steps", self.supervision_steps, 1)
        for beta in self.betas:
            within("learner.betas", beta, 0, 0.999999)


@dataclass(frozen=True)
class CanvasConfig:
    """How canvases are chosen."""

    mode: CanvasMode = "full"
    sides: tuple[int, ...] = (4, 6, 8, 10, 12, 14, 16, 18, 21, 25, 30)  # of tight canvases: buckets, ascending
    fit_margin: int = 1  # free cells beside a pair in fitting; with 0 a pair that fills its canvas has no end token

    def __post_init__(self) -> None:
        within("canvases.fit_margin", self.fit_margin, 0, MAX_SIDE)
        if not self.sides or list(self.sides) != sorted(set(self.sides)) or not 1 <= self.sides[0] <= MAX_SIDE:
            raise InputError(f"canvases.sides: expected ascending sides of 1 to {MAX_SIDE}, got {self.sides}")
        within("canvases.sides", self.sides[-1], 1, MAX_SIDE)

    def bucket(self, size: Size, margin: int) -> Canvas:
        """The smallest canvas for a grid and `margin` more rows and columns, at most the full canvas."""
        if self.mode == "full":
            return (MAX_SIDE, MAX_SIDE)
        if self.mode == "exact":
            return min(MAX_SIDE, size[0] + margin), min(MAX_SIDE, size[1] + margin)
        height, width = ((*self.sides, MAX_SIDE)[bisect_left(self.sides, side + margin)] for side in size)
        return height, width


@dataclass(frozen=True)
class FitConfig:
    """How tasks are fitted."""

    mode: FitMode = "staged"
    known: bool = False  # whether tasks that the weights know from training are fitted too, not only voted on
    together: int | None = None  # about this many tasks per jointly fitted group; None: all in one group
    steps: int | None = None  # per group; None: as many as the time allows
    augmentations: int = 256  # variants per task, including the identity
    symmetries: bool = True
    colours: ColourPolicy = "all"  # which ones the variants permute; black stays
    step_tokens: int = 64 * 916  # tokens in one step, puzzle tokens included; on a card at least a pass of training
    learner: LearnerConfig = field(default_factory=LearnerConfig)

    def __post_init__(self) -> None:
        at_least("fit_steps", self.steps, 0)
        for name in ("together", "augmentations", "step_tokens"):
            at_least(name, getattr(self, name), 1)

    def groups(self, tasks: Sequence[Item]) -> list[Sequence[Item]]:
        """The groups of tasks that are fitted jointly, of nearly equal size.

        Dealt round-robin, so that adjacent (often similar) tasks land in different groups.
        """
        count = 1 if self.together is None else max(1, round(len(tasks) / self.together))
        return [tasks[first::count] for first in range(count)]


@dataclass(frozen=True)
class PredictConfig:
    """How predictions are made. `supervision_steps=16, early_stop=False` is the published behaviour."""

    supervision_steps: int = 16
    early_stop: bool = True
    stable_steps: int = 2  # early stop: when the tokens have not changed for this many steps,
    halting_threshold: float = 0.95  # or when the halting probability reaches this
    batch_tokens: int | None = None  # most tokens in one batch; None: what suits the device, the width and the memory
    augmentations: int | None = None  # votes per test input; None: one per fitted variant

    def __post_init__(self) -> None:
        for name in ("supervision_steps", "stable_steps", "augmentations", "batch_tokens"):
            at_least(name, getattr(self, name), 1)


@dataclass(frozen=True)
class SolveConfig:
    """A whole solve run."""

    name: str = "published"
    model: TRMConfig = field(default_factory=TRMConfig)  # of a fresh model; trained weights bring their own
    fit: FitConfig = field(default_factory=FitConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    canvases: CanvasConfig = field(default_factory=CanvasConfig)
    decoder: Decoder = "robust"
    fit_share: float = 0.8  # of the time for fitting, while the pace of votes is unknown; the rest is for votes
    least_steps: int = 400  # per pair; tasks that there is no time to give this many steps are not fitted
