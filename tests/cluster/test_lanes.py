"""cryoSPARC's cluster folders: what they start, how often, with which directives; their commands; jobs that vanish."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster_jobs import mpiexec, tree, write_lane
from napari_gempick.cli import main
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.script import find_site, render, shortfalls
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.cluster.site import Site, read_lane
from napari_gempick.cluster.status import job_status
from napari_gempick.cluster.submit import cancel_job, submit_job
from napari_gempick.model.errors import SettingsError

NAMED_IN_COMMENTS = """#!/usr/bin/env bash
#### a lane
## {{ run_cmd }}            - what is run
## {{ worker_bin_path }} run {{ run_args }}
## {{ script_path_abs }} {{ job_dir_abs }} {{ project_dir_abs }} {{ job_creator }} {{ cryosparc_username }}
#SBATCH --job-name cs_{{ project_uid }}_{{ job_uid }}
#SBATCH -n {{ num_cpu }}
#SBATCH --gres=gpu:{{ num_gpu }}
#SBATCH --mem={{ (ram_gb*1000)|int }}M
#SBATCH --output={{ job_log_path_abs }}
available=""
for device in $(seq 0 15);
do
    if [[ -z $(true $device) ]] ; then
        available=$available,$device
    fi
done
"""


@pytest.fixture
def placed(exported, tmp_path):
    """A copy of the job folder at a place whose name a shell would stumble over, for a lane."""

    def go(script, cluster=None, **info):
        lane = write_lane(tmp_path / "lane", script, **info)
        folder = tmp_path / "a 'job'; é" if not (tmp_path / "a 'job'; é").exists() else tmp_path / "another"
        shutil.copytree(exported, folder)
        (folder / "submit.sh").unlink()
        values = {"site": str(lane), "python": sys.executable, "mpiexec": mpiexec(), **(cluster or {})}
        job = open_job(folder)
        job.rewritten(cluster={**job.content["cluster"], **values}, memory=4)
        return folder

    return go


def rendered(folder):
    job = open_job(folder)
    return render(job, find_site(job.cluster.site))


@pytest.mark.parametrize(
    "start",
    [
        "{{ run_cmd }}",
        "srun {{ run_cmd }}",
        "{{ run_cmd }} > {{ job_log_path_abs }} 2>&1",
        "echo {{ run_cmd }}\n{{ run_cmd }}",
        "exec time {{ run_cmd }}",
        "( {{ run_cmd }} )",
        "if true; then {{ run_cmd }}; fi",
        "cd /tmp && {{ run_cmd }}",
        "{{ worker_bin_path }} run {{ run_args }} > {{ job_log_path_abs }} 2>&1",
        "eval $({{ worker_bin_path }} env)\nsrun {{ run_cmd }}",
        "{{ command }}",
    ],
)
@pytest.mark.parametrize("prefix", ["#SBATCH", "#PBS", "#$", "#BSUB"])
def test_directives_come_first_and_the_command_is_one_word(placed, start, prefix):
    folder = placed(NAMED_IN_COMMENTS.replace("#SBATCH", prefix) + start + "\nstatus=$?\nexit $status\n")
    text = rendered(folder)
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert first == lines.index("available=''" if "available=''" in lines else 'available=""')
    assert sum(line.startswith(prefix + " ") for line in lines[:first]) == 5
    assert not any(line.startswith(prefix + " ") for line in lines[first:])
    assert shlex.quote(str(folder / "launch.sh")) in lines[2]
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("#SBATCH -n 1\necho {{ run_cmd }}\n", r"never starts the job.*not executed \(line 2: `echo "),
        ("#SBATCH -n 1\n# {{ run_cmd }}\n", r"never starts the job.*line 2: `# "),
        ("#SBATCH -n 1\nhostname\n", "never starts the job: it does not name it"),
        ("{{ run_cmd }}\nsrun {{ run_cmd }}\n", r"starts the job 2 times \(line 1: .*; line 2: `srun "),
        (
            "module load a\n#SBATCH -n 1\n{{ run_cmd }}\n",
            r"below its first command.*\(line 2: `#SBATCH -n 1`; .*line 1",
        ),
        ("cd /\n\n#PBS -l select=1\n{{ run_cmd }}\n", r"line 3: `#PBS -l select=1`"),
        ("cd /\n#$ -pe smp 2\n{{ run_cmd }}\n", r"line 2: `#\$ -pe smp 2`"),
        ("cd /\n#BSUB -n 2\n{{ run_cmd }}\n", r"line 2: `#BSUB -n 2`"),
        ("for i in 1 2; do\n{{ run_cmd }}\ndone\n", r"in a loop \(line 2"),
        ("echo 'no GPU'\nexit 1\n{{ run_cmd }}\n", r"ends before it starts the job \(line 2: `exit 1`"),
        ("{{ run_cmd }} {{ shoe_size }}\n", "'shoe_size' is undefined"),
        ("#SBATCH -c {{ num_cpu / num_gpu }}\n{{ run_cmd }}\n", "cannot be filled in: .*zero"),
    ],
)
def test_scripts_that_are_refused(placed, script, sentence):
    with pytest.raises(SettingsError, match=sentence) as caught:
        rendered(placed(script))
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize("wrapper", ["", "srun "])
def test_several_tasks_start_the_job_once(placed, wanted, wrapper, tmp_path, monkeypatch):
    """A stand-in for srun starts three tasks at the same time, as Slurm does."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(
        '#!/bin/bash\nfor i in 2 1 0; do SLURM_PROCID=$i SLURM_NTASKS=3 PMI_RANK=$i PMI_SIZE=3 "$@" & done; wait\n'
    )
    (tmp_path / "bin" / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    folder = placed(
        f"#!/bin/bash\necho {{{{ run_cmd }}}}\n{wrapper}{{{{ run_cmd }}}} > {{{{ job_log_path_abs }}}} 2>&1\n",
        {"tasks_per_node": 2},
        qsub_cmd_tpl="bash -c 'bash \"$0\" && echo Submitted batch job 23' {{ script_path_abs }}",
    )
    assert submit_job(folder, site=str(folder.parent / "lane")).job_id == "23"
    log = (folder / "log" / "job.txt").read_text()
    assert log.count("5 micrographs picked") == 1
    assert tree(folder / "results") == wanted
    assert len({path.name.split("-rank")[0] for path in (folder / "progress").glob("*.jsonl")}) == 1  # one attempt
    assert len(job_status(folder).ranks) == 2


# resources


SLURM = "#SBATCH --nodes=1\n#SBATCH --ntasks=1\n#SBATCH --cpus-per-task={}\n#SBATCH --gres=gpu:a100:2\nx\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SLURM.format(4), ["1 node", "4 CPUs", "2 GPUs"]),
        (SLURM.format(16), ["1 node", "2 GPUs"]),
        ("#SBATCH -N 2 -n16 --gpus-per-node=2\n", []),
        ("#SBATCH -N2\n#SBATCH --ntasks-per-node 4 -c 2 -G4\n", []),
        ("#SBATCH -n 8\n", ["1 node", "8 CPUs", "0 GPUs"]),
        ("#SBATCH -N 2 -G 4\nmodule load a\n#SBATCH -n 16\n", ["2 CPUs"]),  # the last one does not count
        ("#PBS -l select=2:ncpus=8:ngpus=2\n", []),
        ("#PBS -l nodes=1:ppn=8:gpus=2:skylake\n", ["1 node", "8 CPUs", "2 GPUs"]),
        ("#$ -pe smp 4\n", ["4 CPUs"]),
        ("#$ -pe mpi 16\n", []),
        ("#BSUB -n 12\n", ["12 CPUs"]),
        ("#BSUB -n 16\n", []),
        ("# no directives\n", []),
    ],
)
def test_a_lane_that_asks_for_less_than_the_job_uses(text, found):
    cluster = make_cluster({"nodes": 2, "tasks_per_node": 2, "cpus_per_task": 4, "gpus_per_node": 2})
    sentences = shortfalls("lane", text, cluster)
    assert [sentence.split(" asks for ")[1].split(",")[0] for sentence in sentences] == found


def test_export_says_what_a_lane_lacks(data, tmp_path, monkeypatch):
    lane = write_lane(tmp_path / "lane", "#SBATCH -n 1\n{{ run_cmd }}\n")
    monkeypatch.chdir(tmp_path)
    words = [
        "job",
        "export",
        str(data / "mics"),
        "--templates",
        str(data / "top.mrcs"),
        "--angle-step",
        "0",
        "-o",
        "job",
    ]
    done = CliRunner().invoke(main, [*words, "-o", "job", "--site", "lane", "--tasks-per-node", "4"])
    assert done.exit_code == 0, done.output
    assert "The lane 'lane' asks for 1 CPU, and the job uses 4" in done.stderr
    assert open_job(tmp_path / "job").cluster.site == str(lane)  # wherever it is submitted from
    assert (tmp_path / "job" / "submit.sh").read_text() == f"#SBATCH -n 1\n{tmp_path / 'job' / 'launch.sh'}\n"


# commands


@pytest.mark.parametrize(
    ("send", "words"),
    [
        ("{{ command }}", ["sbatch", "/a b/submit.sh"]),
        ("env A=1 {{ command }}", ["env", "A=1", "sbatch", "/a b/submit.sh"]),
        ("sudo -n -u cs {{command}}", ["sudo", "-n", "-u", "cs", "sbatch", "/a b/submit.sh"]),
        ("ssh host {{ command }}", ["ssh", "host", "sbatch '/a b/submit.sh'"]),
        ("ssh host env A=1 {{ command }}", ["ssh", "host", "env", "A=1", "sbatch '/a b/submit.sh'"]),
        ('ssh host "{{ command }}"', ["ssh", "host", "sbatch '/a b/submit.sh'"]),
        ('bash -lc "{{ command }}"', ["bash", "-lc", "sbatch '/a b/submit.sh'"]),
    ],
)
def test_commands_are_sent_word_by_word(send, words):
    site = Site("lane", "", "sbatch {{ script_path_abs }}", "", send=send)
    assert site.command(site.submit, {"script_path_abs": "/a b/submit.sh"}).words == words


def test_commands_that_need_a_shell():
    site = Site("lane", "", "bsub < {{ script }}", "", send="ssh host 'cd /x; {{ command }}'")
    command = site.command(site.submit, {"script": "/a b/x"})
    assert (command.words, command.stdin) == (["ssh", "host", "cd /x; bsub"], "/a b/x")
    with pytest.raises(SettingsError, match="not safe with these names"):
        site.command("sbatch {{ script }}", {"script": "/a b/$(touch oops)"})
    for template in ("sbatch {{ script }} | tail -1", "sbatch {{ script }}; ls", "sbatch $(which x)"):
        with pytest.raises(SettingsError, match="needs a shell"):
            site.command(template, {"script": "/x"})


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("cluster2: hello\nSubmitted batch job 17 on cluster gpu3", "17"),
        ('Your job 42 ("name") has been submitted', "42"),
        ("Job <99> is submitted to queue <normal8>.", "99"),
        ("5 jobs wait\n1234.pbs01", "1234.pbs01"),
        ("77;cluster", "77"),
        ("queued as no. 12", "12"),
    ],
)
def test_the_number_of_a_job(placed, said, number, tmp_path):
    (tmp_path / "said").write_text(said)
    folder = placed("{{ run_cmd }}\n", qsub_cmd_tpl=f"cat {tmp_path / 'said'}")
    assert submit_job(folder, site=str(tmp_path / "lane")).job_id == number


@pytest.mark.parametrize("send", ["env A=1 {{ command }}", "ssh host {{ command }}", 'sh -c "{{ command }}"'])
def test_commands_really_arrive(placed, send, tmp_path, monkeypatch):
    """A stand-in for ssh joins its words and gives them to a shell, as ssh does."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text('#!/bin/bash\nshift\nexec sh -c "$*"\n')
    (tmp_path / "bin" / "qsub").write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > "{tmp_path}/got"\necho 5.server\n')
    for name in ("ssh", "qsub"):
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    folder = placed("{{ run_cmd }}\n", qsub_cmd_tpl="qsub {{ script_path_abs }}", send_cmd_tpl=send)
    assert submit_job(folder, site=str(tmp_path / "lane")).job_id == "5.server"
    assert (tmp_path / "got").read_text() == f"{folder / 'submit.sh'}\n"


# whose commands


def test_a_folder_that_job_json_names_is_shown_before_its_commands_run(placed, tmp_path):
    folder = placed(
        "{{ run_cmd }}\n",
        qsub_cmd_tpl=f"touch {tmp_path / 'submitted'}",
        qstat_cmd_tpl=f"touch {tmp_path / 'asked'}",
        qdel_cmd_tpl=f"touch {tmp_path / 'cancelled'}",
    )
    (folder / "submitted.json").write_text(json.dumps([{"job_id": "3", "site": "lane", "time": "2026-01-01T00:00:00"}]))
    for act, word in ((submit_job, "submit"), (cancel_job, "cancel")):
        with pytest.raises(SettingsError) as caught:
            act(folder)
        assert f"`touch {tmp_path / 'submitted'}`" in caught.value.sentence
        assert f"gempick job {word} " in caught.value.sentence
    assert job_status(folder).remark.startswith("This comes from the job's files only: ")
    assert not {path.name for path in tmp_path.iterdir()} & {"submitted", "asked", "cancelled"}
    cancel_job(folder, site=str(tmp_path / "lane"))
    assert (tmp_path / "cancelled").exists()
    cancel_job(folder)  # the lane is known from now on
    write_lane(tmp_path / "lane", "{{ run_cmd }}\n", qdel_cmd_tpl="rm -r x")
    with pytest.raises(SettingsError, match="`rm -r x`"):  # until it changes
        cancel_job(folder)


def test_a_folder_that_is_called_like_a_site_is_not_taken_for_it(tmp_path, monkeypatch):
    write_lane(tmp_path / "slurm", "{{ run_cmd }}\n")
    monkeypatch.chdir(tmp_path)
    assert find_site("slurm").lane is None
    assert find_site("./slurm").lane == tmp_path / "slurm"
    assert read_lane(Path("slurm")).lane == tmp_path / "slurm"


@pytest.mark.parametrize("name", ["../../x.mrc", "/etc/x.mrc", "a/../../x.mrc", "..\\x.mrc", "", "a\nb.mrc"])
@pytest.mark.parametrize("where", ["relative", "files"])
def test_names_in_job_json_stay_below_its_folder(exported, tmp_path, name, where):
    folder = Path(shutil.copytree(exported, tmp_path / "job"))
    content = json.loads((folder / "job.json").read_text())
    if where == "relative":
        content["micrographs"][1]["relative"] = name
    else:
        content["files"][name] = {"bytes": 1, "blake2b": "x"}
    (folder / "job.json").write_text(json.dumps(content))
    with pytest.raises(SettingsError, match=r"job\.json: "):
        open_job(folder)


# jobs that vanish


def asked(placed, tmp_path, answer, monkeypatch):
    """A submitted job whose scheduler answers as a shell line says."""
    (tmp_path / "qstat").write_text(f"#!/bin/bash\n{answer}\n")
    (tmp_path / "qstat").chmod(0o755)
    folder = placed(
        "{{ run_cmd }}\n", qsub_cmd_tpl="echo 17", qstat_cmd_tpl=f"{tmp_path / 'qstat'} {{{{ cluster_job_id }}}}"
    )
    submit_job(folder, site=str(tmp_path / "lane"))
    return folder


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("echo JOBID NAME ST; echo 17 gempick PD", "submitted"),
        ("echo JOBID NAME ST; echo 17 gempick F", "ended without a result"),
        ("echo JOBID NAME ST; echo 117 other R", "ended without a result"),
        ("true", "ended without a result"),
        ("echo RUNNING", "submitted"),
        ("echo COMPLETED", "ended without a result"),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", "ended without a result"),
        ("echo qstat: Unknown Job Id 17.server >&2; exit 153", "ended without a result"),
        ("echo qstat: 17.server Job has finished, use -x >&2; exit 35", "ended without a result"),
        ("echo Following jobs do not exist: >&2; echo 17 >&2; exit 1", "ended without a result"),
        ("echo 'Job <17> is not found' >&2; exit 255", "ended without a result"),
        ("echo JOBID USER STAT; echo 17 me EXIT", "ended without a result"),
    ],
)
def test_a_job_that_its_scheduler_knows_no_longer(placed, tmp_path, answer, state, monkeypatch):
    folder = asked(placed, tmp_path, answer, monkeypatch)
    (folder / "log").mkdir(exist_ok=True)
    (folder / "slurm-17.out").write_text("module: not found\nkilled\n")
    done = CliRunner().invoke(main, ["job", "status", str(folder)])
    assert done.output.startswith(f"{state} (job 17): 0 of 5 micrographs done")
    lost = state != "submitted"
    assert done.exit_code == int(lost)
    assert ("Its log ends:\n  module: not found\n  killed\n" in done.output) == lost
    as_json = json.loads(CliRunner().invoke(main, ["job", "status", str(folder), "--json"]).stdout)
    assert (as_json["state"], as_json["remark"]) == (state, "")


@pytest.mark.parametrize(
    ("answer", "remark"),
    [
        ("sleep 60 & echo $! > child; sleep 60", "did not answer within 0.5 s"),
        ("echo Unable to contact slurm controller >&2; exit 1", "Unable to contact slurm controller"),
        ("exit 3", "status 3"),
    ],
)
def test_a_scheduler_that_gives_no_answer(placed, tmp_path, answer, remark, monkeypatch):
    monkeypatch.setattr("napari_gempick.cluster.submit.ASK_TIMEOUT", 0.5)
    folder = asked(placed, tmp_path, answer, monkeypatch)
    done = CliRunner().invoke(main, ["job", "status", str(folder)])
    assert done.exit_code == 0
    assert done.stdout.startswith("submitted (job 17)")
    assert remark in done.stderr
    if (folder / "child").exists():
        process = Path("/proc", (folder / "child").read_text().strip(), "stat")
        for _ in range(100):
            if not process.exists() or process.read_text().split()[2] == "Z":
                break
            time.sleep(0.01)
        else:
            raise AssertionError("the hung command left a process")


def test_a_job_that_is_submitted_again_waits_again(placed, tmp_path, monkeypatch):
    folder = asked(placed, tmp_path, "echo 17", monkeypatch)
    row = {"attempt": 1, "rank": 0, "time": time.time() - 100}
    log = "".join(json.dumps({**row, "event": event}) + "\n" for event in ("start", "end"))
    (folder / "progress" / "attempt-001-rank-00000.jsonl").write_text(log)
    assert job_status(folder).state == "submitted"
    (tmp_path / "qstat").write_text("#!/bin/bash\n")
    assert job_status(folder).state == "ended without a result"
