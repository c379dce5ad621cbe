"""`imagekit doctor`: facts about this machine, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from imagekit.cli.frame import imagekit_command

MIN_DISK_BYTES = 1 << 30
MIN_SHM_BYTES = 128 << 20  # containers get 64 MiB by default: a few batches of worker processes, then a bus error


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing looked at. `note` is worth knowing, `fault` makes the command exit 3."""

    name: str
    level: Literal["ok", "note", "fault"]
    found: str
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All facts and checks: an Outcome."""

    facts: Mapping[str, object]
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """3 if a check found a fault."""
        return 3 if any(check.level == "fault" for check in self.checks) else 0

    @property
    def next_command(self) -> str | None:
        """The demo, once all is well."""
        return None if self.exit_code else "imagekit demo"

    def summary(self) -> str:
        """One line a check, the cure below what is not well."""
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.level:<5}  {check.name:<{width}}  {check.found}")
            if check.fix:
                lines.append(f"{'':{width + 9}}fix: {check.fix}")
        n_faults = sum(check.level == "fault" for check in self.checks)
        return "\n".join([*lines, f"checks: {len(self.checks)}, faults: {n_faults}"])

    def to_dict(self) -> dict[str, object]:
        """Facts and checks in plain types."""
        return {"facts": self.facts, "checks": [asdict(check) for check in self.checks]}


@imagekit_command("doctor", examples=["imagekit doctor", "imagekit doctor --json"])
def doctor() -> Diagnosis:
    """Check this machine and installation.

    Looks at versions, image codecs, processor, memory, device and disk, and tries to write in the current folder.
    Run it when something is slow or strange, and put its --json into a bug report: it holds no names and no paths.
    """
    from imagekit.environment import collect, why_not_writable

    facts = collect()
    return Diagnosis(facts=facts, checks=tuple(judge(facts, write_refusal=why_not_writable(Path()))))


def judge(facts: Mapping[str, Any], *, write_refusal: str | None) -> list[Check]:
    """Turn facts (as `environment.collect` gives them) into checks. Pure: looks at nothing else."""
    cpu = facts["cpu"]
    return [
        *_judge_versions(facts["versions"]),
        *_judge_codecs(facts["codecs"]),
        Check(name="processor", level="ok", found=f"{cpu['model']}, {cpu['cores']} cores for this process"),
        *_judge_torch(facts["torch"]),
        _judge_space("memory", facts["memory"]["available_bytes"], of=facts["memory"]["total_bytes"]),
        _judge_space("shared memory", facts["shm_free_bytes"], at_least=MIN_SHM_BYTES, fix="docker run --shm-size=2g"),
        _judge_space("disk", facts["disk_free_bytes"], at_least=MIN_DISK_BYTES, fix="free some space"),
        Check(name="write test", level="ok", found="written, synced, renamed, removed")
        if write_refusal is None
        else Check(name="write test", level="fault", found=write_refusal, fix="run in a folder that you may write to"),
    ]


def _judge_versions(versions: Mapping[str, str | None]) -> list[Check]:
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if not missing:
        return [Check(name="versions", level="ok", found=found)]
    lacks = Check(
        name="packages", level="fault", found=f"missing: {', '.join(missing)}", fix=f"pip install {' '.join(missing)}"
    )
    return [Check(name="versions", level="ok", found=found), lacks]


def _judge_codecs(codecs: Mapping[str, str | None]) -> list[Check]:
    found = ", ".join(f"{name} {version}" for name, version in codecs.items() if version)
    missing = [name for name, version in codecs.items() if version is None and name != "libjpeg_turbo"]
    fix = "install the Pillow wheel from PyPI: pip install --force-reinstall pillow"
    if missing:
        return [Check(name="codecs", level="fault", found=f"Pillow lacks {', '.join(missing)}", fix=fix)]
    if codecs["libjpeg_turbo"] is None:
        return [Check(name="codecs", level="note", found=f"{found}; JPEG without libjpeg-turbo is slow", fix=fix)]
    return [Check(name="codecs", level="ok", found=found)]


def _judge_torch(torch: Mapping[str, Any]) -> list[Check]:
    if "error" in torch:
        fix = "reinstall it: https://pytorch.org/get-started/locally"
        return [Check(name="torch", level="fault", found=torch["error"], fix=fix)]
    name = f" ({torch['device_name']})" if torch["device_name"] else ""
    bf16 = "bf16" if torch["cpu_bf16"] else "no bf16: training on the CPU runs in float32"
    return [
        Check(name="device", level="ok", found=f"{torch['device']}{name}"),
        Check(
            name="arithmetic",
            level="ok" if torch["cpu_bf16"] or torch["device"] != "cpu" else "note",
            found=f"{torch['threads']} threads, {torch['cpu_capability']}, {bf16}",
        ),
    ]


def _judge_space(
    name: str, free: int | None, *, of: int | None = None, at_least: int = 0, fix: str | None = None
) -> Check:
    """Judge a number of bytes; one the system does not tell is a note."""
    if free is None:
        return Check(name=name, level="note", found="not told by this system")
    found = f"{free / 2**30:.1f} GiB free" + (f" of {of / 2**30:.1f}" if of else "")
    if free >= at_least:
        return Check(name=name, level="ok", found=found)
    return Check(name=name, level="fault", found=f"{found}, {at_least / 2**30:.2g} GiB wanted", fix=fix)
