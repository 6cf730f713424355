"""Keys of a super-resolution config, and what must fit together in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from nncf_slb.config.fields import PositiveWhole, whole_not_truth
from samples.super_resolution.datasets import DATASETS
from samples.super_resolution.models import MODELS
from samples.super_resolution.recipes import RECIPES
from samples.training.config import RunConfig, Size, input_size_problems
from samples.training.settings import Task

Scale = Literal[2, 3, 4]


class SuperResolutionConfig(RunConfig):
    """Keys that the super-resolution sample reads."""

    model: Literal[tuple(MODELS)] = Field(description="Network.")  # type: ignore[valid-type]
    dataset: Literal[tuple(DATASETS)] = Field(description="Images.")  # type: ignore[valid-type]
    scale: Annotated[Scale, BeforeValidator(whole_not_truth)] = Field(description="Factor of height and width.")
    channels: Annotated[Literal[1, 3], BeforeValidator(whole_not_truth)] = Field(description="1 for luma, 3 for RGB.")
    patch_size: Size = Field(description="Height and width of a training patch in low resolution.")
    patches: PositiveWhole = Field(description="Training patches in an epoch.")
    loss: Literal["l1", "mse"] = Field(description="Absolute or squared difference.")
    strict: bool = Field(default=False, description="Whether images that cannot be used are an error.")
    test_data: list[str] = Field(default=[], description="Folders of test images.")


def _image_shape(config: dict[str, Any]) -> tuple[int, int, int]:
    return config["channels"], config["patch_size"], config["patch_size"]


def _data_problems(config: dict[str, Any]) -> list[str]:
    return [
        *input_size_problems(config, _image_shape(config), "channels, patch_size, patch_size", any_size=True),
        *(
            f"test_data[{index}]: received '{folder}'; there is no such folder"
            for index, folder in enumerate(config.get("test_data", []))
            if not Path(folder).is_dir()
        ),
    ]


TASK = Task(
    "super_resolution",
    SuperResolutionConfig,
    MODELS,
    DATASETS,
    RECIPES,
    network_arguments=lambda config: {"scale": config["scale"], "channels": config["channels"]},
    image_shape=_image_shape,
    arguments={
        "--scale": {
            "type": int, "choices": get_args(Scale), "help": "factor of height and width instead of the config's",
        },
        "--test-data": {"nargs": "+", "help": "folders of test images instead of photographs of scikit-image"},
        "--strict": {"action": "store_true", "default": None, "help": "stop at images that cannot be used"},
    },
    problems=_data_problems,
)  # fmt: skip
