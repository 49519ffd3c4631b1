"""Two loops of sample, label and finetune from the base (in the manner of Zelikman et al. 2022).

A recipe as somebody might write it: this file is all of it.
"""

from tests.shrunk import config
from verifier.data import batches
from verifier.run.stage import Files, Job, Stage
from verifier.stages import finetune, fitting, label, problems, report, sample
from verifier.tables import results, store
from verifier.text.split import HELDOUT, TEST, TRAIN

_SPLITS = (TRAIN, HELDOUT, TEST)


def get_config():
    return config("name=two_loops", "finetune.epochs=1")


def get_stages(config):
    questions = problems.stage(config)
    generator = finetune.stage(questions)
    stages = [questions, generator]
    for loop in ("loop=1", "loop=2"):
        questions = problems.stage(config, loop)  # so that the place is a workdir of its own
        samples = sample.stage(generator, questions, _SPLITS, loop)
        labels = label.stage(samples, questions, loop)
        page = report.stage({"generator": generator, "samples": samples, "labels": labels}, loop)
        generator = _own_solutions(samples, labels, questions, loop)
        stages += [questions, samples, labels, page, generator]
    return stages


def _own_solutions(samples, labels, questions, place):
    return Stage(
        _learn,
        makes=results.GENERATOR,
        reads={
            "weights": Files("model.weights"),
            "samples": samples.of(TRAIN),
            "labels": labels.of(TRAIN),
            "problems": questions.of(TRAIN, noted=False),
            "heldout_problems": questions.of(HELDOUT, noted=False),
        },
        knobs=("seed", "tokenizer", "model", "finetune"),
        place=place,
        jobs=(Job("finetune", "train", loss=finetune.language_model),),
    )


def _learn(context):
    """From the base again, on the samples that are right and on ground truth beside them."""
    train, heldout = context.problems("problems"), context.problems("heldout_problems")
    question = {each.problem_id: each for each in train}
    rows = store.read_table(context.source("samples"), "samples").to_pylist()
    labels = store.read_table(context.source("labels"), "labels").to_pylist()
    right = {(row["problem_id"], row["sample_id"]) for row in labels if row["correct"]}
    # A model of a test solves nothing: then all are learned from, so that there is something.
    kept = [row for row in rows if (row["problem_id"], row["sample_id"]) in right] or rows

    def examples(job, tokenizer):
        section = job.section(context.config)
        own = [
            batches.lm_example(
                context.prompt_ids(question[row["problem_id"]], tokenizer),
                row["tokens"],
                row["forced"],
                loss_on_question=False,
                loss_on_forced=True,
            )
            for row in kept
        ]
        truth = fitting.ground_truth(context, train, tokenizer, section)
        watched = fitting.ground_truth(context, heldout, tokenizer, section)
        return fitting.Examples([*own, *truth], watched)

    finetune.make_generator(context, train, examples)
