"""How a runtime wants the integers of a quantized network to be written. The numbers are the same in every dialect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """One way to write a quantized network as quantize, dequantize and float operators.

    Attributes:
        unsigned: activations lie in 0..255, their zero points moved by 128; otherwise in -128..127.
        float_biases: biases are float constants on their integer grid, which the runtime turns back into the same
            int32; otherwise int32 constants with a dequantize operator.
        whole_sums: a layer whose result stays real sums whole numbers held in floats, which is exact in any order below
            2^24, and scales the sum, so that every processor computes the same; otherwise it sums real values.
        spelled_out: names of operators that the runtime lacks, to be written as simpler ones.
    """

    unsigned: bool = False
    float_biases: bool = False
    whole_sums: bool = False
    spelled_out: frozenset[str] = frozenset()
