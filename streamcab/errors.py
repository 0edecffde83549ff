"""Every failure that a user can cause or meet, as one small tree.

An error is raised anywhere in the package. Its message is one line: the fault, the value, and the remedy.
Only `cli/` turns errors into text and an exit code. Programming mistakes stay plain assertions and ValueErrors. Knows
nothing of who raises what.

    StreamcabError
    +-- ConfigError          exit 2: a setting that cannot be right
    +-- CheckpointError      exit 1: a model file that is missing, damaged or of another kind
    +-- CorpusError          exit 1: a manifest, a split or a feature cache that cannot be trained on
    +-- AudioError           exit 1: a file or stream of samples that cannot be classified
    +-- ComputeError         exit 1: the net cannot be computed any more
    +-- WorkerError          exit 1: a worker that cannot start; with the exit code of its own error
    +-- InstallError         exit 1: a package that an extra installs is missing
    +-- FeedError            exit 1: a socket that cannot be bound, a message that cannot be read
    +-- ServiceError         exit 1: a service that cannot be installed, removed or asked
    +-- StoreError           exit 1: a database of calls that cannot be opened, read or written
    +-- SourceError          exit 1: a microphone, file or port that cannot be opened
        +-- SourceLost       exit 75: a file or pipe broke off (EX_TEMPFAIL: a supervisor may restart us)

A microphone or port that is lost after it was opened is not an error. The daemon reopens it, and the feed says that it
is lost until then.
"""

from collections.abc import Iterable


class StreamcabError(Exception):
    """Root of the tree.

    Args:
        text: The message, one line.
        secrets: Parts of the message that reveal the name of a stream, such as a path. `--hash-names` replaces them.

    Attributes:
        exit_code: Exit code of the command line.
    """

    exit_code = 1

    def __init__(self, text: str = "", *, secrets: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.secrets = tuple(secrets)


class ConfigError(StreamcabError):
    """A setting or an argument cannot be right."""

    exit_code = 2


class CheckpointError(StreamcabError):
    """A model file is missing, damaged or of another kind."""


class CorpusError(StreamcabError):
    """A manifest, a split or a feature cache cannot be trained on."""


class WorkerError(StreamcabError):
    """A worker process cannot start.

    Args:
        text: Its message.
        code: Its exit code; a signal counts as 1.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = max(code, 1)


class InstallError(StreamcabError):
    """A package is not installed that this command needs. The message holds the line to type."""


class AudioError(StreamcabError):
    """Samples cannot be classified."""


class ComputeError(StreamcabError):
    """The network cannot be computed any more."""


class FeedError(StreamcabError):
    """A socket cannot be bound, or a message cannot be read."""


class ServiceError(StreamcabError):
    """A service cannot be installed, removed or queried."""


class StoreError(StreamcabError):
    """A database of calls cannot be opened, read or written."""


class SourceError(StreamcabError):
    """A microphone, file or port cannot be opened."""


class SourceLost(SourceError):
    """A file or pipe broke off. Exit code 75 (EX_TEMPFAIL) tells a supervisor that a restart may help."""

    exit_code = 75
