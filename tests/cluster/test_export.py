"""Job folders and submit scripts: what is in them, quoting, site templates, estimates, damage."""

import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cluster_jobs import SHAPE, tree, values_for, write_lane
from napari_gempick.cli import main
from napari_gempick.cluster.collect import collect_job
from napari_gempick.cluster.estimate import Estimate, cost
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.mpi.node import gpus_of_rank, threads_of_rank
from napari_gempick.cluster.script import config_folder, find_site, render, site_names
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.cluster.status import job_status
from napari_gempick.cluster.submit import cancel_job, is_running, submit_job
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import MicrographFile, find_micrographs
from napari_gempick.model.errors import GempickError, InputError, SettingsError
from napari_gempick.model.settings import make_settings

HOSTILE = "a b'c\"d;$(touch oops)`e`é"


@pytest.fixture
def hostile(data, tmp_path):
    """The data below a folder, and with a template stack, whose names a shell would stumble over."""
    folder = tmp_path / HOSTILE
    shutil.copytree(data, folder)
    (folder / "side.mrcs").rename(folder / f"{HOSTILE}=.mrcs")
    return folder


def export(folder, job, cluster=None, side="side.mrcs", **more):
    values = values_for(folder, **more)
    values["templates"] = (f"side={folder / side}", values["templates"][1])
    files = find_micrographs([folder / "mics"])
    return export_job(make_settings(values), files, job, make_cluster({"site": "mpirun", **(cluster or {})}))


def wait_for_end(job):
    """Wait for a job of this machine."""
    for _ in range(6000):
        if not is_running(open_job(job)):
            return
        time.sleep(0.01)
    raise AssertionError((job / "log" / "job.txt").read_text())


def test_hostile_names_from_export_to_collect(hostile, wanted, tmp_path):
    job = tmp_path / "out" / f"job {HOSTILE}"
    export(hostile, job, {"tasks_per_node": 2}, side=f"{HOSTILE}=.mrcs")
    made = submit_job(job)
    assert made.job_id.split(":")[1].isdigit()
    wait_for_end(job)
    assert job_status(job).state == "complete", (job / "log" / "job.txt").read_text()
    assert tree(job / "results") == wanted
    collect_job(job, tmp_path / "collected")
    assert tree(tmp_path / "collected") == wanted
    assert not list(tmp_path.rglob("oops"))
    assert not list(Path.cwd().glob("oops"))


def test_a_newline_in_a_name_is_refused(data, tmp_path):
    for name in ("mics\n", "tab\t"):
        micrograph = MicrographFile(tmp_path / name / "m.mrc", find_micrographs([data / "mics"])[0].relative)
        with pytest.raises(InputError, match="line break or another control character"):
            export_job(
                make_settings(values_for(data)), [micrograph], tmp_path / "job", make_cluster({"site": "mpirun"})
            )
    with pytest.raises(InputError, match="newline"):
        export(data, tmp_path / "a\nb")


def test_the_folder_is_self_contained(exported, data):
    content = json.loads((exported / "job.json").read_text())
    assert sorted(content["files"]) == ["templates/1/side.mrcs", "templates/2/top.mrcs"]
    assert (exported / "templates/1/side.mrcs").read_bytes() == (data / "side.mrcs").read_bytes()
    assert content["settings"]["templates"] == ["side=templates/1/side.mrcs", "top=templates/2/top.mrcs"]
    plan = json.loads((exported / "plan.json").read_text())
    assert plan["wisdom"]
    assert plan["versions"] == content["plan_of"]
    assert len(content["micrographs"]) == 5
    script = (exported / "submit.sh").read_text()
    assert str(exported) not in script
    assert subprocess.run(["bash", "-n", exported / "submit.sh"], check=False).returncode == 0


def test_masks_and_exclusion_masks_are_copied(data, tmp_path):
    y, x = np.mgrid[-22:22, -22:22]
    write_mrc(tmp_path / "disc.mrc", (np.hypot(x, y) < 16).astype(np.float32), 4.0)
    for number in range(5):
        write_mrc(tmp_path / "ice" / f"mic{number}.mrc", np.zeros(SHAPE, np.float32), 4.0)
    write_mrc(tmp_path / "ice" / "mic0.2.mrc", np.zeros(SHAPE, np.float32), 4.0)
    mask = ("auto", f"side={tmp_path / 'disc.mrc'}")
    job = export(data, tmp_path / "job", mask=mask, exclude=str(tmp_path / "ice")).job
    names = set(job.content["files"])
    assert {"mask/2/disc.mrc", "exclude/0/ice/mic4.mrc"} <= names
    assert "exclude/0/ice/mic0.2.mrc" not in names
    assert job.settings.mask == ("auto", f"side={job.folder / 'mask/2/disc.mrc'}")
    assert job.settings.exclude == str(job.folder / "exclude/0/ice")


def test_a_folder_of_defocus_files_is_copied(data, tmp_path):
    lens = "acceleration voltage: 300 keV ; spherical aberration: 2.7 mm ; amplitude contrast: 0.1"
    for number in range(5):
        text = f"# Output from CTFFind\n# Input file: a.mrc ; Number of micrographs: 1\n# {lens}\n1 9000 8000 30 0\n"
        (tmp_path / "texts/grid").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"texts/grid/mic{number}.txt").write_text(text)
    (tmp_path / "texts/mic0_avrot.txt").write_text(text)
    job = export(data, tmp_path / "job", ctf=str(tmp_path / "texts")).job
    assert {name for name in job.content["files"] if "ctf" in name} == {
        f"ctf/0/texts/grid/mic{n}.txt" for n in range(5)
    }
    assert job.settings.ctf == str(job.folder / "ctf/0/texts")


def test_micrographs_below_a_root_that_is_elsewhere(data, tmp_path, wanted, run):
    here = tmp_path / "there"
    files = find_micrographs([data / "mics"])
    made = export_job(
        make_settings(values_for(data)),
        files,
        tmp_path / "job",
        make_cluster({"site": "mpirun"}),
        root=str(data),
        cluster_root=str(here),
    )
    assert made.job.micrographs[0].path == here / "mics/grid0/mic0.mrc"
    shutil.copytree(data / "mics", here / "mics")
    run(1, made.job.folder)
    assert tree(made.job.results) == wanted
    rows = collect_job(made.job.folder)["micrographs"]
    assert [row["path"] for row in rows] == [str(file.path) for file in files]
    with pytest.raises(InputError, match="does not lie below"):
        export_job(
            make_settings(values_for(data)), files, tmp_path / "b", make_cluster({}), root=str(tmp_path / "other")
        )


def test_a_folder_with_files_is_left_alone(data, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not empty"):
        export(data, tmp_path / "job")
    assert os.listdir(tmp_path / "job") == ["notes.txt"]


def test_the_estimate_is_shown(data, tmp_path):
    made = export(data, tmp_path / "job", {"nodes": 2, "cpus_per_task": 4}).estimate
    assert made.input_bytes == sum((data / f"{name}.mrcs").stat().st_size for name in ("side", "top"))
    assert (made.micrographs, made.search_images, made.ranks) == (5, 37, 2)
    assert made.core_hours >= 5 * 37 * made.seconds / 3600
    assert 0 < made.hours < made.core_hours
    assert made.map_bytes == 5 * 8 * SHAPE[0] * SHAPE[1] * 4  # maps, decoys, two views
    assert "core hours" in (tmp_path / "job" / "README.txt").read_text()


def test_large_numbers_of_an_estimate_are_written_out():
    sentences = " ".join(Estimate(900, 4140, 4, "one core", 1.114, 1153.4, 1.98, "micrographs", 3, 999_700).sentences())
    assert "About 1,200 core hours and 120 minutes from start to end (1,110 ms for a rotated template" in sentences
    assert "; 1,000 kB of templates" in sentences


def test_without_micrographs_here_the_estimate_says_so(data, tmp_path):
    absent = [MicrographFile(Path("/absent") / f.path.name, f.relative) for f in find_micrographs([data / "mics"])]
    made = export_job(make_settings(values_for(data)), absent, tmp_path / "job", make_cluster({"site": "mpirun"}))
    assert made.estimate.core_hours is None
    assert "cannot be estimated" in made.estimate.sentences()[0]


def test_the_cost_model_chooses():
    few = cost(2, 1000, 16, 8, 0.1, 1.0, 2**27)
    many = cost(2000, 1000, 16, 8, 0.1, 1.0, 2**27)
    assert (few.choice, many.choice) == ("templates", "micrographs")
    assert cost(1, 10, 1, 1, 1.0, 0.0, 1).micrographs == 10
    assert cost(8, 1000, 8, 1, 0.1, 0.0, 2**27).choice == "micrographs"


# scripts


def job_for(exported, **cluster):
    job = open_job(exported)
    values = {**job.cluster.model_dump(), **cluster}
    return open_job(exported).__class__(job.folder, job.settings, make_cluster(values), job.micrographs, job.content)


FULL = {
    "nodes": 2,
    "tasks_per_node": 3,
    "cpus_per_task": 4,
    "gpus_per_node": 3,
    "memory": 64,
    "walltime": "1-02:00:00",
    "partition": "gpü",
    "account": "lab/a1",
    "environment": ("module load openmpi", 'conda activate "my env"'),
    "directive": ("--constraint=avx512",),
    "python": "/opt/my py/bin/python",
    "mpiexec": "/opt/it's/mpiexec",
}
EXPECTED = {
    "slurm": ["#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=3", "#SBATCH --gpus-per-node=3", "--constraint=avx512"],
    "pbs": ["#PBS -l select=2:ncpus=12:mpiprocs=3:ompthreads=4:ngpus=3", "#PBS -A lab/a1", "walltime=93600"],
    "sge": ["#$ -pe mpi 24", "#$ -l h_rt=93600", "#$ -l gpu=3", "#$ --constraint=avx512"],
    "lsf": ["#BSUB -n 6", "#BSUB -W 1560", "#BSUB -R 'span[ptile=3]'", "#BSUB -gpu num=3/host"],
    "mpirun": ["export OMP_NUM_THREADS=4"],
}


@pytest.mark.parametrize("site", sorted(EXPECTED))
def test_scripts_of_the_built_in_sites(exported, site):
    text = render(job_for(exported, **FULL, site=site), find_site(site))
    for line in (*EXPECTED[site], "module load openmpi", 'conda activate "my env"'):
        assert line in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    last = shlex.split(text.strip().splitlines()[-1])
    assert last[0] == "exec"
    assert "/opt/my py/bin/python" in last
    assert last[1] == ("srun" if site == "slurm" else "/opt/it's/mpiexec")
    assert last[-2:] == ["--ranks", "6"]
    assert "\n\n" not in text.replace("gb\n\n", "gb\n").replace(":mem=64gb", "") or site == "pbs"


@pytest.mark.parametrize("name", ["job_name", "partition", "account"])
def test_values_that_no_scheduler_takes_are_refused(name):
    for text in ("two words", "a;b", "$(id)", "-x", "a\nb"):
        with pytest.raises(SettingsError, match=name.replace("_", "-")):
            make_cluster({name: text})
    with pytest.raises(SettingsError, match="newline"):
        make_cluster({"environment": ("module load a\nrm -r b",)})


def test_a_sites_own_template(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = config_folder()
    folder.mkdir(parents=True)
    head = "{#\nsubmit = echo given {{ script }}\njob_id = given (.*)\ncancel = echo {{ job_id }}\n#}\n"
    (folder / "ours.sh.j2").write_text(head + "#OURS {{ queue }} {{ job_folder }}\n{{ command }}\n")
    assert "ours" in site_names()
    with pytest.raises(SettingsError, match=r"'queue' is undefined.*--variable"):
        render(job_for(exported), find_site("ours"))
    text = render(job_for(exported, variable=("queue=a b",)), find_site("ours"))
    assert text.startswith(f"#OURS 'a b' {shlex.quote(str(exported))}\n")
    (folder / "bad.sh.j2").write_text("#!/bin/bash\n")
    with pytest.raises(SettingsError, match="must begin with a comment"):
        find_site("bad")
    with pytest.raises(SettingsError, match="There is no site"):
        find_site("../etc/passwd")


CRYOSPARC = """#!/bin/bash
#SBATCH --job-name=cryosparc_{{ project_uid }}_{{ job_uid }}
#SBATCH -n {{ num_cpu }}
{%- if num_gpu == 0 %}
#SBATCH --partition=cpu
{%- else %}
#SBATCH --gres=gpu:{{ num_gpu }}
{%- endif %}
#SBATCH --mem={{ (ram_gb * 1000) | int }}MB
#SBATCH --output={{ job_log_path_abs }}
{{ run_cmd }}
"""


def test_cryosparc_cluster_folders_are_taken_as_they_are(exported, tmp_path):
    commands = {
        "qsub_cmd_tpl": "echo Submitted batch job 17 {{ script_path_abs }}",
        "qdel_cmd_tpl": "echo {{ cluster_job_id }}",
    }
    lane = write_lane(tmp_path / "lane", CRYOSPARC, **commands)
    moved = Path(shutil.copytree(exported, tmp_path / "a job"))
    content = json.loads((moved / "job.json").read_text())
    content["cluster"] |= {"site": str(lane), "cpus_per_task": 8, "memory": 4}
    content["memory"] = 4
    (moved / "job.json").write_text(json.dumps(content))
    (moved / "submit.sh").unlink()
    with pytest.raises(SettingsError, match=r"whose commands would run on this machine: `echo Submitted"):
        submit_job(moved)
    assert submit_job(moved, site=str(lane)).job_id == "17"
    text = (moved / "submit.sh").read_text()
    assert "#SBATCH -n 8\n#SBATCH --partition=cpu\n#SBATCH --mem=4000MB" in text
    assert text.splitlines()[-1] == shlex.quote(str(moved / "launch.sh"))
    assert "napari_gempick.cluster.mpi . --ranks 1" in (moved / "launch.sh").read_text()
    cancelled = CliRunner().invoke(main, ["job", "cancel", str(moved), "--json"])
    assert json.loads(cancelled.stdout) == {"job_id": "17"}


def test_an_edited_script_is_kept_and_a_moved_one_written_anew(exported, tmp_path):
    job = Path(shutil.copytree(exported, tmp_path / "job"))
    script = job / "submit.sh"
    script.write_text("#!/bin/bash\necho mine\n")
    submit_job(job)
    wait_for_end(job)
    assert script.read_text() == "#!/bin/bash\necho mine\n"
    assert (job / "log" / "job.txt").read_text() == "mine\n"
    lost = job_status(job)
    assert (lost.state, lost.log) == ("ended without a result", ("mine",))
    with pytest.raises(SettingsError, match="has ended"):
        cancel_job(job)


def test_a_scheduler_that_is_absent_or_refuses(exported, tmp_path):
    job = Path(shutil.copytree(exported, tmp_path / "job"))
    content = json.loads((job / "job.json").read_text())
    for site, message in (("lsf", "is not installed here"), ("pbs", "is not installed here")):
        content["cluster"]["site"] = site
        (job / "job.json").write_text(json.dumps(content))
        with pytest.raises(SettingsError, match=message):
            submit_job(job)
    assert not (job / "submitted.json").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda job: (job / "job.json").unlink(), "is not a job folder"),
        (lambda job: (job / "job.json").write_text("{"), "cannot be decoded"),
        (lambda job: (job / "templates/2/top.mrcs").unlink(), "is missing from the job folder"),
        (lambda job: (job / "templates/2/top.mrcs").write_bytes(b"x"), "truncated or changed"),
    ],
)
def test_damaged_folders_are_not_submitted(exported, tmp_path, damage, message):
    job = Path(shutil.copytree(exported, tmp_path / "job"))
    damage(job)
    with pytest.raises(GempickError, match=message):
        submit_job(job)


# nodes


def test_gpus_are_shared_out_among_the_ranks_that_see_them():
    four = ("0", "1", "2", "3")
    assert [gpus_of_rank([four] * 2, rank) for rank in (0, 1)] == [(0, 1), (2, 3)]
    assert [gpus_of_rank([four] * 3, rank) for rank in range(3)] == [(0,), (1,), (2, 3)]
    assert [gpus_of_rank([("a",)] * 2, rank) for rank in (0, 1)] == [(0,), (0,)]
    assert [gpus_of_rank([("a", "b"), ("c", "d")], rank) for rank in (0, 1)] == [(0, 1), (0, 1)]
    assert gpus_of_rank([()], 0) == ()


def test_cores_are_shared_out_among_the_ranks_that_have_them():
    assert [threads_of_rank([range(7)] * 2, rank) for rank in (0, 1)] == [4, 3]
    assert [threads_of_rank([(0, 1), (2, 3, 4)], rank) for rank in (0, 1)] == [2, 3]
    assert threads_of_rank([(0,)] * 4, 3) == 1


def test_the_command_line(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def gempick(*words, status=0):
        done = CliRunner().invoke(main, ["job", *map(str, words)])
        assert done.exit_code == status, done.output
        return done

    config = tmp_path / "settings.json"
    values = {**values_for(data), "per_view_maps": False, "save_maps": False}
    config.write_text(json.dumps({"settings": values, "cluster": {"tasks_per_node": 2}}))
    done = gempick("export", "--config", config, data / "mics", "-o", "job", "--site", "mpirun", "--threshold", "0.6")
    assert "5 micrographs x 37 rotated templates on 2 ranks" in done.stdout
    assert "gempick job submit job" in done.stdout
    assert open_job("job").settings.threshold == ("0.6",)
    early = gempick("collect", "job", status=2)
    assert early.stderr == "Error: No micrograph of job is done yet; see gempick job status.\n"
    assert "was not submitted" in gempick("cancel", "job", status=2).stderr
    gempick("submit", "job")
    wait_for_end(Path("job"))
    assert json.loads(gempick("status", "job", "--json").stdout)["done"] == 5
    assert "5 of 5 micrographs done, 0 failed" in gempick("status", "job").stdout
    assert "Each of the 185 pairs" in gempick("collect", "job").stdout
    assert "is not a job folder" in gempick("status", ".", status=2).stderr
