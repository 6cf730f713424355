"""Keys of a classification config, and what must fit together in one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from nncf_slb.config.fields import PositiveWhole
from samples.classification.datasets import DATASETS
from samples.classification.models import MODELS
from samples.classification.recipes import DATASETS as DATA
from samples.classification.recipes import RECIPES
from samples.training.config import RunConfig, input_size_problems
from samples.training.settings import Task


class ClassificationConfig(RunConfig):
    """Keys that the classification sample reads."""

    model: Literal[tuple(MODELS)] = Field(description="Network.")  # type: ignore[valid-type]
    dataset: Literal[tuple(DATASETS)] = Field(description="Data set.")  # type: ignore[valid-type]
    num_classes: PositiveWhole = Field(default=10, description="Classes of the data set.")


def _data_problems(config: dict[str, Any]) -> list[str]:
    """What does not fit to the data set; ImageNet's classes are as many as it has folders."""
    dataset = config["dataset"]
    data = DATA[dataset]
    problems = input_size_problems(config, data.image_shape, f"the shape of {dataset}")
    classes = config.get("num_classes", data.num_classes)
    if classes != data.num_classes and dataset != "imagenet":
        allowed = f"{data.num_classes}, the classes of {dataset}"
        problems.append(f"num_classes: received {classes}; allowed: {allowed}. Change it, or remove it")
    return problems


TASK = Task(
    "classification",
    ClassificationConfig,
    MODELS,
    DATASETS,
    RECIPES,
    network_arguments=lambda config: {"num_classes": DATA[config["dataset"]].num_classes},
    image_shape=lambda config: DATA[config["dataset"]].image_shape,
    problems=_data_problems,
)
