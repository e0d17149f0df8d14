"""What a flush leaves different between Redis and PostgreSQL."""

from datetime import timedelta

from tasks.audit.audit import Auditor, Scope


def differences(stack):
    return Auditor(stack.engine, stack.matcher).run(Scope(), grace=timedelta()).differences
