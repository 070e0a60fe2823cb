"""What a description cannot say, for schemathesis: letters in an address, a link or markup are no text."""

import re
from typing import Any

import schemathesis

_DROPPED = re.compile("[@<&/.]")  # one of these stands in whatever the normaliser takes out


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: Any) -> bool:
    return not (isinstance(body, dict) and _DROPPED.search(str([*body.values()])))
