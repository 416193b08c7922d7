"""Bad inputs over all commands: what is given, the exit code, and a part of what is said.

Every message is one or two lines of sensible width that begin with ``error:``, with no traceback; nothing that was
earned before is changed, and nothing is left behind. Lines before it are legitimate only where ``before`` names them.
"""

from __future__ import annotations

import re
import shlex
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command

import nas.journal.journal
from nas.cli.main import make_app
from nas.journal.storage import Storage
from tests.support import bad_files as bad
from tests.support.cli_runs import content, invoke

OF_A_RUN = ("search", "export", "finetune", "evaluate")
TRAIN = "train-supernet --data photos --out new "
RESULT = "run/search-cortex-a72.json"
WEIGHTS = "run/supernet.safetensors"
WIDEST = 620


@dataclass(frozen=True)
class Bad:
    """One bad input.

    Attributes:
        words: after ``nas``; commands of a run get ``--run run`` where they name none.
        code: expected exit code: 1 error, 2 usage, 3 nothing feasible.
        says: part of the message.
        make: makes it bad, in the working directory, beside ``run`` (trained, searched, exported) and ``photos``.
        denied: permissions hold, also for root.
        before: a part of the lines that may come before the message; empty: none may.
    """

    words: str
    code: int
    says: str
    make: bad.Make = lambda: None
    denied: bool = False
    before: str = ""


WORDS = [
    Bad("serach", 2, "Did you mean 'search'?"),
    Bad("data", 2, "Missing command"),
    Bad("data chekc", 2, "Did you mean 'check'?"),
    Bad("doctor now", 2, "unexpected extra argument(s) (now)"),
    Bad("doctor --jsn", 2, "--json"),
    Bad("runs --jsn", 2, "--json"),
    Bad("search --targt host", 2, "--target"),
    Bad("estimate --target", 2, "requires an argument"),
    Bad("export deadbeef", 2, "unexpected extra argument"),
    Bad("''", 2, "nas '': an empty word"),
    Bad("export --out ''", 2, "--out '': an empty word, from an unset variable perhaps"),
    Bad("spaces ''", 2, "spaces '': an empty word"),
]

DATA = [
    Bad("train-supernet --data nowhere", 1, "no data folder 'nowhere'; give a folder of images"),
    Bad("train-supernet --data embeded", 1, "did you mean 'embedded'?"),
    Bad("train-supernet --data nothing", 1, "holds no images", bad.folder("nothing")),
    Bad("train-supernet --data mine", 1, "one class only, 'apple'", bad.photos(classes=("apple",))),
    Bad("train-supernet --data mine", 1, "too few images of class 'apple' (1)", bad.photos(count=1)),
    Bad("train-supernet --data mine", 1, "12 of 12 images in", bad.photos(bad.no_images)),
    Bad("train-supernet --data mine", 1, "copy them again", bad.photos(bad.empty_images)),
    Bad("data check mine", 1, "12 of 12 images in 'mine' cannot be used: 12 corrupt", bad.photos(bad.cut_images)),
    Bad("data check mine", 1, "12 of 12 images in 'mine' cannot be used: 12 corrupt", bad.photos(bad.cut_16_bits)),
    Bad("data check mine", 1, "has class kiwi, which", bad.splits(train=("apple", "pear"), test=("apple", "kiwi"))),
    Bad("data check mine", 1, "but no train/", bad.splits(val=("apple", "pear"), test=("apple", "pear"))),
    Bad(
        "data check mine", 1, "has both val/ and validation/",
        bad.splits(train=("apple", "pear"), val=("apple", "pear"), validation=("apple", "pear")),
    ),
    Bad("data check nowhere", 1, "no data folder 'nowhere'"),
    Bad("data check mine --seed -1", 2, "--seed -1: it must be greater than or equal to 0"),
    Bad("data check notes.txt", 1, "is not a folder", bad.text("notes.txt", "hello")),
    Bad("data check mine.tar", 1, "cannot be read", bad.every(bad.tar("mine.tar"), bad.halved("mine.tar"))),
    Bad("data check mine.tar", 1, "empty file", bad.raw("mine.tar", b"")),
    Bad("data check mine.tar", 1, "give an uncompressed tar file", bad.tar("mine.tar", "w:gz")),
    Bad("data check mine.tar", 1, "holds no images", bad.tar_of_nothing("mine.tar")),
    Bad("data check torch/cifar10", 1, "needs --data-root, the folder that holds its files"),
    Bad("data check wds/nowhere", 1, "give the one with the shards: wds/FOLDER"),
    Bad("data check denied", 1, "make the folder readable", bad.locked_folder("denied"), denied=True),
    Bad("search", 1, "no data folder '/nowhere'", bad.within("run/run.json", "config", source="/nowhere")),
]  # fmt: skip

NAMES = [
    Bad("data check 'a\nb\nc\nd'", 1, r"no data folder 'a\nb\nc\nd'"),
    Bad("data check '\x1b[31mred'", 1, r"no data folder '\x1b[31mred'"),
    Bad("data check '\udcff'", 1, r"no data folder '\udcff'"),
    Bad("data check '[/red]'", 1, "no data folder '[/red]'"),
    Bad("data check 'tail\u202egpj.exe'", 1, r"no data folder 'tail\u202egpj.exe'"),
    Bad(f"data check {'x' * 5000}", 1, "File name too long; choose a shorter path"),
    Bad(f"train-supernet --data photos --out {'x' * 300}", 1, "File name too long"),
    Bad("data check mine", 1, "one class only, '[bold]'", bad.photos(classes=("[bold]",))),
    Bad("data check mine", 1, r"one class only, 'a\x07'", bad.photos(classes=("a\x07",))),
]

TRAINING = [
    Bad(TRAIN + "--space mbv3-tini", 2, "did you mean 'mbv3-tiny'?"),
    Bad(TRAIN + "--space timm:resnet19", 2, "did you mean 'resnet18'?"),
    Bad(TRAIN + "--space timm:resnet18:colour=3", 2, "unknown choice 'colour' in 'timm:resnet18:colour=3'"),
    Bad(TRAIN + "--space timm:resnet18:width=abc", 2, "give numbers, like width=0.5,1"),
    Bad(TRAIN + "--strategy sandwhich", 2, "did you mean 'sandwich'?"),
    Bad(TRAIN + "--optimizer adamwe", 2, "did you mean 'adamw'?"),
    Bad(TRAIN + "--augment stron", 2, "did you mean 'strong'?"),
    Bad(TRAIN + "--schedule cosin", 2, "did you mean 'cosine'?"),
    Bad(TRAIN + "--distill sof", 2, "did you mean 'soft'?"),
    Bad(TRAIN + "--device cdua", 2, "--device cdua: auto, cpu or cuda"),
    Bad(TRAIN + "--seed -1", 2, "--seed -1: it must be greater than or equal to 0"),
    Bad(TRAIN + "--epochs many", 2, "--epochs many: it must be a valid number"),
    Bad(TRAIN + "--epochs nan", 2, "--epochs nan"),
    Bad(TRAIN + "--epochs inf", 2, "--epochs is inf; it must be a finite number"),
    Bad(TRAIN + "--epochs 0", 2, "--epochs 0"),
    Bad(TRAIN + "--epoch 3", 2, "--epochs"),
    Bad(TRAIN + "--lr nan", 2, "--lr is nan; it must be a finite number"),
    Bad(TRAIN + "--lr 0", 2, "--lr is 0; it must be above 0"),
    Bad(TRAIN + "--lr fast", 2, "--lr fast: a number, or auto"),
    Bad(TRAIN + "--lr auto --base-batch 64", 2, "leave --base-batch out"),
    Bad(TRAIN + "--clip-norm 0", 2, "--clip-norm is 0; it must be above 0"),
    Bad(TRAIN + "--batch-size 0", 2, "--batch-size 0: it must be greater than or equal to 2"),
    Bad(TRAIN + "--batch-size 99999999999", 2, "it must be less than or equal to 1048576"),
    Bad(TRAIN + "--batch-size 7 --mixup 0.2", 2, "7 is odd; give an even one"),
    Bad(TRAIN + "--accumulate 99", 2, "32 micro-batches at most"),
    Bad(TRAIN + "--nproc 3000", 2, "give 6000 or more, or fewer processes"),
    Bad(TRAIN + "--amp fp16 --device cpu", 2, "give --amp bf16 or off"),
    Bad(TRAIN + "--log tensorbord", 2, "did you mean 'tensorboard'?"),
    Bad(TRAIN + "--space mbv3-tiny --pretrained", 2, "isn't a model of timm's; give a space around one"),
    Bad(TRAIN + "--pretrained --init x.pth", 2, "both give the first weights; give one of them"),
    Bad(TRAIN + "--zero-gamma --init x.pth", 2, "leave it out with --pretrained or --init"),
    Bad(TRAIN + "--quantization-noise 0.5", 2, "give --quantization-aware"),
    Bad(TRAIN + "--quantization-aware int9", 2, "did you mean 'int8'?"),
    Bad(TRAIN + "--teacher-weight 0.9", 2, "give --teacher"),
    Bad(TRAIN + "--teacher resnet19", 2, "did you mean 'resnet18'?"),
    Bad(TRAIN + "--teacher resnet18", 1, "give a teacher that was trained on these classes"),
    Bad(
        "train-supernet --data mine --teacher resnet18", 1, "knows 1000 classes", bad.photos(bad.cut_one),
        before="warning: 1 corrupt image left out (",
    ),
    Bad(TRAIN + "--init nowhere.pth", 1, "nowhere.pth doesn't exist, or isn't a file"),
    Bad(TRAIN + "--freeze-bn", 2, "--freeze-bn keeps statistics, and random weights have none; give --pretrained or"),
    Bad(TRAIN + "--epochs 1e18", 2, "steps; at a millisecond each"),
    Bad(TRAIN + "--init junk.pth", 1, "cannot be read as named tensors", bad.raw("junk.pth", b"junk")),
    Bad(TRAIN + "--init evil.pth", 1, "can run anything and aren't loaded", bad.hostile_pickle("evil.pth")),
    Bad(TRAIN + "--init other.pth", 2, "the weights are of none of the spaces", bad.tensors_of_another("other.pth")),
    Bad(
        TRAIN + "--space mbv3-tiny --init other.pth", 1, "does not hold weights of this space's",
        bad.tensors_of_another("other.pth"),
    ),
    Bad(TRAIN + "--init half.safetensors", 1, "cannot be read as", bad.half_of(WEIGHTS, "half.safetensors")),
    Bad("train-supernet --data photos --out run --lr 0.0123", 2, "lr 0.1 there, 0.0123 here"),
]  # fmt: skip

CONFIG = [
    Bad("search --config nowhere.toml", 2, "--config nowhere.toml does not exist"),
    Bad(TRAIN + "--config a.toml", 2, "unknown key 'epoch' in a.toml; did you mean 'epochs'?", bad.toml("epoch = 3")),
    Bad(TRAIN + "--config a.toml", 2, "did you mean 'batch-size'?", bad.toml("batch_size = 3")),
    Bad("export --config a.toml", 2, "--config a.toml isn't a TOML file", bad.toml("target = ")),
    Bad("export --config a.toml", 2, "--config a.toml isn't a text file", bad.raw("a.toml", b"\xff\xfe")),
    Bad(TRAIN + "--config a.toml", 2, "--epochs many (in the --config file)", bad.toml("epochs = 'many'")),
    Bad(TRAIN + "--config a.toml", 2, "--epochs [1, 2] (in the --config file)", bad.toml("epochs = [1, 2]")),
    Bad("search --config a.toml", 2, "unknown key 'train-supernet'", bad.toml("[train-supernet]\nepochs = 3")),
    Bad("finetune --config a.toml", 2, "--netaug maybe (in the", bad.toml("netaug = 'maybe'")),
    Bad("search --config a.toml", 2, "--measurements 2 (in the --config file)", bad.toml("measurements = 2")),
    Bad("report run --config .", 1, "cannot use .: Is a directory; it is a folder; give a file"),
    Bad("evaluate --config a.toml", 1, "Permission denied", bad.locked_file("a.toml"), denied=True),
]

TARGETS = [
    Bad("search --target cortx-a72", 2, "did you mean 'cortex-a72'?"),
    Bad("search --target cortex-a72,", 2, "unknown target ''; known: "),
    Bad("search --target host,nothing", 2, "unknown target 'nothing'"),
    Bad("search --target host,host", 2, "names one of them twice"),
    Bad("search --target mine.toml", 2, "no target file 'mine.toml'; give a path to one, or a name: "),
    Bad("search --target mine.toml", 1, "has 5 problems: name is missing", bad.text("mine.toml", "")),
    Bad("targets mine.toml", 1, "is not TOML", bad.text("mine.toml", "name = ")),
    Bad("targets mine.toml", 1, "is not TOML: it isn't a text", bad.raw("mine.toml", b"\xff\xfe")),
    Bad("targets mine.toml", 1, "cannot read target file 'mine.toml': Is a directory", bad.folder("mine.toml")),
    Bad("estimate resnet18 --target mine.toml", 1, "did you mean 'threads'?", bad.target_with("threads", "thraeds")),
    Bad(
        "targets mine.toml",
        1,
        "threads: -4 is not a whole number of at least 1",
        bad.target_with("threads = 4", "threads = -4"),
    ),
    Bad("targets cortex-m8", 2, "did you mean 'cortex-m"),
    Bad("export --target nothing", 2, "unknown target 'nothing'"),
]

SEARCHING = [
    Bad("search --precision int9", 2, "did you mean 'int8'?"),
    Bad("search --target cortex-m7 --precision fp32", 2, "unknown precision 'fp32' of target 'cortex-m7'; known: int8"),
    Bad("search --measurements 3", 2, "--measurements 3: it must be greater than or equal to 4"),
    Bad("search --time nan", 2, "--time nan: it must be greater than or equal to 0"),
    Bad("search --algorithm nsga4", 2, "did you mean 'nsga2'"),
    Bad("search --predictor gpp", 2, "did you mean 'gp'?"),
    Bad("search --objectives accuracy,latncy", 2, "did you mean 'latency'?"),
    Bad("search --objectives accuracy,size,size", 2, "names one of them twice; give each once"),
    Bad("search --objectives latency,size", 2, "without accuracy, which is what a search measures; add it"),
    Bad("search --objectives accuracy", 2, "a list of 1; give two to four"),
    Bad("search --objectives accuracy,latency:cortex-a99", 2, "unknown target 'cortex-a99'"),
    Bad("search --compare rnd", 2, "did you mean 'random'?"),
    Bad("search --max-latency 0.0001", 3, "not reachable: the smallest is"),
    Bad("search --max-size 0.02MB", 3, "size <= 20 kB is not reachable: the smallest is "),
    Bad("search --max-size 100kg", 2, "--max-size is 100kg; give a number of kB, or one with its unit: B, MB"),
    Bad("search --max-macs 0.0001", 3, "MACs <= 0.0001 M is not reachable"),
    Bad("search --max-memory 0.0012345", 3, "peak activations <= 0.0012345 kB is not reachable: the smallest is"),
    Bad("search --max-latency-on cortex-a53=0.000001", 3, "latency on cortex-a53 <= 1e-06 ms is not reachable"),
    Bad("search --max-latency 0", 2, " is 0; a limit must be above 0"),
    Bad("search --max-latency nan", 2, "--max-latency is nan; give a number of ms"),
    Bad("search --max-latency-on cortex-a53=fast", 2, "give TARGET=ms, such as cortex-a53=20"),
    Bad("search --max-latency-on cortex-a72=3", 2, "its latency is the objective 'latency', its limit "),
    Bad("search --calibration-images 1", 2, "--calibration-images 1: it must be greater than or equal to 2"),
    Bad("search --storage nonsense", 2, "not the URL of a database; give postgresql://user@host/name"),
    Bad("search --storage redis://me:secret@host/db", 2, "--storage 'redis': not the URL of a database"),
    Bad("search --storage sqlite://", 2, "give sqlite:///FILE"),
    Bad("search --storage sqlite:///nowhere/x.db", 1, "unable to open database file"),
    Bad("search --storage sqlite:///x.db", 1, "file is not a database", bad.text("x.db", "text " * 1000)),
    Bad("search --storage postgresql://me:secret@127.0.0.1:9/db", 1, "did not answer for"),
]

RUNS = [
    Bad(
        "search --run nowhere", 1, "nowhere is not a run directory (it has no run.json); start one: nas train-supernet"
    ),
    Bad("export --run photos", 1, "photos is not a run directory"),
    Bad("report nowhere", 1, "nowhere is not a run directory"),
    Bad("runs nowhere", 1, "nowhere is not a folder; give the one that holds runs"),
    Bad("runs notes.txt", 1, "notes.txt is not a folder", bad.text("notes.txt", "hello")),
    Bad("search", 1, "run.json is damaged", bad.text("run/run.json", '{"config": {"spa')),
    Bad("finetune", 1, "run.json is damaged", bad.raw("run/run.json", b"")),
    Bad("report run", 1, "run.json is damaged", bad.text("run/run.json", "[]")),
    Bad("evaluate", 1, "run.json is damaged or of another version", bad.within("run/run.json", "config", colour=1)),
    Bad("search", 1, "was written by a newer nas (format 99", bad.changed("run/run.json", format=99)),
    Bad("search", 1, "", bad.within("run/run.json", "config", space="mbv3-small")),
    Bad("search", 1, "not trained to the end; continue it: nas train-supernet --config ", bad.unfinished),
    Bad("search", 1, "supernet.safetensors is damaged", bad.halved(WEIGHTS)),
    Bad("export", 1, "its checksum is not that of its content", bad.flipped(WEIGHTS)),
    Bad("evaluate", 1, "supernet.safetensors is damaged", bad.raw(WEIGHTS, b"")),
    Bad("finetune", 1, "reads up to 1); upgrade: git pull, then in the clone: pip install", bad.newer(WEIGHTS)),
    Bad("search", 1, "supernet.safetensors is damaged", bad.hostile_pickle(WEIGHTS)),
    Bad("export", 1, "search-cortex-a72.json is damaged", bad.halved(RESULT)),
    Bad("evaluate", 1, "search-cortex-a72.json is damaged", bad.text(RESULT, "{}")),
    Bad("export", 1, "changed since the search; search again", bad.changed(RESULT, weights="0")),
    Bad("export", 1, "the front of this search is empty; search again", bad.changed(RESULT, front=[])),
    Bad("export", 1, "no finished search; start one: nas search --run run", bad.gone(RESULT)),
    Bad("export --target host", 1, "no finished search for host; start one: nas search --run run --target host"),
]

MODELS = [
    Bad("export --candidate deadbeef", 2, "not on the front; there are: "),
    Bad("export --format onyx", 2, "did you mean 'onnx'?"),
    Bad("finetune deadbeef", 2, "not on the front"),
    Bad("finetune --epochs 0", 2, "--epochs 0"),
    Bad("finetune --lr 0", 2, "lr is 0"),
    Bad("finetune missing.json", 1, "missing.json does not exist"),
    Bad("""finetune '{"space": "mbv3-small", "genes": {}}'""", 1, "is of space 'mbv3-small'"),
    Bad("evaluate deadbeef", 2, "not on the front"),
    Bad("evaluate --split tset", 2, "did you mean 'test'?"),
    Bad("evaluate --precision int9", 2, "did you mean 'int8'?"),
    Bad("evaluate missing.onnx", 1, "missing.onnx does not exist"),
    Bad("evaluate junk.onnx", 1, "is not a readable ONNX file", bad.raw("junk.onnx", b"no network")),
    Bad("evaluate photos", 1, "photos is not an exported folder or file; give one"),
    Bad("evaluate bad.json", 1, "it is [1], not a table", bad.text("bad.json", "[1]")),
    Bad("""evaluate '{"space": "mbv3-small", "genes": {}}'""", 1, "is of space 'mbv3-small', run is a supernet of"),
    Bad("evaluate '{broken'", 1, "is not an architecture"),
    Bad("""evaluate '{"space": "mbv3-tiny", "genes": {}}'""", 1, "is missing or not active"),
    Bad("evaluate out", 1, "out is not an exported folder or file; give one", bad.exported(bad.remove_exported)),
    Bad("evaluate out", 1, "is not the file that was exported", bad.exported(bad.halve_exported)),
    Bad("evaluate out --calibration-images 9", 2, "calibrated already; leave it out", bad.exported()),
    Bad("estimate resnet5O", 2, "did you mean 'resnet50'?"),
    Bad("estimate resnet50.a1_in2k", 2, "unknown pretrained tag 'a1_in2k' of resnet50; did you mean 'a1_in1k'?"),
    Bad("estimate resnet18 --resolution 0", 2, "resolution 0"),
    Bad("estimate vit_tiny_patch16_224 --resolution 7", 2, "a 16x16 convolution does not fit on 7x7"),
    Bad("estimate resnet18 --classes 0", 2, "--classes 0: it must be greater than or equal to 1"),
    Bad("estimate no/such/folder", 1, "no/such/folder does not exist"),
    Bad("estimate {}", 1, "is not an architecture"),
    Bad("estimate out", 1, "architecture.json is damaged", bad.exported(bad.halve_manifest)),
    Bad("estimate out", 1, "architecture.json was written by a newer nas", bad.manifest(format=99)),
    Bad("estimate best", 1, "start one: nas train-supernet"),
    Bad("profile hots", 2, "measures 'host'; for other devices give a --bundle"),
    Bad("profile --networks 3", 2, "--networks 3: a fit needs 8 or more"),
    Bad("profile --networks 8", 2, "--networks 8: a fit needs 8 or more of each space (mbv3-tiny, mbv3-large)"),
    Bad("profile --space mbv3-tini --dry-run", 2, "did you mean 'mbv3-tiny'?"),
    Bad("profile --out host.json", 2, "a target file ends in .toml"),
    Bad("profile --import nowhere.json --bundle run", 1, "is not a bundle"),
    Bad("spaces mbv3-tini", 2, "did you mean 'mbv3-tiny'?"),
    Bad("spaces timm:nothing", 2, "unknown timm model 'nothing'"),
]

PLACES = [
    Bad("train-supernet --data photos --out notes.txt", 1, "choose another path", bad.text("notes.txt", "hello")),
    Bad("train-supernet --data photos --out notes.txt/run", 1, "a file is where", bad.text("notes.txt", "hello")),
    Bad("export --out notes.txt", 1, "notes.txt is a file, and an export is", bad.text("notes.txt", "hello")),
    Bad("finetune --out notes.txt/x", 1, "notes.txt is a file, and an export is", bad.text("notes.txt", "hello")),
    Bad("report run --out .", 2, "--out . is a directory; give a file in it"),
    Bad("report run --out notes.txt/x.html", 1, "a file is where a folder should be", bad.text("notes.txt", "hello")),
    Bad("profile --bundle photos", 1, "is not empty and holds no bundle"),
    Bad(
        "train-supernet --data photos --out denied/run", 1, "Permission denied", bad.read_only_folder("denied"),
        denied=True,
    ),
    Bad("report run --out denied/x.html", 1, "Permission denied", bad.read_only_folder("denied"), denied=True),
    Bad("search", 1, "supernet.safetensors", bad.forbidden(WEIGHTS), denied=True),
    Bad("runs denied", 1, "Permission denied", bad.locked_folder("denied"), denied=True),
]  # fmt: skip

CHOSEN = re.compile(r"--space \S+, \d+ to \d+ px, is chosen for ")
"""The line that says which space suits the images may stand before an error that is seen later."""
TABLE = [*WORDS, *DATA, *NAMES, *TRAINING, *CONFIG, *TARGETS, *SEARCHING, *RUNS, *MODELS, *PLACES]


@pytest.fixture
def place(here: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ``run`` and ``photos``; a storage that is down is not waited for."""
    (here / "photos").symlink_to(finished / "photos")
    monkeypatch.setattr(nas.journal.journal, "Storage", lambda where, patience, **more: Storage(where, 0.0, **more))
    return here


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.words[:60]} {row.says[:25]}")
def test_bad_input(place: Path, row: Bad) -> None:
    row.make()
    words = shlex.split(row.words)
    if words and words[0] in OF_A_RUN and "--run" not in words:
        words += ["--run", "run"]
    before = content(place)
    with bad.without_privileges() if row.denied else nullcontext(True) as held:
        if not held:
            pytest.skip("needs a user whom permissions bind")
        result = invoke(*words)
    assert result.code == row.code, result.err
    said, _, message = result.err.rpartition("error: ")
    said = "".join(line for line in said.splitlines() if not CHOSEN.match(line))
    assert (row.before in said) if row.before else not said, result.err
    lines = message.strip().split("\n")
    assert row.says in message
    assert 1 <= len(lines) <= 2
    assert all(len(line) <= WIDEST and line.isprintable() for line in lines)
    assert "Traceback" not in message
    assert "this is a bug" not in message
    assert "secret" not in result.err
    assert not result.out
    assert content(place) == before
    assert not (place / "new").exists()
    assert not (place / "owned").exists()


def test_every_command_is_in_the_table() -> None:
    """...and more than sixty kinds of input."""
    commands = get_command(make_app()).commands  # type: ignore[attr-defined]
    assert {*commands} <= {shlex.split(row.words)[0] for row in TABLE}
    assert len({(row.says, row.code) for row in TABLE}) > 60


@pytest.mark.parametrize("command", ["search", "export", "finetune", "evaluate", "report"])
def test_no_run_at_all(empty: Path, command: str) -> None:
    result = invoke(command)
    assert result.code == 1
    assert "no run under runs/; start one: nas train-supernet" in result.message


def test_interrupted_states_are_taken_up(place: Path) -> None:
    """What a kill leaves is no bad input: a half-written neighbour, and a journal cut in the middle of a line. Nor is a
    line of a journal that cannot be read: what the others hold isn't measured again."""
    write = Path("run/.search-cortex-a72.json.12345.tmp")
    write.write_text('{"config": ')
    journal = Path("run/journal.log")
    expected = Path(RESULT).read_bytes()
    journal.write_bytes(journal.read_bytes()[:-10])
    bad.rubbish_inside("run/journal.log")()
    result = invoke("search", "--measurements", "4", "--run", "run", "--quiet")
    assert result.code == 0, result.err
    assert "run/journal.log: line 2 is left out (Expecting value" in result.err
    assert Path(RESULT).read_bytes() == expected
    assert not write.exists()


def test_the_environment_is_named(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_TRAIN_SUPERNET_EPOCHS", "many")
    result = invoke("train-supernet")
    assert result.code == 2
    assert "--epochs many (in the environment): it must be a valid number" in result.message
