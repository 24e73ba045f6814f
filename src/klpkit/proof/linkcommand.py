"""The command that links a program of `-flto` units, taken apart so that it can be run again elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from klpkit import programs
from klpkit.build.command import Family, compiler_family, output_word, split_compiler
from klpkit.build.outputs import redirected
from klpkit.build.replays import TIME_LIMIT, stable_environment
from klpkit.build.shellwords import ShellTrickError, split_words
from klpkit.errors import UserError

# Further files that a linker writes; none of them changes code.
_DROPPED = ("-Wl,-Map", "-Wl,--Map", "-Wl,--dependency-file", "-Wl,-save-temps", "-Wl,--save-temps")
_HINT = "give the one command that links, as the build prints it"


@dataclass(frozen=True, slots=True)
class LinkCommand:
    """A link through the compiler's driver, run in `directory`; `inputs` are the files that it names."""

    compiler: tuple[str, ...]
    arguments: tuple[str, ...]
    directory: Path
    inputs: tuple[Path, ...]

    @property
    def kind(self) -> Family:
        return compiler_family(self.compiler, self.directory)

    def run(self, target: Path, replaced: Mapping[Path, Path], extra: Sequence[str]) -> programs.Completed:
        """Link `target`, with files taken in place of others and `extra` flags; errors as those of a replay."""
        words = [str(replaced.get(self._path(word), word)) for word in self._without_outputs(target.parent)]
        argv = [*self.compiler, *words, *extra, "-o", str(target)]
        return programs.run(argv, cwd=self.directory, env=stable_environment(), timeout=TIME_LIMIT)

    def _path(self, word: str) -> Path:
        return (self.directory / word).resolve()

    def _without_outputs(self, folder: Path) -> list[str]:
        words = redirected(self.arguments, lambda name: str(folder / Path(name).name))
        return [word for word in words if not word.startswith(_DROPPED)]


def read_link(text: str, directory: Path) -> LinkCommand:
    """The link command `text`, or the one in the file of that name; `UserError` for what can't be run again."""
    path = directory / text
    if len(text) < 4096 and path.is_file():
        text = path.read_text(errors="surrogateescape").strip()
    try:
        words = split_words(text)
    except ShellTrickError as error:
        raise UserError(f"not a plain link command: {error}", hint=_HINT) from error
    compiler, arguments = split_compiler(words) if words else ((), ())
    if not compiler or not output_word(arguments) or "-c" in arguments:
        raise UserError(f"no link command: {text}", hint=_HINT)
    if any(word.startswith("@") for word in arguments):
        raise UserError("the link command reads further words from a file", hint="write them into the command")
    found = [(directory / word).resolve() for word in arguments if not word.startswith("-")]
    return LinkCommand(compiler, arguments, directory, tuple(path for path in found if path.suffix != ""))
