"""Run a number-crunching function where its crash kills nobody else."""

import os
import pickle
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
    result = pickle.loads(answer)
    if isinstance(result, MeasureError):
        raise result
    return float(result)


def _compute_and_exit(compute: Callable[[], float], sender: int) -> None:
    result: float | MeasureError = MeasureError(Reason.METRIC_ERROR, "the computation failed")
    try:
        result = compute()
    except MeasureError as error:
        result = error
    finally:  # whatever happened, nothing but the result leaves the child
        os.write(sender, pickle.dumps(result))
        os._exit(0)
