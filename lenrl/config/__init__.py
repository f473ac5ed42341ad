"""Recipes: a name and overrides become one validated, plain `Recipe`. The only importer of Hydra."""

from lenrl.config.compose import compose, find, group
from lenrl.config.grid import Axis, Grid, spread
from lenrl.config.other_tasks import options_of
from lenrl.config.overrides import quoted, sections, sets, word
from lenrl.config.recipe import SLOTS, Recipe, short_digest
from lenrl.config.settings import (
    GuardRule,
    GuardSettings,
    LoggingSettings,
    ModelSettings,
    OtherData,
    UpdateSettings,
)
from lenrl.recipe_paths import RECIPES, group_choices, recipe_files

__all__ = [
    "RECIPES",
    "SLOTS",
    "Axis",
    "Grid",
    "GuardRule",
    "GuardSettings",
    "LoggingSettings",
    "ModelSettings",
    "OtherData",
    "Recipe",
    "UpdateSettings",
    "compose",
    "find",
    "group",
    "group_choices",
    "options_of",
    "quoted",
    "recipe_files",
    "sections",
    "sets",
    "short_digest",
    "spread",
    "word",
]
