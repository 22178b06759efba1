"""By this Jupyter's kernels are forked; `kernel_environment` has it found, in any process."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

from .child import SOCKET, Forked

__all__ = ["ForkedProvisioner"]


class ForkedProvisioner(LocalProvisioner):
    """A local kernel in all but its beginning."""

    async def launch_kernel(self, cmd: list[str], **how: Any) -> KernelConnectionInfo:
        env = dict(how.get("env") or os.environ)
        at = env.get(SOCKET)
        if at is None or "-m" not in cmd[1:2]:
            return await super().launch_kernel(cmd, **how)
        cwd = how.get("cwd") or os.getcwd()
        streams = {name: how.get(name) for name in ("stdout", "stderr")}
        self.process = Forked(cmd[1:], cwd=cwd, env=env, at=at, **streams)
        self.pid = self.pgid = self.process.pid
        self.cwd = pathlib.Path(cwd)
        return self.connection_info
