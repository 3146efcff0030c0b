"""Which lines of a shell script run a program: a table of what bash does with each, and bash itself."""

import subprocess

import pytest

from napari_gempick.cluster.shell import find_runs, split_words

CASES = {
    "a line": ("#!/bin/bash\n## RUN x\n#SBATCH -n 1\nRUN\n", [4]),
    "wrapped": ("wrap RUN", [1]),
    "time": ("wrap echo RUN\ntime RUN", [2]),
    "subshell": ("( RUN )", [1]),
    "group": ("{ RUN; } 2>&1", [1]),
    "if": ("if true; then RUN; fi", [1]),
    "one of two branches": ("if false; then\nRUN\nelse\nwrap RUN\nfi", [2]),
    "case": ("case b in\n a) RUN;;\n *) RUN ;;\nesac", [2]),
    "and": ("cd / && RUN > log 2>&1", [1]),
    "pipe": ("wrap RUN | cat", [1]),
    "exec": ("exec RUN", [1]),
    "echo": ("echo 'RUN'; printf '%s' RUN", []),
    "in quotation marks over lines": ('echo "several\nRUN\n"\nRUN', [4]),
    "behind a variable": ("cmd=RUN\nwrap $cmd", [2]),
    "behind a variable, with its wrapper": ('CMD="wrap RUN"\n$CMD', [2]),
    "behind an exported variable": ('export R=RUN\n"${R}"', [2]),
    "a shell's text": ("bash -c 'RUN > log'", [1]),
    "a login shell's text": ('bash -lc "cd /; RUN"', [1]),
    "a here document that is printed": ("cat <<EOF\nRUN\nEOF\nRUN", [4]),
    "a here document that is run": ("bash <<'EOF'\nRUN\nEOF\n", [2]),
    "a here document with tabs": ("cat <<-EOF\n\tRUN\n\tEOF\nRUN", [4]),
    "continued lines": ("wrap \\\n  -n 1 \\\n RUN", [3]),
    "substitution": ("x=$(RUN)", [1]),
    "substitution in text": ('echo "said: $(RUN)"', [1]),
    "backticks": ("echo `RUN`", [1]),
    "marks that begin no comment": ("x=${a:-b c}; echo $# ${#x} a#b; RUN", [1]),
    "a comment at the end": ('echo "a # RUN" # RUN\nRUN', [2]),
    "a test before it": ("[ -n RUN ] || exit 1\nRUN", [2]),
    "environment": ("env A=1 RUN", [1]),
    "assignments before it": ("A=1 B=2 RUN", [1]),
    "background": ("RUN &\nwait", [1]),
    "both sides of or": ("false || RUN || RUN", [1, 1]),
    "a function": ("f() { RUN; }\nf", [1]),
    "a trap that prints": ("set -e\ntrap 'echo RUN' EXIT\nRUN", [3]),
    "after exit": ("echo a\nexit 0\nRUN", []),
    "output to a file from here": ("exec > log 2>&1\nRUN", [2]),
    "the worker's other commands": ("eval $(RUN env)\nRUN run --project a --job b", [2]),
    "a loop before it": ("for d in $(seq 0 3);\ndo\n if [[ -z $(true $d) ]] ; then\n x=$d,1\n fi\ndone\nRUN\n", [7]),
}


@pytest.fixture
def program(tmp_path):
    """Programs that count their runs: RUN, and a wrapper as srun is one."""
    counted = tmp_path / "runs"
    (tmp_path / "RUN").write_text(f'#!/bin/bash\ncase ${{1-run}} in run) echo >> "{counted}";; esac\n')
    (tmp_path / "wrap").write_text('#!/bin/bash\nwhile [[ $1 == -* ]]; do shift 2; done\nexec "$@"\n')
    for name in ("RUN", "wrap"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_the_lines_that_run_a_program(case, program):
    script, lines = CASES[case]
    run = str(program / "RUN")
    script = script.replace("RUN", run)
    assert find_runs(script, run).lines == lines
    environment = {"PATH": f"{program}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", script], cwd=program, env=environment, capture_output=True, check=False)
    counted = program / "runs"
    times = len(counted.read_text().splitlines()) if counted.exists() else 0
    assert times == (1 if case == "both sides of or" else len(lines))  # there the first one went well


@pytest.mark.parametrize(
    "script", ["for i in 1 2; do RUN; done", "while ! RUN; do :; done", "until RUN; do sleep 1; done"]
)
def test_loops(script):
    assert find_runs(script, "RUN").in_loop == [1]


def test_the_first_command_and_comments():
    runs = find_runs("#!/bin/sh\n\n#SBATCH -n 1\n  # note\nmodule load x\n#SBATCH -c 2\n", "RUN")
    assert runs.first == 5
    assert [line for line, text in runs.comments if text.startswith("#SBATCH")] == [3, 6]
    assert find_runs("A=1 \n", "RUN").first == 1


def test_words():
    assert split_words("a 'b c' \"d\" < e") == [("a", "a"), ("'b c'", "b c"), ('"d"', "d"), ("<", ""), ("e", "e")]
    assert split_words("a | b")[1] == ("|", "")
