"""The emulation benchmark, as far as it runs without QEMU: comparison, counts, the cache model, the classes of
instructions, messages, and photos for the script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import UsageError, UserError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HERE = BENCHMARKS / "quantization" / "emulation"
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="compiles C")


def run_c(folder: Path, header: str, main: str, given: str) -> list[str]:
    """Lines printed by a C program around one of the plugins' headers."""
    source, program = folder / "main.c", folder / "main"
    source.write_text(f'#include <stdio.h>\n#include "{HERE / header}"\nint main(void) {{ {main} return 0; }}\n')
    subprocess.run(["gcc", "-O1", "-w", "-o", str(program), str(source)], check=True)
    return subprocess.run([str(program)], input=given, capture_output=True, text=True, check=True).stdout.split()


# Words by GNU's assembler for AArch64 (2.40), with what they are.
WORDS = {
    "integer": "91001020 add;0a040062 and;9b020c20 madd;9ac20c20 sdiv;90000000 adrp",
    "branch": "54000041 b.ne;b4000081 cbz;94000010 bl;d65f03c0 ret;d4000001 svc;d5033bbf dmb",
    "load_store": "f9400420 ldr;a9be7bfd stp;885f7c20 ldxr",
    "vector_load_store": "3dc00020 ldr q;4cdf7020 ld1;6d0127e8 stp d;bc637841 ldr s",
    "float_mla": "1f020c20 fmadd;1f628c20 fnmsub;4e22cc20 fmla;4ee2cc20 fmls;4fa21820 fmla element;"
    "0fa25020 fmls element",
    "int_mla": "4e629420 mla;6ea29420 mls;4e629c20 mul;6f720820 mla element;4fa28020 mul element;0e628020 smlal;"
    "6e22a020 umlsl2;4f722020 smlal2 element;0e22c020 smull;6f52a820 umull2 element",
    "vector_other": "4f829020 fmul element;4e22d420 fadd;4e21a820 fcvtns;4e606820 sadalp;0e220020 saddl;0e22e020 pmull;"
    "6ea2b420 sqrdmulh;4ea24420 sshl;0e214820 sqxtn;4f235420 shl;0f08a420 sxtl;4f000400 movi;4e040420 dup;"
    "1e270020 fmov;1e220020 scvtf",
}


@needs_gcc
def test_instructions_fall_into_the_classes_that_the_assembler_gave_them(tmp_path: Path) -> None:
    cases = [(word[:8], word[9:], name) for name, words in WORDS.items() for word in words.split(";")]
    main = 'uint32_t w; while (scanf("%x", &w) == 1) puts(class_names[class_of(w)]);'
    found = run_c(tmp_path, "a64.h", main, "\n".join(word for word, _, _ in cases))
    assert {c[1]: f for c, f in zip(cases, found, strict=True)} == {c[1]: c[2] for c in cases}


@needs_gcc
@pytest.mark.parametrize(
    ("cache", "kilobytes", "ways"), [("instruction_cache", 48, 3), ("data_cache", 32, 2), ("second_level", 1024, 16)]
)
def test_caches_hit_and_miss_as_a_list_of_the_last_used_lines_does(
    tmp_path: Path, cache: str, kilobytes: int, ways: int
) -> None:
    sets = kilobytes * 1024 // 64 // ways
    random = np.random.default_rng(0)
    # of three sets, two lines more than fit into each
    lines = [int(line) for line in random.integers(3, size=4000) + sets * random.integers(ways + 2, size=4000)]
    held: dict[int, OrderedDict[int, None]] = {}
    expected = []
    for line in lines:
        entries = held.setdefault(line % sets, OrderedDict())
        expected.append(line in entries)
        entries[line] = None
        entries.move_to_end(line)
        if len(entries) > ways:
            entries.popitem(last=False)
    main = f'unsigned long line; while (scanf("%lu", &line) == 1) printf("%d\\n", look_up(&{cache}, line));'
    found = [hit == "1" for hit in run_c(tmp_path, "caches.h", main, "\n".join(map(str, lines)))]
    assert found == expected
    assert 0.2 < np.mean(found) < 0.98


def test_all_runners_set_the_markers_that_the_plugins_wait_for() -> None:
    def marks(name: str) -> list[str]:
        return re.findall(r"0x4d41\w+", (HERE / name).read_text().lower())

    assert marks("plugin.h") == marks("run_pte.cpp") == marks("run_onnx.py")
    assert len(set(marks("plugin.h"))) == 2


def test_counts_are_read_and_summed_up(tmp_path: Path) -> None:
    from benchmarks.quantization.emulation.counts import read_counts, summarise

    (tmp_path / "a").write_text("integer=10 branch=2\ninteger=13 branch=2\ninteger=11 branch=2\n")
    (tmp_path / "b").write_text("data_accesses=5 l2_misses=0\n" * 3)
    counts = [a | b for a, b in zip(read_counts(tmp_path / "a"), read_counts(tmp_path / "b"), strict=True)]
    summary = summarise(counts)
    assert summary.repeats == 3
    assert summary.median["instructions"] == 13  # of 12, 15, 13: accesses and misses are no instructions
    assert summary.spread["instructions"] == pytest.approx(3 / 13)
    assert summary.spread["branch"] == summary.spread["l2_misses"] == 0


@pytest.mark.parametrize("text", [None, "", "integer=1\nbranch=2\n", "qemu: no such plugin\n"])
def test_a_plugin_that_counted_nothing_is_an_error(tmp_path: Path, text: str | None) -> None:
    from benchmarks.quantization.emulation.counts import read_counts

    if text is not None:
        (tmp_path / "caches").write_text(text)
    with pytest.raises(UserError, match="plugin of caches counted nothing"):
        read_counts(tmp_path / "caches")


def test_outputs_are_compared_bit_for_bit() -> None:
    from benchmarks.quantization.emulation.compare import compare

    host = np.array([[1, 2, 0], [3, -4, 1]], dtype=np.float32)
    assert compare(host, host.copy()).identical
    guest = host.copy()
    guest[0, 2], guest[1, 0], guest[1, 2] = -0.0, np.nextafter(np.float32(3), np.float32(4)), 3.5
    found = compare(host, guest)
    assert (found.differing, found.logits, found.top_changed, found.scale) == (3, 6, 1, 4.0)  # -0 is not 0, bit for bit
    assert found.largest == 2.5
    assert "3 of 6 logits differ, by 2.5 at most" in str(found)
    with pytest.raises(ValueError, match="logits"):
        compare(host, guest[:, :2])


def test_what_is_missing_is_named_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.quantization.emulation import board
    from benchmarks.quantization.emulation.inference import open_file

    monkeypatch.setattr(shutil, "which", lambda name: None if "aarch64" in name else f"/usr/bin/{name}")
    with pytest.raises(UserError, match=r"apt-get install qemu-user g\+\+-aarch64-linux-gnu$"):
        board.open_board(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UserError, match=f"emulate setup --root {tmp_path}"):
        board.open_board(tmp_path)
    monkeypatch.setattr(board, "versions", lambda: {"onnxruntime": "2.0"})
    (tmp_path / "setup.json").write_text(json.dumps({"wheels": {"onnxruntime": "1.9"}}))
    with pytest.raises(UserError, match=r"onnxruntime 1\.9, here 2\.0"):
        board.open_board(tmp_path)
    with pytest.raises(UserError, match="holds other things"):
        board.make_board(tmp_path, print)
    with pytest.raises(UsageError, match=r"not an exported file; give one that ends with \.onnx or \.pte"):
        open_file(tmp_path / "setup.json")
    with pytest.raises(UsageError, match=r"model\.int8\.tflite' is not"):
        open_file(tmp_path / "model.int8.tflite")  # the board has no LiteRT


@pytest.mark.parametrize(("channels", "crop_pct"), [(1, 1.0), (3, 0.875)])
def test_a_photo_becomes_the_image_that_it_was_made_from(channels: int, crop_pct: float) -> None:
    from benchmarks.quantization.emulation.inference import photo
    from search_spaces.builders.timm_compat import timm

    given = {
        "input_size": (channels, 21, 21), "mean": [0.5, 0.4, 0.3][:channels], "std": [0.2, 0.3, 0.25][:channels],
        "crop_pct": crop_pct, "interpolation": "bicubic",
    }  # fmt: skip
    picture = np.random.default_rng(0).integers(256, size=(21, 21, channels))
    image = ((picture / 255 - given["mean"]) / given["std"]).transpose(2, 0, 1).astype(np.float32)
    again = timm.data.create_transform(**given, is_training=False)(photo(image, given))
    np.testing.assert_allclose(again.numpy(), image, atol=1e-5)
