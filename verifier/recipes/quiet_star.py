"""Quiet-STaR (Zelikman et al. 2024): a model that thinks before every token of any text.

Texts become windows of tokens on disk; a decoder learns them plainly, where that is asked for; and
then with thoughts, which are kept where what follows becomes likelier. With a curriculum (Fast
Quiet-STaR) thoughts grow shorter from stage to stage, each a place of its own.
"""

from __future__ import annotations

from verifier.config import Config
from verifier.run.stage import Stage
from verifier.stages import corpus, quiet, thinkers, thoughts


def stages(config: Config) -> list[Stage]:
    """corpus; in `base` the decoder; finetune, in places where there is a curriculum; thoughts, of
    the decoder and of all of these; report.
    """
    texts = corpus.stage(config)
    base = quiet.base(texts)
    models = [base, *quiet.thinkers(config, texts, base)]
    judged = [thoughts.stage(each, texts) for each in models]
    return [texts, *models, *judged, thinkers.stage(models, judged)]
