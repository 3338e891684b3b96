"""`make audit`: asks for known weaknesses of every version in requirements.lock, and says what could not be asked.

The tool ends well where it could look up nothing at all; here that is no success.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
SOUND, WEAK, NOT_ASKED = 0, 1, 3
ANOTHER = 'another service may be there: make audit ARGS="--vulnerability-service osv"'


def main(tool: str, *options: str) -> int:
    """Run the tool; print what it found; return 0 only where every version was looked up and none is weak."""
    command = [tool, "--requirement", str(LOCK), "--require-hashes", "--disable-pip", "--format", "json", *options]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["the tool said nothing"]
        print(f"audit: NOT DONE, the advisory service cannot be reached, or the tool failed: {last[0]}; {ANOTHER}")
        return NOT_ASKED
    code, lines = verdict(found)
    print("\n".join(lines))
    return code


def verdict(found: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit code and what to say of what the tool found."""
    unknown = [each["name"] for each in found if "skip_reason" in each]
    weak = [each for each in found if each.get("vulns")]
    lines = [
        f"audit: {each['name']} {each['version']}: {weakness['id']}, "
        f"mended in {', '.join(weakness['fix_versions']) or 'no version yet'}"
        for each in weak
        for weakness in each["vulns"]
    ]
    asked = len(found) - len(unknown)
    lines.append(f"audit: {asked} of {len(found)} versions looked up, {len(weak)} with known weaknesses")
    if unknown:
        lines.append(f"audit: NOT DONE, the advisory service does not know, or was not there: {', '.join(unknown)}")
        lines.append(f"audit: {ANOTHER}")
    return (WEAK if weak else NOT_ASKED if unknown or not found else SOUND), lines


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
