"""The supernet: the largest model of a space, which lends its weights to every other.

``forward(x, architecture)`` runs the subnet timm would build for the architecture on views of the shared weights;
``extract`` copies those views into an ordinary timm model that no longer knows of this project.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.quantization.fake import Fake, fake_quantized
from nas.quantization.grids import add_clips, clip_name
from search_spaces.architecture import Architecture, Choice, Interface
from search_spaces.policy import Policy
from search_spaces.space import NO_DROP, Drop, SearchSpace
from search_spaces.tracing.copies import all_tensors, shared_tensors

from .activations import keep_inputs
from .borrow import Cut, add_kernel_transforms, borrow, constant_shapes, named_shapes, plan
from .depthwise import speed_up

_SKELETONS = 256
_PARTS = 8192
_PASSES = -1  # in place of genes where nothing is

Slot = Any  # a module's table of parameters or buffers, or a list that holds some of its parameters too
Place = str | int
PartKey = tuple[str, tuple[Choice, ...]]
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Skeleton:
    """A timm model without storage of its own.

    Attributes:
        cuts: how to get each tensor from the supernet.
        slots: for each cut, the module's dictionary and the key in it where the view belongs.
    """

    model: nn.Module
    cuts: tuple[Cut, ...]
    slots: tuple[tuple[Slot, Place], ...]

    def bind(self, source: Mapping[str, Tensor]) -> nn.Module:
        """The model with views of ``source`` in place of its tensors, until the next binding.

        The same as ``torch.func.functional_call`` without looking every name up again: on small networks that look-up
        costs a twentieth of a training step.
        """
        for (slot, key), cut in zip(self.slots, self.cuts, strict=True):
            slot[key] = cut.take(source)
        return self.model

    def put_back(self, source: Mapping[str, Tensor]) -> None:
        """Bring running statistics that were put together of pieces back to where they were taken from."""
        for slot, key, cut in self._copied:
            buffer = slot[key]
            assert buffer is not None
            cut.put_back(source, buffer)

    @cached_property
    def _copied(self) -> list[tuple[Slot, Place, Cut]]:
        places = zip(self.slots, self.cuts, strict=True)
        return [(slot, key, cut) for (slot, key), cut in places if cut.copies and _is_statistic(cut.name)]


class _Recent(OrderedDict[Key, Value]):
    """A least-recently-used cache."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __reduce__(self) -> tuple[type[_Recent[Key, Value]], tuple[int]]:
        """A copy begins empty: what is kept here belongs to one supernet's modules."""
        return type(self), (self.limit,)

    def recall(self, key: Key) -> Value | None:
        if key in self:
            self.move_to_end(key)
        return self.get(key)

    def keep(self, key: Key, value: Value) -> None:
        self[key] = value
        if len(self) > self.limit:
            self.popitem(last=False)


class Supernet(nn.Module):
    """Shared weights of all architectures of a space.

    Args:
        seed: of the initial weights.
        learned: precisions whose weight steps are learned (clips, see ``nas.quantization.fake``).

    Attributes:
        model: the largest timm model; its parameters are the supernet's.
        frozen_statistics: batch norms normalise with their running statistics while training, too, and leave them as
            they are. Set before the first forward pass.
    """

    frozen_statistics = False

    def __init__(self, space: SearchSpace, interface: Interface, seed: int = 0, learned: Sequence[str] = ()) -> None:
        super().__init__()
        self.space, self.interface = space, interface
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = space.build(space.largest, self.interface)
        if space.kernel_transforms:
            add_kernel_transforms(self.model, _smaller_kernels(space, self.interface))
        add_clips(self.model, learned)
        self._named: dict[str, Tensor] | None = None  # until the model moves to another device
        self._skeletons: _Recent[tuple[Architecture, Drop], Skeleton] = _Recent(_SKELETONS)
        self._parts: _Recent[PartKey, Skeleton] = _Recent(_PARTS)

    def forward(self, x: Tensor, architecture: Architecture, drop: Drop = NO_DROP, fake: Fake | None = None) -> Tensor:
        """Logits ``[n, classes]`` of a subnet on images ``[n, channels, h, w]``.

        In training mode the running statistics of the supernet's slices are updated, as the subnet's own would be, and
        the subnet is regularised by ``drop`` as timm does it, with torch's global generator. ``fake`` quantizes it.
        """
        found = self.skeleton(architecture, drop)
        model = found.bind(self._tensors())
        quantized = fake is not None and fake.policy.quantized
        with fake_quantized(model, fake, self._clips(found, fake.policy)) if fake and quantized else nullcontext():
            out: Tensor = model(x)
        if self.training:
            found.put_back(self._tensors())
        return out

    def clips(self, architecture: Architecture, policy: Policy) -> dict[str, Tensor] | None:
        """What a subnet learned of its weights' grids, for ``nas.quantization.quantize.quantize``: path of a layer ->
        clips ``[out of the subnet]``, for the layers whose precision was learned; None where none was."""
        found = self._clips(self.skeleton(architecture), policy)
        return {path: clip.detach().cpu().clone() for path, clip in found.items()} or None

    def _clips(self, skeleton: Skeleton, policy: Policy) -> dict[str, Tensor]:
        tensors, found = self._tensors(), {}
        for cut in skeleton.cuts:
            path, _, key = cut.name.rpartition(".")
            clip = tensors.get(clip_name(path, policy.of(path))) if key == "weight" else None
            if clip is not None:
                found[path] = cut.take_first(clip)
        return found

    def train(self, mode: bool = True) -> Supernet:
        """Switch the supernet and all skeletons between training and evaluation."""
        if mode != self.training:
            for part in self._parts.values():
                self._switch(part.model, mode)
            self._skeletons.clear()
        super().train(mode)
        if self.frozen_statistics:
            self._switch(self.model, mode)
        return self

    def _switch(self, module: nn.Module, training: bool) -> nn.Module:
        """Between training and evaluation; norms of frozen statistics stay in evaluation."""
        module.train(training)
        if training and self.frozen_statistics:
            for norm in module.modules():
                if isinstance(norm, _BatchNorm):
                    norm.eval()
        return module

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Supernet:
        self._named = None  # moving to a device replaces buffers
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def extract(self, architecture: Architecture) -> nn.Module:
        """A materialised copy of the subnet, an ordinary timm model on the supernet's device, in eval mode."""
        tensors = self._tensors()
        model = self.space.build(architecture, self.interface, "meta")
        constants = constant_shapes(model)
        shapes = [*named_shapes(model), *constants]
        weights = borrow(tensors, self.plan(architecture, shapes))
        state = {name: view.detach().clone(memory_format=torch.contiguous_format) for name, view in weights.items()}
        for name, _ in constants:
            owner, _, key = name.rpartition(".")
            model.get_submodule(owner)._buffers[key] = state.pop(name)
        model.load_state_dict(state, assign=True)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model.eval()

    def plan(self, architecture: Architecture, shapes: Iterable[tuple[str, torch.Size]]) -> list[Cut]:
        """How to get tensors of a subnet, by their ``shapes``, from the supernet's."""
        family = self.space.family
        return plan(self._tensors(), shapes, family.packed, family.pieces(architecture, self.interface))

    def skeleton(self, architecture: Architecture, drop: Drop = NO_DROP) -> Skeleton:
        """The storage-less timm model of an architecture, cached whole and by parts.

        One that drops shares no part with others: how often a block is dropped depends on the whole network.
        """
        found = self._skeletons.recall((architecture, drop))
        if found is None:
            if drop == NO_DROP:
                found = self._build_skeleton(architecture)
            else:
                model = self.space.family.build(architecture, self.interface, "meta", drop)
                found = self._part(model, architecture, "", whole=True)
            self._skeletons.keep((architecture, drop), found)
        return found

    def _tensors(self) -> dict[str, Tensor]:
        if self._named is None:
            self._named = all_tensors(self.model)
        return self._named

    def _build_skeleton(self, architecture: Architecture) -> Skeleton:
        """Assemble from parts seen before; build the whole model only where a part is new.

        Building a model costs about as much as a tenth of a small training step. A block depends on few genes, so
        after a short while every block has been built once, and an unseen architecture is put together from known
        blocks.
        """
        keys = self._part_keys(architecture)
        if any(self._parts.recall(key) is None for key in keys.values()):
            model = self.space.build(architecture, self.interface, "meta")
            for path, key in keys.items():
                if self._parts.recall(key) is None:
                    self._parts.keep(key, self._part(model, architecture, path))
        shell = self._parts[keys[""]]
        children = {path: self._parts[key] for path, key in keys.items() if path}
        parts = [shell, *children.values()]
        cuts = tuple(cut for part in parts for cut in part.cuts)
        slots = tuple(slot for part in parts for slot in part.slots)
        gone = [path for path in self._paths if path not in children]
        return Skeleton(_assemble(shell.model, children, gone), cuts, slots)

    @cached_property
    def _paths(self) -> list[str]:
        """Of segments, without the rest of the network."""
        return [segment.path for segment in self.space.blocks if segment.path]

    def _part_keys(self, architecture: Architecture) -> dict[str, PartKey]:
        """Path -> what the part at that path depends on. The input resolution shapes no weights."""
        values = dict(architecture.genes)
        keys = {}
        for segment in self.space.blocks:
            if segment.gate is None or values[segment.gate[0]] >= segment.gate[1]:
                chosen = tuple(values[g] for g in segment.genes if g != "resolution")
                keys[segment.path] = (segment.path, chosen)
            elif segment.passes:
                keys[segment.path] = (segment.path, (_PASSES,))
        return keys

    def _part(self, model: nn.Module, architecture: Architecture, path: str, whole: bool = False) -> Skeleton:
        """One segment of a model with its own cuts; for the path "" the model with what lies outside all segments, or
        with ``whole`` with everything."""
        module = self._switch(model.get_submodule(path), self.training)
        speed_up(module)
        keep_inputs(module)
        prefix = f"{path}." if path else ""
        nested = tuple(f"{each}." for each in self._paths) if not (path or whole) else ()
        shapes = [(n, s) for n, s in (*named_shapes(module), *constant_shapes(module)) if not n.startswith(nested)]
        cuts = self.plan(architecture, [(prefix + name, shape) for name, shape in shapes])
        slots: list[tuple[Slot, Place]] = []
        found: list[Cut] = []
        for (name, _), cut in zip(shapes, cuts, strict=True):
            owner, _, key = name.rpartition(".")
            holder = module.get_submodule(owner)
            table: Slot = holder._parameters if key in holder._parameters else holder._buffers
            places: list[tuple[Slot, Place]] = [(table, key)]
            places += [(values, place) for values, place, tensor in shared_tensors(holder) if tensor is table[key]]
            slots += places
            found += [cut] * len(places)
        return Skeleton(module, tuple(found), tuple(slots))


def _smaller_kernels(space: SearchSpace, interface: Interface) -> dict[str, range]:
    """Convolutions whose kernel shrinks in some architecture -> the sides that it shrinks to."""
    deepest = dict(space.largest.genes) | {g.name: g.choices[0] for g in space.genes if g.name.endswith("kernel")}
    shapes = dict(named_shapes(space.build(Architecture(space.name, tuple(deepest.items())), interface, "meta")))
    found = {}
    for name, large in named_shapes(space.build(space.largest, interface, "meta")):
        if len(large) == 4 and shapes[name][3] < large[3]:
            found[name.removesuffix(".weight")] = range(large[3] - 2, shapes[name][3] - 1, -2)
    return found


def _is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in ("running_mean", "running_var")


def _assemble(shell: nn.Module, children: dict[str, Skeleton], gone: Iterable[str]) -> nn.Module:
    """A model like ``shell`` that has ``children`` (by dotted path) in its containers of segments, and none of those
    that are ``gone``."""
    root = _shallow(shell)
    containers: dict[str, nn.Module] = {"": root}

    def container(path: str, make: bool) -> nn.Module | None:
        if path not in containers:
            owner, _, name = path.rpartition(".")
            holder = container(owner, make)
            known = None if holder is None else holder._modules.get(name)
            if holder is None or (known is None and not make):
                return None
            holder._modules[name] = containers[path] = _shallow(known) if known is not None else nn.Sequential()
        return containers[path]

    for path in gone:
        owner, _, leaf = path.rpartition(".")
        if (holder := container(owner, False)) is not None:
            holder._modules.pop(leaf, None)
    for path, part in children.items():
        owner, _, leaf = path.rpartition(".")
        holder = container(owner, True)
        assert holder is not None
        holder._modules[leaf] = part.model
    return root


def _shallow(module: nn.Module) -> nn.Module:
    """A module that shares its children but may lose or gain some."""
    twin = copy.copy(module)
    twin._modules = module._modules.copy()
    return twin
