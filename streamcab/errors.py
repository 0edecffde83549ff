"""Every failure that a user can cause or meet, as one small tree.

Raised anywhere in the package with a message of one line that says what is wrong, with which value, and what to do.
Turned into text and an exit code in `cli/` only. Programmer errors stay plain asserts and ValueErrors. Knows nothing of
who raises what.

    StreamcabError
    +-- ConfigError          exit 2: a setting that cannot be right
    +-- CheckpointError      exit 1: a model file that is missing, damaged or of another kind
    +-- CorpusError          exit 1: a manifest, a split or a feature cache that cannot be trained on
    +-- AudioError           exit 1: a file or stream of samples that cannot be classified
    +-- ComputeError         exit 1: the net cannot be computed any more
    +-- FeedError            exit 1: a socket that cannot be bound, a message that cannot be read
    +-- ServiceError         exit 1: a service that cannot be installed, removed or asked
    +-- SourceError          exit 1: a microphone, file or port that cannot be opened
        +-- SourceLost       exit 75: a file or pipe broke off (EX_TEMPFAIL: a supervisor may restart us)

A microphone or port that is lost after it was opened is no failure: it is taken up again, and the feed says so until
then.
"""

from collections.abc import Iterable


class StreamcabError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with.

    secrets  what in its text is as good as the name of a stream, where nobody else could know
    """

    exit_code = 1

    def __init__(self, text: str = "", *, secrets: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.secrets = tuple(secrets)


class ConfigError(StreamcabError):
    exit_code = 2


class CheckpointError(StreamcabError):
    pass


class CorpusError(StreamcabError):
    pass


class AudioError(StreamcabError):
    pass


class ComputeError(StreamcabError):
    pass


class FeedError(StreamcabError):
    pass


class ServiceError(StreamcabError):
    pass


class SourceError(StreamcabError):
    pass


class SourceLost(SourceError):
    exit_code = 75
