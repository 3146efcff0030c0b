"""One place where jobs run: the template of its script, and the commands that submit, ask and cancel.

Commands never pass through a shell here: each word of a template is filled in by itself. Where a template hands the
command to a shell of its own (`ssh host {{ command }}`, `bash -lc "{{ command }}"`), it goes there quoted.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from napari_gempick.cluster.shell import split_words
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_PLACE = re.compile(r"\{\{.*?\}\}")
_MARK = re.compile("\ue000(\\d+)\ue001")
_COMMAND = re.compile(r"\{\{\s*command\s*\}\}")
_REMOTE = {"ssh", "gsissh", "rsh", "autossh", "pdsh", "clush"}
"""Programs that join their arguments and give them to a shell elsewhere."""


class ShellText(str):
    """Text that is shell already and is not quoted again."""


@dataclass(frozen=True)
class Command:
    """Words to run without a shell, and the file that comes on the standard input."""

    words: list[str]
    stdin: str | None = None


@dataclass(frozen=True)
class Site:
    """How jobs are written and submitted at one place.

    Attributes
    ----------
    name : str
    text : str
        The template of the script.
    submit, cancel, status : str
        Commands; `local`: a process of this machine. `status` prints a line that names the job while the scheduler
        knows it; empty where nobody can be asked.
    job_id : tuple of str
        Regular expressions; the first group of the first one that is found in what submit prints is the job's number.
    stdin : bool
        The script is given on the standard input.
    launcher : str
        srun or mpiexec.
    send : str
        Words before a command, such as `ssh login {{ command }}`.
    trims : bool
        Lines that hold a statement of Jinja2 alone leave no empty line.
    launches : bool
        The script starts a launcher in the job folder, as cryoSPARC's do, not the command itself.
    lane : Path, optional
        The folder of cryoSPARC's cluster files that it was read from, unless it is the user's own.
    """

    name: str
    text: str
    submit: str
    cancel: str
    status: str = ""
    job_id: tuple[str, ...] = (r"(\d+)",)
    stdin: bool = False
    launcher: str = "mpiexec"
    send: str = "{{ command }}"
    trims: bool = True
    launches: bool = False
    lane: Path | None = None

    def command(self, template: str, values: dict[str, Any]) -> Command:
        """Return a command with its values filled in, sent the way this site wants it.

        Raises
        ------
        SettingsError
            The template needs a shell, or asks for something that is not known.
        """
        words, stdin = [], None
        split = self._split(template)
        for i, (written, plain) in enumerate(split):
            if written == "<" and stdin is None and i == len(split) - 2 and split[-1][1]:
                stdin = self._filled(split[-1][1], values)
                break
            if not plain and written not in ("''", '""'):
                raise SettingsError(
                    f"The command `{template}` of site {self.name!r} needs a shell ({written}), and commands are run "
                    "without one; write a script that does it, and name that."
                )
            words.append(self._filled(plain, values))
        return Command(self._sent(words, values), stdin)

    def _sent(self, words: list[str], values: dict[str, Any]) -> list[str]:
        """Return words with those of `send` around them."""
        out: list[str] = []
        for written, plain in self._split(self.send):
            if not plain:
                raise SettingsError(f"send_cmd_tpl of site {self.name!r} needs a shell ({written}); leave that out.")
            if not _COMMAND.search(plain):
                out.append(self._filled(plain, values))
            elif _COMMAND.fullmatch(plain):
                remote = any(word.rsplit("/", 1)[-1] in _REMOTE for word in out)
                out += [shlex.join(words)] if remote or written != plain else words
            elif any(shlex.quote(word) != word for word in words):
                raise SettingsError(
                    f"send_cmd_tpl of site {self.name!r} puts `{shlex.join(words)}` into the text of another command, "
                    "which is not safe with these names; choose a job folder whose path has no spaces, quotation "
                    "marks or other special characters."
                )
            else:
                out.append(_COMMAND.sub(lambda match: " ".join(words), plain))
        return out

    def _split(self, template: str) -> list[tuple[str, str]]:
        """Split a command into words; what stands in {{ }} is one of them or a part of one."""
        places = _PLACE.findall(template)
        numbers = iter(range(len(places)))
        marked = _PLACE.sub(lambda match: f"\ue000{next(numbers)}\ue001", template)
        return [
            (_MARK.sub(lambda m: places[int(m[1])], written), _MARK.sub(lambda m: places[int(m[1])], plain))
            for written, plain in split_words(marked)
        ]

    def _filled(self, word: str, values: dict[str, Any]) -> str:
        return fill(word, self.name, values) if "{{" in word else word


def fill(text: str, name: str, values: dict[str, Any], *, quoted: bool = False, trims: bool = False) -> str:
    """Fill in a Jinja2 template of site `name`; `quoted`: each value is quoted for the shell.

    Raises
    ------
    SettingsError
        The template has an error, or asks for something that is not known.
    """

    def quote(value: Any) -> Any:
        if isinstance(value, ShellText | jinja2.Undefined) or not quoted:
            return value
        return shlex.quote(str(value))

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=trims,
        lstrip_blocks=trims,
        keep_trailing_newline=True,
        finalize=quote,
        autoescape=False,  # shell, not HTML: `finalize` quotes
    )
    try:
        return environment.from_string(text).render(values)
    except jinja2.UndefinedError as error:
        raise SettingsError(
            f"The template of site {name!r} asks for something that is not known ({error.message}); give it with "
            "--variable NAME=VALUE."
        ) from error
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise SettingsError(f"The template of site {name!r} cannot be filled in: {error}.") from error
