"""Which errors of a trial are of the place it works in, not of what is tried: a full disk, a bucket or a share that is away."""

import errno
import os

from ray.exceptions import RayError, RayTaskError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import WorkerGroupError

from chestseg.storage.objects import StorageError

NO_SPACE = os.strerror(errno.ENOSPC)
"""What safetensors and PyTorch say of a full disk too, in errors of their own."""


def is_of_the_place(error: BaseException) -> bool:
    """Whether another trial would meet an error as well, and none once the place is mended.

    Args:
        error: as it was raised; of a task or of a trial's workers, what these raised counts.
    """
    match error:
        case WorkerGroupError():
            return any(map(is_of_the_place, error.worker_failures.values()))
        case UserExceptionWithTraceback():
            return is_of_the_place(error._base_exc)
        case RayTaskError():
            return is_of_the_place(error.cause)
        case RayError():
            return False  # a lost process or node; Ray's time-outs are OSErrors by name only
    return isinstance(error, StorageError | OSError) or NO_SPACE in str(error)
