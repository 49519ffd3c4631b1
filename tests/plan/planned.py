"""The plan of the paper's own recipe, asked for by the names of its jobs."""

from verifier.plan import advice, footprints, subject
from verifier.plan import answer as answer_lib
from verifier.recipes import token_verifier


def _jobs(config):
    return {job.name: job for stage in token_verifier.stages(config) for job in stage.jobs}


def read(config):
    return subject.read(config, list(_jobs(config).values()))


def plan(planned_for, name, devices):
    return footprints.plan(planned_for, _jobs(planned_for.config)[name], devices)


def ways_out(planned_for, name, devices):
    return advice.ways_out(planned_for, _jobs(planned_for.config)[name], devices)


def answer(config, devices, names):
    return answer_lib.answer(config, token_verifier.stages, devices, names)
