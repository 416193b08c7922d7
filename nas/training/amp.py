"""Mixed precision of the training step: autocast, and the loss scaling that fp16 needs.

Weights, gradients and the optimizer stay fp32; the operators that torch lists for it compute in the smaller type
(Micikevicius et al., arXiv:1710.03740). bf16 has the range of fp32 and needs nothing else. fp16 gradients underflow, so
the loss is scaled up before the backward pass and the gradients down before they are clipped.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from search_spaces.errors import UsageError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_amp(amp: str, device: str) -> None:
    """Refuse mixed precision that the device cannot train in: fp16 on a CPU, bf16 on a GPU without it."""
    kind = torch.device(device).type
    if amp == "fp16" and kind != "cuda":
        raise UsageError(f"`amp` fp16 trains on CUDA only, and the device is {device}; give `amp` bf16 or off")
    if amp == "bf16" and kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UsageError("`amp` bf16: this GPU has no bf16; give `amp` fp16")


class Amp:
    """How the passes of a step compute (``off``: fp32, ``bf16`` or ``fp16``), and what their gradients need."""

    def __init__(self, amp: str = "off", device: str = "cpu") -> None:
        self.type = _TYPES.get(amp)
        self.device = torch.device(device).type
        self._scaler = torch.amp.GradScaler(self.device) if amp == "fp16" else None

    @property
    def skips(self) -> bool:
        """Whether steps whose gradients are not finite are left out."""
        return self._scaler is not None

    def autocast(self) -> torch.autocast:
        """Around a forward pass, neither its loss nor its backward pass. One context a pass: a longer one would hand
        weights that were cast without gradient to a pass that needs it."""
        return torch.autocast(self.device, self.type, enabled=self.type is not None)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled where the precision scales."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring all gradients back to their own size, once, after the last pass and before they are clipped."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights; a step whose scaled gradients overflowed is left out, and the scale halved."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def state(self) -> dict[str, float | None]:
        """Numbers that a checkpoint must keep; empty without scaling."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load(self, state: Mapping[str, float | None]) -> None:
        """Continue from :meth:`state`."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))


FULL = Amp()
"""fp32 throughout."""
