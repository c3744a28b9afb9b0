"""Golden cases of text encoders: every state of tiny networks on seeded ids."""

import torch

import tiny_models
from cases import case, draw_ids


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


def qwen3_case(seed: int, causal: bool = False, **options) -> tuple[dict, dict]:
    """Every state of a text of 23 tokens alone, and with 9 of padding behind."""
    model = tiny_models.qwen3(seed, causal, vocab_size=90, **options)
    ids = draw_ids(seed, 90, 1, 32)
    outputs = {}
    for name, length in [("whole", 23), ("padded", 32)]:
        mask = (torch.arange(length) < 23).unsqueeze(0)
        states = model(input_ids=ids[:, :length], attention_mask=mask, output_hidden_states=True).hidden_states
        outputs |= {f"{name}.{index}": state for index, state in enumerate(states)}
    return case(model, model.config.to_dict(), {"ids": ids}, outputs)


def qwen3_grouped():
    return qwen3_case(300)


def qwen3_causal():
    """With a head that nobody needs; each head of queries has its own keys; a width that the heads do not fill."""
    return qwen3_case(310, True, num_attention_heads=3, num_key_value_heads=3, num_hidden_layers=2, hidden_size=40)
