"""From a model, a recipe and tensors to the smaller network. The text of these functions lies beside exported weights:
they need torch alone."""

# mypy: allow-untyped-defs, allow-untyped-calls
# mypy: disable-error-code=var-annotated
# (what is pasted has no types)

from __future__ import annotations

import torch


def replace_number(model, path, name, place, number):
    """Put a number where an attribute of a module has another; ``place`` is that in a list of (lists of) numbers."""

    def put(value, place):
        if not place:
            return number
        items = list(value)
        items[place[0]] = put(items[place[0]], place[1:])
        return items if isinstance(value, list) else tuple(items)

    table = vars(model.get_submodule(path))
    table[name] = put(table[name], list(place))


def take_out(model, delete, identity):
    """Take modules out of the ones that hold them, or put ``Identity`` in their place."""
    for path in delete:
        owner, _, name = path.rpartition(".")
        del model.get_submodule(owner)._modules[name]
    for path in identity:
        owner, _, name = path.rpartition(".")
        model.get_submodule(owner)._modules[name] = torch.nn.Identity()


def name_tensors(model):
    """Identity of every parameter and buffer -> its name, the first of several."""
    names = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    names.setdefault(id(tensor), f"{path}.{key}".lstrip("."))
    return names


def swap_tensors(module, swap):
    """Replace a module's own parameters and buffers by what ``swap`` makes of each, also where a list in an attribute
    holds them (recurrent networks have one)."""
    swapped = {}
    for table in (module._parameters, module._buffers):
        for key, tensor in table.items():
            if tensor is not None:
                table[key] = swapped[id(tensor)] = swap(tensor)
    for name, value in vars(module).items():
        if type(value) is list and any(id(each) in swapped for each in value):
            vars(module)[name] = [swapped.get(id(each), each) for each in value]


def mirror_shapes(module):
    """Attributes of torch's own modules that repeat the shape of a weight."""
    weight, nn = module._parameters.get("weight"), torch.nn
    if isinstance(weight, nn.UninitializedParameter | None):
        return
    shape = weight.shape
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.modules.conv._ConvNd):
        first, second = shape[0], shape[1] * module.groups
        if module.transposed:
            module.in_channels, module.out_channels = first, second
        else:
            module.out_channels, module.in_channels = first, second
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = shape[0]
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = shape[0]
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = shape[1]


def rebuild(model, recipe, state):
    """The smaller network, from the model that it was cut from. ``state``: names in the model -> tensors."""
    names = name_tensors(model)
    for (path, name, *place), number in recipe["set"]:
        replace_number(model, path, name, place, number)
    take_out(model, recipe["delete"], recipe["identity"])
    made = {}

    def swap(tensor):
        name = names[id(tensor)]
        if name not in state:
            return tensor
        if name not in made:
            parameter = isinstance(tensor, torch.nn.Parameter)
            made[name] = torch.nn.Parameter(state[name], tensor.requires_grad) if parameter else state[name]
        return made[name]

    for module in model.modules():
        swap_tensors(module, swap)
        mirror_shapes(module)
    return model
