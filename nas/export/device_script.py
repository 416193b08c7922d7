"""The script that lies beside an exported file: what photos show, on a device that has no part of this project.

It is put together from files of this project, so that what a device computes is what training and evaluation do: the
preparation of images, the runtime's way to open a file, the task's way to read an output, and the command around them.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.runtimes.runtime import DeviceCode, Exported, pip_arguments
from nas.tasks.task import OUTPUT, Task

from . import device_main
from .preparation import preparation_source

_LEFT_OUT = ("__future__", "nas")


@dataclass(frozen=True)
class Script:
    """A script in an exported folder.

    Attributes:
        file: the name of the file that it runs.
        model: that file, opened here.
        needs: packages that run it -> their lowest versions; empty: any.
        channels_last: whether it takes images ``[1, H, W, C]``.
    """

    name: str
    file: str
    model: Exported
    needs: Mapping[str, str]
    channels_last: bool = False


def script_name(form: str) -> str:
    """For example ``classify_onnx.py``."""
    return f"classify_{form}.py"


def device_script(form: str, code: DeviceCode, task: Task, needs: Mapping[str, str]) -> str:
    """The text of the script for files of one runtime.

    Args:
        needs: packages -> their lowest versions, as the file says it (:data:`nas.runtimes.runtime.NEEDS`).
    """
    name = script_name(form)
    main = Path(device_main.__file__).read_text(encoding="utf-8")
    imports, bodies = _joined(preparation_source(), code.source, main)
    return f'''"""What photos show: python {name} MODEL PHOTO...

    python {name} MODEL photo.jpg more.png folder/

Needs Python 3.9 or later, and: pip install numpy pillow {pip_arguments(needs)}
Where folders have the names of classes, the accuracy follows.
"""

from __future__ import annotations

{imports}

NEEDS = {json.dumps(dict(needs))}


{bodies}


def answer({OUTPUT}, classes):
    """What an output says, and a remark."""
    return {task.device_code}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__, NEEDS, open_network, answer))
'''


def _joined(*sources: str) -> tuple[str, str]:
    """The imports of several modules, each once and without this project's, and what else the modules hold."""
    plain, names, bodies = set[str](), dict[str, set[str]](), []
    for source in sources:
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import):
                plain.update(ast.unparse(ast.Import([each])) for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.setdefault(node.module or "", set()).update(each.name for each in node.names)
            if isinstance(node, ast.Import | ast.ImportFrom) or node.lineno == 1:
                last = node.end_lineno or node.lineno
                lines[node.lineno - 1 : last] = [""] * (last - node.lineno + 1)
        bodies.append("\n".join(lines).strip())
    froms = {
        f"from {module} import {', '.join(sorted(each, key=lambda name: (not name.isupper(), name)))}"
        for module, each in names.items()
        if module.split(".")[0] not in _LEFT_OUT
    }
    blocks: dict[bool, list[str]] = {False: [], True: []}
    for line in (*sorted(plain), *sorted(froms, key=str.lower)):
        blocks[line.split()[1].split(".")[0] not in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(block) for block in blocks.values()), "\n\n\n".join(bodies)
