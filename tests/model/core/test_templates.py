import hashlib

from linnaea.model.core.templates import IMAGENET_TEMPLATES


def test_the_templates_are_the_80_published_ones_in_their_order():
    # of open_clip's zero_shot_metadata.py, OPENAI_IMAGENET_TEMPLATES, one a line with {} for the name
    digest = hashlib.sha256("\n".join(IMAGENET_TEMPLATES).encode()).hexdigest()
    assert digest == "4f976686fb651bb5803d4689dcd849f75efe0ef19a3c801355bc9a6f03c8a5af"
    assert len(IMAGENET_TEMPLATES) == len(set(IMAGENET_TEMPLATES)) == 80
