"""From a description to a module: timm's models, and what importing and building them needs."""
