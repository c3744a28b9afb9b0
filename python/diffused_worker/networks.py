"""What the calls of some pipelines change in the networks that all rows share: the attention processors of perturbed-attention
guidance. It is theirs while they have the turn, and nobody's else."""

from diffusers.pipelines.pag.pag_utils import PAGMixin

from diffused_worker.signature import denoiser_of


class SharedNetworks:
    """The denoiser of a pipeline, kept as it was loaded whenever a row waits or ends."""

    def __init__(self, pipeline):
        denoiser = denoiser_of(pipeline)
        changes = isinstance(pipeline, PAGMixin) and denoiser is not None
        self._denoiser = denoiser if changes else None
        self._as_loaded = dict(denoiser.attn_processors) if changes else {}

    def restore(self) -> dict:
        """Puts back what was loaded; returns what was there instead."""
        if self._denoiser is None:
            return {}
        there = dict(self._denoiser.attn_processors)
        self.put_back(self._as_loaded)
        return there

    def put_back(self, processors: dict) -> None:
        if self._denoiser is not None and processors:
            self._denoiser.set_attn_processor(dict(processors))
