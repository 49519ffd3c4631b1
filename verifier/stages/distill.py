"""finetune on a teacher's words: the student of Fu et al. 2023."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from verifier import config as config_lib
from verifier.data import batches, formats
from verifier.data.examples import LazyExamples, encode_solution
from verifier.run.context import Context
from verifier.run.stage import Files, Job, Stage
from verifier.stages import fitting
from verifier.stages.finetune import language_model, make_generator
from verifier.stages.fitting import Examples
from verifier.system import log
from verifier.tables import store
from verifier.tables.results import GENERATOR
from verifier.text.split import HELDOUT, TRAIN
from verifier.text.tokenizer import Tokenizer
