"""Names in the layouts in the wild, as literal tables: their key -> ours.

``{}`` is the index of a block. A name without ``weight`` or ``bias`` stands for both. Ours are the
official MAE names, and DINOv2's for gated MLPs (``mlp.w12``, ``mlp.w3``); what other models split
is translated into intermediate names (``attn.q``, ``mlp.gate``), which :mod:`.fuse` joins.
"""

OFFICIAL_BLOCK = {
    'norm1': 'norm1',
    'attn.qkv': 'attn.qkv',
    'attn.proj': 'attn.proj',
    'norm2': 'norm2',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
}
# What descendants of the official layout add or rename: BEiT, timm's and DINOv2's layer scale,
# detectron2's ViTDet, SAM.
OFFICIAL_EXTRAS = {
    'attn.q_bias': 'attn.q.bias',
    'attn.v_bias': 'attn.v.bias',
    'gamma_1': 'gamma_1',
    'gamma_2': 'gamma_2',
    'ls1.gamma': 'gamma_1',
    'ls2.gamma': 'gamma_2',
    'attn.rel_pos_h': 'attn.rel_pos_h',
    'attn.rel_pos_w': 'attn.rel_pos_w',
    'mlp.lin1': 'mlp.fc1',
    'mlp.lin2': 'mlp.fc2',
    'mlp.w12': 'mlp.w12',
    'mlp.w3': 'mlp.w3',
}
# DINOv3's own code splits the gated layer, and has a mask for the bias; timm's names of it.
DINOV3_EXTRAS = {
    'attn.qkv.bias_mask': 'attn.qkv.bias_mask',
    'mlp.w1': 'mlp.gate',
    'mlp.w2': 'mlp.up',
    'mlp.fc1_g': 'mlp.gate',
    'mlp.fc1_x': 'mlp.up',
}
MMPRETRAIN_BLOCK = {
    'ln1': 'norm1',
    'attn.qkv': 'attn.qkv',
    'attn.proj': 'attn.proj',
    'ln2': 'norm2',
    'ffn.layers.0.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.fc2',
}
# Layer scale of mmpretrain, then of mmseg's MAE and BEiT; DINOv2 giant's gated MLP; BEiT's biases;
# ViTSAM's positions.
MMPRETRAIN_EXTRAS = {
    'ffn.w12': 'mlp.w12',
    'ffn.w3': 'mlp.w3',
    'attn.gamma1.weight': 'gamma_1',
    'ffn.gamma2.weight': 'gamma_2',
    'gamma_1': 'gamma_1',
    'gamma_2': 'gamma_2',
    'attn.q_bias': 'attn.q.bias',
    'attn.v_bias': 'attn.v.bias',
    'attn.rel_pos_h': 'attn.rel_pos_h',
    'attn.rel_pos_w': 'attn.rel_pos_w',
}
# mmseg's VisionTransformer wraps torch's MultiheadAttention.
MMSEG_BLOCK = {
    'ln1': 'norm1',
    'attn.attn.in_proj_weight': 'attn.qkv.weight',
    'attn.attn.in_proj_bias': 'attn.qkv.bias',
    'attn.attn.out_proj': 'attn.proj',
    'ln2': 'norm2',
    'ffn.layers.0.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.fc2',
}
# Hugging Face's files and transformers up to 4; transformers 5 renamed the modules.
HF_BLOCK = {
    'layernorm_before': 'norm1',
    'attention.attention.query': 'attn.q',
    'attention.attention.key': 'attn.k',
    'attention.attention.value': 'attn.v',
    'attention.output.dense': 'attn.proj',
    'layernorm_after': 'norm2',
    'intermediate.dense': 'mlp.fc1',
    'output.dense': 'mlp.fc2',
}
HF5_BLOCK = {
    'layernorm_before': 'norm1',
    'attention.q_proj': 'attn.q',
    'attention.k_proj': 'attn.k',
    'attention.v_proj': 'attn.v',
    'attention.o_proj': 'attn.proj',
    'layernorm_after': 'norm2',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
}
HF_EXTRAS = {'lambda_1': 'gamma_1', 'lambda_2': 'gamma_2'}
# Where Dinov2 (and Pixio, without scales) differs from HF_BLOCK; then as transformers 5 has it.
HF_DINOV2 = {
    'norm1': 'norm1',
    'norm2': 'norm2',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
    'mlp.weights_in': 'mlp.w12',
    'mlp.weights_out': 'mlp.w3',
    'layer_scale1.lambda1': 'gamma_1',
    'layer_scale2.lambda1': 'gamma_2',
}
HF5_DINOV2 = {
    'attention.q_proj': 'attn.q',
    'attention.k_proj': 'attn.k',
    'attention.v_proj': 'attn.v',
    'attention.o_proj': 'attn.proj',
    'mlp.gate_proj': 'mlp.gate',
    'mlp.up_proj': 'mlp.up',
    'mlp.down_proj': 'mlp.down',
}
HF_DINOV3_BLOCK = HF_DINOV2 | HF5_DINOV2
HF_SAM_BLOCK = {
    'layer_norm1': 'norm1',
    'attn.qkv': 'attn.qkv',
    'attn.proj': 'attn.proj',
    'attn.rel_pos_h': 'attn.rel_pos_h',
    'attn.rel_pos_w': 'attn.rel_pos_w',
    'layer_norm2': 'norm2',
    'mlp.lin1': 'mlp.fc1',
    'mlp.lin2': 'mlp.fc2',
}

OFFICIAL_STEM = {
    'patch_embed.proj': 'patch_embed.proj',
    'cls_token': 'cls_token',
    'pos_embed': 'pos_embed',
    'norm': 'norm',
}
# Registers of ours and of DINOv2, of timm; our rotary positions.
OFFICIAL_PARTS = {
    'register_tokens': 'register_tokens',
    'reg_token': 'register_tokens',
    'positions.periods': 'positions.periods',
}
DINOV3_PARTS = {
    'storage_tokens': 'register_tokens',
    'rope_embed.periods': 'positions.periods',
}
MM_STEM = {
    'patch_embed.projection': 'patch_embed.proj',
    'cls_token': 'cls_token',
    'pos_embed': 'pos_embed',
    'ln1': 'norm',
}
HF_STEM = {
    'embeddings.patch_embeddings.projection': 'patch_embed.proj',
    'embeddings.cls_token': 'cls_token',
    'embeddings.position_embeddings': 'pos_embed',
    'layernorm': 'norm',
}
HF_DINOV3_STEM = {
    'embeddings.patch_embeddings': 'patch_embed.proj',
    'embeddings.cls_token': 'cls_token',
    'embeddings.register_tokens': 'register_tokens',
    'norm': 'norm',
}


def blocks(theirs: str, ours: str, *tables: dict[str, str]) -> dict[str, str]:
    """Put block prefixes before the names of block tables."""
    return {f'{theirs}.{k}': f'{ours}.{v}' for table in tables for k, v in table.items()}


OFFICIAL = OFFICIAL_STEM | blocks('blocks.{}', 'blocks.{}', OFFICIAL_BLOCK)
MMPRETRAIN = MM_STEM | blocks('layers.{}', 'blocks.{}', MMPRETRAIN_BLOCK)
MMSEG = MM_STEM | blocks('layers.{}', 'blocks.{}', MMSEG_BLOCK)
HF = HF_STEM | blocks('encoder.layer.{}', 'blocks.{}', HF_BLOCK)
HF5 = HF_STEM | blocks('layers.{}', 'blocks.{}', HF5_BLOCK)

OFFICIAL_FAMILY = OFFICIAL | OFFICIAL_PARTS | blocks('blocks.{}', 'blocks.{}', OFFICIAL_EXTRAS)
DINOV3 = OFFICIAL_FAMILY | DINOV3_PARTS | blocks('blocks.{}', 'blocks.{}', DINOV3_EXTRAS)
# ln2 is the norm after average pooling.
MM_FAMILY = (
    MMPRETRAIN
    | {'ln2': 'neck.fc_norm'}
    | blocks('layers.{}', 'blocks.{}', MMSEG_BLOCK, MMPRETRAIN_EXTRAS)
)
HF_FAMILY = (
    HF
    | HF5
    | {'embeddings.register_tokens': 'register_tokens'}
    | blocks('encoder.layer.{}', 'blocks.{}', HF_EXTRAS, HF_DINOV2, HF5_DINOV2)
    | blocks('layers.{}', 'blocks.{}', HF_EXTRAS)
)
HF_DINOV3 = (
    HF_DINOV3_STEM
    | blocks('layer.{}', 'blocks.{}', HF_DINOV3_BLOCK)
    | blocks('model.layer.{}', 'blocks.{}', HF_DINOV3_BLOCK)
)
HF_SAM = {
    'patch_embed.projection': 'patch_embed.proj',
    'pos_embed': 'pos_embed',
} | blocks('layers.{}', 'blocks.{}', HF_SAM_BLOCK)
