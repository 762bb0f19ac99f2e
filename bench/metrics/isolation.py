"""Run a number-crunching function where its crash kills nobody else."""

import json
import os
import select
import signal
import warnings
from collections.abc import Callable

from bench.errors import MeasureError, Reason


def call_isolated(compute: Callable[[], float], timeout_s: float) -> float:
    """Return ``compute()`` as computed in a forked child.

    Where there is no ``fork`` (Windows) it is called here.

    Raises:
        MeasureError: If ``compute`` raised one, if the child crashed, or if it took longer than
            ``timeout_s``.
    """
    if not hasattr(os, "fork"):
        return compute()
    receiver, sender = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads; the child runs nothing but `compute` and leaves at once.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _compute_and_exit(compute, sender)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        ready, _, _ = select.select([stream], [], [], timeout_s)
        if not ready:
            os.kill(child, signal.SIGKILL)
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        code = os.waitstatus_to_exitcode(status)
        raise MeasureError(Reason.METRIC_ERROR, f"the computation crashed (exit {code})")
    value, reason, message = json.loads(answer)
    if reason:
        raise MeasureError(Reason(reason), message)
    return float(value)


def _compute_and_exit(compute: Callable[[], float], sender: int) -> None:
    result: tuple[float, str, str] = (0.0, Reason.METRIC_ERROR, "the computation failed")
    try:
        result = (float(compute()), "", "")
    except MeasureError as error:
        result = (0.0, error.reason, str(error))
    finally:  # whatever happened, nothing but the result leaves the child
        os.write(sender, json.dumps(result).encode())
        os._exit(0)
