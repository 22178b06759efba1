"""Python processes and kernels that begin with their imports done, by fork instead of by start.

A kernel with pandas and the SDK needs three to four seconds of CPU before its first row, nearly all
of it for imports, and the suite starts hundreds of them. Here one process (`parent.py`), which the
suite's workers share, has imported it all and forks, which takes a hundredth of that. What a test
sees is a process like any other, with an id, an environment and a folder of its own: it is
interrupted, killed and started again as such. How a process begins that imports everything itself
is proven where a test starts one by `subprocess`, or a kernel by `Kernel(…, forked=False)`.

Where the system has no fork, both are started as anywhere else.
"""

from .child import Process, kernel_environment, run, share, start

__all__ = ["Process", "kernel_environment", "run", "share", "start"]
