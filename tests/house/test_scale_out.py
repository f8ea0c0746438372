"""docs/scale-out.md: its TF_CONFIG and the shell lines of its scripts, run with stand-ins for Slurm and rawcnn."""

import json
import os
import re
import subprocess

import pytest

from rawcnn.train.cluster import Cluster, cluster_of
from tests.command import ROOT

PAGE = (ROOT / "docs" / "scale-out.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the scripts are for bash")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def told(script, directory, **environment):
    """The cluster and the arguments that a stand-in for rawcnn is given by `script`."""
    commands = directory / "bin"
    commands.mkdir(exist_ok=True)
    for name, text in (
        ("rawcnn", 'echo "$TF_CONFIG"; echo "$@"'),
        ("scontrol", '[ "$1 $2 $3" = "show hostnames node[1-2]" ] && printf "node1\\nnode2\\n"'),
        ("srun", 'exec "$@"'),
    ):
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    path = f"{commands}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    config, arguments = done.stdout.splitlines()
    return cluster_of({"TF_CONFIG": config}), arguments.split()


def test_tf_config_of_the_page():
    (example,) = blocks("json")
    assert cluster_of({"TF_CONFIG": example}) == Cluster(("host1:2222", "host2:2222"), 0)
    terminals = [cluster_of({"TF_CONFIG": text}) for text in re.findall(r"export TF_CONFIG='(.*)'", PAGE)]
    assert terminals == [Cluster(("localhost:2222", "localhost:2223"), index) for index in (0, 1)]


@pytest.mark.parametrize("kind", ["Slurm", "Kubernetes"])
def test_scripts_name_all_workers_and_resume(kind, tmp_path):
    if kind == "Slurm":
        (script,) = [text for text in blocks("sh") if "#SBATCH" in text]
        environment = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_PROCID": "1"}
        wanted, run = Cluster(("node1:2222", "node2:2222"), 1), "runs/alexnet"
    else:
        (manifest,) = blocks("yaml")
        script = re.search(r"- \|\n((?: {14}.*\n)+)", manifest)[1].replace("/data/runs", "runs")
        environment = {"JOB_COMPLETION_INDEX": "1"}
        wanted, run = Cluster(("rawcnn-0.rawcnn:2222", "rawcnn-1.rawcnn:2222"), 1), "runs/alexnet"
    cluster, arguments = told(script, tmp_path, **environment)
    assert cluster == wanted
    assert arguments[:3] == ["train", f"--run={run}", "--strategy=multi_worker"] and "--net=alexnet" in arguments
    (tmp_path / run).mkdir(parents=True)
    (tmp_path / run / "flags.txt").touch()
    assert told(script, tmp_path, **environment) == (wanted, ["train", f"--run={run}", "--resume"])


def test_the_manifest_says_what_its_script_relies_on():
    """The pods' names are Job-index.Service, and each is told its index."""
    (manifest,) = blocks("yaml")
    for line in ("clusterIP: None", "completionMode: Indexed", "subdomain: rawcnn", "publishNotReadyAddresses: true"):
        assert line in manifest
    names = json.loads(re.search(r"workers='(.*)'", manifest)[1].join("[]"))
    assert f"completions: {len(names)}\n" in manifest and f"parallelism: {len(names)}\n" in manifest
