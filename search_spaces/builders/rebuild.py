"""From a model, a recipe and tensors to the smaller network. The text of these functions lies beside exported weights:
they need torch alone."""

# mypy: allow-untyped-defs, allow-untyped-calls
# mypy: disable-error-code=var-annotated
# (what is pasted has no types)

from __future__ import annotations


def find_module(model, path):
    """The module at a path. Raises ValueError where there is none."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise ValueError(f"it names a module that the model has not: {path!s:.100}") from None


def replace_number(model, path, name, place, number):
    """Put a number where an attribute of a module has another; ``place`` is that in a list of (lists of) numbers."""

    def put(value, place):
        if not place:
            largest = value if type(value) is int else 65536  # whole numbers of a smaller network are smaller
            if type(value) not in (int, float) or type(number) not in (int, type(value)) or not 0 <= number <= largest:
                raise ValueError(f"{path}.{name} cannot be {number!r:.40} in a smaller network")
            return number
        if not isinstance(value, (list, tuple)) or not 0 <= place[0] < len(value):
            raise ValueError(f"it sets a number of a list that {path}.{name} is not, or has not: {place!r:.40}")
        items = list(value)
        items[place[0]] = put(items[place[0]], place[1:])
        return items if isinstance(value, list) else tuple(items)

    table = vars(find_module(model, path))
    if name not in table:
        raise ValueError(f"it sets a number that the model has not: {path!s:.100}.{name!s:.100}")
    table[name] = put(table[name], list(place))


def take_out(model, delete, identity):
    """Take modules out of the ones that hold them, or put ``Identity`` in their place. Raises ValueError where there is
    no such module."""
    import torch

    for path in (*delete, *identity):
        owner, _, name = str(path).rpartition(".")
        held = find_module(model, owner)._modules
        if name not in held:
            raise ValueError(f"it takes out a module that the model has not: {path!s:.100}")
        if path in delete:
            del held[name]
        else:
            held[name] = torch.nn.Identity()


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
    from torch import nn

    weight = module._parameters.get("weight")
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
    """The smaller network, from the model that it was cut from. ``state``: names in the model -> tensors; those that it
    lacks (constants that no state holds) are the model's own, cut to the shapes that the recipe has."""

    def replacement(name, tensor):
        if name in state:
            return state[name]
        shape = recipe["shapes"].get(name)
        if shape is None:
            return tensor
        if len(shape) != tensor.dim() or any(not 0 < new <= old for new, old in zip(shape, tensor.shape, strict=True)):
            raise ValueError(f"{name} cannot have the shape {shape}")
        return tensor.detach()[tuple(slice(size) for size in shape)].clone()

    return reshape(model, recipe, replacement)


def shrink(model, recipe):
    """The smaller network with tensors of its own shapes, as fresh as the model's."""
    return rebuild(model, recipe, {})


def reshape(model, recipe, replacement):
    """The model with other numbers and fewer modules, and of each tensor (name, tensor) its replacement."""
    import torch

    names = name_tensors(model)
    if not {"set", "delete", "identity", "shapes"} <= set(recipe):
        raise ValueError("a recipe has set, delete, identity and shapes")
    if not set(recipe["shapes"]) <= set(names.values()):
        raise ValueError("it has tensors of other names than the model")
    for (path, name, *place), number in recipe["set"]:
        replace_number(model, path, name, place, number)
    take_out(model, recipe["delete"], recipe["identity"])
    made = {}

    def swap(tensor):
        name = names[id(tensor)]
        if name not in made:
            new = replacement(name, tensor)
            if new is not tensor and isinstance(tensor, torch.nn.Parameter):
                new = torch.nn.Parameter(new, tensor.requires_grad)
            made[name] = new
        return made[name]

    for module in model.modules():
        swap_tensors(module, swap)
        mirror_shapes(module)
    return model


REBUILDING = (
    find_module,
    replace_number,
    take_out,
    name_tensors,
    swap_tensors,
    mirror_shapes,
    reshape,
    rebuild,
    shrink,
)
"""All of them, in the order in which their text is pasted."""
