"""Whether an error is one of the library."""

import re

ARGUMENTS = [
    *("features", "labels", "head", "permutation", "generator", "sample_weight", "present", "unimodal_logits"),
    *("fused_logits", "mixed_logits", "sources", "similarities", "state", "soft_weights"),
]
NAMES = "|".join(ARGUMENTS)


def must_be_clear(call):
    """Call; an error must be one of ours, with the name of an argument, what was expected and what came."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        message = str(error)
        assert re.match(rf"\w* ?(of )?(the )?.*({NAMES}|modality)", message), message
        assert "expected" in message, message
        assert "got" in message, message
        return None
