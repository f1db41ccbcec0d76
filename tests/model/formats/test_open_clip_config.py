"""The defaults of an open_clip config, as open_clip itself has them."""

import json

from linnaea.model.formats.open_clip_config import read_config


def test_a_config_without_settings_has_open_clips_defaults(tmp_path):
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": {"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}}}))
    config = read_config(path)
    vision, text, preprocess = config.vision, config.text, config.preprocess
    assert (vision.size, vision.patch, vision.width, vision.n_layers, vision.n_heads) == (224, 16, 768, 12, 12)
    assert (vision.mlp_ratio, vision.dim, vision.activation) == (4, 512, "gelu")
    assert (text.n_tokens, text.context, text.width, text.n_layers, text.n_heads) == (49408, 77, 512, 12, 8)
    assert (text.mlp_ratio, text.dim, text.activation) == (4, 512, "gelu")
    assert (preprocess.size, preprocess.resize, preprocess.interpolation) == (224, "shortest", "bicubic")
    assert preprocess.mean == vision.mean == (0.48145466, 0.4578275, 0.40821073)
    assert preprocess.std == vision.std == (0.26862954, 0.26130258, 0.27577711)
