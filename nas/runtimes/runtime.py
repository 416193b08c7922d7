"""What a runtime is: it writes networks as files, opens them, and says how a device runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas.quantization.dialect import Dialect
from search_spaces.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from nas.quantization.quantize import QuantizedModel

    Network = QuantizedModel | nn.Module

NEEDS = "needs"
"""A text of every file's metadata, JSON: packages that run the file -> their lowest versions; empty: any."""
ImageShape = tuple[int, int, int]
"""Channels, height and width."""


class NoFormError(UserError):
    """A runtime's files cannot hold a network, for a ``reason``."""

    def __init__(self, runtime: str, reason: str) -> None:
        super().__init__(f"cannot write this network for {runtime}: {reason}; choose another format (`formats`)")
        self.reason = reason


class Exported(Protocol):
    """A file, opened in its own runtime."""

    @property
    def metadata(self) -> dict[str, str]:
        """The texts that were stored with the network."""
        ...

    @property
    def remark(self) -> str:
        """What of it runs otherwise than one may think, in a line; empty: nothing."""
        ...

    def __call__(self, images: NDArray[np.float32] | Tensor, /) -> NDArray[np.float32]:
        """Outputs ``[n, ...]`` of normalised images ``[n, C, H, W]``."""
        ...


@dataclass(frozen=True)
class DeviceCode:
    """The runtime's part of the script that lies beside an exported file.

    Attributes:
        needs: packages beside numpy and pillow -> the lowest version that files of most networks run on; empty: any.
        source: text of a module that defines ``open_network(path)``, which gives the network as a function from
            float32 images ``[1, C, H, W]`` to outputs ``[1, ...]``, and the texts stored with it by name.
        channels_last: whether the file itself takes images ``[1, H, W, C]``.
    """

    needs: Mapping[str, str]
    source: str
    channels_last: bool = False


def pip_arguments(needs: Mapping[str, str]) -> str:
    """Packages as ``pip install`` takes them."""
    return " ".join(f'"{name}>={version}"' if version else name for name, version in needs.items())


class Runtime(Protocol):
    """One kind of file and the program that runs it.

    A runtime is a class without arguments in a module of its own, listed in :data:`nas.runtimes.table.RUNTIMES`. The
    module is imported to list runtimes: it imports frameworks inside its methods only.

    Attributes:
        suffix: end of its files' names, with the dot.
        dialects: what a target's ``model`` may say -> how quantized networks are written. The first one is used where
            the target names another runtime, or none.
        fragile: damaged files may end the process, so only files with a known hash are opened.
    """

    suffix: str
    dialects: Mapping[str, Dialect]
    fragile: bool

    def write(
        self, network: Network, image_shape: ImageShape, path: Path, metadata: Mapping[str, str], dialect: Dialect
    ) -> None:
        """Write a network as a file; the file is replaced when the new one is complete.

        Args:
            network: quantized, or a float model in eval mode on the CPU.
            metadata: texts stored with the network, read back as :attr:`Exported.metadata`. The runtime adds
                :data:`NEEDS`.
            dialect: one of :attr:`dialects`; without meaning for a float model.

        Raises:
            NoFormError: the runtime cannot hold this network.
            UserError: a package is missing, or the file cannot be written.
        """
        ...

    def open(self, path: Path, threads: int = 1) -> Exported:
        """Open a file, for inferences of so many threads. Raises UserError: a package is missing, the file does not
        exist, or the runtime cannot read it."""
        ...

    def timing_file(self, network: Network, image_shape: ImageShape, dialect: Dialect) -> bytes | None:
        """A small file that takes as long to run as the network's own, with arguments and errors as of :meth:`write`;
        None: ``nas profile`` cannot measure this runtime."""
        ...

    def device_code(self) -> DeviceCode | None:
        """Its part of the script for devices; None: there is no script."""
        ...
