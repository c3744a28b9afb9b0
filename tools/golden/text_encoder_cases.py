"""Golden cases of text encoders: every state of tiny networks on seeded ids."""

import torch

import tiny_models
from cases import case, draw, draw_ids


def clip_case(seed: int, ids: torch.Tensor, **options) -> tuple[dict, dict]:
    model = tiny_models.clip(seed, vocab_size=120, max_position_embeddings=ids.shape[1], **options)
    result = model(ids, output_hidden_states=True)
    outputs = {f"hidden_states.{index}": state for index, state in enumerate(result.hidden_states)}
    outputs["last_hidden_state"] = result.last_hidden_state
    outputs["pooled"] = result.text_embeds if "text_embeds" in result else result.pooler_output
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    return case(model, config, {"ids": ids}, outputs)


def padded_ids(seed: int, length: int, start: int, end: int, pad: int, words: range) -> torch.Tensor:
    """Four prompts: empty, short, longer, cut off at the end."""
    rows = []
    for count in [0, 3, length // 2, length - 2]:
        ids = [start, *(words[int(i)] for i in draw_ids(seed + count, len(words), count)), end]
        rows.append(ids + [pad] * (length - len(ids)))
    return torch.tensor(rows)


def clip_l():
    ids = padded_ids(1, 77, start=118, end=119, pad=119, words=range(118))
    return clip_case(10, ids, eos_token_id=2, projection_dim=24)


def clip_g():
    # The end token is not the highest id here: only its own rule finds it.
    ids = padded_ids(2, 40, start=99, end=100, pad=0, words=range(101, 120))
    return clip_case(20, ids, eos_token_id=100, hidden_size=36, num_attention_heads=3, hidden_act="gelu")


def clip_plain():
    ids = padded_ids(3, 16, start=118, end=119, pad=119, words=range(118))
    return clip_case(30, ids, with_projection=False, eos_token_id=119, num_hidden_layers=1, num_attention_heads=1)


def t5_case(seed: int, **options) -> tuple[dict, dict]:
    model = tiny_models.t5(seed, vocab_size=100, d_model=40, **options)
    ids = draw_ids(seed, 100, 2, 160)  # longer than the largest distance with a bucket of its own
    ids[1, 30:] = 0
    return case(model, model.config.to_dict(), {"ids": ids}, {"last_hidden_state": model(ids).last_hidden_state})


def t5_gated():
    return t5_case(40)


def t5_relu():
    return t5_case(50, feed_forward_proj="relu", d_kv=8, num_heads=4, relative_attention_num_buckets=16)


def qwen_case(seed: int, model: torch.nn.Module) -> tuple[dict, dict]:
    """Every state of a text of 23 tokens alone, and with 9 of padding behind."""
    ids = draw_ids(seed, 90, 1, 32)
    outputs = {}
    for name, length in [("whole", 23), ("padded", 32)]:
        mask = (torch.arange(length) < 23).unsqueeze(0)
        states = model(input_ids=ids[:, :length], attention_mask=mask, output_hidden_states=True).hidden_states
        outputs |= {f"{name}.{index}": state for index, state in enumerate(states)}
    return case(model, model.config.to_dict(), {"ids": ids}, outputs)


def qwen3_grouped():
    return qwen_case(300, tiny_models.qwen3(300, vocab_size=90))


def qwen3_causal():
    """With a head that nobody needs; each head of queries has its own keys; a width that the heads do not fill."""
    options = {"num_attention_heads": 3, "num_key_value_heads": 3, "num_hidden_layers": 2, "hidden_size": 40}
    return qwen_case(310, tiny_models.qwen3(310, True, vocab_size=90, **options))


def qwen2_5_vl():
    """Texts alone; what is for pictures is not part of the case."""
    model = tiny_models.qwen2_5_vl(315, {"vocab_size": 90, "num_attention_heads": 4, "num_key_value_heads": 2})
    tensors, config = qwen_case(315, model)
    return {key: tensor for key, tensor in tensors.items() if "visual" not in key}, config


def qwen2_5_vl_vision():
    """A picture of 7 by 5 vectors, which windows of 2 by 2 do not fill."""
    model = tiny_models.qwen2_5_vl(318, vision={"depth": 3, "hidden_size": 24, "num_heads": 3, "out_hidden_size": 32}).model.visual
    picture = draw(319, 1, 3, 28 * 5, 28 * 7)
    patches = picture.view(3, 5, 2, 14, 7, 2, 14).permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5)
    patches = patches.expand(-1, -1, -1, -1, -1, 2, -1, -1).reshape(4 * 35, -1)
    vectors = model(patches, grid_thw=torch.tensor([[1, 10, 14]])).pooler_output
    return case(model, model.config.to_dict(), {"picture": picture}, {"vectors": vectors.unsqueeze(0)})
