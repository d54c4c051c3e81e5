"""What a run says of the machine."""

import platform
from pathlib import Path

import pytest

from firstlight.runs import record

TWO_CORES = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 17
model name\t: another
"""
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (TWO_CORES, "AMD EPYC (family 26, model 2)"),
        ("model name\t: Virtual CPU\n", "Virtual CPU"),
        (ARM, platform.processor() or platform.machine()),
        (None, platform.processor() or platform.machine()),
    ],
)
def test_a_processor_is_named_with_its_generation_where_the_system_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, name: str
) -> None:
    monkeypatch.setattr(record, "CPUINFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert record.processor_name() == name
