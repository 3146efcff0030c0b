"""Read a shell script well enough to tell which lines run a program, which only name it, and which are comments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_OPERATORS = re.compile(r"&>>?|;;&|;;|;&|&&|\|\||\|&|<<<|<<-?|>>|>&|<&|>\||<>|[;&|()<>\n]")
_REDIRECTIONS = {">", ">>", "<", ">&", "<&", "&>", "&>>", ">|", "<>", "<<<", "<<", "<<-"}
_HEREDOC = {"<<", "<<-"}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=")
_SHELLS = {"bash", "sh", "dash", "zsh", "ksh", "ssh"}
_TRANSPARENT = {"exec", "time", "command", "builtin", "!", "nohup", "sudo", "env", "srun", "then", "do", "else", "{"}
_PRINTS = {"echo", "printf"}
_DECLARES = {"export", "declare", "local", "readonly", "typeset"}
_NAMES = {
    *_PRINTS, ":", "true", "false", "test", "[", "[[", "ls", "cat", "head", "tail", "grep", "logger", "stat", "file",
    "chmod", "touch", "mkdir", "dirname", "basename", "realpath", "readlink", "which", "type", "cp", "mv", "ln", "set",
    "unset", "cd", "md5sum", "mail", "wall", "trap", "case", "for", "select", "rm", "sed", "awk",
}  # fmt: skip
"""Programs that do not run what their arguments name."""


@dataclass
class Runs:
    """What a script does with a program.

    Attributes
    ----------
    lines : list of int
        Lines that run it, counted from 1; of the branches of an `if` or `case` those of the one that has most.
    named : list of int
        Lines that only name it: comments, printed text, tests.
    in_loop : list of int
        Lines that run it in a loop.
    ended : int
        Line that ends the script before it runs the program, 0 where none does.
    first : int
        Line of the first command; 0 in a script without one.
    comments : list of (int, str)
        Comments and their lines, in the order of the script.
    """

    lines: list[int] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    in_loop: list[int] = field(default_factory=list)
    ended: int = 0
    first: int = 0
    comments: list[tuple[int, str]] = field(default_factory=list)


def find_runs(script: str, program: str) -> Runs:
    """Return where a script runs `program`, a path without characters that are special to a shell."""
    reader = _Reader(script, program, 1, set())
    reader.read()
    return reader.runs


@dataclass
class _Frame:
    """An open `if`, `case` or loop; for branches the lines of the fullest one so far."""

    kind: str
    best: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)


class _Reader:
    """Goes through a script once; texts that a shell runs in turn are read by readers of their own."""

    def __init__(self, text: str, program: str, line: int, aliases: set[str], depth: int = 0) -> None:
        self.text, self.program, self.line, self.aliases = text, program, line, aliases
        self.runs, self.place, self.depth = Runs(), 0, depth
        self.frames: list[_Frame] = []
        self.documents: list[tuple[str, bool, int]] = []  # end word, tabs go, line of the command
        self.words: list[tuple[str, str, int]] = []  # as written, without quotation marks, line
        self.before, self.skip, self.groups = "", False, 0

    def read(self) -> None:
        text = self.text
        while self.place < len(text):
            mark = text[self.place]
            if mark in " \t\r":
                self.place += 1
            elif text.startswith("\\\n", self.place):
                self.place, self.line = self.place + 2, self.line + 1
            elif mark == "#":
                end = text.find("\n", self.place)
                end = len(text) if end < 0 else end
                at_start = self.place == 0 or text[self.place - 1] == "\n"
                comment = text[self.place : end]
                self.runs.comments.append((self.line, comment if at_start else " " + comment))
                if self.program in comment:
                    self.runs.named.append(self.line)
                self.place = end
            elif match := _OPERATORS.match(text, self.place):
                self._operator(match[0])
            else:
                line = self.line
                written, plain = self.word()
                if not self.skip:
                    self.words.append((written, plain, line))
                    self._keyword()
                elif self.documents and self.documents[-1][0] == "":
                    self.documents[-1] = (plain, self.documents[-1][1], self.documents[-1][2])
                self.skip = False
        self._command("\n")

    def _operator(self, text: str) -> None:
        self.place += len(text)
        if text in _REDIRECTIONS:
            if self.words and self.words[-1][0].isdigit():  # 2> file
                self.words.pop()
            self.skip = True
            if text in _HEREDOC:
                self.documents.append(("", text == "<<-", self.line))
            return
        runs = self._program_of() in _SHELLS
        self._command(text)
        self.groups = max(0, self.groups + (text == "(") - (text == ")"))
        if text == ";;" and self.frames and self.frames[-1].kind == "case":
            self._branch()
        if text == "\n":
            self.line += 1
            for end, tabs, line in self.documents:
                self._document(end, tabs, runs, line)
            self.documents = []

    def _document(self, end: str, tabs: bool, runs: bool, command: int) -> None:
        """Read the text that follows `<< END`; a shell runs it, other programs read it."""
        begun, body = self.line, []
        while self.place < len(self.text):
            stop = self.text.find("\n", self.place)
            stop = len(self.text) if stop < 0 else stop
            line = self.text[self.place : stop]
            self.place, self.line = stop + 1, self.line + 1
            if (line.lstrip("\t") if tabs else line) == end:
                break
            body.append(line)
        text = "\n".join(body)
        if runs:
            self._inner(text, begun)
        elif self.program in text:
            self.runs.named.append(command)

    def _inner(self, text: str, line: int) -> None:
        """Read text that is a script of its own."""
        if self.program not in text and not any(f"${name}" in text or f"${{{name}}}" in text for name in self.aliases):
            return
        if self.depth > 8:  # deeper than scripts are: each counts as a run
            self._ran(line)
            return
        inner = _Reader(text, self.program, line, self.aliases, self.depth + 1)
        inner.read()
        for at in inner.runs.lines:
            self._ran(at)
        self.runs.named += inner.runs.named
        self.runs.in_loop += inner.runs.in_loop

    def word(self) -> tuple[str, str]:
        """Read a word; return it as written and without its quotation marks."""
        text, start, plain = self.text, self.place, ""
        quote = ""
        while self.place < len(text):
            mark = text[self.place]
            pair = text[self.place : self.place + 2]
            if quote == "'":
                plain += "" if mark == "'" else mark
                quote = "" if mark == "'" else quote
                self._forward(1)
            elif mark == "\\" and len(pair) == 2 and (not quote or pair[1] in '\\"$`\n'):
                plain += "" if pair[1] == "\n" else pair[1]
                self._forward(2)
            elif pair in ("$(", "${") or mark == "`":
                plain += self._expansion(pair)
            elif mark == '"':
                quote = "" if quote else '"'
                self._forward(1)
            elif quote:
                plain += mark
                self._forward(1)
            elif mark == "'":
                quote = "'"
                self._forward(1)
            elif mark in " \t\r" or _OPERATORS.match(text, self.place):
                break
            else:
                plain += mark
                self._forward(1)
        return text[start : self.place], plain

    def _forward(self, count: int) -> None:
        self.line += self.text.count("\n", self.place, self.place + count)
        self.place += count

    def _expansion(self, pair: str) -> str:
        """Read past $( ), ${ } or backticks; a command in them is read as a script. Return what stays a name."""
        text, begun, line = self.text, self.place, self.line
        close = {"$(": ")", "${": "}"}.get(pair, "`")
        self._forward(2 if close != "`" else 1)
        inside, depth, quote = self.place, 1, ""
        while self.place < len(text):
            mark = text[self.place]
            if mark == "\\":
                self._forward(1)
            elif quote:
                quote = "" if mark == quote else quote
            elif mark in "'\"" and close != "`":
                quote = mark
            elif close == ")" and mark == "(":
                depth += 1
            elif mark == close:
                depth -= 1
                if depth == 0:
                    break
            self._forward(1)
        content = text[inside : self.place]
        self._forward(1)
        if close == "}":
            return text[begun : self.place]
        self._inner(content, line)
        return " "

    def _program_of(self) -> str:
        """Return the name of the program that the command in hand runs."""
        for _, plain, _ in self.words:
            name = plain.rsplit("/", 1)[-1]
            if not _ASSIGNMENT.match(plain) and name not in _TRANSPARENT and not plain.startswith("-"):
                return name
        return ""

    def _keyword(self) -> None:
        """Open and close `if`, `case` and loops; a keyword begins a command of its own."""
        if len(self.words) != 1:
            return
        written, _, line = self.words[0]
        if written in ("if", "for", "while", "until", "select", "case"):
            self._first(line)
            kind = written if written in ("if", "case") else "loop"
            self.frames.append(_Frame(kind, outside=self.runs.lines))
            self.runs.lines = []
            if written not in ("for", "select", "case"):
                self.words = []
        elif written in ("then", "do", "{", "!", "time"):
            self._first(line)
            self.words = []
        elif written in ("elif", "else"):
            self._branch()
            self.words = []
        elif written in ("fi", "esac", "done") and self.frames:
            self._branch()
            frame = self.frames.pop()
            self.runs.lines = frame.outside + frame.best
            self.words = []

    def _branch(self) -> None:
        """End a branch: of several at most one runs."""
        if self.frames:
            frame = self.frames[-1]
            frame.best = max(frame.best, self.runs.lines, key=len)
            self.runs.lines = []

    def _first(self, line: int) -> None:
        self.runs.first = self.runs.first or line

    def _ran(self, line: int) -> None:
        if self.runs.ended:
            return
        self.runs.lines.append(line)
        if any(frame.kind == "loop" for frame in self.frames):
            self.runs.in_loop.append(line)

    def _command(self, after: str) -> None:
        """Judge the command in hand, which `after` ends."""
        words, before = self.words, self.before
        self.words, self.before = [], after
        if not words:
            return
        self._first(words[0][2])
        while words and (match := _ASSIGNMENT.match(words[0][1])):
            self._assign(match[1], words[0])
            words = words[1:]
        names = [plain.rsplit("/", 1)[-1] for _, plain, _ in words]
        first = next((i for i, name in enumerate(names) if name not in _TRANSPARENT), len(names))
        only_names = names[first : first + 1] and names[first] in _NAMES
        if names[first : first + 1] and names[first] in _DECLARES:
            only_names = True
            for word in words[first + 1 :]:
                if match := _ASSIGNMENT.match(word[1]):
                    self._assign(match[1], word)
        ran = False
        for i, (_, plain, line) in enumerate(words):
            mentions = self._mentions(plain, words[i + 1][1] if i + 1 < len(words) else "")
            if mentions and (only_names or any(name in _PRINTS for name in names[:i])):
                self.runs.named.append(line)
            elif mentions == 1 and " " not in plain.strip():
                self._ran(line)
                ran = True
            elif mentions:
                self._inner(plain, line)
        closes = names[:1] == ["exit"] or (names[:1] == ["exec"] and len(names) > 1 and not ran)
        alone = not self.frames and not self.groups and before not in ("&&", "||", "|") and after in ("\n", ";")
        if closes and alone and not self.runs.lines:
            self.runs.ended = self.runs.ended or words[0][2]

    def _assign(self, name: str, word: tuple[str, str, int]) -> None:
        if self._mentions(word[1], ""):
            self.aliases.add(name)

    def _mentions(self, plain: str, following: str) -> int:
        """Return how often a word names the program: by itself, or by a variable that holds it.

        The worker's other commands, such as `cryosparcw env`, are not runs of it.
        """
        plain = re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda m: self.program if m[1] in self.aliases else m[0], plain)
        if plain == self.program and re.fullmatch(r"[a-z]\w*", following) and following != "run":
            return 0
        return plain.count(self.program)


def split_words(text: str) -> list[tuple[str, str]]:
    """Split one command; return each word as written and without its quotation marks, "" for an operator."""
    reader = _Reader(text, "\0", 1, set())
    found = []
    while reader.place < len(text):
        if text[reader.place].isspace():
            reader.place += 1
        elif match := _OPERATORS.match(text, reader.place):
            found.append((match[0], ""))
            reader.place = match.end()
        elif text.startswith(("$(", "`"), reader.place):
            found.append(("$(", ""))
            return found
        else:
            found.append(reader.word())
    return found
