"""Tasks: real examples, the model that learns them, and how clients share them out.

One file per task; `find_task` reads one by name, `partition` gives every client its part.
"""

from .examples import Examples, Task
from .partition import partition
from .registry import TASKS, file_of, find_task

__all__ = ["TASKS", "Examples", "Task", "file_of", "find_task", "partition"]
