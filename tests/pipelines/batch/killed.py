"""A run in a process that is killed, forked from one in which the imports are done already."""

import multiprocessing
import os
from multiprocessing.process import BaseProcess

from pipelines.batch.job import run
from pipelines.batch.options import Job

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.pipelines.batch.killed", "tensorflow", "openvino"])


def start(job: Job) -> BaseProcess:
    process = CONTEXT.Process(target=_run, args=(job,), daemon=True)
    process.start()
    return process


def _run(job: Job) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    run(job)
