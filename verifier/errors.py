"""What can go wrong by name, so that a caller can tell one case from another.

Every message names the value, what was expected and the way out.
"""


class UserError(ValueError):
    """Something that the user can mend: value, what was expected and the way out.

    Commands show it as one line on stderr, with exit status 1.
    """


class Stopped(Exception):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved what it had, as it says."""


class ConfigError(UserError):
    """A knob that does not exist or a value that it cannot take."""


class WriteError(UserError):
    """A file or folder that cannot be written; the message names it, the reason and the way out."""


class Damaged(UserError):
    """A file that is not what was written; the message names it, both sums and the way out."""


class ProblemError(UserError):
    """A problem or a template that is of no use; the message says what was expected."""


class TokenizerError(UserError):
    """A tokenizer that is missing, unreadable, or cannot be trained."""


class DataError(UserError):
    """A data set that is missing, malformed or too small; the message says how to supply it."""


class AlignmentError(UserError):
    """A teacher's and a student's tokens that cannot be aligned; the message names both texts."""


class StoreError(UserError):
    """A table on disk that is damaged, incomplete or not what was asked for."""


class TablesError(UserError):
    """Tables that do not belong together; the message names the table and the rows."""


class WorkdirError(UserError):
    """A workdir with results of other settings, or without what a stage needs."""


class WeightsError(UserError):
    """Weights that cannot be found, read or expressed; the message names the file or field."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or of another shape."""


class Diverged(UserError):
    """The loss, its gradient or an update is not finite; the last good checkpoint is named."""


class GraderError(UserError):
    """A grader that does not exist; the message gives the nearest names."""


class MathProcessError(UserError):
    """math-verify is not there or does not start; the message says how to get it."""


class CandidatesError(UserError):
    """Rows that cannot be ranked: twice the same sample, or a score that is no finite number."""


class AggregationError(UserError):
    """Token values cannot be put together as asked; the message says what is missing."""


class ComparisonError(UserError):
    """Runs that cannot be compared; the message says why."""
