"""Mixed precision of the training step: autocast, and the loss scaling that fp16 needs.

Weights, gradients and the optimizer stay fp32; the operators that torch lists for it compute in the smaller type
(Micikevicius et al., arXiv:1710.03740). bf16 has the range of fp32 and needs nothing else. fp16 gradients underflow, so
the loss is scaled up before the backward pass and the gradients down before they are clipped.
"""

from __future__ import annotations

import torch

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
    """How the passes of a step compute (``off``: fp32, ``bf16`` or ``fp16``), and the scaler of their gradients.

    The scaler of fp16 leaves out steps whose gradients overflowed; that of the others does nothing.
    """

    def __init__(self, amp: str = "off", device: str = "cpu") -> None:
        self.type = _TYPES.get(amp)
        self.device = torch.device(device).type
        self.scaler = torch.amp.GradScaler(self.device, enabled=amp == "fp16")

    def autocast(self) -> torch.autocast:
        """Around a forward pass, neither its loss nor its backward pass. One context a pass: a longer one would hand
        weights that were cast without gradient to a pass that needs it."""
        return torch.autocast(self.device, self.type, enabled=self.type is not None)


FULL = Amp()
"""fp32 throughout."""
