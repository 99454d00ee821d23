"""A packed environment: the archives that every job brings along."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eventflock.core.options import PackOptions
from eventflock.packing.archive import unpacked_size
from eventflock.packing.cache import digest_in
from eventflock.packing.launching import launch_flags

__all__ = ["PackedEnvironment", "TransferSizes"]


class TransferSizes(msgspec.Struct, frozen=True):
    """What is sent with every job, in bytes.

    Attributes
    ----------
    environment_bytes, unpacked_bytes
        The archive of the environment, and what it unpacks to.
    code_bytes
        The archive of the code.
    inputs
        Whether input files that are on this machine are sent, each of them whole.
    """

    environment_bytes: int = 0
    unpacked_bytes: int = 0
    code_bytes: int = 0
    inputs: bool = True


class PackedEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What every job of a run brings along.

    Attributes
    ----------
    environment
        Archive of the interpreter, the packages and the native libraries.
    code
        Archive of the user's code.
    layers
        Layers of large packages, beside the environment.
    options
        How they were packed, and when the packed C library is used.
    """

    environment: Path
    code: Path
    layers: tuple[Path, ...] = ()
    options: PackOptions = PackOptions()

    @property
    def archives(self) -> tuple[Path, ...]:
        """All archives."""
        return self.environment, self.code, *self.layers

    @property
    def digest(self) -> str:
        """Digest of the archive of the environment."""
        return digest_in(self.environment)

    @property
    def flags(self) -> tuple[str, ...]:
        """Options of the launcher."""
        return tuple(launch_flags(self.options.glibc, self.options.node_cache, self.options.python))

    def sizes(self, *, inputs: bool) -> TransferSizes:
        """Return the sizes of what is sent with every job.

        Parameters
        ----------
        inputs
            Whether input files of this machine are sent, too.
        """
        return TransferSizes(
            environment_bytes=sum(one.stat().st_size for one in (self.environment, *self.layers)),
            unpacked_bytes=unpacked_size(self.environment),
            code_bytes=self.code.stat().st_size,
            inputs=inputs,
        )
