"""Asking single checks of questline doctor."""

from dataclasses import replace

from tools.doctor.examination import examine
from tools.doctor.registry import CHECKS


def ask(installation, name, **settings):
    """What one check finds beside what is well: (level, what it says)."""
    changed = replace(installation, settings=installation.settings.model_copy(update=settings))
    findings = examine(changed, [CHECKS[name]])
    assert all(finding.advice for finding in findings if finding.level != "ok")
    return [(finding.level, finding.says) for finding in findings if finding.level != "ok"]


def only(found, level, *words):
    ((found_level, says),) = found
    assert found_level == level, says
    assert all(word in says for word in words), says
