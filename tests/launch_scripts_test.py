"""What launch/ would start: scripts that a shell can read, manifests that agree with themselves,
flags that exist.
"""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from absl import flags

from verifier import launch

FOLDER = pathlib.Path(__file__).parents[1] / "launch"
SHELLS = ["hosts.sh", "slurm.sbatch", "tpu_pod.sh"]


def known(flag):
    """Whether `verifier.launch` defines this flag."""
    return flag in flags.FLAGS and flags.FLAGS.find_module_defining_flag(flag) == launch.__name__


@pytest.mark.parametrize("name", SHELLS)
def test_shells_can_read_it(name):
    subprocess.run(
        [
            shutil.which("shellcheck", path=str(pathlib.Path(sys.executable).parent))
            or "shellcheck",
            FOLDER / name,
        ],
        check=True,
    )


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_every_flag_is_one_of_launch(path):
    if path.is_dir():
        return
    commands = re.findall(r"(?:verifier\.launch|launch/\S+|args:)[^\n|`]*", path.read_text())
    for flag in {word for command in commands for word in re.findall(r"--(\w+)=", command)}:
        if flag not in ("nodes", "zone", "worker", "command"):  # of sbatch and gcloud
            assert known(flag), flag


def test_the_job_set_agrees_with_itself():
    found = yaml.safe_load((FOLDER / "jobset.yaml").read_text())
    job = found["spec"]["replicatedJobs"][0]
    spec = job["template"]["spec"]
    environment = {each["name"]: each for each in spec["template"]["spec"]["containers"][0]["env"]}
    assert (
        spec["parallelism"] == spec["completions"] == int(environment["JAX_NUM_PROCESSES"]["value"])
    )
    name, group = found["metadata"]["name"], job["name"]
    assert environment["JAX_COORDINATOR_ADDRESS"]["value"].startswith(f"{name}-{group}-0-0.{name}:")
    assert (
        "job-completion-index"
        in environment["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    )
    assert spec["template"]["spec"]["containers"][0]["command"][1:] == ["-m", "verifier.launch"]


def test_skypilot_names_every_process():
    found = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    assert found["num_nodes"] > 1 and all(name in found["run"] for name in names)


def test_ssh_starts_one_process_on_every_host(tmp_path):
    """With a stand-in for ssh, what would run on the hosts is read back."""
    stand_in = tmp_path / "ssh"
    stand_in.write_text(f'#!/bin/sh\necho "$2 $3" >> {tmp_path}/asked-$2\n')
    stand_in.chmod(0o755)
    given = ["--exp=mine.py", "--set", "data.prompt_template=a b"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run([FOLDER / "hosts.sh", "one", "two", "--", *given], check=True, env=environment)
    for index, host in enumerate(("one", "two")):
        words = shlex.split((tmp_path / f"asked-{host}").read_text())
        first = words.index("verifier.launch") + 1
        assert words[first:] == [
            "--coordinator_address=one:8476",
            "--num_processes=2",
            f"--process_id={index}",
            *given,
        ]


def test_ssh_without_a_host_says_how():
    done = subprocess.run([FOLDER / "hosts.sh", "--", "--exp=x"], capture_output=True, text=True)
    assert done.returncode == 2 and "usage" in done.stderr
