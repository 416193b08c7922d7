"""Kinds of networks that timm builds, one file each: which genes they have, and how a subnet is described."""
