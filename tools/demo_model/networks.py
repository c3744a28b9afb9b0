"""The transformer and its text encoders: Diffusers' and transformers' own modules, small, with weights to start from."""

from __future__ import annotations

import math

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from tokenizer import LENGTH

TABLE = 32  # The largest picture has 32 tokens a side: 1024 pixels.
T5_ZEROS = 256  # So many zero vectors stand in the text sequence where T5's output would be.


class PromptedTransformer(nn.Module):
    """Both text encoders and the transformer, trained as one."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.text_encoder = build_text_encoder(vocabulary, "quick_gelu", pad=vocabulary - 1)
        self.text_encoder_2 = build_text_encoder(vocabulary, "gelu", pad=0)
        self.transformer = build_transformer()

    def forward(self, noisy: Tensor, timesteps: Tensor, ids: Tensor, ids_2: Tensor) -> Tensor:
        """Returns the velocity. `ids` (batch, length) may stop short of the full 77 if only padding is cut."""
        pooled, sequences = [], []
        for encoder, tokens in ((self.text_encoder, ids), (self.text_encoder_2, ids_2)):
            output = encoder(tokens, output_hidden_states=True)
            pooled.append(output.text_embeds)
            sequences.append(output.hidden_states[-2])
        text = functional.pad(torch.cat(sequences, -1), (0, 0, 0, 1))  # One zero vector stands for all of T5's.
        self.attention.set_bias(noisy.shape[-1] * noisy.shape[-2] // 4, ids.shape[1])
        return self.transformer(noisy, text, torch.cat(pooled, -1), timesteps, return_dict=False)[0]

    def shorten(self) -> None:
        """Switches to the attention that lets one key stand for many equal ones; only training uses it."""
        self.attention = RepeatedKeyAttention()
        self.transformer.set_attn_processor(self.attention)


class RepeatedKeyAttention:
    """Diffusers' joint attention, with a bias on keys that stand for several.

    A key repeated n times weighs as much as one key with log n added to its score. For T5's zero vectors this is exact:
    without position they stay equal in every layer. For the padding of a shortened caption it is an approximation.
    """

    def set_bias(self, image_tokens: int, text_tokens: int) -> None:
        bias = torch.zeros(image_tokens + text_tokens + 1)
        bias[-2] = math.log(LENGTH - text_tokens + 1)
        bias[-1] = math.log(T5_ZEROS)
        self.bias = bias

    def __call__(self, attn, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask=None, **_):
        count, split = hidden_states.shape[0], hidden_states.shape[1]
        joined = []
        pairs = ((attn.to_q, attn.add_q_proj), (attn.to_k, attn.add_k_proj), (attn.to_v, attn.add_v_proj))
        for image_layer, text_layer in pairs:
            both = torch.cat([image_layer(hidden_states), text_layer(encoder_hidden_states)], 1)
            joined.append(both.view(count, both.shape[1], attn.heads, -1).transpose(1, 2))
        bias = self.bias.to(joined[0].dtype).expand(joined[0].shape[2], -1)
        mixed = functional.scaled_dot_product_attention(*joined, attn_mask=bias)
        mixed = mixed.transpose(1, 2).flatten(2)
        image, text = mixed[:, :split], mixed[:, split:]
        return attn.to_out[0](image), text if attn.context_pre_only else attn.to_add_out(text)


def build_text_encoder(vocabulary: int, activation: str, pad: int) -> CLIPTextModelWithProjection:
    """Returns a text encoder of two layers."""
    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=512, projection_dim=128, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, hidden_act=activation,
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=pad,
    )
    encoder = CLIPTextModelWithProjection(config)
    for name, parameter in encoder.named_parameters():
        if "token_embedding" in name:
            nn.init.normal_(parameter, std=0.3)
        elif "position_embedding" in name:
            nn.init.normal_(parameter, std=0.1)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return encoder


def build_transformer() -> SD3Transformer2DModel:
    """Returns a transformer of six layers whose blocks do nothing at first."""
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=16, out_channels=16, pos_embed_max_size=TABLE,
        num_layers=6, attention_head_dim=64, num_attention_heads=3,
        joint_attention_dim=256, caption_projection_dim=192, pooled_projection_dim=256,
    )
    # Diffusers spaces positions by sample_size / 64; whole steps between tokens are easier to tell apart. The table is
    # part of the weights, so whoever loads them gets these positions.
    table = get_2d_sincos_pos_embed(192, TABLE, base_size=TABLE).float()
    transformer.pos_embed.pos_embed.copy_(table[None])
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and ("norm" in name or name == "proj_out"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return transformer
