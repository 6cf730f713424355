"""The tasks of all samples, for whoever has a config and wants to know which one reads it."""

from __future__ import annotations

from typing import Any

from samples.classification.config import TASK as CLASSIFICATION
from samples.super_resolution.config import TASK as SUPER_RESOLUTION
from samples.training.settings import Task

TASKS = (CLASSIFICATION, SUPER_RESOLUTION)


def task_of(config: dict[str, Any]) -> Task:
    """The task that a config is most likely for: by its network, its data set, then the keys that only one task has."""

    def likeness(task: Task) -> tuple[bool, bool, int]:
        names = [isinstance(config.get(key), str) and config[key] for key in ("model", "dataset")]
        return names[0] in task.models, names[1] in task.datasets, len(config.keys() & task.config.model_fields.keys())

    return max(TASKS, key=likeness)
