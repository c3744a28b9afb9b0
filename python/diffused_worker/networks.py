"""What the calls of some pipelines change in the networks that all rows share: the attention processors of perturbed-attention
guidance. Each row finds them as it left them; they are exchanged only when the turn goes from one row to another."""

from diffusers.pipelines.pag.pag_utils import PAGMixin

from diffused_worker.signature import denoiser_of


class SharedNetworks:
    """The denoiser of a pipeline, as the row that has the turn left it. Used by whoever has the turn."""

    def __init__(self, pipeline):
        denoiser = denoiser_of(pipeline)
        changes = isinstance(pipeline, PAGMixin) and denoiser is not None
        self._denoiser = denoiser if changes else None
        self._as_loaded = dict(denoiser.attn_processors) if changes else {}
        self._holder = None  # the row whose processors are in the denoiser; None: they are as loaded
        self._kept = {}  # row → its processors while another one is the holder

    def take(self, row) -> None:
        """The row has the turn."""
        if self._denoiser is None or self._holder is row:
            return
        if self._holder is not None:
            self._kept[self._holder] = dict(self._denoiser.attn_processors)
        self._install(self._kept.pop(row, self._as_loaded))
        self._holder = row

    def leave(self, row) -> None:
        """The row has ended, however it did."""
        self._kept.pop(row, None)
        if self._holder is row:
            self._install(self._as_loaded)
            self._holder = None

    def _install(self, processors: dict) -> None:
        self._denoiser.set_attn_processor(dict(processors))
