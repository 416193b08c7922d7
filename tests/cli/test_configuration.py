"""Options from flags, environment and file; printing them; repeating a run from what it kept of itself."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.support.cli_runs import invoke

COMMANDS = {
    "train-supernet": ["--epochs", "2.5", "--freeze-bn", "--lr", "auto", "--init", 'weights é"\\.pth'],
    "search": ["--target", "host.toml", "--max-latency", "0.1", "--max-latency-on", "a=1", "--max-latency-on", "b=2"],
    "export": ["--candidate", "abc", "--format", "onnx", "--license", "mit"],
    "finetune": ["best", "--no-quantization-aware"],
    "profile": ["host", "--import", "results.json", "--uint8"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_printed_means_the_same(command: str, empty: Path) -> None:
    first = invoke(command, *COMMANDS[command], "--print-config")
    assert (first.code, first.err) == (0, "")
    Path("run.toml").write_text(first.out)
    assert invoke(command, "--config", "run.toml", "--print-config").out == first.out
    values = tomllib.loads(first.out)
    words = [word for word in COMMANDS[command] if word.startswith("--") and not word.startswith("--no-")]
    assert {word.removeprefix("--") for word in words} <= values.keys()
    assert (
        values.items()
        >= {
            "train-supernet": {"epochs": 2.5, "lr": "auto", "init": 'weights é"\\.pth', "freeze-bn": True, "seed": 0},
            "search": {"max-latency": "0.1 ms", "max-latency-on": ["a=1", "b=2"], "measurements": 40},
            "export": {"candidate": "abc", "license": "mit"},
            "finetune": {"candidate": "best", "quantization-aware": False},
            "profile": {"device": "host", "import": "results.json", "uint8": True},
        }[command].items()
    )
    assert list(empty.iterdir()) == [empty / "run.toml"]


def test_flags_win_over_the_environment_over_the_file_over_defaults(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("run.toml").write_text("measurements = 5\nbatch = 2\npatience = 3\n")
    monkeypatch.setenv("NAS_SEARCH_MEASUREMENTS", "6")
    monkeypatch.setenv("NAS_SEARCH_BATCH", "4")
    monkeypatch.setenv("NAS_EXPORT_TARGET", "of another command")
    told = invoke("search", "--config", "run.toml", "--measurements", "7", "--print-config").out
    values = tomllib.loads(told)
    assert [values[key] for key in ("measurements", "batch", "patience", "calibration-images")] == [7, 4, 3, 256]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("measurments = 5", "unknown key 'measurments' in run.toml; did you mean 'measurements'?"),
        ("config = 'other.toml'", "unknown key 'config'"),
        ("measurements = 'many'", "measurements"),
        ("measurements = ", "isn't a TOML file"),
    ],
)
def test_a_file_that_says_nothing_usable_is_refused(empty: Path, text: str, message: str) -> None:
    Path("run.toml").write_text(text)
    result = invoke("search", "--config", "run.toml", "--print-config")
    assert result.code == 2
    assert message in result.message


def test_an_unknown_variable_names_the_nearest(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_TRAIN_SUPERNET_EPOCH", "3")
    assert invoke("search", "--print-config").code == 0
    result = invoke("train-supernet", "--print-config")
    assert result.code == 2
    assert "'NAS_TRAIN_SUPERNET_EPOCH'; did you mean 'NAS_TRAIN_SUPERNET_EPOCHS'?" in result.message


@pytest.mark.parametrize(
    ("command", "content"),
    [
        ("search", {"config": {"space": "mbv3-tiny"}}), ("train-supernet", {"config": {"target": "cortex-a72"}}),
        ("train-supernet", {"config": {"space": "mbv3-tiny"}, "finetuned_from": "a"}), ("export", {"config": {}}),
        ("search", {"config": {"target": "a", "bounds": []}}), ("search", [1]), ("train-supernet", {"config": 1}),
    ],
)  # fmt: skip
def test_a_file_of_another_command_is_refused(empty: Path, command: str, content: object) -> None:
    Path("kept.json").write_text(json.dumps(content))
    result = invoke(command, "--config", "kept.json", "--print-config")
    assert result.code == 2
    assert f"--config kept.json: nas {command} cannot be repeated from it" in result.message


def test_every_setting_of_a_search_is_a_flag_again(empty: Path) -> None:
    from nas.search.bounds import Bounds
    from nas.search.config import SearchConfig

    limits = [0.1, 0.3, 1.1, 7.77, 123.456]
    for ms, megabytes, millions, kilobytes in zip(limits, limits[1:], limits[2:], limits[3:], strict=False):
        bounds = Bounds(ms, megabytes * 1e6, millions * 1e6, kilobytes * 1e3, {"cortex-a53": ms / 3})
        config = SearchConfig(
            "host", "int8,w4a8", 9, bounds, 3, 64, "nsga2", "gp", 2, 5.5, 1, "accuracy,memory", "none", prior=4
        )
        Path("search-host.json").write_text(json.dumps({"config": asdict(config)}))
        told = tomllib.loads(invoke("search", "--config", "search-host.json", "--print-config").out)
        assert told == {
            "target": "host", "precision": "int8,w4a8", "measurements": 9, "objectives": "accuracy,memory",
            "compare": "none", "max-latency": f"{ms} ms", "max-latency-on": [f"cortex-a53={ms / 3}"],
            "max-size": f"{1000 * megabytes:.15g} kB", "max-macs": f"{millions} M", "max-memory": f"{kilobytes} kB",
            "calibration-images": 64, "algorithm": "nsga2", "predictor": "gp", "batch": 2, "time": 5.5, "patience": 1,
            "seed": 3, "quiet": False, "json": False, "dry-run": False,
        }  # fmt: skip


def test_a_run_is_repeated_from_its_own_files(here: Path) -> None:
    """Trained again, the weights are the same bits; searched again, so are the result and every measurement."""
    training = invoke("train-supernet", "--config", "run/run.json", "--print-config").out
    Path("train.toml").write_text(training)
    trained = invoke("train-supernet", "--config", "train.toml", "--out", "again", "--workers", "0")
    assert trained.code == 0, trained.err
    assert Path("again/supernet.safetensors").read_bytes() == Path("run/supernet.safetensors").read_bytes()
    states = [load_file(f"{run}/checkpoint.safetensors") for run in ("run", "again")]  # its header also has seconds
    assert states[0].keys() == states[1].keys()
    assert all(states[0][name].tobytes() == states[1][name].tobytes() for name in states[0])
    configs = [json.loads(Path(run, "run.json").read_text())["config"] for run in ("run", "again")]
    assert configs[0] == configs[1]
    searched = invoke("search", "--config", "run/search-cortex-a72.json", "--run", "again")
    assert searched.code == 0, searched.err
    name = "search-cortex-a72.json"
    assert Path("again", name).read_bytes() == Path("run", name).read_bytes()
    assert measurements(Path("again")) == measurements(Path("run"))


def measurements(run: Path) -> list[tuple[str, list[float] | None]]:
    """What the journal's studies hold of every trial, in order, but for who measured it and how long that took."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(run / "journal.log")))
    return [
        (f"{study.study_name} {sorted((trial.user_attrs | {'seconds': 0}).items())}", trial.values)
        for study in storage.get_all_studies()
        if "claims" not in study.study_name  # who worked on it
        for trial in storage.get_all_trials(study._study_id)
    ]
